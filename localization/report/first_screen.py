"""What a reader sees before scrolling: the answer in a sentence, a forest plot, a scoreboard."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cxrloc.classification.metrics.bootstrap import Estimate
from cxrloc.classification.report.plots import COLOURS

_DASHES = ("7 3", "", "2 3", "8 3 2 3")  # as on the images: see `analyses/gallery/pictures.py`
_MOST_TICKS = 5
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


@dataclass(frozen=True)
class Swatch:
    """How a localizer is drawn, the same in the forest plot, the scoreboard and on the images."""

    colour: str
    dashes: str


def swatches(names: Sequence[str]) -> dict[str, Swatch]:
    """Name -> colour and line, in the order of the predictions."""
    return {
        name: Swatch(COLOURS[i % len(COLOURS)], _DASHES[i % len(_DASHES)])
        for i, name in enumerate(names)
    }


@dataclass(frozen=True)
class ForestRow:
    """One line of the forest plot.

    Attributes:
        name: of the disease, or the mean over all.
        boxes: how many ground-truth boxes it is about.
        difference: of mean IoU, first minus second localizer.
        sure: whether the report calls it a difference.
    """

    name: str
    boxes: int
    difference: Estimate
    sure: bool


@dataclass(frozen=True)
class Forest:
    """Paired differences with intervals, disease by disease; `total` is the mean over them.

    Attributes:
        first, second: the localizers; right of zero the first is better.
        finding: what the plot shows, in a sentence.
        note: how to read it.
    """

    first: str
    second: str
    finding: str
    note: str
    rows: tuple[ForestRow, ...] = field(repr=False)
    total: ForestRow = field(repr=False)

    @property
    def axis(self) -> Axis:
        """Wide enough for zero and every interval."""
        figures = [row.difference for row in (*self.rows, self.total)]
        ends = [v for e in figures for v in (e.value, e.low, e.high) if not math.isnan(v)]
        return axis_of(min([0.0, *ends]), max([0.0, *ends]))


@dataclass(frozen=True)
class Axis:
    """A horizontal axis in percent of its width."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def at(self, value: float) -> str:
        """Place of a value, such as `62.50%`."""
        return f"{100 * (value - self.low) / (self.high - self.low):.2f}%"


def axis_of(low: float, high: float) -> Axis:
    """An axis that holds `low` to `high` with a margin, and at most five round ticks."""
    high = max(high, low + 0.02)  # all level: still an axis
    span = high - low
    low, high = low - 0.06 * span, high + 0.06 * span
    step = next((s for s in _STEPS if (high - low) / s <= _MOST_TICKS), 1.0)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return Axis(low, high, tuple(round(i * step, 4) for i in range(first, last + 1)))


def tick_text(value: float) -> str:
    """`+.2`, `0`, `-.05`."""
    return f"{value:+g}".replace("0.", ".", 1) if value else "0"


@dataclass(frozen=True)
class ScoreColumn:
    """A heading, what stands beneath it, and the term of the glossary that defines it.

    `number` is False where the cells are words.
    """

    heading: str
    beneath: str = ""
    term: str = ""
    number: bool = True


@dataclass(frozen=True)
class ScoreCell:
    """A cell of the scoreboard: its text, and the interval beneath."""

    text: str
    interval: str = ""


@dataclass(frozen=True)
class ScoreRow:
    """A localizer, or a control (which has no swatch); `note` stands beneath its name."""

    name: str
    cells: tuple[ScoreCell, ...]
    is_control: bool = False
    note: str = ""


@dataclass(frozen=True)
class Scoreboard:
    """One row per localizer."""

    title: str
    note: str
    columns: tuple[ScoreColumn, ...]
    rows: tuple[ScoreRow, ...] = field(repr=False)


@dataclass(frozen=True)
class Answer:
    """The answer to the report's question.

    Attributes:
        headline: one sentence.
        basis: what it stands on, in a line or two.
        forest, scoreboard: None where there is nothing to show.
        readers: a scoreboard for each second reader.
        words: the same at length, in paragraphs.
        swatches: localizer -> how it is drawn.
    """

    headline: str
    basis: str = ""
    forest: Forest | None = field(repr=False, default=None)
    scoreboard: Scoreboard | None = field(repr=False, default=None)
    readers: tuple[Scoreboard, ...] = field(repr=False, default=())
    words: tuple[str, ...] = ()
    swatches: Mapping[str, Swatch] = field(repr=False, default_factory=dict)
