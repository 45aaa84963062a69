"""A result table as the report shows it: blocks of rows, cells with the value that they sort by."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from cxrloc.classification.metrics.bootstrap import MACRO_MEAN
from cxrloc.classification.report.tables import (
    IN_HEADING,
    Cell,
    ResultTable,
    TableRow,
    Value,
    cell_parts,
    column_names,
    value_text,
)
from cxrloc.localization.report.glossary import TERMS, Term, lookup

# Of the ten thresholds these are seen at first; the others are folded beneath
MAIN_THRESHOLDS = ("@0.1", "@0.3", "@0.5")
_ROWS_AT_ONCE = 36


@dataclass(frozen=True)
class Column:
    """A heading. `anchor` is the definition's place in the page, empty where there is none."""

    name: str
    anchor: str
    definition: str
    numeric: bool


@dataclass(frozen=True)
class ViewCell:
    """Text of a cell; `small` (interval; IoGT, skill) are its smaller lines, `key` sorts it."""

    text: str
    small: tuple[str, ...] = ()
    key: str = ""
    numeric: bool = False


@dataclass(frozen=True)
class ViewBlock:
    """Rows under one heading, of a measure at one threshold."""

    heading: str
    anchor: str
    rows: tuple[tuple[ViewCell, ...], ...]


@dataclass(frozen=True)
class TableView:
    """One table of the page: `blocks` at first sight, `more` folded beneath."""

    name: str
    title: str
    columns: tuple[Column, ...]
    blocks: tuple[ViewBlock, ...]
    more: tuple[ViewBlock, ...]
    notes: tuple[str, ...]


def table_view(table: ResultTable, diseases: Collection[str]) -> TableView:
    """The table with its columns explained; a column in `diseases` is explained as `disease`."""
    texts = [_values(row) for row in table.rows]
    names = _macro_first(table.rows)
    blocks = [
        _block(heading, list(group), names)
        for heading, group in groupby(table.rows, key=lambda row: row.block)
    ]
    shown = _shown(blocks)
    return TableView(
        table.name,
        table.title,
        tuple(_column(name, diseases, texts) for name in names),
        tuple(blocks[i] for i in shown),
        tuple(block for i, block in enumerate(blocks) if i not in shown),
        table.notes,
    )


def term_anchor(name: str) -> str:
    """Place of a term's definition in the page."""
    return "term-" + "".join(c if c.isalnum() else "-" for c in name)


def _values(row: TableRow) -> dict[str, Value]:
    return {**_lead(row), **row.cells, **row.trail}


def _macro_first(rows: Sequence[TableRow]) -> list[str]:
    """All columns, with the macro mean before the diseases, where it is in sight."""
    lead = {name for row in rows for name in row.lead}
    return sorted(column_names(rows), key=lambda n: 0 if n in lead else 1 if n == MACRO_MEAN else 2)


def _lead(row: TableRow) -> dict[str, str]:
    return {
        key: value if isinstance(value, str) else f"{value:g}"
        for key, value in row.lead.items()
        if key not in IN_HEADING
    }


def _block(heading: str, rows: Sequence[TableRow], names: Sequence[str]) -> ViewBlock:
    entry = _entry(heading.split(",")[0])
    anchor = term_anchor(entry[0]) if entry else ""
    return ViewBlock(heading, anchor, tuple(_cells(row, names) for row in rows))


def _cells(row: TableRow, names: Sequence[str]) -> tuple[ViewCell, ...]:
    """The row's cells; the first also says what the row is: the next may be out of sight."""
    values = _values(row)
    first, *others = (_cell(values.get(name, "")) for name in names)
    what = ", ".join(list(_lead(row).values())[1:])
    return (replace(first, small=(what,) if what else ()), *others)


def _cell(value: Value) -> ViewCell:
    if isinstance(value, str):
        return ViewCell(value, key=value)
    if not isinstance(value, Cell):
        return ViewCell(value_text(value), key=_key(value), numeric=True)
    figure, interval, *beside = cell_parts(value)
    small = tuple(filter(None, (interval, ", ".join(filter(None, beside)))))
    return ViewCell(figure, small, _key(value.estimate.value), numeric=True)


def _key(value: float) -> str:
    return "" if math.isnan(value) else repr(float(value))


def _shown(blocks: Sequence[ViewBlock]) -> list[int]:
    """Which blocks are seen at first: about 36 rows, and only the main thresholds."""
    shown: list[int] = []
    rows = 0
    for i, block in enumerate(blocks):
        measure = block.heading.split(",")[0]
        if "@" in measure and not measure.endswith(MAIN_THRESHOLDS):
            continue
        rows += len(block.rows)
        if rows <= _ROWS_AT_ONCE or not shown:
            shown.append(i)
    return shown or list(range(len(blocks)))


def _column(name: str, diseases: Collection[str], rows: Sequence[Mapping[str, Value]]) -> Column:
    entry = ("disease", TERMS["disease"]) if name in diseases else _entry(name)
    numeric = any(not isinstance(row.get(name, ""), str) for row in rows)
    if entry is None:
        return Column(name, "", "", numeric)
    return Column(name, term_anchor(entry[0]), entry[1].definition, numeric)


def _entry(name: str) -> tuple[str, Term] | None:
    """The entry that explains a name, under its own name; None where nothing does."""
    try:
        term = lookup(name)
    except ValueError:
        return None
    return next(key for key, value in TERMS.items() if value is term), term
