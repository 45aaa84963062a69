"""What every analysis hands to the report: a section of tables and figures."""

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
    """A figure; `name` is its file's stem, `alt` says in words what a reader who cannot see it
    must know (what is plotted, and what it shows in figures).
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
    """One part of the report.

    Attributes:
        key: anchor in the page, such as `froc`.
        title: heading.
        paragraphs: what is asked and how it is measured, then what came out, in plain sentences.
        tables, figures: in the order of the page.
        attachments: file in the report's folder -> JSON value, for code of others.
    """

    key: str
    title: str
    paragraphs: tuple[str, ...] = ()
    tables: tuple[ResultTable, ...] = ()
    figures: tuple[NamedFigure, ...] = ()
    attachments: Mapping[str, Any] = field(repr=False, default_factory=dict)


@dataclass(frozen=True)
class Picture:
    """A JPEG for the report, with what it shows in words."""

    group: str
    caption: str
    alt: str
    jpeg: bytes = field(repr=False)
