"""What a comparison writes: the report, its tables and figures, and what the terminal shows."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from cxrloc.classification.report.tables import ResultTable, estimate_text, write_table
from cxrloc.datasets.files.atomic import write_text
from cxrloc.datasets.files.manifest import RESEARCH_USE, write_json
from cxrloc.localization.comparison_report.build import ComparisonReport
from cxrloc.localization.comparison_report.summary import per_box_csv, summary
from cxrloc.localization.report.comparison_tables import comparison_notes
from cxrloc.localization.report.page import Report, write_report


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
    results |= {"stamp": report.stamp, "answer": list(report.answer)}
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
    return Report(
        title=f"Localizers compared: {who}",
        question=(
            "Which localizer boxes diseases on chest radiographs better, for which diseases, by "
            "how much, how sure is that, and what is each of them losing to?"
        ),
        answer=report.answer,
        sections=report.sections,
        gallery=report.gallery,
        manifest=manifest,
        stamp=report.stamp,
        diseases=comparison.truth.disease_names,
    )


def terminal_text(report: ComparisonReport, out: Path) -> str:
    """The notes, the macro means, the differences and the answer, as lines for a terminal."""
    comparison = report.comparison
    lines = [f"- {note}." for note in comparison_notes(comparison)]
    lines += ["", f"{'macro mean over diseases':34s}{'mean IoU':22s}{'acc_iou@0.5':22s}"]
    for scored in comparison.localizers:
        figures = [scored.estimates[m].macro for m in ("mean_iou", "acc_iou@0.5")]
        label = f"{scored.label} ({scored.setting})" if scored.is_control else scored.label
        lines.append(f"{label:34s}" + "".join(f"{estimate_text(f):22s}" for f in figures))
    for difference in comparison.differences:
        if difference.measure == "mean_iou":
            macro = difference.estimates.macro
            verdict = "excludes zero" if macro.excludes_zero else "includes zero"
            pair = f"{difference.localizer} - {difference.minus}"
            lines.append(f"{pair}: {estimate_text(macro)} {verdict}")
    lines += ["", *report.answer, *filter(None, [report.stamp])]
    return "\n".join([*lines, "", f"The report is {out / 'report.html'}. {RESEARCH_USE}."])
