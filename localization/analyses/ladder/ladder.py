"""Build the oracle ladder of a localizer with heat maps: where its IoU is lost.

Each rung may see more than the one below: a fixed threshold, one tuned on other patients, and then,
for each box, the best threshold, the best region and the best box on the grid, which are oracles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from cxrloc.classification.metrics.bootstrap import DiseaseEstimates
from cxrloc.classification.report.tables import ResultTable, TableRow, value_text
from cxrloc.localization.analyses.ladder.cam_tuning import tune
from cxrloc.localization.analyses.ladder.cell_boxes import best_cell_iou
from cxrloc.localization.analyses.ladder.ladder_plot import ladder_figure
from cxrloc.localization.cam.heat_maps import HeatMaps
from cxrloc.localization.cam.rules import FOLDS_OF_THE_GROUND_TRUTH
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.evaluation.ground_truth import FloatArray, GroundTruth
from cxrloc.localization.report.comparison_tables import disease_cells
from cxrloc.localization.report.glossary import MISS_RULE, RULE_NAMES
from cxrloc.localization.report.sections import NamedFigure, Section

RUNGS = {
    "fixed threshold": "only the mean size of training boxes (as in its predictions file)",
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
        name: name of the localizer.
        rungs: (N, 5) IoU of each ground-truth box on each of `RUNGS`.
        without_map: number of boxes without a map for their image and disease.
        folds_from: origin of the tuning folds.
        guided: whether boxes of training images taught the maps.
    """

    name: str
    rungs: FloatArray = field(repr=False)
    without_map: int
    folds_from: str
    guided: bool = False

    def __post_init__(self) -> None:
        # the tuned rule is among those that the oracles choose from
        assert (np.diff(self.rungs[:, 1:4], axis=1) >= 0).all(), "an oracle is below its rung"

    def saw(self, rung: str) -> str:
        """What was seen to make the boxes of a rung."""
        looks = self.guided and rung != "best cell-aligned box"
        return f"the boxes of the training images (maps); {RUNGS[rung]}" if looks else RUNGS[rung]

    @property
    def losses(self) -> FloatArray:
        """(N, 4) IoU lost at each of `STEPS`; with the tuned rung they sum to 1."""
        above = np.column_stack([self.rungs[:, 2:], np.ones(len(self.rungs))])
        return np.asarray(above - self.rungs[:, 1:])


def climb(truth: GroundTruth, maps: HeatMaps, fixed_iou: FloatArray, *, seed: int) -> Ladder:
    """Compute the rungs of every ground-truth box; without a map, IoU is 0 on all but the last.

    Args:
        maps: the localizer's maps.
        fixed_iou: (N,) IoU of the matched boxes of its predictions file.
        seed: seed of the folds, if the ground truth has none.

    Raises:
        ValueError: if the numbers of figures and boxes differ.
    """
    if fixed_iou.shape != (len(truth),):
        raise ValueError(
            f"IoU of {maps.name}: expected one for each of the {len(truth)} ground-truth boxes, "
            f"got shape {fixed_iou.shape}"
        )
    tuning = tune(truth, maps, seed=seed)
    grid_hw = (maps.maps.shape[1], maps.maps.shape[2])
    limits = [
        best_cell_iou(box, truth.images.sizes_hw[row], grid_hw, aligned=maps.aligned)
        for row, box in zip(truth.image_of_box.tolist(), truth.boxes_xyxy, strict=True)
    ]
    rungs = (
        np.where(tuning.mapped, fixed_iou, 0.0),
        tuning.tuned_iou,
        tuning.oracle_threshold_iou,
        tuning.oracle_region_iou,
        np.array(limits),
    )
    missing = int(np.count_nonzero(~tuning.mapped))
    source = tuning.folds.source
    return Ladder(maps.name, np.column_stack(rungs), missing, source, maps.probabilities)


def ladder(evaluated: Evaluated) -> Section | None:
    """The ladder of every localizer with maps; None if none has any."""
    truth, maps, bootstrap = evaluated.truth, evaluated.inputs.maps, evaluated.bootstrap
    resamples, seed = evaluated.inputs.resamples, evaluated.inputs.seed
    if not maps:
        return None
    ladders = [
        replace(climb(truth, heat_maps, evaluated.scores[name].iou, seed=seed), name=name)
        for name, heat_maps in maps.items()
    ]
    figures = [bootstrap.estimates(climbed.rungs) for climbed in ladders]
    losses = [bootstrap.estimates(climbed.losses) for climbed in ladders]
    names = truth.disease_names
    title = "Oracle ladder: mean IoU by what may be seen"
    chart = NamedFigure(
        "ladder",
        title,
        _alt(ladders, figures),
        ladder_figure([climbed.name for climbed in ladders], tuple(RUNGS), names, figures),
    )
    notes = _notes(truth, ladders, resamples, seed)
    return Section(
        "ladder",
        "Oracle ladder: where the heat maps lose",
        _finding(ladders, figures, losses),
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
    "How much of a heat map's loss is due to the threshold, the choice of region, the map, or its "
    "resolution? Each rung of the ladder may see more than the one below. 'Fixed threshold' is the "
    "localizer as in its predictions file. For 'tuned threshold', threshold, size rule and "
    "smoothing are chosen for each disease on the boxes of the other folds' patients. The three "
    "rungs above are oracles: they look at the box that they are scored on. They are limits, not "
    "results.",
    "Rules are tuned on maps of the other folds' images, made by models that trained on the images "
    "of the scored fold. So these models saw the labels of the scored images, but the rules and "
    "their mean box size saw no box of them.",
)
_LOSS_NOTE = (
    "The losses and the rung 'tuned threshold' sum to 1. A map loss below 0 means that regions, "
    "with borders between cells, beat the best box of whole cells"
)


def _notes(
    truth: GroundTruth, ladders: Sequence[Ladder], resamples: int, seed: int
) -> tuple[str, ...]:
    source = ladders[0].folds_from
    remark = "" if source == FOLDS_OF_THE_GROUND_TRUTH else "; these are not the models' folds"
    missing = ", ".join(f"{climbed.name} {climbed.without_map}" for climbed in ladders)
    return (
        f"Scored: {len(truth)} ground-truth boxes of {len(set(truth.patient_ids))} patients; "
        f"{RULE_NAMES[truth.several]}",
        f"Boxes without a heat map: {missing}. They have IoU 0 on every rung except the last; "
        f"otherwise {MISS_RULE}",
        f"Rules tuned over folds from: {source}{remark}",
        f"[low, high]: 95 % interval, {resamples} resamples of patients (seed {seed})",
        "oracle: chosen with the scored box; an upper bound, never a result",
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
            {"rung": rung, "localizer": climbed.name},
            disease_cells(names, estimates[r]),
            {"boxes": boxes, "without map": climbed.without_map, "saw": climbed.saw(rung)},
        )
        for r, rung in enumerate(RUNGS)
        for climbed, estimates in zip(ladders, figures, strict=True)
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
            {"lost to": step, "localizer": climbed.name},
            disease_cells(names, estimates[s]),
            {"boxes": boxes, "from rung to rung": STEPS[step]},
        )
        for s, step in enumerate(STEPS)
        for climbed, estimates in zip(ladders, losses, strict=True)
    )


def _findings(
    ladders: Sequence[Ladder],
    figures: Sequence[Sequence[DiseaseEstimates]],
    losses: Sequence[Sequence[DiseaseEstimates]],
) -> list[str]:
    sentences = []
    for climbed, rungs, lost in zip(ladders, figures, losses, strict=True):
        fixed, tuned = (rungs[r].macro.value for r in (0, 1))
        parts = [
            f"{figure.macro.value:.3f} to {step}" for step, figure in zip(STEPS, lost, strict=True)
        ]
        sentences.append(
            f"{climbed.name}: macro mean IoU {fixed:.3f} with its fixed threshold, {tuned:.3f} "
            f"tuned on other patients. The rest up to 1 is lost: {', '.join(parts)}."
        )
    return sentences


def _finding(
    ladders: Sequence[Ladder],
    figures: Sequence[Sequence[DiseaseEstimates]],
    losses: Sequence[Sequence[DiseaseEstimates]],
) -> str:
    parts = []
    for climbed, rungs, lost in zip(ladders, figures, losses, strict=True):
        steps = dict(zip(STEPS, (figure.macro.value for figure in lost), strict=True))
        worst = max(steps, key=lambda step: steps[step])
        parts.append(
            f"{climbed.name} reaches a mean IoU of {value_text(rungs[0].macro.value)} and loses "
            f"most to the {worst} ({value_text(steps[worst])})"
        )
    return f"{'; '.join(parts)}."


def _alt(ladders: Sequence[Ladder], figures: Sequence[Sequence[DiseaseEstimates]]) -> str:
    lines = [
        f"{climbed.name} " + ", ".join(f"{f.macro.value:.2f}" for f in estimates)
        for climbed, estimates in zip(ladders, figures, strict=True)
    ]
    return (
        f"Mean IoU on the rungs {', '.join(RUNGS)}, one panel per disease and one for the macro "
        f"mean, whose figures are: {'; '.join(lines)}."
    )
