"""Read, write and score cheXlocalize's files: ground-truth masks, predicted masks and points.

    {"patient64541_study1_view1_frontal": {"Atelectasis": {"size": [h, w], "counts": "..."}, ...}}

A mask file names images without suffix and contains all ten tasks for each, including empty masks,
as pycocotools' RLE in the size of the full release. It uses `Airspace Opacity` for CheXpert's `Lung
Opacity`. A point file, `{image: {task: [[x, y], ...]}}`, has the format of cheXlocalize's most
representative points by radiologists; its heat maps are pickles and are not read. Saporta et al.,
"Benchmarking saliency methods for chest X-ray interpretation", Nature Machine Intelligence 2022;
github.com/rajpurkarlab/cheXlocalize.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as rle

from cxrloc.datasets.files.coco.masks import MOST_PIXELS
from cxrloc.datasets.files.parse import read_json
from cxrloc.localization.cam.boxes import map_to_frame
from cxrloc.localization.cam.heat_maps import HeatMaps
from cxrloc.localization.localizer import Localization
from cxrloc.localization.predictions.masks import encode_mask, plain_rle

TASKS = (
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Lesion",
    "Airspace Opacity",
    "Edema",
    "Consolidation",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Support Devices",
)
_TASK_OF = {"Lung Opacity": "Airspace Opacity", "Effusion": "Pleural Effusion"}
_DISEASE_OF = {"Airspace Opacity": "Lung Opacity"}

Rle = dict[str, Any]
Segmentations = dict[str, dict[str, Rle]]
Points = dict[str, dict[str, list[list[float]]]]


@dataclass(frozen=True)
class ChexlocalizeFiles:
    """Masks and points of a comparison.

    Attributes:
        truth: the ground-truth masks.
        masks: localizer -> its masks, for all images and tasks.
        points: localizer -> its most representative points.
        filled_boxes: localizers without masks, for which filled boxes stand in.
        centres: localizers without heat maps, for which box centres stand in.
    """

    truth: Segmentations = field(repr=False)
    masks: Mapping[str, Segmentations] = field(repr=False)
    points: Mapping[str, Points] = field(repr=False)
    filled_boxes: tuple[str, ...] = ()
    centres: tuple[str, ...] = ()


def task_of(disease: str) -> str | None:
    """cheXlocalize's name for a disease, or None."""
    task = _TASK_OF.get(disease, disease)
    return task if task in TASKS else None


def disease_of(task: str) -> str:
    """CheXpert's name for a task."""
    return _DISEASE_OF.get(task, task)


def image_key(image_id: str) -> str:
    """`patient64541_study1_view1_frontal` for `valid/patient64541/study1/view1_frontal.jpg`."""
    parts = PurePosixPath(image_id).with_suffix("").parts
    return "_".join(parts[-3:])


def read_segmentations(path: Path) -> Segmentations:
    """Read the masks of a file, still encoded.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: naming the file, image and task, and the expectation.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no cheXlocalize segmentations at {path}")
    images = read_json(path)
    if not isinstance(images, dict) or not images:
        raise ValueError(
            f"{path}: expected an object {{image: {{task: mask}}}} with at least one image"
        )
    for image, tasks in images.items():
        missing = [t for t in TASKS if not isinstance(tasks, dict) or t not in tasks]
        if missing:
            raise ValueError(
                f"{path}: {image} lacks {', '.join(missing)}; expected a mask for each of the ten "
                "tasks, including empty ones (is it a file of annotations, not segmentations?)"
            )
        sizes = {_size(tasks[task], f"{path}: {image}, {task}") for task in TASKS}
        if len(sizes) > 1:
            raise ValueError(f"{path}: {image} has masks of sizes {sorted(sizes)}, expected one")
    return images


def attachments(files: ChexlocalizeFiles) -> dict[str, Any]:
    """File -> JSON value: NAME.segmentations.json and NAME.points.json for each localizer.

    The first is a prediction for cheXlocalize's own `eval.py --metric iou`, the second for its
    `--metric hitmiss --if_human_benchmark True`.
    """
    files_by_name: dict[str, Any] = {}
    for name in files.masks:
        files_by_name[f"chexlocalize/{name}.segmentations.json"] = files.masks[name]
        files_by_name[f"chexlocalize/{name}.points.json"] = files.points[name]
    return files_by_name


def size_of(tasks: Mapping[str, Rle]) -> tuple[int, int]:
    """(height, width) of an image's masks."""
    height, width = tasks[TASKS[0]]["size"]
    return int(height), int(width)


def box_of(mask: Rle, size_hw: tuple[int, int]) -> tuple[float, float, float, float] | None:
    """Box xyxy around a mask, in a frame of `size_hw`; None if the mask is empty."""
    if not rle.area(mask):
        return None
    x, y, w, h = rle.toBbox(mask)
    down, right = size_hw[0] / mask["size"][0], size_hw[1] / mask["size"][1]
    return float(x * right), float(y * down), float((x + w) * right), float((y + h) * down)


def box_mask(box_xyxy: Sequence[float], from_hw: tuple[int, int], size_hw: tuple[int, int]) -> Rle:
    """A filled box in a frame `from_hw`, as the mask of an image of `size_hw`."""
    down, right = size_hw[0] / from_hw[0], size_hw[1] / from_hw[1]
    x1, x2 = (round(value * right) for value in (box_xyxy[0], box_xyxy[2]))
    y1, y2 = (round(value * down) for value in (box_xyxy[1], box_xyxy[3]))
    corners = np.array([[x1, y1, x2 - x1, y2 - y1]], dtype=np.float64)  # xywh
    return plain_rle(rle.frPyObjects(corners, *size_hw)[0])


def resized_mask(mask: Mapping[str, Any], size_hw: tuple[int, int]) -> Rle:
    """Resize a mask to an image's size by nearest neighbour."""
    if tuple(mask["size"]) == size_hw:
        return plain_rle(mask)
    decoded = np.ascontiguousarray(rle.decode(mask))
    resized = cv2.resize(decoded, size_hw[::-1], interpolation=cv2.INTER_NEAREST)
    return encode_mask(np.asarray(resized, dtype=np.bool_), size_hw)


def peak(maps: HeatMaps, image_id: str, disease: str, size_hw: tuple[int, int]) -> list[float]:
    """x, y of a map's maximum in an image of `size_hw`; empty if there is no map."""
    cells = maps.cells(image_id, disease)
    if cells is None or not np.isfinite(cells).all():
        return []
    heat = map_to_frame(cells, size_hw, aligned=maps.aligned)
    row, column = np.unravel_index(int(np.argmax(heat)), heat.shape)
    return [float(column), float(row)]


def center(box: Localization, from_hw: tuple[int, int], size_hw: tuple[int, int]) -> list[float]:
    """x, y of a box's centre in an image of `size_hw`."""
    x1, y1, x2, y2 = box.box_xyxy
    x, y = (x1 + x2) / 2 * size_hw[1] / from_hw[1], (y1 + y2) / 2 * size_hw[0] / from_hw[0]
    return [min(x, size_hw[1] - 1.0), min(y, size_hw[0] - 1.0)]


def mask_iou(predicted: Rle | None, truth: Rle | None, *, true_positives_only: bool) -> float:
    """IoU of two masks of the same size, None meaning empty; NaN where it does not count.

    That is where both are empty and, with `true_positives_only`, where either is.
    """
    masks = [mask for mask in (predicted, truth) if mask is not None and rle.area(mask)]
    if len(masks) < 2:
        return 0.0 if masks and not true_positives_only else math.nan
    sizes = [tuple(mask["size"]) for mask in masks]
    if sizes[0] != sizes[1]:
        raise ValueError(f"masks of sizes {sizes[0]} and {sizes[1]}; expected one [h, w]")
    return float(rle.area(rle.merge(masks, intersect=True)) / rle.area(rle.merge(masks)))


def is_hit(points: Sequence[Sequence[float]], truth: Rle) -> float:
    """1 if a point lies in the mask, otherwise 0; NaN if the mask is empty."""
    if not rle.area(truth):
        return math.nan
    decoded = rle.decode(truth)
    return float(any(decoded[int(y), int(x)] for x, y in points))


def merged_mask(masks: Sequence[Rle]) -> Rle:
    """The union of masks of one size."""
    return masks[0] if len(masks) == 1 else plain_rle(rle.merge(list(masks)))


def empty_mask(size_hw: tuple[int, int]) -> Rle:
    """An empty mask."""
    runs = {"size": list(size_hw), "counts": [math.prod(size_hw)]}
    return plain_rle(rle.frPyObjects(runs, *size_hw))


def _size(mask: Any, where: str) -> tuple[int, int]:
    try:
        height, width = map(int, mask["size"])
        covered = sum(run_lengths(mask["counts"]))
    except (TypeError, KeyError, ValueError, IndexError, OverflowError, AttributeError):
        covered = height = width = 0
    if height < 1 or width < 1 or height * width > MOST_PIXELS or covered != height * width:
        raise ValueError(
            f"{where}: expected {{'size': [h, w], 'counts': RLE text of pycocotools}} with runs "
            "that cover the h x w pixels; is the file complete?"
        )
    return height, width


def run_lengths(counts: str) -> list[int]:
    """Decode COCO's compressed text into alternating run lengths of zeros and ones.

    A number is written in groups of five bits, lowest first, each plus 48. Bit 32 means that
    another group follows; bit 16 in the last group means that the number is negative. From the
    fourth number on it is the difference from the run before the previous one. pycocotools silently
    decodes truncated texts, hence this check.

    Raises:
        TypeError, ValueError, IndexError: for anything that is not such a text.
    """
    runs: list[int] = []
    value = shift = 0
    for letter in counts:
        group = ord(letter) - 48
        if not 0 <= group < 64:
            raise ValueError(f"{letter!r} in an RLE text")
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        value -= (1 << shift) if group & 16 else 0
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift or any(run < 0 for run in runs):
        raise ValueError("an RLE text that ends within a number, or has a negative run")
    return runs
