"""Report what a localizer achieves without being given the disease: ledger, false boxes, FROC."""

from __future__ import annotations

from collections.abc import Sequence

from cxrloc.classification.metrics.sampled import ImageBootstrap
from cxrloc.classification.report.tables import estimate_text, value_text
from cxrloc.localization.analyses.end_to_end.false_boxes import (
    BOUNDS,
    COUNTED,
    IGNORED,
    IMAGES_WITHOUT_FINDING,
    OperatingPoint,
    end_to_end_table,
    false_box_table,
)
from cxrloc.localization.analyses.end_to_end.froc import POINTS, Froc, froc, froc_table
from cxrloc.localization.analyses.end_to_end.froc_plot import froc_figure
from cxrloc.localization.analyses.end_to_end.gate_ledger import (
    Ledger,
    Loss,
    gate_ledgers,
    ledger_table,
)
from cxrloc.localization.analyses.end_to_end.looks import (
    MAIN,
    THRESHOLDS,
    Looks,
    image_bootstrap,
    looks,
    main_points,
    points,
)
from cxrloc.localization.evaluation.contest import standing
from cxrloc.localization.evaluation.detections import END_TO_END, EVERY_DISEASE
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.evaluation.ground_truth import GroundTruth, ImageTable
from cxrloc.localization.report.sections import NamedFigure, Section

_TITLE = "Gate, false boxes and FROC: what is left end to end"
FROC_THRESHOLDS = (0.1, 0.5)
_SWEPT = (END_TO_END, EVERY_DISEASE)


def end_to_end(evaluated: Evaluated) -> Section:
    """Gate ledger, false boxes per image and FROC of every localizer.

    Includes the controls prior_box and constant_box, which box every disease on every image.

    Raises:
        ValueError: for a localizer's box on an image that it did not predict, or a boxed image and
            disease without a gate decision.
    """
    truth, images, gate = evaluated.truth, evaluated.images, evaluated.inputs.gate
    all_looks, bootstrap = evaluated.once(looks), evaluated.once(image_bootstrap)
    ledgers, all_points = gate_ledgers(evaluated, THRESHOLDS), evaluated.once(points)
    curves = _pooled_curves(all_looks, bootstrap)
    remarks = tuple(note for look_at in all_looks for note in look_at.notes)
    notes = (*remarks, _interval_note(images, len(bootstrap.counts), evaluated.inputs.seed))
    tables = [end_to_end_table(all_points, notes, several=truth.several)]
    tables += [false_box_table(all_points, images.diseases, notes, several=truth.several)]
    tables += [froc_table(curves, notes)] if curves else []
    if gate is not None:
        ledger_notes = _ledger_notes(truth, evaluated.inputs.resamples, evaluated.inputs.seed)
        tables.insert(0, ledger_table(ledgers, truth, ledger_notes))
    paragraphs = [asked(gate is not None), gate_text(ledgers)]
    paragraphs += [localizer_text(o.name, ledgers, all_points, curves) for o in all_looks]
    paragraphs += [*(f"{remark}." for remark in remarks), _everywhere(gate is not None)]
    figures = _figures(all_looks, all_points, curves, images, bootstrap)
    shown = tuple(filter(None, paragraphs))
    return Section("end_to_end", _TITLE, _finding(evaluated), shown, tuple(tables), figures)


def _finding(evaluated: Evaluated) -> str:
    """What each localizer hits, and the false boxes that it pays for that."""
    at_gate = evaluated.once(main_points)
    chosen = [at_gate[name] for name in evaluated.once(standing) if name in at_gate]
    if not chosen:
        return "False boxes cannot be counted: no localizer looked at images without the disease."
    parts = [
        f"{p.localizer} hits {p.hits:,} of {p.boxes:,} boxes at "
        f"{value_text(p.false_boxes().per_image.value)} false boxes per image"
        for p in chosen
    ]
    return f"{'; '.join(parts)} ({chosen[0].setting}, IoU over .5)."


def _everywhere(gate: bool) -> str:
    score = "the gate's probability, so only their place is blind" if gate else "1 everywhere"
    return (
        "Here the controls prior_box and constant_box box every disease on every image; their "
        f"score is {score}."
    )


def _curve(
    look_at: Looks,
    setting: str,
    threshold: float,
    bound: str,
    bootstrap: ImageBootstrap,
    disease: tuple[int, str] | None = None,
) -> Froc:
    chosen = look_at.settings[setting]
    return froc(look_at.name, look_at.detections, chosen, threshold, bound, bootstrap, disease)


def _pooled_curves(looks: Sequence[Looks], bootstrap: ImageBootstrap) -> list[Froc]:
    return [
        _curve(look_at, setting, t, bound, bootstrap)
        for look_at in looks
        for setting in _SWEPT
        if setting in look_at.settings
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
    """One figure per setting and threshold, unboxed positives ignored, if any localizer has it."""
    figures = []
    for setting in _SWEPT:
        some = [look_at for look_at in looks if setting in look_at.settings]
        for t in FROC_THRESHOLDS if some else ():
            shown = [
                c for c in curves if (c.setting, c.threshold, c.bound) == (setting, t, IGNORED)
            ]
            for column in sorted(set(some[0].detections.truth.column_of_box.tolist())):
                disease = (column, images.diseases[column])
                shown += [
                    _curve(look_at, setting, t, IGNORED, bootstrap, disease) for look_at in some
                ]
            marked = [p for p in points if (p.setting, p.threshold) == (END_TO_END, t)]
            figures.append(froc_figure(shown, marked, images.diseases))
    return tuple(figures)


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


_ONE = POINTS.index(1.0)


def asked(gate: bool) -> str:
    """The question of the section, and the method."""
    text = (
        "How good are the boxes if the localizer is not given the disease, and how many are false "
        "on images without it? A box on an absent disease is false; on a boxed disease it is a hit "
        "or false; on a disease that is labelled but not boxed it is neither (ignored). The tables "
        "also show the other bound, which counts these as false."
    )
    return text if gate else f"{text} No gate was given: only results without one are shown."


def gate_text(ledgers: Sequence[Ledger]) -> str:
    """How many boxes pass the gate; empty without a ledger."""
    main = [ledger for ledger in ledgers if ledger.threshold == MAIN]
    if not main:
        return ""
    total = int(main[0].counts.sum())
    stopped = main[0].count(Loss.GATE_HIT) + main[0].count(Loss.GATE_MISS)
    return (
        f"Of {total:,} ground-truth boxes {total - stopped:,} pass the gate. Below, a hit is IoU > "
        f"{MAIN:g}; the tables have other thresholds."
    )


def localizer_text(
    name: str,
    ledgers: Sequence[Ledger],
    points: Sequence[OperatingPoint],
    curves: Sequence[Froc],
) -> str:
    """One localizer's figures in a paragraph; empty if there are none."""
    ledger = [x for x in ledgers if (x.localizer, x.threshold) == (name, MAIN)]
    at_main = [p for p in points if (p.localizer, p.threshold) == (name, MAIN)]
    ends = [p for p in at_main if p.setting == END_TO_END]
    ends = ends or [p for p in at_main if p.setting == EVERY_DISEASE]
    curve = [c for c in curves if (c.localizer, c.threshold, c.bound) == (name, MAIN, IGNORED)]
    parts = [*map(_ledger_part, ledger), *map(_point_part, ends), *map(_froc_part, curve[:1])]
    return f"{name}: {'; '.join(parts)}." if parts else ""


def _ledger_part(ledger: Ledger) -> str:
    shares = (100 * ledger.share(charge).value for charge in Loss)
    hit, gate_hit, gate_miss, wrong, none = (f"{share:.1f} %" for share in shares)
    return (
        f"{hit} of the boxes are hit, {gate_hit} are lost at the gate but would have been hit, "
        f"{gate_miss} are lost at the gate and would have been missed, {wrong} by a wrong place, "
        f"{none} for lack of a box"
    )


def _point_part(point: OperatingPoint) -> str:
    clear = point.false_boxes(IMAGES_WITHOUT_FINDING)
    text = (
        f"{point.setting}, on {point.images:,} images, {point.hits:,} of {point.boxes:,} boxes hit "
        f"(localized sensitivity {estimate_text(point.sensitivity)}) with "
        f"{estimate_text(point.false_boxes().per_image)} false boxes per image "
        f"({estimate_text(point.false_boxes(bound=COUNTED).per_image)} if unboxed positives count)"
    )
    if clear.images:
        false = estimate_text(clear.per_image)
        text += f" and {false} on the {clear.images:,} images without findings"
    return text


def _froc_part(curve: Froc) -> str:
    return (
        f"FROC, {curve.setting}: sensitivity {estimate_text(curve.at_points[_ONE])} with at most "
        f"1 false box per image, mean of the five points {estimate_text(curve.mean)}"
    )
