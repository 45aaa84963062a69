"""What a comparison writes: the report, its tables and figures, and what the terminal shows."""

from __future__ import annotations

import dataclasses
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

from cxrloc.classification.report.tables import ResultTable, write_table
from cxrloc.datasets.files.atomic import write_text
from cxrloc.datasets.files.manifest import RESEARCH_USE, write_json
from cxrloc.localization.comparison_report.build import ComparisonReport
from cxrloc.localization.comparison_report.summary import (
    per_box_csv,
    second_reader_records,
    summary,
)
from cxrloc.localization.report.first_screen import Scoreboard, ScoreRow
from cxrloc.localization.report.page import Report, write_report

_WIDTH = 96  # columns of a terminal that a sentence fills


def write_results(
    report: ComparisonReport, manifest: dict[str, Any], out: Path, *, published: bool = True
) -> None:
    """Write the report, its tables and figures, the scores of each box and the summary."""
    out.mkdir(parents=True, exist_ok=True)
    for section in report.sections:
        for table in section.tables:
            write_table(stamped(table, report.stamp), out)
        for figure in section.figures:
            figure.save(out)
        for name, value in section.attachments.items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            write_json(out / name, value)
    comparison = report.comparison
    write_text(out / "per_box.csv", per_box_csv(comparison))
    write_report(out / "report.html", page_of(report, manifest))
    results = summary(comparison, manifest, published=published)
    results |= {"headline": report.headline.record(), "answer": list(report.answer.words)}
    results["second_readers"] = second_reader_records(report.sections)
    results["stamp"] = report.stamp
    results["protocol"] = report.protocol and report.protocol.summary()
    results["leakage"] = [{"localizer": a.localizer, "status": a.status} for a in report.audits]
    write_json(out / "summary.json", results)


def stamped(table: ResultTable, stamp: str) -> ResultTable:
    """The table with the stamp in its title, its notes and every row; as it is without one."""
    if not stamp:
        return table
    rows = tuple(dataclasses.replace(row, note=f"{stamp}; {row.note}") for row in table.rows)
    title, notes = f"{stamp}. {table.title}", (stamp, *table.notes)
    return dataclasses.replace(table, title=title, rows=rows, notes=notes)


def page_of(report: ComparisonReport, manifest: dict[str, Any]) -> Report:
    """The page of a comparison."""
    comparison = report.comparison
    names = list(dict.fromkeys(s.name for s in comparison.localizers if not s.is_control))
    who = " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]])) or "the controls"
    protocol = f"{p.name} ({p.check.status}): " if (p := report.protocol) else ""
    return Report(
        title=f"{protocol}Localizers compared: {who}",
        answer=report.answer,
        sections=report.sections,
        gallery=report.gallery,
        manifest=manifest,
        stamp=report.stamp,
        diseases=comparison.truth.disease_names,
    )


def terminal_text(report: ComparisonReport, out: Path) -> str:
    """The answer in a sentence, the scoreboard, and where the report is."""
    board = report.answer.scoreboard
    lines = [*filter(None, [report.stamp]), textwrap.fill(report.headline.sentence, _WIDTH)]
    lines += [*(f"{note[:1].upper()}{note[1:]}." for note in report.comparison.truth.notes), ""]
    lines += [] if board is None else [*_board_lines(board), ""]
    for reader in report.answer.readers:
        said = textwrap.wrap(f"{reader.title}. {reader.note}", _WIDTH)
        lines += [*said, *_reader_lines(reader), ""]
    if report.protocol is not None:
        where = f"docs/protocols/{report.protocol.name}.csv"
        lines += [f"Rows for the results table, {where}:", report.protocol.csv()]
    return "\n".join([*lines, f"Report: {out / 'report.html'}. {RESEARCH_USE}."])


def _board_lines(board: Scoreboard) -> list[str]:
    """The scoreboard as aligned text: the name to the left, figures to the right."""
    headings = [column.heading for column in board.columns]
    names = [f"{row.name} (control)" if row.is_control else row.name for row in board.rows]
    rows = [[name, *_cells(row)] for name, row in zip(names, board.rows, strict=True)]
    notes = [f"{row.name} stands for {row.note}." for row in board.rows if row.note]
    return [*_aligned([headings, *rows]), *notes]


def _reader_lines(board: Scoreboard) -> list[str]:
    """The scoreboard of a second reader; what a row is stands behind its name."""
    counts = Counter(column.heading for column in board.columns)
    headings = [
        f"{column.heading}, {column.beneath}" if counts[column.heading] > 1 else column.heading
        for column in board.columns
    ]
    names = [f"{row.name} ({row.note or 'control'})" for row in board.rows]
    rows = [[name, *_cells(row)] for name, row in zip(names, board.rows, strict=True)]
    return _aligned([headings, *rows])


def _cells(row: ScoreRow) -> list[str]:
    return [" ".join(filter(None, (cell.text, cell.interval))) for cell in row.cells]


def _aligned(texts: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return [
        "  ".join(f"{t:<{w}}" for t, w in zip(row, widths, strict=True)).rstrip() for row in texts
    ]
