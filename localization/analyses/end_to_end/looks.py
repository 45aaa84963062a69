"""Images that each localizer predicted, and its operating points, for section and scoreboard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cxrloc.classification.metrics.sampled import ImageBootstrap
from cxrloc.localization.analyses.end_to_end.false_boxes import OperatingPoint, operating_points
from cxrloc.localization.evaluation.detections import (
    END_TO_END,
    EVERY_DISEASE,
    GATED,
    Detections,
    Setting,
    check_coverage,
    settings_of,
)
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.evaluation.gate_decisions import GateDecisions
from cxrloc.localization.evaluation.ground_truth import ABSENT, BoolArray

THRESHOLDS = (0.1, 0.3, 0.5)  # hit thresholds of the ledger and the tables of false boxes
MAIN = 0.5  # hit threshold used in sentences; the tables have the others
_RESAMPLES = 2000  # limit for whole images: more would change less than the third decimal
_HOW = "predict all images: `cxrloc localize --images all`, `data.predict: all` for a detector"


@dataclass(frozen=True)
class Looks:
    """One localizer: its detections, the settings it can be scored in, and notes on gaps."""

    name: str
    detections: Detections = field(repr=False)
    settings: Mapping[str, Setting] = field(repr=False)
    notes: tuple[str, ...]


def looks(evaluated: Evaluated) -> tuple[Looks, ...]:
    """Every localizer, and the controls that box every disease on every image.

    Raises:
        ValueError: for a localizer's box on an image that it did not predict.
    """
    return tuple(
        look(name, detections, evaluated.looked_at[name], evaluated.inputs.gate)
        for name, detections in evaluated.everywhere.items()
    )


def image_bootstrap(evaluated: Evaluated) -> ImageBootstrap:
    """Resamples of all patients of the images, boxed or not."""
    resamples = min(evaluated.inputs.resamples, _RESAMPLES)
    patients = evaluated.images.patient_ids
    return ImageBootstrap.of(patients, resamples=resamples, seed=evaluated.inputs.seed)


def points(evaluated: Evaluated) -> tuple[OperatingPoint, ...]:
    """Every localizer in every setting it can be scored in, at each of `THRESHOLDS`."""
    bootstrap = evaluated.once(image_bootstrap)
    return tuple(
        point
        for look_at in evaluated.once(looks)
        for setting in look_at.settings.values()
        for point in operating_points(
            look_at.name,
            evaluated.answering[look_at.name],
            setting,
            evaluated.images,
            THRESHOLDS,
            bootstrap,
        )
    )


def main_points(evaluated: Evaluated) -> dict[str, OperatingPoint]:
    """Localizer or control -> its point at `MAIN` in the setting closest to practice; or {}.

    All share one setting: end to end behind the gate if any localizer can be scored that way, else
    gated, else every disease requested. A localizer that cannot be scored in it has no entry.
    """
    scored = [point for point in evaluated.once(points) if point.threshold == MAIN]
    predicted = evaluated.inputs.predictions
    for setting in (END_TO_END, GATED, EVERY_DISEASE):
        chosen = {point.localizer: point for point in scored if point.setting == setting}
        if any(name in predicted or not predicted for name in chosen):
            return chosen
    return {}


def look(name: str, detections: Detections, looked: BoolArray, gate: GateDecisions | None) -> Looks:
    """One localizer's detections and settings, with notes on images that are left out.

    Args:
        looked: (N,) images that it predicted.

    Raises:
        ValueError: for a box on an image that it did not predict.
    """
    check_coverage(name, detections, looked)
    truth, settings = detections.truth, settings_of(detections.truth.images, looked, gate)
    notes = []
    if not looked.all():
        lost = int((~looked[truth.image_of_box]).sum())
        notes.append(
            f"{name} did not predict {int((~looked).sum()):,} of {len(looked):,} images, with "
            f"{lost} ground-truth boxes: its figures over images leave them out, and in its ledger "
            "they are boxes without a prediction"
        )
    undecided = 0 if gate is None else int((looked & ~gate.complete).sum())
    if undecided:
        notes.append(
            f"the gate lacks decisions for {undecided:,} images that {name} predicted: its figures "
            f"in the settings {GATED!r} and {END_TO_END!r} leave them out"
        )
    if EVERY_DISEASE not in settings:
        notes.append(f"{name} predicted only boxed images, so nothing end to end; {_HOW}")
    elif END_TO_END not in settings and gate is not None:
        notes.append(f"the gate decides on no unboxed image that {name} predicted: no end to end")
    if len(detections) and EVERY_DISEASE in settings and not (detections.status == ABSENT).any():
        notes.append(
            f"{name} has no box on any absent disease: was every disease requested on every "
            "image? If not, its false boxes are underestimated"
        )
    return Looks(name, detections, settings, tuple(notes))
