"""What is left when nobody tells the localizer the disease: ledger, false boxes, FROC.

end_to_end_section(image_table(coco), truth, predictions, gate, coverage, resamples=10_000, seed=0)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from cxrloc.classification.metrics.bootstrap import Estimate, ImageBootstrap
from cxrloc.classification.report.tables import Cell, cell_text
from cxrloc.localization.analyses.end_to_end.false_boxes import (
    BOUNDS,
    COUNTED,
    IGNORED,
    NO_FINDING,
    OperatingPoint,
    end_to_end_table,
    false_box_table,
    operating_points,
)
from cxrloc.localization.analyses.end_to_end.froc import POINTS, Froc, froc, froc_table
from cxrloc.localization.analyses.end_to_end.froc_plot import froc_figure
from cxrloc.localization.analyses.end_to_end.gate_ledger import (
    CHARGES,
    GATE_HIT,
    GATE_MISS,
    Ledger,
    gate_ledgers,
    ledger_table,
)
from cxrloc.localization.evaluation.comparison import GATED, Gate
from cxrloc.localization.evaluation.detections import (
    END_TO_END,
    EVERY_DISEASE,
    Marks,
    Setting,
    check_coverage,
    decisions_of,
    looked_at,
    marks_of,
    settings_of,
)
from cxrloc.localization.evaluation.ground_truth import GroundTruth
from cxrloc.localization.evaluation.image_table import ABSENT, ImageTable
from cxrloc.localization.localizer import Localization
from cxrloc.localization.report.sections import NamedFigure, Section

_TITLE = "Gate, false boxes and FROC: what is left end to end"
THRESHOLDS = (0.1, 0.3, 0.5)  # of a hit, in the ledger and the tables of false boxes
FROC_THRESHOLDS = (0.1, 0.5)
_SWEPT = (END_TO_END, EVERY_DISEASE)
_RESAMPLES = 2000  # of whole images at most: what more would add is below the third decimal
_HOW = "predict all images: `tools/localize.py --images all`, `data.predict: all` for a detector"


@dataclass(frozen=True)
class Looks:
    """One localizer: its marks, the settings that it can be scored in, and what is left out."""

    name: str
    marks: Marks = field(repr=False)
    settings: Mapping[str, Setting] = field(repr=False)
    notes: tuple[str, ...]


def end_to_end_section(
    images: ImageTable,
    truth: GroundTruth,
    predictions: Mapping[str, Sequence[Localization]],
    gate: Gate | None,
    coverage: Mapping[str, Set[str]],
    *,
    resamples: int,
    seed: int,
) -> Section:
    """Ledger of the gate, false boxes per image and FROC of every localizer.

    Args:
        images, truth: of the same COCO ground truth.
        predictions: localizer name -> its boxes of every disease that it was asked for; the gate
            is applied here.
        gate: (image_id, disease) -> present; None: only what needs no gate.
        coverage: localizer name -> the images that it looked at, found something or not.
        resamples: of patients; over whole images 2,000 at most.
        seed: of the resamples.

    Raises:
        ValueError: for a localizer without coverage or with a box outside of it, a box on an
            unknown image, or a boxed image and disease that the gate does not know.
    """
    check_coverage(predictions, coverage)
    if not predictions:
        return Section("end_to_end", _TITLE, ("No localizer was given.",))
    looks = [
        look(images, truth, name, predictions[name], gate, coverage[name]) for name in predictions
    ]
    bootstrap = ImageBootstrap.of(
        images.patient_ids, resamples=min(resamples, _RESAMPLES), seed=seed
    )
    ledgers: list[Ledger] = []
    if gate is not None:
        ledgers = gate_ledgers(truth, predictions, gate, THRESHOLDS, resamples=resamples, seed=seed)
    points = _points(looks, images, bootstrap)
    curves = _pooled_curves(looks, bootstrap)
    notes = tuple(note for one in looks for note in one.notes)
    interval = _interval_note(images, len(bootstrap.counts), seed)
    tables = [end_to_end_table(points, (*notes, interval))]
    tables += [false_box_table(points, images.diseases, (*notes, interval))]
    tables += [froc_table(curves, (*notes, interval))] if curves else []
    if gate is not None:
        tables.insert(0, ledger_table(ledgers, truth, _ledger_notes(truth, resamples, seed)))
    paragraphs = [asked(gate is not None), gate_text(ledgers)]
    paragraphs += [localizer_text(name, ledgers, points, curves) for name in predictions]
    paragraphs += [f"{note}." for note in notes]
    figures = _figures(looks, points, curves, images, bootstrap)
    return Section("end_to_end", _TITLE, tuple(filter(None, paragraphs)), tuple(tables), figures)


def look(
    images: ImageTable,
    truth: GroundTruth,
    name: str,
    boxes: Sequence[Localization],
    gate: Gate | None,
    coverage: Set[str],
) -> Looks:
    """One localizer's marks and settings, with notes on the images that are left out."""
    looked = looked_at(images, coverage)
    decisions = None if gate is None else decisions_of(images, gate)
    settings = settings_of(images, looked, decisions)
    marks = marks_of(images, truth, boxes)
    notes = []
    if not looked.all():
        lost = int((~looked[marks.box_image]).sum())
        notes.append(
            f"{name} did not look at {int((~looked).sum()):,} of {len(images):,} images, with "
            f"{lost} ground-truth boxes: they are left out of its figures over images and in its "
            "ledger they are boxes without a prediction"
        )
    undecided = 0 if decisions is None else int((looked & ~decisions.complete).sum())
    if undecided:
        notes.append(
            f"the gate lacks decisions for {undecided:,} images that {name} looked at: they are "
            f"left out of its figures in the settings {GATED!r} and {END_TO_END!r}"
        )
    if EVERY_DISEASE not in settings:
        notes.append(f"{name} looked at boxed images alone, so nothing end to end; {_HOW}")
    elif END_TO_END not in settings and decisions is not None:
        notes.append(f"the gate decides on no unboxed image that {name} looked at: no end to end")
    if len(boxes) and EVERY_DISEASE in settings and not (marks.status == ABSENT).any():
        notes.append(
            f"{name} has no box on any absent disease: was it asked for every disease on every "
            "image? If not, its false boxes are too few"
        )
    return Looks(name, marks, settings, tuple(notes))


def _points(
    looks: Sequence[Looks], images: ImageTable, bootstrap: ImageBootstrap
) -> list[OperatingPoint]:
    return [
        point
        for one in looks
        for setting in one.settings.values()
        for point in operating_points(one.name, one.marks, setting, images, THRESHOLDS, bootstrap)
    ]


def _pooled_curves(looks: Sequence[Looks], bootstrap: ImageBootstrap) -> list[Froc]:
    return [
        froc(one.name, one.marks, one.settings[setting], t, bound, bootstrap)
        for one in looks
        for setting in _SWEPT
        if setting in one.settings
        for t in FROC_THRESHOLDS
        for bound in BOUNDS
    ]


def _figures(
    looks: Sequence[Looks],
    points: Sequence[OperatingPoint],
    curves: Sequence[Froc],
    images: ImageTable,
    bootstrap: ImageBootstrap,
) -> tuple[NamedFigure, ...]:
    """A figure per setting and threshold, unboxed positives ignored, if any localizer has it."""
    found = []
    for setting in _SWEPT:
        some = [one for one in looks if setting in one.settings]
        for t in FROC_THRESHOLDS if some else ():
            shown = [
                c for c in curves if (c.setting, c.threshold, c.bound) == (setting, t, IGNORED)
            ]
            for column in sorted({int(d) for one in some for d in one.marks.box_disease}):
                disease = (column, images.diseases[column])
                shown += [
                    froc(one.name, one.marks, one.settings[setting], t, IGNORED, bootstrap, disease)
                    for one in some
                ]
            marked = [p for p in points if (p.setting, p.threshold) == (END_TO_END, t)]
            found.append(froc_figure(shown, marked, images.diseases))
    return tuple(found)


def _interval_note(images: ImageTable, resamples: int, seed: int) -> str:
    return (
        f"[low, high]: 95 % interval, {resamples:,} resamples (seed {seed}) of all "
        f"{len(set(images.patient_ids)):,} patients of the images, boxed or not"
    )


def _ledger_notes(truth: GroundTruth, resamples: int, seed: int) -> tuple[str, ...]:
    patients = len(set(truth.patient_ids))
    return (
        f"[low, high]: 95 % interval, {resamples:,} resamples (seed {seed}) of the {patients:,} "
        "patients with a ground-truth box",
    )


MAIN = 0.5  # the hit threshold that sentences are about; the tables have the others
_ONE = POINTS.index(1.0)


def asked(gate: bool) -> str:
    """What is asked and how it is measured."""
    text = (
        "How good are the boxes when nobody tells the localizer the disease, and how many are "
        "false on images that do not have it? A box on an absent disease is false; on a boxed "
        "disease it is a hit or false; on a disease that is labelled but not boxed it is neither "
        "(ignored). The tables also show the other bound, which counts the last as false."
    )
    return text if gate else f"{text} No gate was given: only what needs none is shown."


def gate_text(ledgers: Sequence[Ledger]) -> str:
    """How many boxes the gate lets pass; empty without a ledger."""
    main = [ledger for ledger in ledgers if ledger.threshold == MAIN]
    if not main:
        return ""
    total = int(main[0].counts.sum())
    stopped = main[0].count(GATE_HIT) + main[0].count(GATE_MISS)
    return (
        f"Of {total:,} ground-truth boxes the gate lets {total - stopped:,} pass. Below, a hit is "
        f"IoU > {MAIN:g}; the tables have other thresholds."
    )


def localizer_text(
    name: str,
    ledgers: Sequence[Ledger],
    points: Sequence[OperatingPoint],
    curves: Sequence[Froc],
) -> str:
    """One localizer's figures in a paragraph; empty where there are none."""
    ledger = [x for x in ledgers if (x.localizer, x.threshold) == (name, MAIN)]
    mine = [p for p in points if (p.localizer, p.threshold) == (name, MAIN)]
    ends = [p for p in mine if p.setting == END_TO_END]
    ends = ends or [p for p in mine if p.setting == EVERY_DISEASE]
    curve = [c for c in curves if (c.localizer, c.threshold, c.bound) == (name, MAIN, IGNORED)]
    parts = [*map(_ledger_part, ledger), *map(_point_part, ends), *map(_froc_part, curve[:1])]
    return f"{name}: {'; '.join(parts)}." if parts else ""


def _ledger_part(ledger: Ledger) -> str:
    shares = (100 * ledger.share(charge).value for charge in CHARGES)
    hit, gate_hit, gate_miss, wrong, none = (f"{share:.1f} %" for share in shares)
    return (
        f"{hit} of the boxes are hit, {gate_hit} are lost at the gate that it would have hit, "
        f"{gate_miss} at the gate that it would have missed too, {wrong} by a wrong place, "
        f"{none} for want of a box"
    )


def _point_part(point: OperatingPoint) -> str:
    clear = point.false_boxes(NO_FINDING)
    text = (
        f"{point.setting}, on {point.images:,} images, {point.hits:,} of {point.boxes:,} boxes hit "
        f"(localized sensitivity {_text(point.sensitivity)}) with "
        f"{_text(point.false_boxes().per_image)} false boxes per image "
        f"({_text(point.false_boxes(bound=COUNTED).per_image)} if unboxed positives count)"
    )
    if clear.images:
        text += f" and {_text(clear.per_image)} on the {clear.images:,} images with no finding"
    return text


def _froc_part(curve: Froc) -> str:
    return (
        f"FROC, {curve.setting}: sensitivity {_text(curve.at_points[_ONE])} with at most 1 false "
        f"box per image, mean of the five points {_text(curve.mean)}"
    )


def _text(estimate: Estimate) -> str:
    return cell_text(Cell(estimate))
