"""Score localizers on the same ground-truth boxes, with intervals, beside controls that never look.

    comparison = compare(coco, {"mask_rcnn": read_predictions(path, coco)}, gate=None)

Every localizer is scored as its file stands (the disease is given) and, with a gate, a second time
with a miss wherever the gate does not say that the disease is present.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cxrloc.localization.controls import control_localizations
from cxrloc.localization.localizer import Localization
from cxrloc.localization.metrics import (
    BoolArray,
    BoxScores,
    FloatArray,
    GroundTruth,
    ground_truth_from_coco,
    scorable,
    score_boxes,
)
from cxrloc.localization.statistics import ClusterBootstrap, DiseaseEstimates

# Those of Wang's Table 4 and of Deep MedIA (.1 .25 .5 .75 .9), and of Wang's Table 7 (.1 to .7).
THRESHOLDS = (0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.9)
OVERLAPS = ("iou", "iobb", "iogt")
DISEASE_GIVEN, GATED, CONTROL = "disease given", "gated", "control"

Gate = Mapping[tuple[str, str], bool]


@dataclass(frozen=True)
class ScoredLocalizer:
    """One row of every table.

    Attributes:
        name: as given on the command line, or the control's.
        setting: `DISEASE_GIVEN`, `GATED` or `CONTROL`.
        scores: per ground-truth box.
        estimates: measure -> figures. Measures are `mean_iou`, `acc_iou@0.5` and so on for each of
            `OVERLAPS`; with ` any` behind it, best over all boxes of an image and disease (Wang's
            rule).
    """

    name: str
    setting: str
    scores: BoxScores = field(repr=False)
    estimates: Mapping[str, DiseaseEstimates] = field(repr=False)

    @property
    def label(self) -> str:
        return f"{self.name}, gated" if self.setting == GATED else self.name

    @property
    def is_control(self) -> bool:
        return self.setting == CONTROL


@dataclass(frozen=True)
class Difference:
    """Mean IoU of one localizer minus that of another on the same resamples."""

    localizer: str
    minus: str
    estimates: DiseaseEstimates


@dataclass(frozen=True)
class Comparison:
    """All that the tables, the figure and the summary are made from."""

    truth: GroundTruth
    localizers: tuple[ScoredLocalizer, ...]
    differences: tuple[Difference, ...]
    thresholds: tuple[float, ...]
    resamples: int
    seed: int
    level: float
    patients: int
    resamples_without_a_disease: int
    gate_passes: int | None = None

    @property
    def images(self) -> int:
        return len(set(self.truth.image_ids))


def compare(
    coco: Mapping[str, Any],
    predictions: Mapping[str, Sequence[Localization]],
    gate: Gate | None = None,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Score every localizer and the controls on the boxes of a COCO ground truth.

    Args:
        coco: ground truth, see `datasets.coco`.
        predictions: localizer name -> its boxes, in the file's order.
        gate: (image_id, disease) -> present, for every pair that has a box; None: no gated rows.
        thresholds: of acc_iou, acc_iobb and acc_iogt; the test is strict (>).
        resamples: of the patients.
        seed: of the resamples and of the random control.

    Raises:
        ValueError: for a name that a control has, and for a gate that does not know a boxed pair.
    """
    truth = ground_truth_from_coco(coco)
    controls = control_localizations(scorable(coco), seed)
    for name in predictions:
        _check_name(name, tuple(controls))
    patients = sorted(set(truth.patient_ids))
    bootstrap = ClusterBootstrap.of(
        truth.patient_ids,
        truth.disease_index,
        len(truth.disease_names),
        resamples=resamples,
        seed=seed,
    )
    passes = None if gate is None else gate_mask(truth, gate)
    rows = []
    for name, setting, scores in _settings(truth, predictions, controls, passes):
        figures = _estimates(scores, thresholds, bootstrap)
        rows.append(ScoredLocalizer(name, setting, scores, figures))
    return Comparison(
        truth=truth,
        localizers=tuple(rows),
        differences=_differences(rows, bootstrap),
        thresholds=tuple(thresholds),
        resamples=resamples,
        seed=seed,
        level=bootstrap.level,
        patients=len(patients),
        resamples_without_a_disease=bootstrap.resamples_without_a_disease,
        gate_passes=None if passes is None else int(passes.sum()),
    )


def gate_mask(truth: GroundTruth, gate: Gate) -> BoolArray:
    """Whether the gate says present, (N,) in the order of the ground truth's boxes.

    Raises:
        ValueError: naming the first image and disease that the gate has no decision for.
    """
    pairs = list(zip(truth.image_ids, truth.diseases, strict=True))
    unknown = [pair for pair in pairs if pair not in gate]
    if unknown:
        image_id, disease = unknown[0]
        raise ValueError(
            f"the gate has no decision for {disease} on {image_id} (and {len(unknown) - 1} more of "
            f"{len(pairs)} ground-truth boxes); expected one for every boxed image and disease: "
            "use the gate.csv of a run over all folds, or score without --gate"
        )
    return np.array([bool(gate[pair]) for pair in pairs], dtype=np.bool_)


def _check_name(name: str, controls: tuple[str, ...]) -> None:
    if not name.strip():
        raise ValueError("a localizer's name must not be empty; expected NAME=FILE")
    if name in controls:
        raise ValueError(
            f"the name {name!r} is taken by a control; {', '.join(controls)} are computed from the "
            "ground truth and always added, so leave the file out or give it another name"
        )


def _settings(
    truth: GroundTruth,
    predictions: Mapping[str, Sequence[Localization]],
    controls: Mapping[str, Sequence[Localization]],
    passes: BoolArray | None,
) -> list[tuple[str, str, BoxScores]]:
    given = [(n, DISEASE_GIVEN, score_boxes(truth, boxes)) for n, boxes in predictions.items()]
    gated = [(n, GATED, s.only_where(passes)) for n, _, s in given if passes is not None]
    blind = [(n, CONTROL, score_boxes(truth, boxes)) for n, boxes in controls.items()]
    return given + gated + blind


def _estimates(
    scores: BoxScores, thresholds: Sequence[float], bootstrap: ClusterBootstrap
) -> dict[str, DiseaseEstimates]:
    columns: dict[str, FloatArray] = {}
    for overlap in OVERLAPS:
        for suffix, values in (
            ("", getattr(scores, overlap)),
            (" any", getattr(scores, f"any_{overlap}")),
        ):
            columns[f"mean_{overlap}{suffix}"] = values
            for t in thresholds:
                columns[f"acc_{overlap}@{t:g}{suffix}"] = (values > t).astype(np.float64)
    figures = bootstrap.estimates(np.column_stack(list(columns.values())))
    return dict(zip(columns, figures, strict=True))


def _differences(
    rows: Sequence[ScoredLocalizer], bootstrap: ClusterBootstrap
) -> tuple[Difference, ...]:
    """Each localizer minus every control, and minus those that follow it in the same setting.

    The mean of paired differences per box, resampled, IS the difference of the two resampled means.
    """
    pairs = [
        (a, b)
        for i, a in enumerate(rows)
        for j, b in enumerate(rows)
        if not a.is_control and (b.is_control or (j > i and a.setting == b.setting))
    ]
    if not pairs:
        return ()
    values = np.column_stack([a.scores.iou - b.scores.iou for a, b in pairs])
    figures = bootstrap.estimates(values)
    return tuple(Difference(a.label, b.label, f) for (a, b), f in zip(pairs, figures, strict=True))
