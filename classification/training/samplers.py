"""Which images an epoch holds, and in what order: drawn anew for each epoch from a seed.

    uniform            every image once
    inverse_frequency  as many draws as images, with replacement, images of rare diseases more often
    capped             at most so many images of each disease, without repeats

Where shards feed the training (`data.shards`), uniform is drawn so that few row groups are in use
at a time (`ByRowGroups`); the others would need images of all shards at once, and are refused.

An image without a finding counts as an image of one more disease, "none", so that normal images are
balanced as well. All epochs of a run are equally long: schedules and Lightning count on it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from cxrloc.classification.config import TrainConfig
from cxrloc.datasets.shards.read import SHUFFLED_GROUPS, epoch_order

Labels = npt.NDArray[np.float64]
Positions = npt.NDArray[np.int64]


class Order(Protocol):
    """Positions of images; `len` is the same for every epoch."""

    def __len__(self) -> int: ...

    def positions(self, epoch: int) -> Positions:
        """The images of an epoch in their order; depends on the seed and the epoch alone."""
        ...


class Uniform:
    """Every one of `count` images once, shuffled."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed

    def __len__(self) -> int:
        return self.count

    def positions(self, epoch: int) -> Positions:
        return np.random.default_rng([self.seed, epoch]).permutation(self.count)


class ByRowGroups:
    """Every image once, shuffled, each place of a batch having its own stretch of the row groups.

    The images are shuffled within few row groups at a time (`epoch_order`) and that order is cut
    into as many stretches as a step has images; a step takes the next image of each. A process has
    the same places of every step, and so reads its own stretches, while what a step holds does not
    depend on how many processes there are. What is left over after the last full step is left out.
    """

    def __init__(self, groups: Positions, batch_size: int, seed: int) -> None:
        """Take the (N,) row group of each image."""
        self.groups, self.seed = groups, seed
        self.places = max(1, min(batch_size, len(groups)))
        self.steps = len(groups) // self.places
        # as many images at a time as one reader would shuffle
        self.together = max(1, SHUFFLED_GROUPS // self.places)

    def __len__(self) -> int:
        return self.steps * self.places

    def positions(self, epoch: int) -> Positions:
        order = epoch_order(self.groups, np.random.default_rng([self.seed, epoch]), self.together)
        return order[: len(self)].reshape(self.places, self.steps).T.reshape(-1)


def row_groups_in_use(batch_size: int) -> int:
    """How many row groups `ByRowGroups` uses at a time at most, those of the next turn included."""
    return 2 * max(batch_size, SHUFFLED_GROUPS)


class InverseFrequency:
    """As many draws as there are images, with replacement, by `image_weights` of (N, D) labels."""

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
    """At most `cap` images of each disease, where an image counts for each of its diseases.

    As in the sampling of the Deep MedIA report, rare diseases choose first. How many images fit
    depends a little on the draw, since images have several diseases: `len` is the fewest of the
    epochs 0 .. epochs - 1, and every epoch leaves out, by chance, what it has more.
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
    """(N, D + 1) from (N, D) labels: which diseases an image has; the last column is "none".

    Of soft labels those over one half count; the class "uncertain" (2) does not. An image without a
    known label has nothing, not even "none": it teaches nothing and is not drawn.
    """
    positive = (labels > 0.5) & (labels <= 1)
    has_label = ~np.isnan(labels).all(axis=1)
    return np.column_stack([positive, has_label & ~positive.any(axis=1)])


def image_weights(labels: Labels) -> npt.NDArray[np.float64]:
    """(N,) mean over an image's diseases of 1 / the disease's share; "none" is one of them."""
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
    """The order that the settings name, of images with (N, D) labels.

    Args:
        labels: of the training images.
        config: names the sampler.
        groups: (N,) row group of each image if they are read from shards.

    Raises:
        ValueError: for shards and another sampler than uniform.
    """
    if groups is None:
        return SAMPLERS[config.sampler](labels, config)
    if config.sampler != "uniform":
        raise ValueError(
            f"train.sampler: got {config.sampler!r}, expected uniform with data.shards: the other "
            "samplers draw images from all shards at once; leave data.shards empty for them"
        )
    return ByRowGroups(groups, config.batch_size, config.seed)
