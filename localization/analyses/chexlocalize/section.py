"""Score our localizers with cheXlocalize's metrics: mask mIoU and hit rate, with intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from cxrloc.classification.metrics.bootstrap import MACRO_MEAN, ClusterBootstrap
from cxrloc.classification.report.tables import ResultTable, TableRow, value_text
from cxrloc.localization.analyses.chexlocalize.format import (
    TASKS,
    ChexlocalizeFiles,
    Rle,
    attachments,
    box_mask,
    center,
    empty_mask,
    image_key,
    merged_mask,
    peak,
    resized_mask,
    size_of,
    task_of,
)
from cxrloc.localization.analyses.chexlocalize.scores import (
    Values,
    hits,
    mask_ious,
    true_positives,
)
from cxrloc.localization.cam.heat_maps import HeatMaps
from cxrloc.localization.evaluation.detections import Detections
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.evaluation.gate_decisions import GateDecisions
from cxrloc.localization.evaluation.ground_truth import GroundTruth, ImageTable
from cxrloc.localization.localizer import Localization
from cxrloc.localization.predictions.masks import MaskResult
from cxrloc.localization.report.comparison_tables import disease_cells
from cxrloc.localization.report.sections import Section

MIOU, MIOU_TRUE_POSITIVES = "mIoU", "mIoU, true positives only"
HIT_RATE = "hit rate"
_TITLE = "cheXlocalize: mask mIoU and hit rate"
_QUESTION = (
    "How do the localizers score under cheXlocalize's rules, against its radiologists' masks? mIoU "
    "is the mean IoU of masks over all images where the ground truth or the localizer has a mask. "
    "Its second form counts only images where both have one, so it ignores misses. The hit rate is "
    "the share of ground-truth masks that contain the localizer's most representative point. The "
    "same masks and points are written as files for cheXlocalize's own code."
)


def chexlocalize(evaluated: Evaluated) -> Section | None:
    """mIoU in both forms and hit rate of every localizer for each task; None unless requested.

    Masks and points are saved in the report's folder, for cheXlocalize's own code.
    """
    if evaluated.inputs.segmentations is None:
        return None
    files = evaluated.once(chexlocalize_files)
    section = chexlocalize_section(files, evaluated.images.patient_of, **evaluated.draws)
    return replace(section, attachments=attachments(files))


def chexlocalize_files(evaluated: Evaluated) -> ChexlocalizeFiles:
    """Masks and points of every localizer on the images of cheXlocalize's ground truth.

    The mask of an image and disease is the one of the top-1 entry, or that box filled if the
    localizer has no masks; where the ground truth has k boxes of it, the union of the k with the
    highest scores. It is empty if the gate says absent. The point is the peak of the heat
    map, or the centre of the top-1 box, whatever the gate says, as in cheXlocalize's own code.

    Raises:
        ValueError: if no image of the ground truth is in the segmentations; names must end in
            patient/study/view.
    """
    inputs, images = evaluated.inputs, evaluated.images
    truth = {image: dict(tasks) for image, tasks in (inputs.segmentations or {}).items()}
    frames = {
        image_key(image): _Frame(image, size_hw)
        for image, size_hw in zip(images.image_ids, images.sizes_hw, strict=True)
    }
    drawn = [image for image in truth if image in frames]
    if not drawn:
        example = next(iter(frames), "none")
        raise ValueError(
            f"none of the {len(truth)} images of the segmentations ({next(iter(truth))}, ...) is "
            f"in the ground truth, whose images have names like {example}; expected names that end "
            "in patientN/studyN/viewN_frontal.jpg"
        )
    absent, asked = _absent(images, inputs.gate), _asked(evaluated.truth)
    exchanged = {}
    for name, detections in inputs.predictions.items():
        top, maps = _top_boxes(detections, asked), inputs.maps.get(name)
        mapped = {} if maps is None else _mapped_tasks(maps)
        entries = _top_masks(inputs.masks[name], asked) if name in inputs.masks else None
        exchanged[name] = (
            {f: _masks(frame, truth.get(f), top, entries, absent) for f, frame in frames.items()},
            {f: _points(frames[f], truth[f], top, maps, mapped) for f in drawn},
        )
    return ChexlocalizeFiles(
        truth={image: truth[image] for image in drawn},
        masks={name: masks for name, (masks, _) in exchanged.items()},
        points={name: points for name, (_, points) in exchanged.items()},
        filled_boxes=tuple(name for name in inputs.predictions if name not in inputs.masks),
        centres=tuple(name for name in inputs.predictions if name not in inputs.maps),
    )


class _Frame(NamedTuple):
    image_id: str
    size_hw: tuple[int, int]


_Pair = tuple[str, str]  # image_id, task
_Top = Mapping[_Pair, Sequence[Localization]]
_TopMasks = Mapping[_Pair, Sequence[Rle]]


def _asked(truth: GroundTruth) -> Counter[_Pair]:
    """(image_id, task) -> number of ground-truth boxes."""
    tasks = (task_of(disease) or "" for disease in truth.diseases)
    return Counter(zip(truth.image_ids, tasks, strict=True))


def _absent(images: ImageTable, gate: GateDecisions | None) -> set[tuple[str, str | None]]:
    """(image_id, task) pairs that the gate calls absent."""
    if gate is None:
        return set()
    rows, columns = np.nonzero(gate.known & ~gate.present)
    return {
        (images.image_ids[row], task_of(images.diseases[column]))
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
    }


def _top_boxes(detections: Detections, asked: Mapping[_Pair, int]) -> _Top:
    """(image_id, task) -> as many boxes as asked, the highest scores first."""
    images = detections.truth.images
    tasks = [task_of(disease) or "" for disease in images.diseases]
    top: dict[_Pair, list[Localization]] = {}
    for i in np.argsort(-detections.score, kind="stable").tolist():  # equals keep their order
        image, column = images.image_ids[detections.image[i]], detections.disease[i]
        best = top.setdefault((image, tasks[column]), [])
        if len(best) >= max(1, asked.get((image, tasks[column]), 0)):
            continue
        x1, y1, x2, y2 = detections.boxes_xyxy[i].tolist()
        box, score = (x1, y1, x2, y2), float(detections.score[i])
        best.append(Localization(image, images.diseases[column], box, score))
    return top


def _mapped_tasks(maps: HeatMaps) -> dict[str, dict[str, str]]:
    """image_id -> task -> disease, for diseases with a map."""
    mapped: dict[str, dict[str, str]] = {}
    for image_id, disease in maps.pairs:
        mapped.setdefault(image_id, {})[task_of(disease) or ""] = disease
    return mapped


def _top_masks(masks: Sequence[MaskResult], asked: Mapping[_Pair, int]) -> _TopMasks:
    """(image_id, task) -> as many masks as asked, the highest scores first."""
    top: dict[_Pair, list[Rle]] = {}
    for mask in sorted(masks, key=lambda mask: -mask.score):  # stable: equals keep their order
        pair = (mask.image_id, task_of(mask.disease) or "")
        best = top.setdefault(pair, [])
        if len(best) < max(1, asked.get(pair, 0)):
            best.append(dict(mask.rle))
    return top


def _masks(
    frame: _Frame,
    truth: Mapping[str, Rle] | None,
    boxes: _Top,
    entries: _TopMasks | None,
    absent: Set[tuple[str, str | None]],
) -> dict[str, Rle]:
    """A mask for each task, in the size of the ground truth's masks, or else of the image."""
    size = size_of(truth) if truth is not None else frame.size_hw
    masks = {}
    for task in TASKS:
        pair = (frame.image_id, task)
        if entries is None:
            parts = [box_mask(b.box_xyxy, frame.size_hw, size) for b in boxes.get(pair, ())]
        else:
            parts = [resized_mask(entry, size) for entry in entries.get(pair, ())]
        masks[task] = empty_mask(size) if pair in absent or not parts else merged_mask(parts)
    return masks


def _points(
    frame: _Frame,
    truth: Mapping[str, Rle],
    boxes: _Top,
    maps: HeatMaps | None,
    mapped: Mapping[str, Mapping[str, str]],
) -> dict[str, list[list[float]]]:
    """The points of the tasks that have one; `mapped` is the result of `_mapped_tasks`."""
    size, image_id = size_of(truth), frame.image_id
    points: dict[str, list[list[float]]] = {}
    disease_of = mapped.get(image_id, {})
    for task in TASKS:
        point: list[float] = []
        if maps is not None and task in disease_of:
            point = peak(maps, image_id, disease_of[task], size)
        elif maps is None and (image_id, task) in boxes:
            point = center(boxes[image_id, task][0], frame.size_hw, size)
        if point:
            points[task] = [point]
    return points


def chexlocalize_section(
    files: ChexlocalizeFiles, patient_of: Mapping[str, str], *, resamples: int, seed: int
) -> Section:
    """mIoU in both forms and hit rate of every localizer for each task.

    Args:
        patient_of: image_id -> patient.
        resamples, seed: parameters of the bootstrap over patients.
    """
    patients = {image_key(image): patient for image, patient in patient_of.items()}
    rows = []
    for name, masks in files.masks.items():
        ious = mask_ious(files.truth, masks)
        values_of = {
            MIOU: ious,
            MIOU_TRUE_POSITIVES: true_positives(ious, files.truth, masks),
            HIT_RATE: hits(files.truth, files.points[name]),
        }
        for measure, values in values_of.items():
            rows.append(_row(name, measure, values, patients, resamples, seed))
    shown = sorted((row for row in rows if row), key=lambda row: _MEASURES.index(row.block))
    notes = (
        f"Ground-truth masks: {len(files.truth)} images. The rule is top-1: one mask and one point "
        "per image and task; where the COCO ground truth has several boxes of a task, the mask is "
        "the union of as many, the highest scores first",
        f"Filled boxes as masks: {', '.join(files.filled_boxes) or 'no localizer'}; box centres as "
        f"points: {', '.join(files.centres) or 'no localizer'}",
        "With a gate, masks of diseases that it calls absent are empty; points are not gated",
        f"[low, high]: 95 % interval, {resamples} resamples of patients (seed {seed}); "
        "cheXlocalize's own code resamples images",
    )
    table = ResultTable("chexlocalize", _TITLE, tuple(shown), notes)
    return Section("chexlocalize", _TITLE, _finding(shown), (_QUESTION,), (table,))


def _finding(rows: Sequence[TableRow]) -> str:
    """The macro means of the two main measures, localizer by localizer."""
    named = {
        measure: ", ".join(
            f"{row.lead['localizer']} {value_text(row.cells[MACRO_MEAN])}"
            for row in rows
            if row.block == measure
        )
        for measure in (MIOU, HIT_RATE)
    }
    parts = [f"{measure}: {names}" for measure, names in named.items() if names]
    return f"{'; '.join(parts)}." if parts else "No mask of the ground truth could be scored."


_MEASURES = (MIOU, MIOU_TRUE_POSITIVES, HIT_RATE)


def _row(
    name: str,
    measure: str,
    values: Values,
    patients: Mapping[str, str],
    resamples: int,
    seed: int,
) -> TableRow | None:
    if not values:
        return None
    tasks = [task for task in TASKS if any(t == task for _, t in values)]
    who = [patients.get(image, image) for image, _ in values]
    disease_of = np.array([tasks.index(task) for _, task in values], dtype=np.intp)
    bootstrap = ClusterBootstrap.of(who, disease_of, len(tasks), resamples=resamples, seed=seed)
    (figures,) = bootstrap.estimates(np.array(list(values.values()))[:, None])
    lead: dict[str, str | float] = {"measure": measure, "localizer": name}
    counts = {"masks": len(values), "patients": len(set(who))}
    return TableRow(measure, lead, disease_cells(tasks, figures), counts)
