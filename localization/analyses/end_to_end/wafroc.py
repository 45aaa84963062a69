"""Report wAFROC, radiology's figure of merit for boxes with scores, per localizer and disease.

It asks of each disease what an AUC asks of a classifier, but a lesion counts only where it is
localized: is a lesion that the localizer found scored higher than the worst false box on an image
without the disease? Images without the disease are the normal cases, whatever else they show;
those labelled with it but without a box of it are left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np

from cxrloc.classification.metrics.bootstrap import MACRO_MEAN
from cxrloc.classification.metrics.sampled import ImageBootstrap, Sampled
from cxrloc.classification.report.tables import (
    Cell,
    ResultTable,
    TableRow,
    Value,
    estimate_text,
)
from cxrloc.localization.analyses.end_to_end.looks import (
    MAIN,
    Looks,
    image_bootstrap,
    looks,
)
from cxrloc.localization.analyses.end_to_end.wafroc_merit import Wafroc, score_wafroc
from cxrloc.localization.analyses.end_to_end.wafroc_plot import wafroc_figure
from cxrloc.localization.evaluation.contest import standing
from cxrloc.localization.evaluation.detections import END_TO_END, EVERY_DISEASE, Detections
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.evaluation.ground_truth import ABSENT, BOXED, UNBOXED, GroundTruth
from cxrloc.localization.evaluation.pairwise import REFERENCE_CONTROL
from cxrloc.localization.report.sections import Section

_TITLE = "wAFROC: are lesions found and scored above the false boxes on normal images?"
_THRESHOLDS = (0.1, MAIN)
_SETTINGS = (EVERY_DISEASE, END_TO_END)
_Key = tuple[str, str, float]  # localizer, setting, hit threshold


def wafroc(evaluated: Evaluated) -> Section | None:
    """wAFROC per disease with intervals, paired differences, and the curves.

    Localizers and the controls prior_box and constant_box, which box every disease on every image.
    Left out if the ground truth has no image without a box.

    Raises:
        ValueError: for a localizer's box on an image that it did not predict.
    """
    all_looks, bootstrap = evaluated.once(looks), evaluated.once(image_bootstrap)
    scored = _score_all(all_looks, bootstrap)
    if not scored:
        return None
    truth, gaps = evaluated.truth, _gaps(all_looks)
    draws = (
        f"[low, high]: 95 % interval, {len(bootstrap.counts):,} resamples (seed "
        f"{evaluated.inputs.seed}) of all {bootstrap.counts.shape[1]:,} patients of the images"
    )
    notes = (*gaps, draws, _cases(truth))
    differences = tuple(_differences(scored, all_looks, bootstrap))
    tables = (_table(scored, truth, notes), _difference_table(differences, truth, notes))
    shown = [w for w in scored.values() if (w.setting.name, w.threshold) == (EVERY_DISEASE, MAIN)]
    figures = (wafroc_figure(shown, truth.disease_names),) if shown else ()
    finding = _finding(scored, differences, evaluated.once(standing))
    words = tuple(filter(None, (*_METHOD, _settings_text(evaluated), *(f"{g}." for g in gaps))))
    return Section("wafroc", _TITLE, finding, words, tables, figures)


_METHOD = (
    "Radiology judges readers who mark lesions and rate their marks by the wAFROC figure of merit "
    "(Chakraborty). Here a mark is a box and its rating the localizer's score. For each disease, "
    "an image without it is rated by its highest-scored box of the disease, and a lesion by the "
    "box that localizes it (IoU over the threshold, one to one). The figure is the share of pairs "
    "of such an image and a lesion in which the lesion is rated higher; ties count one half. The "
    "lesions of an image share its weight equally.",
    "At 1 every lesion is localized and scored above every image without the disease. A lesion "
    "that no box localizes loses against each of these images that has a box, and ties with one "
    "that has none. So a localizer that never draws a box has .5, and .5 is not what guessing "
    "reaches: one that boxes every image in the wrong place has 0. False boxes on images with the "
    "disease cost nothing; FROC counts those.",
)


def _settings_text(evaluated: Evaluated) -> str:
    if evaluated.inputs.gate is None:
        return ""
    return (
        f"{END_TO_END!r} keeps only boxes of diseases that the gate predicts present; where it "
        "predicts a disease absent, the image counts as one without a box of it. The controls' "
        "boxes are scored by the gate's probability."
    )


def _score_all(all_looks: Sequence[Looks], bootstrap: ImageBootstrap) -> dict[_Key, Wafroc]:
    return {
        (look_at.name, setting, t): score_wafroc(
            look_at.name, look_at.detections, look_at.settings[setting], t, bootstrap
        )
        for t in _THRESHOLDS
        for setting in _SETTINGS
        for look_at in all_looks
        if setting in look_at.settings
    }


def _differences(
    scored: Mapping[_Key, Wafroc], all_looks: Sequence[Looks], bootstrap: ImageBootstrap
) -> Iterator[tuple[Wafroc, str, Sampled]]:
    """Every two localizers, and each minus the reference control: first, second, difference."""
    names = [look_at.name for look_at in all_looks if look_at.name != "prior_box"]
    detections = {look_at.name: look_at.detections for look_at in all_looks}
    for t in _THRESHOLDS:
        for setting in _SETTINGS:
            there = [name for name in names if (name, setting, t) in scored]
            for pair in combinations(there, 2):
                first, second = (scored[name, setting, t] for name in pair)
                if not np.array_equal(first.setting.images, second.setting.images):
                    first, second = (
                        _score_on_both(w, other, detections[w.localizer], bootstrap)
                        for w, other in ((first, second), (second, first))
                    )
                yield first, second.localizer, first.figures - second.figures


def _score_on_both(
    one: Wafroc, other: Wafroc, detections: Detections, bootstrap: ImageBootstrap
) -> Wafroc:
    """`one` again, on the images that `other` is scored on, too: a difference must be paired."""
    both = dataclasses.replace(one.setting, images=one.setting.images & other.setting.images)
    return score_wafroc(one.localizer, detections, both, one.threshold, bootstrap)


def _table(
    scored: Mapping[_Key, Wafroc], truth: GroundTruth, notes: tuple[str, ...]
) -> ResultTable:
    rows = [
        TableRow(_block(w), _lead(w), _cells(w.figures, truth), _trail(w)) for w in scored.values()
    ]
    title = "wAFROC figure of merit per disease"
    return ResultTable("wafroc", title, tuple(rows), (_RULE, *notes))


def _difference_table(
    differences: Sequence[tuple[Wafroc, str, Sampled]],
    truth: GroundTruth,
    notes: tuple[str, ...],
) -> ResultTable:
    rows = []
    for first, second, figures in differences:
        lead = _lead(first)
        lead = {"localizer": lead.pop("localizer"), "minus": second} | lead
        trail = {f"{MACRO_MEAN} excludes zero": "yes" if figures.macro.excludes_zero else "no"}
        rows.append(TableRow(_block(first), lead, _cells(figures, truth), trail | _trail(first)))
    title = "Paired differences of wAFROC between localizers"
    paired = "Paired: both on the same resamples, on the images that both predicted"
    return ResultTable("wafroc_differences", title, tuple(rows), (paired, _RULE, *notes))


_RULE = (
    "A lesion is localized by a box with IoU over the threshold, one to one, from the highest "
    "score down; ties count 1/2, and a lesion without a box ties with an image without one"
)


def _block(w: Wafroc) -> str:
    return f"hit: IoU > {w.threshold:g}"


def _lead(w: Wafroc) -> dict[str, str | float]:
    return {"localizer": w.localizer, "setting": w.setting.name, "threshold": w.threshold}


def _cells(figures: Sampled, truth: GroundTruth) -> dict[str, Value]:
    columns = (*truth.disease_names, MACRO_MEAN)
    return {name: Cell(e) for name, e in zip(columns, figures.columns, strict=True)}


def _trail(w: Wafroc) -> dict[str, Value]:
    return {"images": w.images}


def _cases(truth: GroundTruth) -> str:
    """How many images of each kind a disease has."""
    counts = []
    for disease in truth.disease_names:
        status = truth.images.status[:, truth.images.column_of[disease]]
        kinds = " / ".join(f"{(status == kind).sum():,}" for kind in (BOXED, ABSENT, UNBOXED))
        counts.append(f"{disease} {kinds}")
    return (
        "Images with a box of the disease / without the disease / labelled with it but without a "
        f"box, or unknown, which are left out: {', '.join(counts)}"
    )


def _gaps(all_looks: Sequence[Looks]) -> tuple[str, ...]:
    return tuple(note for look_at in all_looks for note in look_at.notes)


def _finding(
    scored: Mapping[_Key, Wafroc],
    differences: Sequence[tuple[Wafroc, str, Sampled]],
    names: Sequence[str],
) -> str:
    """The macro mean of each localizer and the control; the best against the next."""
    main = {name: w for (name, *rest), w in scored.items() if rest == [EVERY_DISEASE, MAIN]}
    chosen = [name for name in names if name in main]
    if not chosen:
        return "No localizer predicted images without a box, so none has a wAFROC figure."
    chosen.sort(key=lambda name: -main[name].figures.macro.value)
    parts = [f"{n} {estimate_text(main[n].figures.macro)}" for n in (*chosen, REFERENCE_CONTROL)]
    text = f"Mean over the diseases, {EVERY_DISEASE}, IoU over .5: {', '.join(parts)}"
    return f"{text}{_lead_over(chosen, differences)}."


def _lead_over(chosen: Sequence[str], differences: Sequence[tuple[Wafroc, str, Sampled]]) -> str:
    """What the best is above the next, where there is one."""
    for first, second, figures in differences:
        same = (first.setting.name, first.threshold) == (EVERY_DISEASE, MAIN)
        if len(chosen) > 1 and same and {first.localizer, second} == set(chosen[:2]):
            sure = figures.macro.excludes_zero
            return (
                f"; the interval of {first.localizer} minus {second} "
                f"{'excludes' if sure else 'holds'} zero: {estimate_text(figures.macro)}"
            )
    return ""
