"""Batches of decoded films: whole batches out of the pixel cache, shuffled and changed by seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Sampler

from cxrloc.classification.config import TrainConfig
from cxrloc.classification.samplers import Order
from cxrloc.datasets.pixel_cache import PixelCache
from cxrloc.datasets.radiograph import Radiograph, label_matrix
from cxrloc.datasets.transforms import input_channels

Batch = tuple[torch.Tensor, torch.Tensor]
Loader = DataLoader[Batch]


class FilmBatches(Dataset[Batch]):
    """Indexed with a list of positions: (B, S, S) uint8 squares and (B, D) labels, NaN unknown.

    The squares are those that `Preprocessing.squares` makes of the films; (B, 3, S, S) of an
    enhanced input.
    """

    def __init__(
        self,
        cache: PixelCache,
        radiographs: Sequence[Radiograph],
        diseases: Sequence[str],
        clahe_clip: float = 0.0,
        kind: str = "grey",
    ) -> None:
        self.cache, self.clahe_clip, self.kind = cache, clahe_clip, kind
        self.image_ids = tuple(r.image_id for r in radiographs)
        self.patients = tuple(r.patient_id for r in radiographs)
        self.labels = label_matrix(radiographs, diseases)

    def __len__(self) -> int:
        return len(self.image_ids)

    def squares(self, positions: Sequence[int]) -> npt.NDArray[np.uint8]:
        """Copies out of the cache as the network is given them: see `input_channels`."""
        films = (self.cache[self.image_ids[i]] for i in positions)
        return np.stack([input_channels(film, self.kind, self.clahe_clip) for film in films])

    def __getitem__(self, positions: Sequence[int]) -> Batch:
        labels = self.labels[list(positions)].astype(np.float32)
        return torch.from_numpy(self.squares(positions)), torch.from_numpy(labels)


class EpochBatches(Sampler[list[int]]):
    """Batches of positions: every one of `count` films in turn, or the films of an `order`.

    Lightning calls `set_epoch`, also after a resume, so an epoch's films do not depend on how often
    the run was interrupted. Of an order, a last batch that is not full is left out.
    """

    def __init__(self, count: int, batch_size: int, order: Order | None = None) -> None:
        self.count = count if order is None else len(order)
        self.batch_size, self.order, self.epoch = batch_size, order, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        full, rest = divmod(self.count, self.batch_size)
        return full + bool(rest and (self.order is None or full == 0))

    def __iter__(self) -> Iterator[list[int]]:
        order = np.arange(self.count) if self.order is None else self.order.positions(self.epoch)
        for i in range(len(self)):
            yield order[i * self.batch_size : (i + 1) * self.batch_size].tolist()


def make_loader(
    films: FilmBatches, batch_size: int, order: Order | None = None, workers: int = 0
) -> Loader:
    """Loader of whole batches (no collating film by film); all films in turn without an order."""
    return DataLoader(
        films,
        sampler=EpochBatches(len(films), batch_size, order),
        batch_size=None,
        num_workers=workers,
        persistent_workers=workers > 0,
    )


def augment(grey: torch.Tensor, config: TrainConfig, rng: np.random.Generator) -> torch.Tensor:
    """Small random rotation, scale, shift and brightness, one of each per film.

    Args:
        grey: (N, S, S) or (N, C, S, S) float in 0..255, on any device.
        config: the largest changes.
        rng: numpy's, so that CPU and GPU draw the same.
    """
    n = len(grey)
    planes = grey if grey.ndim == 4 else grey.unsqueeze(1)
    theta = torch.from_numpy(_affine(n, config, rng)).to(grey.device)
    gain = 1 + config.brightness * rng.uniform(-1, 1, n).astype(np.float32)
    grid = F.affine_grid(theta, list(planes.shape), align_corners=False)
    moved = F.grid_sample(planes, grid, padding_mode="zeros", align_corners=False)
    factor = torch.from_numpy(gain).to(grey.device)[:, None, None, None]
    return (moved * factor).clamp(0, 255).view(grey.shape)


def mean_box_sizes(
    radiographs: Sequence[Radiograph], diseases: Sequence[str]
) -> Mapping[str, tuple[float, float]]:
    """Disease -> mean (width, height) of its boxes as fractions of the frame's long side.

    A disease without a box is left out.
    """
    sizes: dict[str, list[tuple[float, float]]] = {d: [] for d in diseases}
    for radiograph in radiographs:
        side = max(radiograph.size_hw)
        for box in radiograph.boxes:
            x1, y1, x2, y2 = box.box_xyxy
            if box.disease in sizes:
                sizes[box.disease].append(((x2 - x1) / side, (y2 - y1) / side))
    means = {d: np.mean(wh, axis=0) for d, wh in sizes.items() if wh}
    return {d: (float(wh[0]), float(wh[1])) for d, wh in means.items()}


def _affine(n: int, config: TrainConfig, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """(n, 2, 3) maps from output to input coordinates, both in -1..1."""
    angle = np.deg2rad(config.rotation_degrees) * rng.uniform(-1, 1, n)
    scale = 1 + config.scale * rng.uniform(-1, 1, n)
    shift = 2 * config.shift * rng.uniform(-1, 1, (n, 2))
    mirror = np.where(rng.uniform(size=n) < 0.5, -1.0, 1.0) if config.flip else np.ones(n)
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    rows = [[cos * mirror, -sin, shift[:, 0]], [sin * mirror, cos, shift[:, 1]]]
    return np.array(rows, dtype=np.float32).transpose(2, 0, 1)
