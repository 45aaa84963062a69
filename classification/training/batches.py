"""Load whole batches of images from the pixel cache or shards, shuffled and augmented by seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Sampler

from cxrloc.classification.bundle.preprocessing import (
    Preprocessing,
    mean_image_of,
    mean_image_tensors,
)
from cxrloc.classification.config import ModelConfig
from cxrloc.classification.network.demographics import encode
from cxrloc.classification.train_config import TrainConfig
from cxrloc.classification.training.distributed import Member
from cxrloc.classification.training.losses.boxes import BoxRegions
from cxrloc.classification.training.samplers import Order
from cxrloc.datasets.files.atomic import whole_file
from cxrloc.datasets.images.mean_image import mean_image
from cxrloc.datasets.images.pixel_cache import PixelCache
from cxrloc.datasets.images.transforms import input_channels
from cxrloc.datasets.progress import progress
from cxrloc.datasets.radiograph import Radiograph, label_matrix
from cxrloc.datasets.shards.read import ShardSet

# squares, labels and, optionally, demographics, or the pairs and masks of `BoxRegions`
Batch = tuple[torch.Tensor, ...]
Loader = DataLoader[Batch]
_MEAN_IMAGE = "mean_image.safetensors"  # kept with the checkpoints


class ImageBatches(Dataset[Batch]):
    """Indexed by a list of positions: (B, S, S) uint8 squares and (B, D) labels, NaN unknown.

    The squares equal those of `Preprocessing.squares`, (B, 3, S, S) for enhanced input. With
    demographics also (B, E) float32 from `demographics.encode`.

    Attributes:
        diseases: the columns of the labels.
        image_ids, patients, labels: per image; labels are (N, D).
        demographics: (N, E); E is 0 without demographics.
        regions: where the diseases are, for a training with boxes; its masks follow in each batch.
        groups: (N,) row group of each image in its shards; None for a pixel cache.
    """

    def __init__(
        self,
        cache: PixelCache | ShardSet,
        radiographs: Sequence[Radiograph],
        diseases: Sequence[str],
        clahe_clip: float = 0.0,
        kind: str = "grey",
        demographics: Sequence[str] = (),
    ) -> None:
        self.cache, self.clahe_clip, self.kind = cache, clahe_clip, kind
        self.diseases = tuple(diseases)
        self.image_ids = tuple(r.image_id for r in radiographs)
        self.patients = tuple(r.patient_id for r in radiographs)
        self.labels = label_matrix(radiographs, diseases)
        self.demographics = encode(demographics, radiographs)
        self.groups = row_groups(cache, self.image_ids)
        self.regions: BoxRegions | None = None

    def __len__(self) -> int:
        return len(self.image_ids)

    def squares(self, positions: Sequence[int]) -> npt.NDArray[np.uint8]:
        """Copies from the cache in the form of the network's input: see `input_channels`."""
        images = (self.cache[self.image_ids[i]] for i in positions)
        if holds_channels(self.cache):
            return np.stack(list(images))
        return np.stack([input_channels(image, self.kind, self.clahe_clip) for image in images])

    def __getitem__(self, positions: Sequence[int]) -> Batch:
        labels = self.labels[list(positions)].astype(np.float32)
        batch = torch.from_numpy(self.squares(positions)), torch.from_numpy(labels)
        if self.regions is not None:
            return (*batch, *self.regions.of_batch(positions))
        demographics = self.demographics[list(positions)]
        return (*batch, torch.from_numpy(demographics)) if demographics.shape[1] else batch


def holds_channels(cache: PixelCache | ShardSet) -> bool:
    """Whether images are stored as the network's channels instead of grey squares."""
    return isinstance(cache, ShardSet) and cache.kind.input == "enhanced"


def row_groups(
    cache: PixelCache | ShardSet, image_ids: Sequence[str]
) -> npt.NDArray[np.int64] | None:
    """(N,) row group of each image in its shards; None for a pixel cache."""
    if not isinstance(cache, ShardSet):
        return None
    return cache.groups[np.array([cache.rows[i] for i in image_ids], dtype=np.int64)]


class EpochBatches(Sampler[list[int]]):
    """One process's batches of positions in `count` images, or in the images of an `order`.

    With an order, `batch_size` is the global batch, and each process takes its share: N processes
    make the same steps as one. Images after the last full step are left out. Without an order every
    image comes once, and each process takes its own contiguous range. Lightning calls `set_epoch`,
    also on resuming, so an epoch's images do not depend on interruptions.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        order: Order | None = None,
        member: Member | None = None,
        most: int = 0,
    ) -> None:
        """Choose the batches of `member` (default: a single process), at most `most` unless 0.

        Raises:
            ValueError: if `batch_size` or the images cannot be divided among the processes.
        """
        self.count = count if order is None else len(order)
        self.member = member or Member()
        self.size = self.member.images_per_step(batch_size)
        self.batch_size, self.order, self.epoch, self.most = batch_size, order, 0, most
        least = self.member.world_size if order is None else batch_size
        if self.member.world_size > 1 and self.count < least:
            raise ValueError(
                f"{self.count} images, expected at least {least} to train with "
                f"{self.member.world_size} processes; start fewer"
                + ("" if order is None else ", or use a smaller train.batch_size")
            )

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        if self.order is None:
            return -(-len(self.member.share(self.count)) // self.size)
        steps = max(self.count // self.batch_size, min(self.count, 1))
        return min(steps, self.most) if self.most else steps

    def __iter__(self) -> Iterator[list[int]]:
        positions = self._positions()
        for i in range(len(self)):
            yield positions[i * self.size : (i + 1) * self.size].tolist()

    def _positions(self) -> npt.NDArray[np.int64]:
        if self.order is None:
            return np.array(self.member.share(self.count), dtype=np.int64)
        order, ranks = self.order.positions(self.epoch), self.member.world_size
        if ranks == 1:
            return order
        steps = order[: len(self) * self.batch_size].reshape(len(self), ranks, self.size)
        return steps[:, self.member.rank].reshape(-1)


def make_loader(
    images: ImageBatches,
    batch_size: int,
    order: Order | None = None,
    workers: int = 0,
    member: Member | None = None,
    most: int = 0,
) -> Loader:
    """Loader of whole batches (no collation of single images); see `EpochBatches`."""
    return DataLoader(
        images,
        sampler=EpochBatches(len(images), batch_size, order, member, most),
        batch_size=None,
        num_workers=workers,
        persistent_workers=workers > 0,
    )


@dataclass(frozen=True)
class Changes:
    """Random changes of the N images of a batch, drawn once for the images and their masks.

    Attributes:
        theta: (N, 2, 3) maps from output to input coordinates, both in -1..1.
        gain: (N,) factors on the grey values.
    """

    theta: torch.Tensor
    gain: torch.Tensor

    @classmethod
    def draw(
        cls, n: int, config: TrainConfig, rng: np.random.Generator, member: Member | None = None
    ) -> Changes:
        """Draw rotation, scale, shift, flip and brightness of each image.

        Args:
            n: images of this process.
            config: the largest changes.
            rng: a numpy generator, so that CPU and GPU draw the same.
            member: process of these images within the step (default: a single process); an image is
                changed as in a single process.
        """
        member = member or Member()
        everyone = n * member.world_size
        of_this_rank = slice(n * member.rank, n * (member.rank + 1))
        theta = torch.from_numpy(_affine(everyone, config, rng)[of_this_rank])
        gain = 1 + config.brightness * rng.uniform(-1, 1, everyone).astype(np.float32)
        return cls(theta, torch.from_numpy(gain[of_this_rank]))

    def of_images(self, grey: torch.Tensor) -> torch.Tensor:
        """Change (N, S, S) or (N, C, S, S) float in 0..255, on any device."""
        planes = grey if grey.ndim == 4 else grey.unsqueeze(1)
        moved = _moved(planes, self.theta)
        factor = self.gain.to(grey.device)[:, None, None, None]
        return (moved * factor).clamp(0, 255).view(grey.shape)

    def of_masks(self, masks: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Move (P, S, S) masks, in 0..255, as the images at these rows (P,); float in 0..1."""
        planes = masks.unsqueeze(1).float() / 255
        return _moved(planes, self.theta[rows.cpu()]).squeeze(1)


def _moved(planes: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
    if not len(planes):  # torch makes no grid of nothing
        return planes
    grid = F.affine_grid(theta.to(planes.device), list(planes.shape), align_corners=False)
    return F.grid_sample(planes, grid, padding_mode="zeros", align_corners=False)


def augment(
    grey: torch.Tensor, config: TrainConfig, rng: np.random.Generator, member: Member | None = None
) -> torch.Tensor:
    """Random changes of images alone: see `Changes`."""
    return Changes.draw(len(grey), config, rng, member).of_images(grey)


def mean_box_sizes(
    radiographs: Sequence[Radiograph], diseases: Sequence[str]
) -> Mapping[str, tuple[float, float]]:
    """Return disease -> mean (width, height) of its boxes, relative to the frame's long side.

    Diseases without a box are left out.
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


def fit_preprocessing(config: ModelConfig, images: ImageBatches, folder: Path) -> Preprocessing:
    """Build the preprocessing of the settings, its mean image from the training images.

    A mean image is saved in `folder` and reused when a training resumes.
    """
    plain = Preprocessing(
        config.size, clahe_clip=config.clahe_clip, input=config.input, markers=config.markers
    )
    if config.standardise == "imagenet":
        return plain
    path = folder / _MEAN_IMAGE
    if not path.is_file():
        squares = (images.squares([i])[0] for i in range(len(images)))
        image = mean_image(progress(squares, "mean image", len(images)))
        with whole_file(path) as temporary:
            save_file(mean_image_tensors(image, 255), temporary)
    return replace(plain, image=mean_image_of(load_file(path)))
