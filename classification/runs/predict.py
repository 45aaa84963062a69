"""Probabilities of a part's images by its trained network, by the code that judges images later."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from cxrloc.classification.bundle.classifier import ClassifierBundle
from cxrloc.classification.inference.gate import Gate
from cxrloc.classification.inference.gate_table import GateRow
from cxrloc.classification.metrics.scored_images import YOUDEN, ScoredImages, studies_and_parts
from cxrloc.classification.runs.run import Part, Run
from cxrloc.classification.training.batches import ImageBatches, mean_box_sizes
from cxrloc.classification.training.distributed import gather, member
from cxrloc.classification.training.stages import Trained, preprocessing_of
from cxrloc.datasets.radiograph import label_matrix


@dataclass(frozen=True)
class Judged:
    """A trained network and its probabilities of the part that it was trained for.

    Attributes:
        trained: the network, and how it came to be.
        bundle: of it, still without thresholds and manifest.
        validation, test: (N, D) probabilities of these images of the part.
    """

    trained: Trained
    bundle: ClassifierBundle
    validation: npt.NDArray[np.float64]
    test: npt.NDArray[np.float64]


def judge_part(run: Run, part: Part, trained: Trained) -> Judged:
    """Judge the validation and test images of a part, shared among the processes."""
    bundle = bundle_without_thresholds(run, part, trained)
    parts = run.images(part.split.validation), run.images(part.split.test)
    return Judged(trained, bundle, *(predict_distributed(run, bundle, images) for images in parts))


def judge(
    run: Run, bundle: ClassifierBundle, images: ImageBatches, positions: range | None = None
) -> npt.NDArray[np.float64]:
    """Probabilities (N, D) of the images at some positions (default: all).

    By the same code that judges images later.
    """
    train_settings = run.config.train
    gate = Gate(bundle, train_settings.device, train_settings.precision)
    asked, step = range(len(images)) if positions is None else positions, 64
    batches = [asked[start : start + step] for start in range(0, len(asked), step)]
    columns = len(run.diseases)
    scores = [
        gate.forward_squares(images.squares(batch), images.demographics[batch])[0]
        for batch in batches
    ]
    return np.concatenate([np.zeros((0, columns)), *scores])


def predict_distributed(
    run: Run, bundle: ClassifierBundle, images: ImageBatches
) -> npt.NDArray[np.float64]:
    """`judge` of all images, each by one of the processes; the whole (N, D) on every process."""
    mine = judge(run, bundle, images, member().share(len(images)))
    scores: npt.NDArray[np.float64] = gather(torch.from_numpy(mine)).numpy()
    return scores


def scored_images(
    run: Run, part: Part, images: ImageBatches, scores: npt.NDArray[np.float64]
) -> ScoredImages:
    """Images of a fold (0 of a single split) with their probabilities (N, D) and labels."""
    folds = np.full(len(images), part.fold or 0, dtype=np.int64)
    studies, parts = studies_and_parts([run.radiographs[i] for i in images.image_ids])
    return ScoredImages(
        run.diseases,
        images.image_ids,
        images.patients,
        folds,
        scores,
        images.labels,
        study_ids=studies,
        body_parts=parts,
    )


def images_of_rows(run: Run, rows: Sequence[GateRow]) -> ScoredImages:
    """The images of a gate.csv, with labels and the thresholds that stand there."""
    columns = len(run.diseases)
    images = [run.radiographs[row.image_id] for row in rows[::columns]]
    cells = [(row.probability, row.threshold) for row in rows]
    matrices = np.array(cells, dtype=np.float64).reshape(len(images), columns, 2)  # None is NaN
    studies, parts = studies_and_parts(images)
    return ScoredImages(
        run.diseases,
        tuple(image.image_id for image in images),
        tuple(image.patient_id for image in images),
        np.array([row.fold or 0 for row in rows[::columns]], dtype=np.int64),
        matrices[..., 0],
        label_matrix(images, run.diseases),
        {YOUDEN: matrices[..., 1]},
        study_ids=studies,
        body_parts=parts,
    )


def bundle_without_thresholds(run: Run, part: Part, trained: Trained) -> ClassifierBundle:
    """The network, ready to judge images, with what is known before it has done so."""
    train_ids = "\n".join(sorted(part.split.train))
    return ClassifierBundle(
        model=trained.model,
        diseases=run.diseases,
        thresholds=dict.fromkeys(run.diseases),
        preprocessing=preprocessing_of(run.config, run.images(part.split.train), part.folder),
        mean_box_sizes=mean_box_sizes([run.radiographs[i] for i in part.split.train], run.diseases),
        manifest={},
        metadata={
            "fold": part.fold,
            "k": None if part.fold is None else run.prepared.k,
            "train_ids_sha256": hashlib.sha256(train_ids.encode()).hexdigest(),
        },
    )
