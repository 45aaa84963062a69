"""The answer in one sentence: who wins, by how much, how sure, and against the blind control.

A winner is named only where the interval of the difference excludes zero, and never one that was
trained on what is scored here. The best localizer is set against the next best that is really
another one (see `evaluation/contest.py`), and against the reference control, a box that never
looks at the image and is chosen before any figure is known.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from cxrloc.classification.metrics.bootstrap import Estimate
from cxrloc.classification.report.tables import Cell, cell_parts
from cxrloc.datasets.provenance.leakage import LEAKED
from cxrloc.localization.analyses.leakage import LocalizerAudit
from cxrloc.localization.evaluation.comparison import Comparison, ScoredLocalizer
from cxrloc.localization.evaluation.contest import (
    contest,
    flipped,
    pair_of,
    ranked,
    twins,
    verdict,
)
from cxrloc.localization.evaluation.detections import CONTROL
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.evaluation.pairwise import REFERENCE_CONTROL

BLIND = "a box that never looks at the image"


@dataclass(frozen=True)
class Headline:
    """The sentence, and what it was made from.

    Attributes:
        sentence: what a reader sees first.
        best, rival: the two localizers it is about; None where there are not so many.
        winner: `best` where it is better than `rival`, else None.
        difference: macro mean IoU of `best` minus that of `rival`.
        control: the control that `best` is set against; None where none was scored.
        over_control: macro mean IoU of `best` minus that of `control`.
        twins: localizer -> those that differ from it in nothing a reader could see.
    """

    sentence: str
    best: str | None = None
    rival: str | None = None
    winner: str | None = None
    difference: Estimate | None = None
    control: str | None = None
    over_control: Estimate | None = None
    twins: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """As JSON-ready values (schema: `summary.py`)."""
        pairs = {"difference": self.difference, "over_control": self.over_control}
        return {
            "sentence": self.sentence,
            "winner": self.winner,
            "best": self.best,
            "runner_up": self.rival,
            "control": self.control,
            **{name: None if e is None else _record(e) for name, e in pairs.items()},
            "same_boxes": {name: list(others) for name, others in self.twins.items() if others},
        }


def _record(difference: Estimate) -> dict[str, Any]:
    figures = {"value": difference.value, "low": difference.low, "high": difference.high}
    known = {name: None if value != value else value for name, value in figures.items()}
    return {**known, "verdict": verdict(difference)}


def headline(evaluated: Evaluated, audits: Collection[LocalizerAudit]) -> Headline:
    """The sentence about a comparison."""
    comparison, names = evaluated.comparison, evaluated.once(contest)
    if names is None:
        return Headline(_controls_alone(comparison))
    best, rival = names
    groups = evaluated.once(twins)
    blind = next((s for s in comparison.localizers if _is_reference(s)), None)
    difference = None if rival is None else pair_of(comparison, best, rival).estimates.macro
    over = None if blind is None else pair_of(comparison, best, blind.label).estimates.macro
    leaked = best in {audit.localizer for audit in audits if audit.status == LEAKED}
    said = _Said(comparison, best, rival, difference, over, groups[best], leaked)
    wins = difference is not None and verdict(difference) == "better" and not leaked
    return Headline(
        sentence=said.sentence,
        best=best,
        rival=rival,
        winner=best if wins else None,
        difference=difference,
        control=None if blind is None else blind.name,
        over_control=over,
        twins=groups,
    )


def _is_reference(scored: ScoredLocalizer) -> bool:
    return scored.is_control and scored.name == REFERENCE_CONTROL


def _controls_alone(comparison: Comparison) -> str:
    controls = ranked(comparison, CONTROL)
    if not controls:
        return "Nothing was scored: there is neither a localizer nor a control."
    mean = _figure(controls[0].estimates["mean_iou"].macro.value)
    return (
        f"No localizer was given; of the controls, which never look at the image, "
        f"{controls[0].name} comes furthest, with a mean IoU of {mean}."
    )


@dataclass(frozen=True)
class _Said:
    """What the sentence is made from; `over` is None where no control was scored."""

    comparison: Comparison
    best: str
    rival: str | None
    difference: Estimate | None
    over: Estimate | None
    same: tuple[str, ...]
    leaked: bool

    @property
    def sentence(self) -> str:
        if self.rival is None or self.difference is None:
            return f"{self._alone()}."
        if self.leaked:
            return f"No winner can be named: {self._lead(self.difference)}, but {_LEAK}."
        if verdict(self.difference) != "better":
            doubt = self._doubt(self.difference)
            return f"No winner can be named: {doubt}; {self._versus_control(self.best)}."
        if self.over is not None and verdict(self.over) == "worse":
            return f"{self._nobody_beats_the_control(self.difference, self.over)}."
        return (
            f"{self.best} localizes better than {self.rival}: its mean IoU of {self._mean} is "
            f"{_figure(self.difference.value)} higher ({self._range(self.difference)}), "
            f"{self._and_control()}."
        )

    @property
    def _mean(self) -> str:
        row = next(s for s in self.comparison.localizers if s.label == self.best)
        return _figure(row.estimates["mean_iou"].macro.value)

    def _range(self, difference: Estimate, named: bool = True) -> str:
        name = f"{100 * self.comparison.level:.0f} % interval " if named else ""
        if verdict(difference) == "undefined":
            return "no interval: too few patients"
        return f"{name}{_figure(difference.low)} to {_figure(difference.high)}"

    def _lead(self, difference: Estimate) -> str:
        if _figure(difference.value) == _figure(0.0):
            text = f"{self.best} and {self.rival} have the same mean IoU of {self._mean}"
        else:
            by = _figure(difference.value)
            text = f"{self.best} leads {self.rival} by {by} in mean IoU"
        return f"{text} ({self._range(difference)})"

    def _doubt(self, difference: Estimate) -> str:
        reason = {"undefined": "", "equal": ""}.get(
            verdict(difference), ", an interval that holds zero"
        )
        return f"{self._lead(difference)}{reason}"

    def _and_control(self) -> str:
        """As the last part of a sentence about the mean IoU of the best."""
        if self.over is None:
            return "with no blind control to compare it with"
        name = f"{REFERENCE_CONTROL}, {BLIND}"
        if verdict(self.over) == "better":
            by = _figure(self.over.value)
            return f"and {by} higher than that of {name} ({self._range(self.over, named=False)})"
        return f"but {self._versus_control('it')}"

    def _versus_control(self, subject: str) -> str:
        if self.over is None:
            return "no blind control was scored"
        name, by = f"{REFERENCE_CONTROL}, {BLIND}", _figure(abs(self.over.value))
        return {
            "better": f"{subject} beats {name}, by {by} ({self._range(self.over)})",
            "worse": f"{subject} loses to {name}, by {by} ({self._range(flipped(self.over))})",
            "equal": f"{subject} is no better than {name}",
            "undefined": f"{subject} cannot be compared with {name} (too few patients)",
        }.get(
            verdict(self.over),
            f"{subject} is not distinguishable from {name} (difference "
            f"{_figure(self.over.value)}, {self._range(self.over)})",
        )

    def _nobody_beats_the_control(self, difference: Estimate, over: Estimate) -> str:
        return (
            f"No localizer beats {REFERENCE_CONTROL}, {BLIND}: {self.best}, better than "
            f"{self.rival} by {_figure(difference.value)} in mean IoU "
            f"({self._range(difference)}), is {_figure(-over.value)} below it "
            f"({self._range(flipped(over), named=False)})"
        )

    def _alone(self) -> str:
        others = "no other localizer was given"
        if self.same:
            others = f"{' and '.join(self.same)} draws the same boxes, so there is no other to beat"
        if self.leaked:
            return f"{self.best} has a mean IoU of {self._mean}, but {_LEAK}"
        return f"{self._versus_control(self.best)}; its mean IoU is {self._mean}, and {others}"


_LEAK = "it was trained on images or patients that are scored here"


def _figure(value: float) -> str:
    """`.491`; never `-.000`."""
    return cell_parts(Cell(Estimate(round(value, 3) + 0.0))).figure
