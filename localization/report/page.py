"""The report: everything that a comparison found, in one HTML file that needs no network.

    write_report(Path("report.html"), Report("Comparison", answer, sections))

The answer and six images come first; everything else is folded beneath, each part with its finding
in sight. Styles, scripts and pictures are inside the file, and its content security policy forbids
anything else, so that what a reader archives or mails is what was made.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from cxrloc.classification.metrics.bootstrap import Estimate
from cxrloc.classification.report.tables import Cell, cell_parts
from cxrloc.datasets.files.atomic import write_text
from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.localization.report.first_screen import Answer, tick_text
from cxrloc.localization.report.glossary import SYMBOLS, TERMS
from cxrloc.localization.report.html_tables import TableView, table_view, term_anchor
from cxrloc.localization.report.sections import NamedFigure, Picture, Section

_ASSETS = Path(__file__).parent / "assets"
_SVG_LIMIT = 400_000  # bytes; with many points a PNG is smaller, and faster to draw
_OWN_KEYS = ("answer", "images", "details", "gallery", "definitions", "manifest", "top")
FRONT_PICTURES = 6  # two rows of three, or three of two


@dataclass(frozen=True)
class Report:
    """All that the page shows, in its order.

    Attributes:
        title: of the browser's tab, and above the answer.
        answer: the first screen.
        sections: each with a `key` of its own; they are folded.
        gallery: pictures of images, those of one group together; six open the report.
        manifest: of the run, see `datasets.manifest.run_manifest`.
        stamp: empty, or what no reader may miss, such as `LEAKED: ...`; it stands in red at the top
            and on every table.
        diseases: the table columns that are diseases.
        terms: those of `glossary.TERMS` that are defined at the end; None for all, with the symbols
            of their formulas.
    """

    title: str
    answer: Answer
    sections: tuple[Section, ...] = field(repr=False)
    gallery: tuple[Picture, ...] = field(repr=False, default=())
    manifest: Mapping[str, Any] = field(repr=False, default_factory=dict)
    stamp: str = ""
    diseases: tuple[str, ...] = ()
    terms: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        keys = [section.key for section in self.sections]
        for key in keys:
            if not re.fullmatch(r"[a-z][a-z0-9_-]*", key):
                raise ValueError(f"section key {key!r}: expected small letters, digits, - and _")
            if key in _OWN_KEYS or keys.count(key) > 1:
                raise ValueError(f"section key {key!r} is taken; each section needs one of its own")


@dataclass(frozen=True)
class _FigureView:
    name: str
    title: str
    alt: str
    source: str


@dataclass(frozen=True)
class _SectionView:
    key: str
    title: str
    finding: str
    paragraphs: tuple[str, ...]
    figures: tuple[_FigureView, ...]
    tables: tuple[TableView, ...]


def write_report(path: Path, report: Report) -> None:
    """Write the page whole or not at all."""
    write_text(path, render_report(report))


def render_report(report: Report) -> str:
    """The page as one HTML document; the same report gives the same text."""
    style, script = (_asset(name) for name in ("report.css", "report.js"))
    page: str = _template().render(
        report=report,
        sections=[_section(section, report.diseases) for section in report.sections],
        front=[(p, data_uri("image/jpeg", p.simple)) for p in front_pictures(report.gallery)],
        gallery=_gallery(report.gallery),
        terms=[
            (term_anchor(name), name, term)
            for name, term in TERMS.items()
            if report.terms is None or name in report.terms
        ],
        manifest_text=json.dumps(report.manifest, indent=1, default=str, ensure_ascii=False),
        policy=_policy(style, script),
        style=Markup(style),
        script=Markup(script),
        symbols=SYMBOLS if report.terms is None else "",
        research_use=RESEARCH_USE,
    )
    return page


@cache
def _template() -> Any:
    environment = Environment(
        loader=FileSystemLoader(_ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"lead": _lead, "sentence": _sentence, "unbroken": _unbroken}
    environment.filters |= {"signed": _signed, "tick": tick_text, "anchor": term_anchor}
    return environment.get_template("report.html.j2")


@cache
def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """A content security policy that lets nothing in but this style, this script and data images.

    By hash, not 'unsafe-inline': a file name or note with markup in it could run nothing either.
    """
    return (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _section(section: Section, diseases: tuple[str, ...]) -> _SectionView:
    return _SectionView(
        section.key,
        section.title,
        section.finding,
        section.paragraphs,
        tuple(_figure(figure) for figure in section.figures),
        tuple(table_view(table, diseases) for table in section.tables),
    )


def _figure(named: NamedFigure) -> _FigureView:
    media, data = "image/svg+xml", named.drawn["svg"]
    if len(data) > _SVG_LIMIT:
        media, data = "image/png", named.drawn["png"]
    return _FigureView(named.name, named.title, named.alt, data_uri(media, data))


def data_uri(media: str, data: bytes) -> str:
    """The bytes as the source of an image in the page."""
    return f"data:{media};base64,{base64.b64encode(data).decode()}"


def _gallery(pictures: tuple[Picture, ...]) -> list[tuple[str, list[tuple[Picture, str]]]]:
    groups = groupby(pictures, key=lambda picture: picture.group)
    return [(name, [(p, data_uri("image/jpeg", p.full)) for p in group]) for name, group in groups]


def front_pictures(pictures: Sequence[Picture]) -> list[Picture]:
    """The first few pictures of each group, as many of one as of another; groups stay together."""
    groups = [list(group) for _, group in groupby(pictures, key=lambda picture: picture.group)]
    taken = [0] * len(groups)
    for turn in range(len(pictures)):
        for i, group in enumerate(groups):
            taken[i] += turn < len(group) and sum(taken) < FRONT_PICTURES
    return [p for group, n in zip(groups, taken, strict=True) for p in group[:n]]


def _sentence(text: str) -> str:
    """Notes have no full stop of their own; in a list of sentences each gets one."""
    return text if text.endswith((".", "!", "?", ":")) else f"{text}."


def _lead(text: str) -> tuple[str, str]:
    """The first clause of a sentence, to be set in bold, and the rest."""
    clause = re.match(r".*?(: |; | (?=\())", text)
    at = clause.end() if clause else len(text)
    return text[:at].rstrip(), text[at:]


def _unbroken(text: str) -> str:
    """The text with no line end within `[.401, .502]`, `.401 to .502` and `95 %`."""
    space = "\N{NO-BREAK SPACE}"
    return re.sub(
        r"\[[^\]]{1,24}\]|[\d.]+ to -?[\d.]+|\d %", lambda part: part[0].replace(" ", space), text
    )


def _signed(estimate: Estimate) -> tuple[str, str]:
    """A difference with its sign, and its interval, as the forest plot prints them."""
    parts = cell_parts(Cell(estimate))
    return ("+" if estimate.value > 0 else "") + parts.figure, parts.interval
