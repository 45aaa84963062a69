"""Feed training images to the network, in training order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from cxrloc.classification.bundle.preprocessing import Preprocessing
from cxrloc.classification.training.batches import EpochBatches
from cxrloc.classification.training.distributed import member
from cxrloc.detection.config import DetectorConfig
from cxrloc.detection.data import DetectionSet
from cxrloc.detection.torchvision_backend.masks import finding_masks
from cxrloc.detection.torchvision_backend.network import Targets

Batch = tuple[Tensor, Targets]
Positions = tuple[int, list[int]]  # the epoch, and the images of a batch in it


class DetectionBatches(Dataset[Batch]):
    """Indexed by an epoch and a list of positions; returns the result of `training_batch`."""

    def __init__(self, data: DetectionSet, config: DetectorConfig) -> None:
        self.data, self.config = data, config

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, positions: Positions) -> Batch:
        epoch, indices = positions
        return training_batch(self.data, indices, self.config, epoch)


class RemainingBatches(Sampler[Positions]):
    """The batches of each epoch, without those of the run's first `done` steps.

    Lightning keeps counting after a resume, so `len` is that of a whole epoch.
    """

    def __init__(self, batches: EpochBatches, done: int = 0) -> None:
        self.batches, self.done = batches, done

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning, also after resuming."""
        self.batches.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Positions]:
        epoch = self.batches.epoch
        behind = max(0, self.done - epoch * len(self))
        for indices in list(self.batches)[behind:]:
            yield epoch, indices


def training_loader(data: DetectionSet, config: DetectorConfig, done: int = 0) -> DataLoader[Batch]:
    """This process's share of the batches of every epoch, shuffled and augmented by the seed.

    Args:
        done: steps already taken by an interrupted run.

    Raises:
        ValueError: for fewer images than the processes need, or a batch they cannot share.
    """
    order, train = data.order(config.seed), config.train
    batches = EpochBatches(len(data), train.batch_size, order, member(), train.epoch_steps)
    return DataLoader(
        DetectionBatches(data, config),
        sampler=RemainingBatches(batches, done),
        batch_size=None,
    )


def training_batch(
    data: DetectionSet, indices: Sequence[int], config: DetectorConfig, epoch: int
) -> tuple[Tensor, Targets]:
    """Network input (B, 3, S, S) and targets; a mask is a filled outline, or else the box."""
    squares, targets = [], []
    for index in indices:
        sample = data.sample(index, config.train.augment, config.seed, epoch)
        squares.append(sample.square)
        targets.append(
            {
                "boxes": torch.from_numpy(sample.boxes),
                "labels": torch.from_numpy(sample.labels),
                "masks": finding_masks(sample, data.size),
            }
        )
    return Preprocessing(data.size).to_tensor(np.stack(squares)), targets
