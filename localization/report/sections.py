"""What a page of the report is made of: sections, figures and pictures of images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from cxrloc.classification.report.plots import drawn
from cxrloc.classification.report.tables import ResultTable
from cxrloc.datasets.files.atomic import whole_file


@dataclass(frozen=True)
class NamedFigure:
    """A figure.

    Attributes:
        name: stem of its file.
        title: caption.
        alt: for a reader who cannot see it: what is plotted, and what it shows.
    """

    name: str
    title: str
    alt: str
    figure: Figure = field(repr=False)

    @cached_property
    def drawn(self) -> dict[str, bytes]:
        """`png` and `svg` -> the figure's file, drawn once: for the folder and for the page."""
        return drawn(self.figure)

    def save(self, folder: Path) -> None:
        """Write NAME.png and NAME.svg, each whole or not at all."""
        for form, data in self.drawn.items():
            with whole_file(folder / f"{self.name}.{form}") as temporary:
                temporary.write_bytes(data)


@dataclass(frozen=True)
class Section:
    """One part of the report, folded until a reader opens it.

    Attributes:
        key: anchor in the page, such as `froc`.
        title: heading.
        finding: what came out, in one sentence made from the figures; it stays in sight when the
            section is folded.
        paragraphs: the question and the method, then the results, in plain sentences.
        tables, figures: in the order of the page.
        attachments: file in the report's folder -> JSON value, for the code of others.
    """

    key: str
    title: str
    finding: str
    paragraphs: tuple[str, ...] = ()
    tables: tuple[ResultTable, ...] = ()
    figures: tuple[NamedFigure, ...] = ()
    attachments: Mapping[str, Any] = field(repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        if not self.finding.strip() or "\n" in self.finding:
            raise ValueError(
                f"section {self.key!r}: expected a finding of one line, got {self.finding!r}"
            )


@dataclass(frozen=True)
class Picture:
    """An image of the gallery, twice: as it opens the report, and with all that can be shown.

    Attributes:
        group: why it was chosen.
        title: what it shows, such as the disease.
        results: localizer -> its result on this image, of those drawn in `simple`.
        simple: JPEG of the image and its boxes alone; the page names the colours.
        alt: for a reader who cannot see `simple`.
        full: JPEG with the boxes of all localizers, their heat maps and a legend.
        caption, full_alt: of `full`.
    """

    group: str
    title: str
    results: Mapping[str, str]
    simple: bytes = field(repr=False)
    alt: str
    full: bytes = field(repr=False)
    caption: str
    full_alt: str
