"""Store images predicted in several runtimes as Parquet, and compare them in a table.

The Parquet has one row per image, runtime and disease: image_id, patient_id, fold (`OUTSIDE` for a
model without folds), runtime, disease, label (null if unknown), probability, present, and the
strongest Grad-CAM box x1, y1, x2, y2 in pixels of the image, null if the disease is not present or
its map shows nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cxrloc.classification.metrics.bootstrap import RESAMPLES
from cxrloc.classification.metrics.ranking import bootstrap_ranking
from cxrloc.classification.metrics.sampled import bootstrap_ratios
from cxrloc.classification.report.tables import Cell, ResultTable, TableRow
from cxrloc.datasets.files.atomic import whole_file
from cxrloc.datasets.files.parse import one_line, parse_json
from cxrloc.localization.analyses.runtimes.agreement import SAME_BOX, RuntimePrediction, overlaps

_KEY = b"cxrloc"
_CORNERS = ("x1", "y1", "x2", "y2")
_AUC_REPLICATES = 1000


@dataclass(frozen=True)
class ImageInRuntimes:
    """One image.

    Attributes:
        labels: (D,) of 0, 1 and NaN.
        answers: runtime -> its prediction; the others are compared with the first.
    """

    image_id: str
    patient_id: str
    fold: int
    labels: npt.NDArray[np.float64] = field(repr=False)
    answers: Mapping[str, RuntimePrediction] = field(repr=False)


def write_images(
    path: Path,
    images: Sequence[ImageInRuntimes],
    diseases: Sequence[str],
    settings: Mapping[str, Any],
) -> None:
    """Write the Parquet atomically; `settings` are the inputs it was made from."""
    rows = [
        (
            image.image_id,
            image.patient_id,
            image.fold,
            runtime,
            disease,
            image.labels[column],
            answer.probabilities[column],
            disease in answer.present,
            *answer.boxes.get(disease, (np.nan,) * 4),
        )
        for image in images
        for runtime, answer in image.answers.items()
        for column, disease in enumerate(diseases)
    ]
    names = (
        "image_id",
        "patient_id",
        "fold",
        "runtime",
        "disease",
        "label",
        "probability",
        "present",
        *_CORNERS,
    )
    table = pa.Table.from_pandas(pd.DataFrame(rows, columns=names), preserve_index=False)
    with whole_file(path) as temporary:
        table = table.replace_schema_metadata({_KEY: json.dumps(settings)})
        pq.write_table(table, temporary, write_page_checksum=True)


def settings_of(path: Path) -> dict[str, Any]:
    """Read the `settings` from a file of `write_images`; empty if there is no such file."""
    try:
        metadata = pq.read_schema(path).metadata or {}
        settings = parse_json(metadata.get(_KEY, b"{}"), str(path))
    except (OSError, pa.ArrowException, ValueError):
        return {}  # the fold is measured again
    return settings if isinstance(settings, dict) else {}


def read_images(path: Path) -> list[ImageInRuntimes]:
    """Read the images of a file written by `write_images`, in order.

    Raises:
        ValueError: naming the file, if it is damaged.
    """
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        table.validate(full=True)
        return _images(table.to_pandas())
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged ({one_line(error)}); delete it, and run the same command again"
        ) from error


def _images(frame: pd.DataFrame) -> list[ImageInRuntimes]:
    images = []
    for image_id, of_image in frame.groupby("image_id", sort=False):
        answers = {}
        for runtime, rows in of_image.groupby("runtime", sort=False):
            boxed = rows.dropna(subset=list(_CORNERS))
            corners = boxed[list(_CORNERS)].itertuples(index=False, name=None)
            answers[str(runtime)] = RuntimePrediction(
                rows["probability"].to_numpy(dtype=np.float64),
                frozenset(rows["disease"][rows["present"]]),
                dict(zip(boxed["disease"], corners, strict=True)),
            )
            labels = rows["label"].to_numpy(dtype=np.float64)
        first = of_image.iloc[0]
        images.append(
            ImageInRuntimes(str(image_id), first["patient_id"], int(first["fold"]), labels, answers)
        )
    return images


def runtime_table(
    images: Sequence[ImageInRuntimes], diseases: Sequence[str], notes: Sequence[str] = ()
) -> ResultTable:
    """Compare each runtime with the first one, on the same images.

    Args:
        images: with the same diseases and runtimes, all folds together.
        diseases: diseases of the labels and probabilities, in order.
        notes: additional notes above the table, without a full stop.
    """
    first, *others = images[0].answers
    patients = [image.patient_id for image in images]
    labels = np.array([image.labels for image in images])
    exact = np.array([image.answers[first].probabilities for image in images])
    reference, _ = bootstrap_ranking(labels, exact, patients, _AUC_REPLICATES, seed=0)
    auc: dict[str, Any] = {"macro AUC": Cell(reference.macro)}
    rows = [TableRow("all images", {"runtime": f"{first} (reference)"}, auc)]
    for name in others:
        pairs = [(image.answers[first], image.answers[name]) for image in images]
        cells = _changes(pairs, patients)
        scores = np.array([image.answers[name].probabilities for image in images])
        aucs, _ = bootstrap_ranking(labels, scores, patients, _AUC_REPLICATES, seed=0)
        cells["macro AUC"] = Cell(aucs.macro)
        cells["AUC minus reference"] = Cell((aucs - reference).macro)
        rows.append(TableRow("all images", {"runtime": name}, cells))
    count = f"{len(images):,} images of {len(set(patients)):,} patients, {len(diseases)} diseases"
    undefined = [d for d, auc in zip(diseases, reference.points, strict=True) if np.isnan(auc)]
    explained = (
        f"{count}. Brackets: 95 % intervals, patients resampled {RESAMPLES:,} times "
        f"({_AUC_REPLICATES:,} times for AUC)",
        "Probabilities: absolute difference over images and diseases; the mean in thousandths. "
        "Turned: decisions (an image and a disease) that only one of the two runtimes calls "
        "present; a disease without a threshold never is",
        f"Same box: share of diseases present in both whose strongest Grad-CAM boxes overlap with "
        f"an IoU over {SAME_BOX}; other region: with an IoU of 0",
        "This shows what rounding changes, not which is right: for that see the AUC over all folds "
        f"together, macro over {len(diseases) - len(undefined)} of {len(diseases)} diseases"
        + (f"; undefined: {', '.join(undefined)}" if undefined else ""),
    )
    return ResultTable(
        "runtimes", "Effect of the gate's runtime", tuple(rows), (*explained, *notes)
    )


def _changes(
    pairs: Sequence[tuple[RuntimePrediction, RuntimePrediction]], patients: Sequence[str]
) -> dict[str, Any]:
    """The cells of a runtime except AUC."""
    apart = np.abs([first.probabilities - second.probabilities for first, second in pairs])
    turned = np.array([len(first.present ^ second.present) for first, second in pairs])
    ious = [np.array(overlaps(*pair)) for pair in pairs]
    boxes = np.array([values.size for values in ious])
    decisions = np.full(len(pairs), apart.shape[1])
    # each image's contribution to numerator and denominator of a ratio
    above = [
        1000 * apart.sum(axis=1),
        1000 * turned,
        [(values > SAME_BOX).sum() for values in ious],
        [(values == 0).sum() for values in ious],
    ]
    below = [decisions, decisions, boxes, boxes]
    over, under = (np.array(part, dtype=np.float64).T for part in (above, below))
    ratios = bootstrap_ratios(over, under, patients, RESAMPLES, seed=0)
    mean, rate, same, other = map(Cell, ratios.estimates)
    return {
        "probabilities, mean x 1000": mean,
        "probabilities, largest": float(apart.max()),
        "turned": int(turned.sum()),
        "turned per thousand": rate,
        "boxes": int(boxes.sum()),
        "median IoU": float(np.median(np.concatenate(ious))) if boxes.any() else np.nan,
        "same box": same,
        "other region": other,
    }
