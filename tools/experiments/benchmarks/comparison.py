"""A comparison of any size, drawn from a seed: a COCO ground truth and localizers' results files.

    write_case(folder, images=15_000, seed=0)

    comparison_table(images=15_000)

Each disease has its own place for boxes, as hearts and lungs have. Localizers box the true places
with more or less noise and add boxes elsewhere. No image is drawn: the comparison reads none.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cxrloc.datasets.files.manifest import write_json
from cxrloc.datasets.labels.names import NIH_DISEASES

BOXES_PER_IMAGE = 0.828  # 12,420 boxes on 15,000 images
IMAGES_PER_PATIENT = 3.64  # NIH: 112,120 images of 30,805 patients
DETECTIONS_PER_IMAGE = 10
NOISE = {"near": 0.12, "middle": 0.25, "far": 0.5}  # of a true box's own size
SIDE = 1024

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """Files of a drawn comparison: the ground truth, and localizer -> results."""

    ground_truth: Path
    predictions: dict[str, Path]


def comparison_table(images: int, out: Path | None = None) -> str:
    """Seconds of the whole comparison on one thread, at a fifth of the images and at all of them.

    Raises:
        ValueError: for fewer than 500 images, or a comparison that failed.
    """
    if images < 500:
        raise ValueError(
            f"--images {images}: expected 500 or more; with fewer, some disease is rare"
        )
    lines = [f"{'images':>8s}{'boxes':>8s}{'wall s':>9s}{'CPU s':>9s}{'CPU s / 1,000 images':>22s}"]
    with tempfile.TemporaryDirectory() as temporary:
        for count in (images // 5, images):
            case = write_case((out or Path(temporary)) / str(count), count)
            wall, processor = _timed(case)
            boxes, rate = round(count * BOXES_PER_IMAGE), 1000 * processor / count
            lines.append(f"{count:8,d}{boxes:8,d}{wall:9.1f}{processor:9.1f}{rate:22.2f}")
    return "\n".join(lines)


def _timed(case: Case) -> tuple[float, float]:
    """Wall and processor seconds of cxrloc compare with one thread."""
    tool = Path(__file__).resolve().parents[2] / "compare_localizers.py"
    files = [f"{name}={path}" for name, path in case.predictions.items()]
    command = [sys.executable, str(tool), "--ground-truth", str(case.ground_truth)]
    command += ["--predictions", *files, "--out", str(case.ground_truth.parent / "comparison")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ValueError(f"the comparison ended with status {done.returncode}: {done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall = time.perf_counter() - began
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def write_case(folder: Path, images: int, seed: int = 0) -> Case:
    """Write the ground truth of `images` images and results of three localizers."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    image_of, disease_of, boxes = _boxes(rng, images)
    truth = folder / "ground_truth.json"
    write_json(truth, _coco(rng, images, image_of, disease_of, boxes))
    results = {}
    for name, noise in NOISE.items():
        results[name] = folder / f"{name}.json"
        write_json(results[name], _results(rng, images, noise, image_of, disease_of, boxes))
    return Case(truth, results)


def _boxes(rng: np.random.Generator, images: int) -> tuple[Any, Any, Floats]:
    """Image, disease and xywh of every true box; at most one of a disease on an image."""
    count = round(images * BOXES_PER_IMAGE)
    pairs = rng.permutation(images * len(NIH_DISEASES))[:count]
    image_of, disease_of = np.divmod(np.sort(pairs), len(NIH_DISEASES))
    places = rng.uniform(200, 600, (len(NIH_DISEASES), 2))
    sizes = rng.uniform(80, 400, (len(NIH_DISEASES), 2))
    jitter = np.exp(rng.normal(0, 0.25, (count, 2)))
    corner = places[disease_of] + rng.normal(0, 60, (count, 2))
    return image_of, disease_of, _in_frame(np.hstack([corner, sizes[disease_of] * jitter]))


def _in_frame(boxes_xywh: Floats) -> Floats:
    corner = boxes_xywh[:, :2].clip(0, SIDE - 40)
    size = boxes_xywh[:, 2:].clip(20, SIDE - corner)
    return np.asarray(np.hstack([corner, size]).round(2))


def _coco(
    rng: np.random.Generator, images: int, image_of: Any, disease_of: Any, boxes: Floats
) -> dict[str, Any]:
    patients = rng.integers(0, max(1, round(images / IMAGES_PER_PATIENT)), images)
    labels: list[list[str]] = [[] for _ in range(images)]
    for image, disease in zip(image_of.tolist(), disease_of.tolist(), strict=True):
        labels[image].append(NIH_DISEASES[disease])
    views, sexes = rng.choice(["PA", "AP"], images), rng.choice(["F", "M"], images)
    ages = rng.integers(18, 90, images)
    return {
        "images": [
            {
                "id": i + 1,
                "file_name": f"{i:08d}.png",
                "width": SIDE,
                "height": SIDE,
                "patient_id": str(patients[i]),
                "labels": labels[i],
                "view": str(views[i]),
                "sex": str(sexes[i]),
                "age_years": float(ages[i]),
            }
            for i in range(images)
        ],
        "annotations": [
            {
                "id": k + 1,
                "image_id": int(image) + 1,
                "category_id": int(disease) + 1,
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": 0,
            }
            for k, (image, disease, box) in enumerate(
                zip(image_of, disease_of, boxes.tolist(), strict=True)
            )
        ],
        "categories": [{"id": d + 1, "name": name} for d, name in enumerate(NIH_DISEASES)],
    }


def _results(
    rng: np.random.Generator,
    images: int,
    noise: float,
    image_of: Any,
    disease_of: Any,
    boxes: Floats,
) -> Sequence[dict[str, Any]]:
    """Ten boxes an image: one near each true box, the others anywhere under any name."""
    near = boxes + rng.normal(0, noise, boxes.shape) * np.tile(boxes[:, 2:], 2)
    others = images * DETECTIONS_PER_IMAGE - len(boxes)
    corner, size = rng.uniform(0, 800, (others, 2)), rng.uniform(50, 400, (others, 2))
    every = _in_frame(np.vstack([near, np.hstack([corner, size])])).tolist()
    image = np.concatenate([image_of, rng.integers(0, images, others)])
    disease = np.concatenate([disease_of, rng.integers(0, len(NIH_DISEASES), others)])
    score = np.concatenate([rng.beta(4, 2, len(boxes)), rng.beta(2, 4, others)]).round(5)
    return [
        {
            "image_id": int(image[k]) + 1,
            "category_id": int(disease[k]) + 1,
            "bbox": every[k],
            "score": float(score[k]),
        }
        for k in rng.permutation(len(every)).tolist()
    ]
