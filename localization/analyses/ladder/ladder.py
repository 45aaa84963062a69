"""The oracle ladder of a localizer with heat maps: where its IoU is lost.

Each rung may see more than the one below: a fixed threshold, one tuned on other patients, then the
best threshold, the best region and the best box of the grid for each box, which are oracles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from cxrloc.classification.metrics.bootstrap import MACRO_MEAN, DiseaseEstimates
from cxrloc.classification.report.tables import Cell, ResultTable, TableRow
from cxrloc.localization.analyses.ladder.cam_tuning import tune
from cxrloc.localization.analyses.ladder.cell_boxes import best_cell_iou
from cxrloc.localization.analyses.ladder.ladder_plot import ladder_figure
from cxrloc.localization.cam.heat_maps import HeatMaps
from cxrloc.localization.cam.rules import FOLDS_OF_THE_GROUND_TRUTH
from cxrloc.localization.evaluation.ground_truth import FloatArray, GroundTruth
from cxrloc.localization.evaluation.image_table import ImageTable
from cxrloc.localization.report.glossary import MISS_RULE
from cxrloc.localization.report.sections import NamedFigure, Section

RUNGS = {
    "fixed threshold": "nothing but the mean size of training boxes (as its predictions file)",
    "tuned threshold": "boxes of other patients; no box of the scored patient",
    "oracle threshold": "the scored box, to choose the threshold (oracle)",
    "oracle region": "the scored box, to choose the region and threshold (oracle)",
    "best cell-aligned box": "the scored box, but no heat: the limit of the grid (oracle)",
}
STEPS = {
    "threshold": "tuned threshold to oracle threshold",
    "region choice": "oracle threshold to oracle region",
    "map": "oracle region to best cell-aligned box",
    "resolution": "best cell-aligned box to 1",
}


@dataclass(frozen=True)
class Ladder:
    """One localizer's ladder.

    Attributes:
        name: of the localizer.
        rungs: (N, 5) IoU of each ground-truth box on each of `RUNGS`.
        without_map: number of boxes whose image and disease have no map.
        folds_from: where the folds of the tuning come from.
    """

    name: str
    rungs: FloatArray = field(repr=False)
    without_map: int
    folds_from: str

    def __post_init__(self) -> None:
        # the tuned rule is one that the oracles choose from
        assert (np.diff(self.rungs[:, 1:4], axis=1) >= 0).all(), "an oracle is below its rung"

    @property
    def losses(self) -> FloatArray:
        """(N, 4) IoU lost at each of `STEPS`; with the tuned rung they sum to 1."""
        above = np.column_stack([self.rungs[:, 2:], np.ones(len(self.rungs))])
        return np.asarray(above - self.rungs[:, 1:])


def ladder(
    images: ImageTable, truth: GroundTruth, maps: HeatMaps, fixed_iou: FloatArray, *, seed: int
) -> Ladder:
    """The rungs of every ground-truth box; one without a map has IoU 0 on all but the last.

    Args:
        images, truth: of the same ground truth.
        maps: the localizer's.
        fixed_iou: (N,) top-1 IoU of its file of predictions.
        seed: of the folds, where the ground truth has none.

    Raises:
        ValueError: for another number of figures than of boxes.
    """
    if fixed_iou.shape != (len(truth),):
        raise ValueError(
            f"IoU of {maps.name}: expected one for each of the {len(truth)} ground-truth boxes, "
            f"got shape {fixed_iou.shape}"
        )
    tuning = tune(images, truth, maps, seed=seed)
    row_of, grid_hw = images.row_of, (maps.maps.shape[1], maps.maps.shape[2])
    limits = [
        best_cell_iou(box, images.sizes_hw[row_of[image]], grid_hw, aligned=maps.aligned)
        for image, box in zip(truth.image_ids, truth.boxes_xyxy, strict=True)
    ]
    rungs = (
        np.where(tuning.mapped, fixed_iou, 0.0),
        tuning.tuned_iou,
        tuning.oracle_threshold_iou,
        tuning.oracle_region_iou,
        np.array(limits),
    )
    missing = int(np.count_nonzero(~tuning.mapped))
    return Ladder(maps.name, np.column_stack(rungs), missing, tuning.folds.source)


def ladder_section(
    images: ImageTable,
    truth: GroundTruth,
    maps: Mapping[str, HeatMaps],
    iou_of: Mapping[str, FloatArray],
    *,
    resamples: int,
    seed: int,
) -> Section:
    """The ladder of every localizer that has maps.

    Args:
        images, truth: of the same ground truth.
        maps: localizer -> its heat maps.
        iou_of: localizer -> (N,) top-1 IoU of its file of predictions.
        resamples: of patients, for the intervals.
        seed: of these, and of the folds where the ground truth has none.

    Raises:
        ValueError: when there are no maps, or maps of a localizer that has no figures.
    """
    unknown = [name for name in maps if name not in iou_of]
    if unknown or not maps:
        raise ValueError(
            f"heat maps of {', '.join(unknown) or 'no localizer'}: expected maps of any of the "
            f"localizers compared: {', '.join(iou_of)}"
        )
    ladders = []
    for name, own in maps.items():
        found = ladder(images, truth, own, iou_of[name], seed=seed)
        ladders.append(replace(found, name=name))
    bootstrap = truth.bootstrap(resamples=resamples, seed=seed)
    figures = [bootstrap.estimates(one.rungs) for one in ladders]
    losses = [bootstrap.estimates(one.losses) for one in ladders]
    names = truth.disease_names
    title = "Oracle ladder: mean IoU by what may be seen"
    chart = NamedFigure(
        "ladder",
        title,
        _alt(ladders, figures),
        ladder_figure([one.name for one in ladders], tuple(RUNGS), names, figures),
    )
    notes = _notes(truth, ladders, resamples, seed)
    return Section(
        "ladder",
        "Oracle ladder: where the heat maps lose",
        (*_METHOD, *_findings(ladders, figures, losses)),
        (
            ResultTable("ladder", title, _rung_rows(ladders, figures, names, len(truth)), notes),
            ResultTable(
                "ladder_losses",
                "Mean IoU lost at each step of the ladder",
                _loss_rows(ladders, losses, names, len(truth)),
                (*notes, _LOSS_NOTE),
            ),
        ),
        (chart,),
    )


_METHOD = (
    "How much of what a heat map loses is the fault of the threshold, of the choice of region, of "
    "the map, of its resolution? Each rung of the ladder may see more than the one below. 'Fixed "
    "threshold' is the localizer as its file of predictions stands. 'Tuned threshold' has its "
    "threshold, size rule and smoothing chosen for each disease on the boxes of the other folds' "
    "patients. The three rungs above are oracles: they look at the box that they are scored on. "
    "They are limits, not results.",
    "Maps of the other folds' images, on which the rules are tuned, come from models that had the "
    "images of the scored fold in training. So these models saw the labels of the scored images; "
    "the rules, and the mean box size that they compare with, saw no box of them.",
)
_LOSS_NOTE = (
    "The losses and the rung 'tuned threshold' sum to 1. A loss to the map below 0 means that "
    "regions, whose borders run between cells, beat the best box of whole cells"
)


def _notes(
    truth: GroundTruth, ladders: Sequence[Ladder], resamples: int, seed: int
) -> tuple[str, ...]:
    source = ladders[0].folds_from
    own = "" if source == FOLDS_OF_THE_GROUND_TRUTH else "; these are not the models' folds"
    missing = ", ".join(f"{one.name} {one.without_map}" for one in ladders)
    return (
        f"Scored: {len(truth)} ground-truth boxes of {len(set(truth.patient_ids))} patients; top-1",
        f"Boxes without a heat map: {missing}. They have IoU 0 on every rung but the last; "
        f"otherwise {MISS_RULE}",
        f"Rules tuned over folds of: {source}{own}",
        f"[low, high]: 95 % interval, {resamples} resamples of patients (seed {seed})",
        "oracle: chosen with the box that is scored; an upper bound, never a result",
    )


def _rung_rows(
    ladders: Sequence[Ladder],
    figures: Sequence[Sequence[DiseaseEstimates]],
    names: Sequence[str],
    boxes: int,
) -> tuple[TableRow, ...]:
    return tuple(
        TableRow(
            rung,
            {"rung": rung, "localizer": one.name},
            _cells(names, estimates[r]),
            {"boxes": boxes, "without map": one.without_map, "saw": RUNGS[rung]},
        )
        for r, rung in enumerate(RUNGS)
        for one, estimates in zip(ladders, figures, strict=True)
    )


def _loss_rows(
    ladders: Sequence[Ladder],
    losses: Sequence[Sequence[DiseaseEstimates]],
    names: Sequence[str],
    boxes: int,
) -> tuple[TableRow, ...]:
    return tuple(
        TableRow(
            f"lost to: {step}",
            {"lost to": step, "localizer": one.name},
            _cells(names, estimates[s]),
            {"boxes": boxes, "from rung to rung": STEPS[step]},
        )
        for s, step in enumerate(STEPS)
        for one, estimates in zip(ladders, losses, strict=True)
    )


def _cells(names: Sequence[str], figures: DiseaseEstimates) -> dict[str, Cell]:
    estimates = (*figures.per_disease, figures.macro)
    return {name: Cell(e) for name, e in zip((*names, MACRO_MEAN), estimates, strict=True)}


def _findings(
    ladders: Sequence[Ladder],
    figures: Sequence[Sequence[DiseaseEstimates]],
    losses: Sequence[Sequence[DiseaseEstimates]],
) -> list[str]:
    sentences = []
    for one, rungs, lost in zip(ladders, figures, losses, strict=True):
        fixed, tuned = (rungs[r].macro.value for r in (0, 1))
        parts = [
            f"{figure.macro.value:.3f} to {step}" for step, figure in zip(STEPS, lost, strict=True)
        ]
        sentences.append(
            f"{one.name}: macro mean IoU {fixed:.3f} with its fixed threshold, {tuned:.3f} tuned "
            f"on other patients. What is missing to 1 is lost: {', '.join(parts)}."
        )
    return sentences


def _alt(ladders: Sequence[Ladder], figures: Sequence[Sequence[DiseaseEstimates]]) -> str:
    lines = [
        f"{one.name} " + ", ".join(f"{f.macro.value:.2f}" for f in estimates)
        for one, estimates in zip(ladders, figures, strict=True)
    ]
    return (
        f"Mean IoU on the rungs {', '.join(RUNGS)}, one panel for each disease and one for the "
        f"macro mean, whose figures are: {'; '.join(lines)}."
    )
