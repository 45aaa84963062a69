"""Define the project's one table, written as CSV, Markdown, LaTeX and aligned text.

Cells are figures (`Cell`), numbers or words; only the writers turn them into text.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from cxrloc.classification.metrics.bootstrap import MACRO_MEAN, Estimate
from cxrloc.datasets.files.atomic import write_text
from cxrloc.datasets.files.manifest import RESEARCH_USE

# LaTeX would read a row that begins with [ as the optional length of the preceding line break
_LATEX = str.maketrans(
    {c: rf"\{c}" for c in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {">": "$>$", "<": "$<$", "±": r"$\pm$", "−": "$-$", "[": "{[}", "]": "{]}"}
)
_WORDS_IN_FRONT = {
    *("localizer", "setting", "rule", "minus", "control", "disease", "network", "stage"),
    "body part",
}


def write_table(table: ResultTable, directory: Path) -> list[Path]:
    """Write NAME.csv, NAME.md and NAME.tex into `directory`, each atomically."""
    texts = {"csv": to_csv(table), "md": to_markdown(table), "tex": to_latex(table)}
    paths = []
    for suffix, text in texts.items():
        paths.append(directory / f"{table.name}.{suffix}")
        write_text(paths[-1], text)
    return paths


def to_csv(table: ResultTable) -> str:
    """One line per row: its name, the figures X, then `X low`, `X high`, `X IoGT`, `X skill`.

    `X IoGT` is the mean IoGT of the boxes behind X, `X skill` its skill over the reference control
    (localization/evaluation/pairwise.py); an undefined figure is an empty field. There are no
    comment lines, so any CSV reader works; the last column states the research use, or the source
    of a published figure.
    """
    records = [_record(row) for row in table.rows]
    handle = io.StringIO()
    fields = list(dict.fromkeys(key for record in records for key in record)) or ["note"]
    writer = csv.DictWriter(handle, [*(f for f in fields if f != "note"), "note"], restval="")
    writer.writeheader()
    writer.writerows(records)
    return handle.getvalue().replace("\r\n", "\n")


def _record(row: TableRow) -> dict[str, str | float]:
    values = {**row.cells, **row.trail}
    figures = {name: value for name, value in values.items() if isinstance(value, Cell)}
    record: dict[str, str | float] = dict(row.lead)
    record |= {name: _plain(value) for name, value in values.items()}
    for name, cell in figures.items():
        record[f"{name} low"] = _number(cell.estimate.low)
        record[f"{name} high"] = _number(cell.estimate.high)
        if cell.beside is not None:
            record[f"{name} IoGT"] = _number(cell.beside)
        if cell.skill is not None:
            record[f"{name} skill"] = _number(cell.skill)
    return {**record, "note": row.note}


def _plain(value: Value) -> str | int:
    if isinstance(value, Cell):
        return _number(value.estimate.value)
    return _number(value) if isinstance(value, float) else value


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"


def write_records(path: Path, records: Sequence[Mapping[str, object]]) -> None:
    """Write records with the same keys as CSV, figures in full; undefined values stay empty."""
    handle = io.StringIO()
    writer = csv.DictWriter(handle, list(records[0]) if records else [], lineterminator="\n")
    writer.writeheader()
    for record in records:
        writer.writerow({key: "" if _is_nan(value) else value for key, value in record.items()})
    write_text(path, handle.getvalue())


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def estimate_record(name: str, figure: Estimate) -> dict[str, object]:
    """The columns of a figure and its interval, for a line of `write_records`."""
    return {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high}


def to_markdown(table: ResultTable) -> str:
    """A page with one table: a pipe table per block, below the title and the notes."""
    lines = [f"# {table.title}", "", f"**{RESEARCH_USE}.**", "", *_markdown(table, "##")]
    return "\n".join(lines) + "\n"


def page_markdown(title: str, tables: Sequence[ResultTable]) -> str:
    """A page with several tables."""
    return f"# {title}\n\n**{RESEARCH_USE}.**\n{tables_markdown(tables)}"


def tables_markdown(tables: Sequence[ResultTable]) -> str:
    """The tables with their headings and notes, to append to a page."""
    lines = [
        line for table in tables for line in ("", f"## {table.title}", "", *_markdown(table, "###"))
    ]
    return "".join(f"{line}\n" for line in lines)


def _markdown(table: ResultTable, heading: str) -> list[str]:
    lines = [f"- {note}." for note in table.notes]
    for block, group in groupby(table.rows, key=lambda row: row.block):
        header, *rows = text_rows(list(group))
        lines += ["", f"{heading} {block}"] if block else []
        lines += ["", *map(_pipes, (header, ["---"] * len(header), *rows))]
    return lines


def _pipes(values: list[str]) -> str:
    return "| " + " | ".join(value.replace("|", r"\|") for value in values) + " |"


def to_text(table: ResultTable) -> str:
    """For a terminal: the title, aligned columns and the notes; words left, numbers right."""
    words = {name for row in table.rows for name in row.lead}
    padded = []
    for column in zip(*text_rows(table.rows), strict=True):
        width = max(map(len, column))
        padded.append([f"{t:<{width}}" if column[0] in words else f"{t:>{width}}" for t in column])
    lines = ["  ".join(line).rstrip() for line in zip(*padded, strict=True)]
    return "\n".join([table.title, *lines, *(f"{note}." for note in table.notes)])


def text_rows(rows: Sequence[TableRow]) -> list[list[str]]:
    """The header and the rows as displayed text."""
    header = column_names(rows)
    return [header, *([_texts(row).get(name, "") for name in header] for row in rows)]


def _texts(row: TableRow) -> dict[str, str]:
    lead = {key: str(value) for key, value in row.lead.items() if key not in IN_HEADING}
    return lead | {name: value_text(v) for name, v in {**row.cells, **row.trail}.items()}


def value_text(value: Value) -> str:
    """A cell of a table as displayed text: see `TableRow`."""
    if isinstance(value, Cell):
        return cell_text(value)
    if isinstance(value, float):
        if 0 < value < 0.0005:
            return "<.001"  # p-values: .000 would claim more
        return "undefined" if math.isnan(value) else _short(f"{value:.3f}")
    return f"{value:,}" if isinstance(value, int) else value


def cell_text(cell: Cell) -> str:
    """`.453 [.401, .502] (.61), skill .12`; in parentheses mean IoGT; published as printed."""
    *parts, skill = cell_parts(cell)
    return ", ".join(filter(None, (" ".join(filter(None, parts)), skill)))


def estimate_text(estimate: Estimate) -> str:
    """`.453 [.401, .502]`."""
    return cell_text(Cell(estimate))


def cell_parts(cell: Cell) -> CellParts:
    """The parts of `cell_text`."""
    if cell.printed is not None:
        return CellParts(_short(cell.printed))
    estimate = cell.estimate
    if not estimate.defined:
        return CellParts(f"undefined: {estimate.reason}" if estimate.reason else "undefined")
    interval, beside, skill = "[undefined]", "", ""
    if not math.isnan(estimate.low):
        interval = f"[{_short(f'{estimate.low:.3f}')}, {_short(f'{estimate.high:.3f}')}]"
    if cell.beside is not None:
        beside = f"({_short(f'{cell.beside:.2f}')})"
    if cell.skill is not None:
        skill = "undefined" if math.isnan(cell.skill) else _short(f"{cell.skill:.2f}")
        skill = f"skill {skill}"
    return CellParts(_short(f"{estimate.value:.3f}"), interval, beside, skill)


class CellParts(NamedTuple):
    """The texts of a figure; empty for missing parts."""

    figure: str
    interval: str = ""
    beside: str = ""
    skill: str = ""


def _short(number: str) -> str:
    """.453 for 0.453, -.02 for -0.02; 1.000 stays."""
    return number.replace("0.", ".", 1) if number.lstrip("-").startswith("0.") else number


def to_latex(table: ResultTable) -> str:
    """A longtable (packages booktabs, longtable), one headed section per block."""
    rows = [(row.block, _texts(row)) for row in table.rows]
    header = column_names(table.rows) if rows else ["localizer"]
    columns = "l" * sum(key in _WORDS_IN_FRONT for key in header)
    columns += "r" * (len(header) - len(columns))
    lines = [
        "% needs \\usepackage{booktabs,longtable}; wide: put it on a landscape page",
        f"\\begin{{longtable}}{{{columns}}}",
        f"\\caption{{{_tex(table.title)}. {_tex(RESEARCH_USE)}.}}\\\\",
        "\\toprule",
        " & ".join(map(_tex, header)) + r" \\",
        "\\midrule",
        "\\endhead",
    ]
    for block, group in groupby(rows, key=lambda item: item[0]):
        if block:
            lines.append(rf"\multicolumn{{{len(header)}}}{{l}}{{\textbf{{{_tex(block)}}}}} \\")
        lines += [" & ".join(_tex(r.get(k, "")) for k in header) + r" \\" for _, r in group]
        lines.append("\\midrule")
    lines[-1:] = ["\\bottomrule", "\\end{longtable}"]
    if table.notes:
        items = [rf"\item {_tex(note)}." for note in table.notes]
        lines += ["\\begin{itemize}", *items, "\\end{itemize}"]
    return "\n".join(lines) + "\n"


def _tex(text: str) -> str:
    return text.translate(_LATEX)


IN_HEADING = ("measure", "threshold")  # shown in the heading of a block, not in its rows


@dataclass(frozen=True)
class Cell:
    """One figure.

    `beside` is the mean IoGT of the same boxes; `printed` the figure as published; `skill` its
    skill over the reference control, NaN if the control leaves nothing to gain.
    """

    estimate: Estimate
    beside: float | None = None
    printed: str | None = None
    skill: float | None = None


Value = Cell | str | int | float


@dataclass(frozen=True)
class TableRow:
    """One row: `block` is its heading (may be empty), `lead` its name, `cells` the figures.

    A cell is a figure with its interval (`Cell`), a count (int), a plain figure (float: printed
    with three decimals, NaN as `undefined`) or a word.
    """

    block: str
    lead: Mapping[str, str | float]
    cells: Mapping[str, Value]
    trail: Mapping[str, Value] = field(default_factory=dict)
    note: str = RESEARCH_USE


@dataclass(frozen=True)
class ResultTable:
    """A table; `name` is its file's stem, `notes` are printed above it, without a full stop."""

    name: str
    title: str
    rows: tuple[TableRow, ...]
    notes: tuple[str, ...]


def column_names(rows: Sequence[TableRow]) -> list[str]:
    """The columns of all rows: names first, then figures with the macro mean last, then the rest.

    Rows may have figures for diseases that the first row lacks. Columns shown in a block's heading
    are left out.
    """
    lead = dict.fromkeys(name for row in rows for name in row.lead if name not in IN_HEADING)
    cells = dict.fromkeys(name for row in rows for name in row.cells)
    trail = dict.fromkeys(name for row in rows for name in row.trail)
    return [*lead, *sorted(cells, key=lambda name: name == MACRO_MEAN), *trail]
