"""Predict the probabilities of a fold's images with the same code path as deployment."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from cxrloc.classification.bundle.classifier import (
    ClassifierBundle,
    inherited_supervision,
)
from cxrloc.classification.bundle.metadata import BOX_SUPERVISION
from cxrloc.classification.inference.gate import Gate
from cxrloc.classification.inference.gate_table import GateRow
from cxrloc.classification.metrics.scored_images import YOUDEN, ScoredImages
from cxrloc.classification.runs.run import Fold, Run
from cxrloc.classification.training.batches import ImageBatches, mean_box_sizes
from cxrloc.classification.training.distributed import gather, member
from cxrloc.classification.training.stages import Trained


@dataclass(frozen=True)
class FoldPrediction:
    """A trained network and its probabilities for its fold.

    Attributes:
        trained: the network and its training history.
        bundle: bundle of the network, still without thresholds and manifest.
        validation, test: (N, D) probabilities of the fold's images.
    """

    trained: Trained
    bundle: ClassifierBundle
    validation: npt.NDArray[np.float64]
    test: npt.NDArray[np.float64]


def predict_fold(run: Run, fold: Fold, trained: Trained) -> FoldPrediction:
    """Predict the validation and test images of a fold, divided among the processes."""
    bundle = bundle_without_thresholds(run, fold, trained)
    image_sets = run.images(fold.split.validation), run.images(fold.split.test)
    scores = (predict_distributed(run, bundle, images) for images in image_sets)
    return FoldPrediction(trained, bundle, *scores)


def predict(
    run: Run, bundle: ClassifierBundle, images: ImageBatches, positions: range | None = None
) -> npt.NDArray[np.float64]:
    """Predict the images at some positions (default: all): probabilities (N, D)."""
    train_settings = run.config.train
    gate = Gate(bundle, train_settings.device, train_settings.precision)
    chosen, step = range(len(images)) if positions is None else positions, 64
    batches = [chosen[start : start + step] for start in range(0, len(chosen), step)]
    columns = len(run.diseases)
    scores = [
        gate.forward_squares(images.squares(batch), images.demographics[batch])[0]
        for batch in batches
    ]
    return np.concatenate([np.zeros((0, columns)), *scores])


def predict_distributed(
    run: Run, bundle: ClassifierBundle, images: ImageBatches
) -> npt.NDArray[np.float64]:
    """`predict` all images, divided among the processes; every process gets the whole (N, D)."""
    share = predict(run, bundle, images, member().share(len(images)))
    scores: npt.NDArray[np.float64] = gather(torch.from_numpy(share)).numpy()
    return scores


def scored_images(
    run: Run, fold: Fold, images: ImageBatches, scores: npt.NDArray[np.float64]
) -> ScoredImages:
    """Images of a fold (0 for a single split) with their probabilities (N, D) and labels."""
    radiographs = [run.radiographs[i] for i in images.image_ids]
    return ScoredImages.of(radiographs, run.diseases, scores, fold.number or 0)


def images_of_rows(run: Run, rows: Sequence[GateRow]) -> ScoredImages:
    """The images of a gate.csv, with their labels and the file's thresholds."""
    columns = len(run.diseases)
    images = [run.radiographs[row.image_id] for row in rows[::columns]]
    cells = [(row.probability, row.threshold) for row in rows]
    matrices = np.array(cells, dtype=np.float64).reshape(len(images), columns, 2)  # None is NaN
    folds = [row.fold or 0 for row in rows[::columns]]
    thresholds = {YOUDEN: matrices[..., 1]}
    return ScoredImages.of(images, run.diseases, matrices[..., 0], folds, thresholds)


def bundle_without_thresholds(run: Run, fold: Fold, trained: Trained) -> ClassifierBundle:
    """The network's bundle before prediction, without thresholds."""
    train_ids = "\n".join(sorted(fold.split.train))
    return ClassifierBundle(
        model=trained.model,
        diseases=run.diseases,
        thresholds=dict.fromkeys(run.diseases),
        preprocessing=trained.preprocessing,
        mean_box_sizes=mean_box_sizes([run.radiographs[i] for i in fold.split.train], run.diseases),
        manifest={},
        metadata={
            "fold": fold.number,
            "k": None if fold.number is None else run.prepared.k,
            "train_ids_sha256": hashlib.sha256(train_ids.encode()).hexdigest(),
            BOX_SUPERVISION: _box_supervision(run, fold),
        },
    )


def _box_supervision(run: Run, fold: Fold) -> dict[str, Any] | None:
    """Number of the boxes that the box loss saw, and initial weights that saw any."""
    seen = inherited_supervision(Path(run.config.model.weights)) or {}
    if run.config.train.box_loss_weight:
        boxes = len(run.regions([run.radiographs[i] for i in fold.split.train]))
        seen |= {"boxes": boxes, "box_loss_weight": run.config.train.box_loss_weight}
    return seen or None
