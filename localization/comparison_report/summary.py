"""A comparison as JSON (summary.json) and as one line per box and localizer (per_box.csv).

Schema of summary.json (an undefined figure is null; a figure is {"value", "low", "high"}):

    research_use       one sentence
    notes              list of sentences: what was scored and how
    ground_truth       {boxes, images, patients, boxes_per_disease {disease: n}}
    settings           {rule: "top-1" (nowhere several boxes of a disease) or "top-k", thresholds
                        [t], test: "strictly greater", resamples, seed, level,
                        resamples_without_a_disease, gate_passes: n or null,
                        noninferiority_margin: x or null}
    localizers         list, one per row of the tables:
        name, setting ("disease given" | "gated" | "control"), boxes_without_prediction,
        measures       {measure: {per_disease {disease: figure}, macro: figure}}, where a measure is
                       mean_iou, mean_iobb, mean_iogt, acc_iou@T, acc_iobb@T, acc_iogt@T (top-k) or
                       one of these with " any" behind it (best over all boxes, Wang's rule); where
                       an image has several boxes of a disease also those of IoU with " top-1"
    differences        list: {measure ("mean_iou", "acc_iou@T"), localizer, minus, per_disease
                       {disease: figure}, macro: figure, macro_excludes_zero: bool}; with a margin
                       also noninferior: bool and noninferior_per_disease {disease: bool}; a gated
                       row is named "NAME, gated"
    paired_tests       list: {localizer, minus, hit_threshold, per_disease {disease: test}, macro:
                       test}, a test as `paired_tests.PairedTest`
    skill              list: {measure, localizer, control, per_disease {disease: figure}, macro:
                       figure}
    published          list of the published rows that the tables show: {study, source, scored_on,
                       rule, measure, threshold, values {disease: x}, boxes {disease: n}}
    second_readers     {table: rows} for the tables second_reader, second_reader_differences and
                       second_reader_agreement, a row as its words and counts (localizer, setting,
                       rule, "boxes counted", boxes, ...), per_disease {disease: figure}, macro
                       and all_boxes: figure; empty without a second reader
    headline           {sentence, winner: name or null, best, runner_up, control (names or null),
                       difference, over_control: macro mean IoU of `best` minus that of `runner_up`
                       and of `control`, {value, low, high, verdict} or null, same_boxes {name:
                       [names that differ from it in nothing a reader could see]}}
    answer             list of paragraphs: the same at length
    stamp              empty, or LEAKED: ...
    protocol           null, or {name, status, boxes, of_boxes, images, of_images, boxes_sha256,
                       rows: list of the rows of its results table}
    leakage            list: {localizer, status}
    manifest           command, config, seed, hashes of the inputs, versions, git commit, wall time
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

from cxrloc.classification.metrics.bootstrap import MACRO_MEAN, DiseaseEstimates, Estimate
from cxrloc.classification.report.tables import Cell, TableRow
from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.localization.evaluation.comparison import Comparison, ScoredLocalizer
from cxrloc.localization.evaluation.pairwise import Difference, TestedPair
from cxrloc.localization.report.comparison_tables import comparison_notes
from cxrloc.localization.report.glossary import RULE_NAMES
from cxrloc.localization.report.published import PublishedRow, comparable_rows
from cxrloc.localization.report.sections import Section

PER_BOX_COLUMNS = ("image", "patient", "disease", "localizer", "IoU", "IoBB", "IoGT", "score")


def summary(
    comparison: Comparison, manifest: dict[str, Any], *, published: bool = True
) -> dict[str, Any]:
    """The comparison as JSON-ready values (schema: this module's docstring)."""
    truth, names = comparison.truth, comparison.truth.disease_names
    shown = [
        row
        for overlap in ("iou", "iobb")
        for t in comparison.thresholds
        for row in (comparable_rows(overlap, t, names) if published else ())
    ]
    return {
        "research_use": f"{RESEARCH_USE}.",
        "notes": list(comparison_notes(comparison)),
        "ground_truth": {
            "boxes": len(truth),
            "images": comparison.images,
            "patients": comparison.patients,
            "boxes_per_disease": truth.boxes_per_disease,
        },
        "settings": _settings(comparison),
        "localizers": [_localizer(scored, names) for scored in comparison.localizers],
        "differences": [_difference(difference, names) for difference in comparison.differences],
        "paired_tests": [_tests(pair, names) for pair in comparison.tests],
        "skill": [
            {
                "measure": skill.measure,
                "localizer": skill.localizer,
                "control": skill.control,
                **_figures(skill.estimates, names),
            }
            for skill in comparison.skills
        ],
        "published": [_published(row) for row in shown],
        "manifest": manifest,
    }


def per_box_csv(comparison: Comparison) -> str:
    """One line per localizer and ground-truth box; a miss has zeros. Gated rows: `NAME, gated`.

    Where an image has several boxes of a disease, a last column tells them apart: `x1 y1 x2 y2`.
    """
    handle, truth = io.StringIO(), comparison.truth
    writer = csv.writer(handle, lineterminator="\n")
    writer.writerow((*PER_BOX_COLUMNS, *["box"] * truth.several))
    places = [[" ".join(f"{v:g}" for v in box)] * truth.several for box in truth.boxes_xyxy]
    for scored in comparison.localizers:
        s = scored.scores
        figures = (column.tolist() for column in (s.iou, s.iobb, s.iogt, s.score))
        for image, patient, disease, place, *values in zip(
            truth.image_ids, truth.patient_ids, truth.diseases, places, *figures, strict=True
        ):
            scores = [f"{v:.6g}" for v in values]
            writer.writerow([image, patient, disease, scored.label, *scores, *place])
    return handle.getvalue()


def second_reader_records(sections: Sequence[Section]) -> dict[str, list[dict[str, Any]]]:
    """The rows of the tables about second readers, with their figures."""
    tables = (table for s in sections if s.key == "second_reader" for table in s.tables)
    return {table.name: [_reader_row(row) for row in table.rows] for table in tables}


def _reader_row(row: TableRow) -> dict[str, Any]:
    figures = {
        name: _figure(value.estimate)
        for name, value in {**row.cells, **row.trail}.items()
        if isinstance(value, Cell)
    }
    counts = {name: value for name, value in row.trail.items() if not isinstance(value, Cell)}
    macro, all_boxes = figures.pop(MACRO_MEAN), figures.pop("all diseases")
    return {**row.lead, **counts, "per_disease": figures, "macro": macro, "all_boxes": all_boxes}


def _settings(comparison: Comparison) -> dict[str, Any]:
    return {
        "rule": RULE_NAMES[comparison.truth.several],
        "thresholds": list(comparison.thresholds),
        "test": "strictly greater",
        "resamples": comparison.resamples,
        "seed": comparison.seed,
        "level": comparison.level,
        "resamples_without_a_disease": comparison.resamples_without_a_disease,
        "gate_passes": comparison.gate_passes,
        "noninferiority_margin": comparison.noninferiority_margin,
    }


def _localizer(scored: ScoredLocalizer, names: tuple[str, ...]) -> dict[str, Any]:
    return {
        "name": scored.name,
        "setting": scored.setting,
        "boxes_without_prediction": int((~scored.scores.predicted).sum()),
        "measures": {m: _figures(figures, names) for m, figures in scored.estimates.items()},
    }


def _difference(difference: Difference, names: tuple[str, ...]) -> dict[str, Any]:
    record = {
        "measure": difference.measure,
        "localizer": difference.localizer,
        "minus": difference.minus,
        **_figures(difference.estimates, names),
        "macro_excludes_zero": difference.estimates.macro.excludes_zero,
    }
    if difference.margin is not None:
        per_disease = dict(zip(names, difference.noninferior_per_disease, strict=True))
        record["noninferior"] = difference.noninferior
        record["noninferior_per_disease"] = per_disease
    return record


def _tests(pair: TestedPair, names: tuple[str, ...]) -> dict[str, Any]:
    tests = [_without_nan(vars(test)) for test in pair.tests.per_disease]
    return {
        "localizer": pair.localizer,
        "minus": pair.minus,
        "hit_threshold": pair.tests.threshold,
        "per_disease": dict(zip(names, tests, strict=True)),
        "macro": _without_nan(vars(pair.tests.macro)),
    }


def _figures(figures: DiseaseEstimates, names: tuple[str, ...]) -> dict[str, Any]:
    per_disease = dict(zip(names, map(_figure, figures.per_disease), strict=True))
    return {"per_disease": per_disease, "macro": _figure(figures.macro)}


def _figure(estimate: Estimate) -> dict[str, float | None]:
    return _without_nan({"value": estimate.value, "low": estimate.low, "high": estimate.high})


def _without_nan(record: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN: null instead."""
    return {
        key: None if isinstance(value, float) and math.isnan(value) else value
        for key, value in record.items()
    }


def _published(row: PublishedRow) -> dict[str, Any]:
    record = dict(vars(row))
    return record | {"measure": f"{record.pop('measure')}_{record.pop('criterion')}"}
