"""Report what the gate is worth as a factor of the score instead of as a cut.

A cut loses every lesion that the gate overlooks. Multiplied by the gate's probability, a box of a
disease that the gate doubts only ranks lower. That changes nothing where the disease is given, as
all boxes of a disease on an image get the same factor; it changes what ranks boxes over all images:
average precision, FROC, wAFROC and the operating point.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from cxrloc.classification.metrics.sampled import ImageBootstrap, Sampled
from cxrloc.classification.report.tables import (
    Cell,
    ResultTable,
    TableRow,
    Value,
    estimate_text,
    value_text,
)
from cxrloc.localization.analyses.average_precision import box_results, coco_of
from cxrloc.localization.analyses.end_to_end.box_rates import (
    F1,
    FALSE,
    PRECISION,
    RECALL,
    BoxRates,
    box_rates,
)
from cxrloc.localization.analyses.end_to_end.false_boxes import IGNORED
from cxrloc.localization.analyses.end_to_end.froc import froc
from cxrloc.localization.analyses.end_to_end.looks import MAIN, image_bootstrap
from cxrloc.localization.analyses.end_to_end.score_thresholds import (
    over,
    parts_of,
    score_thresholds,
)
from cxrloc.localization.analyses.end_to_end.wafroc_merit import score_wafroc
from cxrloc.localization.evaluation.coco_ap import coco_ap
from cxrloc.localization.evaluation.detections import (
    END_TO_END,
    EVERY_DISEASE,
    Detections,
    Setting,
)
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.evaluation.gate_decisions import GateDecisions
from cxrloc.localization.evaluation.ground_truth import BoolArray
from cxrloc.localization.evaluation.pairwise import REFERENCE_CONTROL
from cxrloc.localization.report.sections import Section

OWN, CUT, TIMES = "own score", "cut by the gate", "score x gate"
_TITLE = "The gate as a factor: score x probability instead of a cut"
_AP = {"AP .1:.1:.7": "ap_10_70", "AP .5": "ap_50"}
_FROC, _WAFROC = "mean sensitivity", "wAFROC"


@dataclass(frozen=True)
class _Scored:
    """One localizer with its boxes scored in one way, on images that the gate has decided."""

    name: str
    way: str
    images: int
    precision: dict[str, float | None]
    froc: Value
    merit: Sampled = field(repr=False)
    rates: BoxRates = field(repr=False)


def gate_scores(evaluated: Evaluated) -> Section | None:
    """Each localizer with its own score, cut by the gate, and with score x gate's probability.

    None unless it was asked for, and without a gate. Hits have an IoU over .5.

    Raises:
        ValueError: for a localizer with scores below 0.
    """
    gate = evaluated.inputs.gate
    if not evaluated.inputs.score_by_gate or gate is None:
        return None
    scored = [row for name in _names(evaluated) for row in _ways(evaluated, gate, name)]
    if not scored:
        return None
    table = ResultTable("gate_scores", _TITLE, tuple(_rows(scored)), _notes(evaluated))
    sentences = tuple(_sentences(scored))
    return Section("gate_scores", _TITLE, _finding(scored), (_ASKED, *sentences), (table,))


_ASKED = (
    "A gate that cuts loses every lesion of a disease that it calls absent. Here its probability "
    "is instead a factor of the score of every box: nothing is lost, doubtful diseases only rank "
    "lower. Where the disease is given, nothing changes. The figures rank boxes of all images: "
    "average precision, FROC's mean sensitivity, wAFROC, and the operating point, whose score "
    "thresholds are chosen on other patients."
)


def _names(evaluated: Evaluated) -> tuple[str, ...]:
    return (*evaluated.inputs.predictions, REFERENCE_CONTROL)


def _ways(evaluated: Evaluated, gate: GateDecisions, name: str) -> Iterator[_Scored]:
    """The control has no score of its own: its boxes are scored by the gate alone."""
    detections, images = evaluated.everywhere[name], evaluated.looked_at[name] & gate.complete
    if not (images & ~evaluated.images.boxed).any():
        return  # it was not asked for absent diseases: there is nothing to rank
    if name == REFERENCE_CONTROL:
        yield _scored(evaluated, name, TIMES, detections, images)
        return
    yield _scored(evaluated, name, OWN, detections, images)
    yield _scored(evaluated, name, CUT, detections, images, gate.present)
    yield _scored(evaluated, name, TIMES, times_gate(name, detections, gate), images)


def times_gate(name: str, detections: Detections, gate: GateDecisions) -> Detections:
    """Every box with its score times the gate's probability of its image and disease.

    Raises:
        ValueError: for a score below 0, which a small probability would raise.
    """
    lowest = float(detections.score.min(initial=0.0))
    if lowest < 0:
        raise ValueError(
            f"{name!r} has a score of {lowest:g}; to be multiplied by the gate's probability, "
            "scores must be 0 or more: leave out --score-by-gate, or write scores from 0 to 1"
        )
    factor = gate.probability[detections.image, detections.disease]
    return replace(detections, score=detections.score * factor)


def _scored(
    evaluated: Evaluated,
    name: str,
    way: str,
    detections: Detections,
    images: BoolArray,
    asked: BoolArray | None = None,
) -> _Scored:
    """All figures of one way, on `images` (N,); `asked` (N, D) are the diseases asked for."""
    bootstrap = evaluated.once(image_bootstrap)
    everything = np.ones_like(evaluated.images.status, dtype=np.bool_)
    setting = (
        Setting(EVERY_DISEASE, images, everything)
        if asked is None
        else Setting(END_TO_END, images, asked)
    )
    kept = detections.where(detections.in_setting(setting))
    precision = coco_ap(coco_of(evaluated.truth, images), box_results(kept)).mean
    return _Scored(
        name,
        way,
        int(images.sum()),
        precision,
        Cell(froc(name, kept, setting, MAIN, IGNORED, bootstrap).mean),
        score_wafroc(name, kept, setting, MAIN, bootstrap).figures,
        _at_operating_point(evaluated, name, detections, setting, bootstrap),
    )


def _at_operating_point(
    evaluated: Evaluated,
    name: str,
    detections: Detections,
    setting: Setting,
    bootstrap: ImageBootstrap,
) -> BoxRates:
    parts = parts_of(evaluated.images)
    thresholds = score_thresholds(detections, setting.images, parts)
    kept = detections.where(over(detections, thresholds, parts))
    rates = box_rates(name, kept, setting, (MAIN,), bootstrap)
    return next(rate for rate in rates if rate.bound == IGNORED)


def _rows(scored: Sequence[_Scored]) -> Iterator[TableRow]:
    own = {row.name: row for row in scored if row.way == OWN}
    cut = {row.name: row for row in scored if row.way == CUT}
    for row in scored:
        minus = {OWN: own.get(row.name), CUT: cut.get(row.name)} if row.way == TIMES else {}
        cells: dict[str, Value] = {
            name: float("nan") if (value := row.precision[key]) is None else value
            for name, key in _AP.items()
        }
        cells |= {_FROC: row.froc, _WAFROC: Cell(row.merit.macro)}
        cells |= {m: Cell(row.rates.per_disease[m].macro) for m in (RECALL, PRECISION, F1)}
        cells |= {FALSE: Cell(row.rates.false.estimate(0))}
        trail: dict[str, Value] = {
            f"{_WAFROC} minus {way}": "" if other is None else Cell((row.merit - other.merit).macro)
            for way, other in (minus or {OWN: None, CUT: None}).items()
        }
        yield TableRow(
            "",
            {"localizer": row.name, "score": row.way},
            cells,
            trail | {"hits": row.rates.hits, "boxes": row.rates.boxes, "images": row.images},
        )


def _notes(evaluated: Evaluated) -> tuple[str, ...]:
    return (
        f"Hit: IoU > {MAIN:g}. AP, wAFROC, recall, precision and F1 are means over the diseases; "
        "FROC's mean sensitivity and false boxes are of all diseases together",
        "On images with a decision of the gate for every disease. Boxes of diseases that are "
        "labelled but not boxed are ignored",
        f"{CUT!r}: only boxes of diseases that the gate predicts present, with their own scores. "
        f"{REFERENCE_CONTROL} has no score of its own: the gate's probability alone ranks it",
        "A localizer whose score holds the gate's probability already, as Grad-CAM's does, gets "
        "it twice",
        f"[low, high]: 95 % interval, {len(evaluated.once(image_bootstrap).counts):,} resamples "
        f"(seed {evaluated.inputs.seed}) of all patients of the images; differences are paired",
    )


def _finding(scored: Sequence[_Scored]) -> str:
    """wAFROC in the three ways, localizer by localizer."""
    named = []
    for name in dict.fromkeys(row.name for row in scored if row.way != TIMES):
        merits = {row.way: value_text(row.merit.macro.value) for row in scored if row.name == name}
        named.append(f"{name} {merits[OWN]}, {CUT} {merits[CUT]}, {TIMES} {merits[TIMES]}")
    return f"wAFROC: {'; '.join(named)}." if named else "No localizer predicted all images."


def _sentences(scored: Sequence[_Scored]) -> Iterator[str]:
    for row in scored:
        if row.way != TIMES or row.name == REFERENCE_CONTROL:
            continue
        others = {other.way: other for other in scored if other.name == row.name}
        parts = [
            f"{estimate_text((row.merit - others[way].merit).macro)} to {way}" for way in (OWN, CUT)
        ]
        yield (
            f"{row.name}, {TIMES}: wAFROC {estimate_text(row.merit.macro)}, a difference of "
            f"{' and of '.join(parts)}."
        )
