"""A table of texts as CSV, Markdown, LaTeX and HTML."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cxrloc.datasets.files.atomic import write_text
from cxrloc.datasets.files.manifest import RESEARCH_USE

_LATEX = str.maketrans(
    {c: rf"\{c}" for c in "&%$#_{}"}
    | {">": "$>$", "<": "$<$", "±": r"$\pm$", "\\": r"\textbackslash{}", "~": r"\textasciitilde{}",
       "^": r"\textasciicircum{}", "[": "{[}", "]": "{]}", "−": "$-$"}
)  # fmt: skip
_STYLE = (
    "body{font:14px/1.5 system-ui,sans-serif;margin:2em auto;max-width:86em;padding:0 1em;"
    "color:#222}.wide{overflow-x:auto}table{border-collapse:collapse;margin:1em 0;"
    "white-space:nowrap}th,td{padding:.25em .8em;text-align:right;border-bottom:1px solid #ddd}"
    "th{border-bottom:2px solid #888}th:first-child,td:first-child{text-align:left}"
    "tr:hover{background:#f4f6f8}.notice{font-weight:bold}li{max-width:60em}"
)


@dataclass(frozen=True)
class TextTable:
    """A table as people read it.

    Attributes:
        title: its heading.
        header: names of the columns.
        rows: texts, as many as the header has.
        notes: full sentences that stand below.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(f"{self.title}: {len(row)} cells under {len(self.header)} heads")


def to_markdown(title: str, tables: Sequence[TextTable]) -> str:
    """A page with a pipe table and notes for each table."""
    parts = [f"# {title}", "", f"**{RESEARCH_USE}.**"]
    return "\n".join(parts) + "\n" + tables_markdown(tables)


def tables_markdown(tables: Sequence[TextTable]) -> str:
    """The tables and their notes alone, to stand below a page."""
    parts: list[str] = []
    for table in tables:
        parts += ["", f"## {table.title}", ""]
        parts += [_pipes(row) for row in (table.header, ["---"] * len(table.header), *table.rows)]
        parts += ["", *(f"- {note}" for note in table.notes)]
    return "".join(f"{part}\n" for part in parts)


def to_latex(title: str, tables: Sequence[TextTable]) -> str:
    """A longtable each (packages booktabs and longtable), with the notes below."""
    lines = [f"% {title}: needs \\usepackage{{booktabs,longtable}}; wide tables: landscape"]
    for table in tables:
        lines += [
            rf"\begin{{longtable}}{{l{'r' * (len(table.header) - 1)}}}",
            rf"\caption{{{_tex(table.title)}. {_tex(RESEARCH_USE)}.}}\\",
            r"\toprule",
            _latex_row(table.header),
            r"\midrule",
            r"\endhead",
            *map(_latex_row, table.rows),
            r"\bottomrule",
            r"\end{longtable}",
        ]
        if table.notes:
            items = [rf"\item {_tex(note)}" for note in table.notes]
            lines += [r"\begin{itemize}", *items, r"\end{itemize}"]
    return "\n".join(lines) + "\n"


def to_html(title: str, tables: Sequence[TextTable]) -> str:
    """One page that needs no other file."""
    body = [f"<h1>{html.escape(title)}</h1>", f'<p class="notice">{html.escape(RESEARCH_USE)}.</p>']
    for table in tables:
        rows = [_html_row("th", table.header), *(_html_row("td", row) for row in table.rows)]
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in table.notes)
        body += [
            f"<h2>{html.escape(table.title)}</h2>",
            f'<div class="wide"><table>{"".join(rows)}</table></div><ul>{notes}</ul>',
        ]
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
    return (
        f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(body)}</body></html>\n'
    )


def write_records(path: Path, records: Sequence[dict[str, object]]) -> None:
    """CSV of records with the same keys, figures in full; None is an empty field."""
    handle = io.StringIO()
    writer = csv.DictWriter(handle, list(records[0]) if records else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    write_text(path, handle.getvalue())


def _pipes(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(map(_tex, cells)) + r" \\"


def _tex(text: str) -> str:
    return text.translate(_LATEX)


def _html_row(tag: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>\n"
