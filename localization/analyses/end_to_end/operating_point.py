"""Report all boxes over each localizer's operating point: recall, precision, F1, false boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cxrloc.classification.metrics.bootstrap import MACRO_MEAN
from cxrloc.classification.report.tables import Cell, ResultTable, TableRow, Value, value_text
from cxrloc.localization.analyses.end_to_end.box_rates import (
    F1,
    FALSE,
    PRECISION,
    RECALL,
    BoxRates,
    box_rates,
)
from cxrloc.localization.analyses.end_to_end.false_boxes import IGNORED
from cxrloc.localization.analyses.end_to_end.looks import MAIN, Looks, image_bootstrap, looks
from cxrloc.localization.analyses.end_to_end.score_thresholds import (
    Parts,
    over,
    parts_of,
    score_thresholds,
)
from cxrloc.localization.evaluation.contest import standing
from cxrloc.localization.evaluation.detections import END_TO_END, EVERY_DISEASE, Setting
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.evaluation.ground_truth import FloatArray, GroundTruth
from cxrloc.localization.report.sections import Section

HIT_THRESHOLDS = (0.1, 0.3, 0.5, 0.75)
_TITLE = "Operating point: recall and precision of all boxes"


def operating_point(evaluated: Evaluated) -> Section:
    """All boxes over the score threshold of each localizer, matched one to one.

    The threshold of a disease is chosen as the gate's is, on other patients. Includes the controls
    prior_box and constant_box, which box every disease once on every image.

    Raises:
        ValueError: for a localizer's box on an image that it did not predict.
    """
    parts, all_looks = parts_of(evaluated.images), evaluated.once(looks)
    chosen = [
        score_thresholds(each.detections, evaluated.looked_at[each.name], parts)
        for each in all_looks
    ]
    rates = [
        rate
        for each, thresholds in zip(all_looks, chosen, strict=True)
        for rate in _rates(evaluated, each, thresholds, parts)
    ]
    names, notes = [each.name for each in all_looks], _notes(evaluated, all_looks, parts)
    tables = (
        _rate_table(rates, notes),
        _disease_table(rates, evaluated.truth, notes),
        _threshold_table(names, chosen, parts, evaluated.truth),
    )
    question = (
        "How many of the ground-truth boxes does a localizer find, and how many of its boxes are "
        "right, if it is told neither the disease nor the number? All boxes over its score "
        "threshold count, on every image it looked at, and are matched one to one."
    )
    finding, sentences = _finding(evaluated, rates), _sentences(rates)
    return Section("operating_point", _TITLE, finding, (question, *sentences), tables)


def _rates(
    evaluated: Evaluated, look_at: Looks, thresholds: FloatArray, parts: Parts
) -> list[BoxRates]:
    detections = look_at.detections.where(over(look_at.detections, thresholds, parts))
    bootstrap = evaluated.once(image_bootstrap)
    return [
        rate
        for setting in _settings(evaluated, look_at.name)
        for rate in box_rates(look_at.name, detections, setting, HIT_THRESHOLDS, bootstrap)
    ]


def _settings(evaluated: Evaluated, name: str) -> list[Setting]:
    """All that the localizer predicted and, with a gate, what the gate lets pass of it."""
    looked, gate = evaluated.looked_at[name], evaluated.inputs.gate
    everything = np.ones_like(evaluated.images.status, dtype=np.bool_)
    settings = [Setting(EVERY_DISEASE, looked, everything)]
    if gate is not None:
        settings.append(Setting(END_TO_END, looked & gate.complete, gate.present))
    return [setting for setting in settings if setting.images.any()]


def _notes(evaluated: Evaluated, all_looks: Sequence[Looks], parts: Parts) -> tuple[str, ...]:
    notes = [
        "All boxes with a score at or over the localizer's threshold for their disease are matched "
        "one to one with the ground truth, for the greatest total IoU. Hit: IoU > t. Any other box "
        "is false, a second one on a box that is hit too. recall: hits / ground-truth boxes; "
        "precision: hits / predicted boxes; F1: 2 hits / (ground-truth + predicted boxes)",
        "Threshold: Youden's J, as the gate's, for the highest score of an image to tell images "
        "with the disease from those without. Chosen on the other parts of the patients, never on "
        f"what is scored; parts: {parts.source}. The table operating_thresholds has them",
        f"'{EVERY_DISEASE}': no gate. '{END_TO_END}': of these boxes, those of diseases that the "
        "gate predicts present",
        "[low, high]: 95 % interval, "
        f"{len(evaluated.once(image_bootstrap).counts):,} resamples (seed {evaluated.inputs.seed}) "
        "of all patients of the images",
    ]
    sparing = [each.name for each in all_looks if EVERY_DISEASE not in each.settings]
    if sparing and not evaluated.images.boxed.all():
        notes.append(
            f"{', '.join(sparing)}: predicted only boxed images, so false boxes on the others are "
            "missing here"
        )
    return tuple(notes)


def _rate_table(rates: Sequence[BoxRates], notes: tuple[str, ...]) -> ResultTable:
    rows = [
        TableRow(
            _block(rate),
            _lead(rate),
            {
                **{name: Cell(rate.per_disease[name].macro) for name in (RECALL, PRECISION, F1)},
                FALSE: Cell(rate.false.estimate(0)),
            },
            {"hits": rate.hits, "boxes": rate.boxes, "predicted boxes": rate.predicted}
            | {"images": rate.images},
        )
        for rate in _by_threshold(rates)
    ]
    macro = "recall, precision and F1 are means over the diseases; false boxes are of all together"
    return ResultTable("operating_point", _TITLE, tuple(rows), (macro, *notes))


def _disease_table(
    rates: Sequence[BoxRates], truth: GroundTruth, notes: tuple[str, ...]
) -> ResultTable:
    names = (*truth.disease_names, MACRO_MEAN)
    rows = [
        TableRow(
            _block(rate),
            _lead(rate) | {"measure": measure},
            dict(zip(names, map(Cell, sampled.columns), strict=True)),
        )
        for rate in _by_threshold(rates)
        for measure, sampled in rate.per_disease.items()
    ]
    title = "Operating point: recall, precision, F1 and false boxes per image by disease"
    return ResultTable("operating_point_diseases", title, tuple(rows), notes)


def _threshold_table(
    names: Sequence[str], chosen: Sequence[FloatArray], parts: Parts, truth: GroundTruth
) -> ResultTable:
    used = sorted(set(parts.of_image.tolist()))
    columns = {name: truth.images.column_of[name] for name in truth.disease_names}
    rows = []
    for name, thresholds in zip(names, chosen, strict=True):
        for part in used:
            cells = {d: _threshold(thresholds[part, column]) for d, column in columns.items()}
            rows.append(TableRow(name, {"localizer": name, "images of": parts.names[part]}, cells))
    notes = (
        "Score from which the boxes of a disease count on the images of a part, chosen on the "
        f"other parts ({parts.source}). 'every box': the others have no image with the disease or "
        "none without it, or no threshold tells them apart",
    )
    title = "Score thresholds of the operating point"
    return ResultTable("operating_thresholds", title, tuple(rows), notes)


def _threshold(value: float) -> Value:
    return "every box" if np.isnan(value) else float(value)


def _by_threshold(rates: Sequence[BoxRates]) -> list[BoxRates]:
    return sorted(rates, key=lambda rate: rate.threshold)


def _block(rate: BoxRates) -> str:
    return f"hit: IoU > {rate.threshold:g}"


def _lead(rate: BoxRates) -> dict[str, str | float]:
    lead: dict[str, str | float] = {"threshold": rate.threshold, "localizer": rate.localizer}
    return lead | {"setting": rate.setting, "unboxed positives": rate.bound}


def _main(rates: Sequence[BoxRates]) -> list[BoxRates]:
    return [rate for rate in rates if (rate.threshold, rate.bound) == (MAIN, IGNORED)]


def _finding(evaluated: Evaluated, rates: Sequence[BoxRates]) -> str:
    alone = {rate.localizer: rate for rate in _main(rates) if rate.setting == EVERY_DISEASE}
    shown = [alone[name] for name in evaluated.once(standing) if name in alone]
    parts = [
        f"{rate.localizer} finds {rate.hits:,} of {rate.boxes:,} boxes with {rate.predicted:,} of "
        f"its own, F1 {value_text(rate.per_disease[F1].macro.value)}"
        for rate in shown
    ]
    return f"{'; '.join(parts)} (IoU over .5)." if parts else "No localizer was given."


def _sentences(rates: Sequence[BoxRates]) -> tuple[str, ...]:
    return tuple(
        f"{rate.localizer} ({rate.setting}): "
        + ", ".join(
            f"{name} {value_text(Cell(rate.per_disease[name].macro))}"
            for name in (RECALL, PRECISION, F1)
        )
        + f", {value_text(Cell(rate.false.estimate(0)))} {FALSE}."
        for rate in _main(rates)
    )
