"""The part of the report that an analysis makes: a section of tables and figures."""

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
    """A figure; `name` is its file's stem, `alt` describes it to a reader who cannot see it (what
    is plotted, and its main figures).
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
        paragraphs: the question and the method, then the results, in plain sentences.
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
