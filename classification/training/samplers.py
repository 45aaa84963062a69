"""Sample the images of each epoch and their order, from a seed.

    uniform            every image once
    inverse_frequency  as many draws as images, with replacement, favouring rare diseases
    capped             a limited number of images per disease, without repeats

If the training reads shards (`data.shards`), uniform keeps few row groups in use at a time
(`ByRowGroups`); the others would need images of all shards at once and are refused.

An image without findings counts as having one more disease, "none", so that normal images are
balanced too. All epochs of a run have the same length: schedules and Lightning rely on it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from cxrloc.classification.train_config import TrainConfig
from cxrloc.datasets.shards.read import SHUFFLED_GROUPS, epoch_order

Labels = npt.NDArray[np.float64]
Positions = npt.NDArray[np.int64]


class Order(Protocol):
    """Positions of images; `len` is the same for every epoch."""

    def __len__(self) -> int: ...

    def positions(self, epoch: int) -> Positions:
        """The images of an epoch in order; depends only on the seed and the epoch."""
        ...


class Uniform:
    """Each of `count` images once, shuffled."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed

    def __len__(self) -> int:
        return self.count

    def positions(self, epoch: int) -> Positions:
        return np.random.default_rng([self.seed, epoch]).permutation(self.count)


class ByRowGroups:
    """Every image once, shuffled, with a separate range of row groups for each place in a batch.

    Images are shuffled within few row groups at a time (`epoch_order`). That order is cut into as
    many ranges as a step has images, and a step takes the next image from each. A process has the
    same places in every step, and so reads its own ranges; the content of a step does not depend on
    the number of processes. Images after the last full step are left out.
    """

    def __init__(self, groups: Positions, batch_size: int, seed: int) -> None:
        """Take the (N,) row group of each image."""
        self.groups, self.seed = groups, seed
        self.places = max(1, min(batch_size, len(groups)))
        self.steps = len(groups) // self.places
        # as many images at a time as a single reader would shuffle
        self.together = max(1, SHUFFLED_GROUPS // self.places)

    def __len__(self) -> int:
        return self.steps * self.places

    def positions(self, epoch: int) -> Positions:
        order = epoch_order(self.groups, np.random.default_rng([self.seed, epoch]), self.together)
        return order[: len(self)].reshape(self.places, self.steps).T.reshape(-1)


def row_groups_in_use(batch_size: int) -> int:
    """Most row groups that `ByRowGroups` uses at a time, including those of the next turn."""
    return 2 * max(batch_size, SHUFFLED_GROUPS)


class InverseFrequency:
    """As many draws as images, with replacement, by `image_weights` of (N, D) labels."""

    def __init__(self, labels: Labels, seed: int) -> None:
        weights = image_weights(labels)
        self.chances, self.seed = weights / weights.sum(), seed

    def __len__(self) -> int:
        return len(self.chances)

    def positions(self, epoch: int) -> Positions:
        rng = np.random.default_rng([self.seed, epoch])
        return rng.choice(len(self), size=len(self), p=self.chances)


CAP = 5000  # images per disease and epoch, as in the Deep MedIA report


class Capped:
    """At most `cap` images per disease; an image counts for each of its diseases.

    As in the sampling of the Deep MedIA report, rare diseases choose first. The number of images
    varies a little, since images have several diseases: `len` is the minimum over epochs 0 ..
    epochs - 1, and every epoch drops its surplus at random.
    """

    def __init__(self, labels: Labels, cap: int, seed: int, epochs: int) -> None:
        self.findings, self.cap, self.seed = findings(labels), cap, seed
        self.length = min(len(self._draw(epoch)) for epoch in range(epochs))

    def __len__(self) -> int:
        return self.length

    def positions(self, epoch: int) -> Positions:
        return self._draw(epoch)[: self.length]

    def _draw(self, epoch: int) -> Positions:
        rng = np.random.default_rng([self.seed, epoch])
        shuffled = rng.permutation(len(self.findings))
        room = np.full(self.findings.shape[1], self.cap)
        taken = np.zeros(len(self.findings), dtype=bool)
        for disease in np.argsort(self.findings.sum(axis=0), kind="stable"):
            for i in shuffled[self.findings[shuffled, disease] & ~taken[shuffled]]:
                if not room[disease]:
                    break
                if room[self.findings[i]].all():
                    taken[i] = True
                    room -= self.findings[i]
        return rng.permutation(np.flatnonzero(taken))


def findings(labels: Labels) -> npt.NDArray[np.bool_]:
    """(N, D + 1) from (N, D) labels: the diseases of an image; the last column is "none".

    Soft labels above one half count; the class "uncertain" (2) does not. An image without a known
    label has nothing, not even "none": it teaches nothing and is never drawn.
    """
    positive = (labels > 0.5) & (labels <= 1)
    has_label = ~np.isnan(labels).all(axis=1)
    return np.column_stack([positive, has_label & ~positive.any(axis=1)])


def image_weights(labels: Labels) -> npt.NDArray[np.float64]:
    """(N,) mean over an image's diseases of 1 / the disease's share; "none" counts as one."""
    has_finding = findings(labels)
    inverse = len(has_finding) / np.maximum(has_finding.sum(axis=0), 1)
    count = np.maximum(has_finding.sum(axis=1), 1)
    weights: npt.NDArray[np.float64] = (has_finding * inverse).sum(axis=1) / count
    return weights


SAMPLERS: dict[str, Callable[[Labels, TrainConfig], Order]] = {
    "uniform": lambda labels, c: Uniform(len(labels), c.seed),
    "inverse_frequency": lambda labels, c: InverseFrequency(labels, c.seed),
    "capped": lambda labels, c: Capped(labels, CAP, c.seed, c.epochs),
}


def make_order(labels: Labels, config: TrainConfig, groups: Positions | None = None) -> Order:
    """Build the order of the settings for images with (N, D) labels.

    Args:
        labels: labels of the training images.
        config: names the sampler.
        groups: (N,) row group of each image if read from shards.

    Raises:
        ValueError: for shards with a sampler other than uniform.
    """
    if groups is None:
        return SAMPLERS[config.sampler](labels, config)
    if config.sampler != "uniform":
        raise ValueError(
            f"train.sampler: got {config.sampler!r}, expected uniform with data.shards: the other "
            "samplers draw images from all shards at once; leave data.shards empty to use them"
        )
    return ByRowGroups(groups, config.batch_size, config.seed)
