"""Tune boxes from heat maps honestly: for each test fold, only on the boxes of other patients.

For the images of fold k and each disease, the rule with the best mean IoU on the boxes of the OTHER
folds is chosen from a grid (threshold, size rule, smoothing; for maps of probabilities also a
probability as the threshold). The mean box size for the rule
`closest` comes from these boxes too, so no box of fold k influences its rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from cxrloc.datasets.progress import progress
from cxrloc.localization.analyses.ladder.rule_scores import (
    CHOICES,
    PROBABILITIES,
    SIZE_RULES,
    THRESHOLDS,
    MeanSize,
    level_scores,
)
from cxrloc.localization.cam.boxes import CamBoxRule, map_to_frame, smooth_map
from cxrloc.localization.cam.heat_maps import HeatMaps
from cxrloc.localization.cam.rules import FOLDS_OF_THE_GROUND_TRUTH, Rules, SizedRule
from cxrloc.localization.evaluation.ground_truth import BoolArray, FloatArray, GroundTruth

SMOOTHINGS = (0.0, 0.5, 1.0)
OWN_FOLDS = 5

IndexArray = npt.NDArray[np.intp]
_UNTUNED = (0, 0, THRESHOLDS.index(180.0))  # Deep MedIA's rule, if there is nothing to tune on


@dataclass(frozen=True)
class TuningFolds:
    """Patient folds of the ground truth's boxes.

    Attributes:
        numbers: the folds, sorted.
        of_box: (N,) index into `numbers` of each box.
        source: origin of the folds.
    """

    numbers: tuple[int, ...]
    of_box: IndexArray = field(repr=False)
    source: str


def tuning_folds(truth: GroundTruth, seed: int) -> TuningFolds:
    """The folds of the ground truth or, if it has fewer than two, folds drawn with `seed`.

    Raises:
        ValueError: for a patient with images in two folds.
    """
    images = truth.images
    every: Sequence[int]
    if images.folds is not None:
        fold_of_box = np.array(images.folds)[truth.image_of_box].tolist()
        _check_patients(truth.patient_ids, fold_of_box)
        every, source = images.folds, FOLDS_OF_THE_GROUND_TRUTH
    if images.folds is None or len(set(fold_of_box)) < 2:
        patients = sorted(set(truth.patient_ids))
        order = np.random.default_rng(seed).permutation(len(patients)) % OWN_FOLDS
        drawn = dict(zip(patients, order.tolist(), strict=True))
        every = fold_of_box = [drawn[patient] for patient in truth.patient_ids]
        source = f"{OWN_FOLDS} patient folds drawn with seed {seed}"
    numbers = np.unique(every)  # for a fold without a box, all boxes are those of other folds
    return TuningFolds(tuple(numbers.tolist()), np.searchsorted(numbers, fold_of_box), source)


def _check_patients(patients: Sequence[str], folds: Sequence[int]) -> None:
    fold_of: dict[str, int] = {}
    for patient, fold in zip(patients, folds, strict=True):
        if fold_of.setdefault(patient, fold) != fold:
            raise ValueError(
                f"ground truth: patient {patient} has images in folds {fold_of[patient]} and "
                f"{fold}; tuning needs each patient in one fold"
            )


@dataclass(frozen=True)
class Tuning:
    """Every rule of the grid on every box, and the rule chosen for each fold and disease.

    The variants are the test folds, in order, and finally all boxes together (for new images).

    Attributes:
        folds: patient folds of the boxes.
        diseases: D names.
        mapped: (N,) boxes with a map for their image and disease.
        mean_sizes: [variant][disease], see `SizedRule`.
        boxes: (V, D) number of boxes used for tuning.
        iou: (N, V, S, R, T) of each box for smoothing, size rule and threshold; 0 without a map.
        best: (N, S) best IoU of any region at any threshold.
        chosen: (V, D, 3) indices of the chosen smoothing, size rule and threshold.
        disease_of: (N,) disease of each box.
    """

    folds: TuningFolds
    diseases: tuple[str, ...]
    mapped: BoolArray = field(repr=False)
    mean_sizes: tuple[tuple[MeanSize, ...], ...] = field(repr=False)
    boxes: IndexArray = field(repr=False)
    iou: FloatArray = field(repr=False)
    best: FloatArray = field(repr=False)
    chosen: IndexArray = field(repr=False)
    disease_of: IndexArray = field(repr=False)

    @property
    def tuned_iou(self) -> FloatArray:
        """(N,) IoU of each box under the rule tuned on the other folds' boxes."""
        threshold = self._own[2]
        return np.asarray(self._by_threshold[np.arange(len(threshold)), threshold])

    @property
    def oracle_threshold_iou(self) -> FloatArray:
        """(N,) like `tuned_iou`, but with the best threshold for each box: an oracle."""
        return np.asarray(self._by_threshold.max(axis=1))

    @property
    def oracle_region_iou(self) -> FloatArray:
        """(N,) IoU of the best region at the best threshold, smoothed as tuned: an oracle."""
        return np.asarray(self.best[np.arange(len(self.best)), self._own[0]])

    @property
    def _own(self) -> IndexArray:
        """(3, N) the choice for each box."""
        return np.asarray(self.chosen[self.folds.of_box, self.disease_of].T, dtype=np.intp)

    @property
    def _by_threshold(self) -> FloatArray:
        """(N, T) under each box's own smoothing and size rule."""
        smoothing, size_rule, _ = self._own
        rows = np.arange(len(self.iou))
        return np.asarray(self.iou[rows, self.folds.of_box, smoothing, size_rule])

    @property
    def rules(self) -> dict[int, Rules]:
        """Fold -> disease -> rule for its images."""
        return {fold: self._rules(v) for v, fold in enumerate(self.folds.numbers)}

    @property
    def rules_for_new_images(self) -> Rules:
        """Disease -> rule tuned on all boxes; must not be scored on them."""
        return self._rules(len(self.folds.numbers))

    def _rules(self, variant: int) -> Rules:
        return {
            disease: SizedRule(
                _rule(self.chosen[variant, d].tolist()),
                self.mean_sizes[variant][d],
                int(self.boxes[variant, d]),
            )
            for d, disease in enumerate(self.diseases)
        }


def tune(truth: GroundTruth, maps: HeatMaps, *, seed: int = 0) -> Tuning:
    """Score every rule on every box with a map and choose one for each fold and disease.

    A fold and disease keeps Deep MedIA's rule if the other folds have no box, or none that its maps
    meet. Among equally good rules the first wins: less smoothing, then the order of `SIZE_RULES`,
    then the lower threshold.

    Raises:
        ValueError: for a patient with images in two folds.
    """
    folds = tuning_folds(truth, seed)
    diseases, disease_of = truth.disease_names, truth.disease_index
    apart = [folds.of_box != fold for fold in range(len(folds.numbers))]
    seen = np.stack([*apart, np.ones(len(truth), dtype=np.bool_)])
    members = seen[:, None] & (disease_of == np.arange(len(diseases))[:, None])  # (V, D, N)
    sizes = _sizes(truth)
    means = tuple(tuple(_mean_size(sizes[rows]) for rows in variant) for variant in members)
    mapped, iou, best = _grid_scores(truth, maps, means)
    chosen = [
        [_best_rule(iou[rows, v]) for rows in variant] for v, variant in enumerate(members & mapped)
    ]
    return Tuning(
        folds,
        diseases,
        mapped,
        means,
        members.sum(axis=2),
        iou,
        best,
        np.array(chosen, dtype=np.intp),
        disease_of,
    )


def _sizes(truth: GroundTruth) -> FloatArray:
    """(N, 2) width and height of each box as fractions of the frame's longer side."""
    sides = truth.sizes_hw.max(axis=1)
    return np.asarray((truth.boxes_xyxy[:, 2:] - truth.boxes_xyxy[:, :2]) / sides[:, None])


def _mean_size(sizes: FloatArray) -> MeanSize:
    if not len(sizes):
        return None
    width, height = sizes.mean(axis=0).tolist()
    return width, height


def _grid_scores(
    truth: GroundTruth, maps: HeatMaps, means: Sequence[Sequence[MeanSize]]
) -> tuple[BoolArray, FloatArray, FloatArray]:
    """`mapped`, `iou` and `best` of `Tuning`."""
    column = {name: d for d, name in enumerate(truth.disease_names)}
    levels = len(THRESHOLDS) + len(PROBABILITIES) * maps.probabilities
    grid = (len(means), len(SMOOTHINGS), len(SIZE_RULES), levels)
    iou, best = np.zeros((len(truth), *grid)), np.zeros((len(truth), len(SMOOTHINGS)))
    mapped = np.zeros(len(truth), dtype=np.bool_)
    rows_of: dict[tuple[str, str], list[int]] = {}
    for row, pair in enumerate(zip(truth.image_ids, truth.diseases, strict=True)):
        rows_of.setdefault(pair, []).append(row)
    for (image_id, disease), rows in progress(
        rows_of.items(), f"rules for {maps.name}", unit="map"
    ):
        cells = maps.cells(image_id, disease)
        if cells is None:
            continue
        size_hw = truth.images.sizes_hw[truth.image_of_box[rows[0]]]
        mean_sizes_wh = [
            SizedRule(CHOICES[0], v[column[disease]]).mean_size_wh(size_hw) for v in means
        ]
        for s, smoothing in enumerate(SMOOTHINGS):
            heat = map_to_frame(smooth_map(cells, smoothing), size_hw, aligned=maps.aligned)
            iou[rows, :, s], best[rows, s] = level_scores(
                heat, truth.boxes_xyxy[rows], mean_sizes_wh, maps.probabilities
            )
        mapped[rows] = True
    return mapped, iou, best


def _best_rule(iou: FloatArray) -> tuple[int, ...]:
    """Indices of the rule with the best mean over (M, S, R, T)."""
    if not iou.any():
        return _UNTUNED
    means = iou.mean(axis=0)
    return tuple(int(i) for i in np.unravel_index(np.argmax(means), means.shape))


def _rule(chosen: Sequence[int]) -> CamBoxRule:
    smoothing, size_rule, level = chosen
    rule = CamBoxRule(size_rule=SIZE_RULES[size_rule], smooth_cells=SMOOTHINGS[smoothing])
    if level < len(THRESHOLDS):
        return replace(rule, thresholds=(THRESHOLDS[level],))
    return replace(rule, probability=PROBABILITIES[level - len(THRESHOLDS)])
