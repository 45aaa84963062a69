"""Images a second that loaders feed, side by side: PNG files as textbooks read them, and shards.

Shards are read as a training with `data.shards` reads them, in the order `ByRowGroups`.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from cxrloc.classification.report.tables import ResultTable, TableRow, Value, to_text
from cxrloc.classification.training.batches import Batch, ImageBatches, Loader, make_loader
from cxrloc.classification.training.samplers import ByRowGroups, row_groups_in_use
from cxrloc.datasets.files.storage import Storage
from cxrloc.datasets.images.transforms import fit_square
from cxrloc.datasets.radiograph import Radiograph
from cxrloc.datasets.shards.engines import build_shards, local_engine
from cxrloc.datasets.shards.format import ENCODINGS
from cxrloc.datasets.shards.manifest import check_hashes, read_manifest
from cxrloc.datasets.shards.plan import plan_shards
from cxrloc.datasets.shards.read import ShardSet

BATCH_SIZE = 32
PNG_IMAGES = 128  # an epoch of the slow sides; shards feed all images an epoch
TEXTBOOK = "PNG, textbook (PIL, RGB, normalised)"
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Labelled = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Rate:
    """One row of the table.

    Attributes:
        loader: what fed.
        size: side of the squares in pixels.
        workers: loader processes.
        images_per_second: median over the repeats.
        ratio: to the textbook loader of that size and those workers, median of the repeats' own.
    """

    loader: str
    size: int
    workers: int
    images_per_second: float
    ratio: float


class TextbookImages(Dataset[Labelled]):
    """What tutorials do: PIL, three equal channels, squeezed to a square, normalised floats."""

    def __init__(self, images: Sequence[Radiograph], size: int) -> None:
        from torchvision import transforms

        self.images = images
        self.transform = transforms.Compose(
            [
                transforms.Resize((size, size)),
                transforms.ToTensor(),
                transforms.Normalize(_IMAGENET_MEAN, _IMAGENET_STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Labelled:
        from PIL import Image

        image = self.images[index]
        with Image.open(str(image.path)) as opened:
            return self.transform(opened.convert("RGB")), torch.tensor([*image.labels.values()])


class OpenCvImages(Dataset[Labelled]):
    """One grey channel decoded by OpenCV, scaled and padded as in training."""

    def __init__(self, images: Sequence[Radiograph], size: int) -> None:
        self.images, self.size = images, size

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Labelled:
        image = self.images[index]
        grey = np.asarray(cv2.imread(str(image.path), cv2.IMREAD_GRAYSCALE), dtype=np.uint8)
        square = torch.from_numpy(fit_square(grey, self.size))
        return square, torch.tensor([*image.labels.values()])


def loader_rates(
    images: Sequence[Radiograph],
    folder: Path,
    sizes: Sequence[int],
    workers: Sequence[int],
    repeats: int,
    seconds: float = 2.0,
) -> list[Rate]:
    """Measure each loader `repeats` times, in turn with the others of its size and workers.

    Args:
        images: radiographs whose PNGs are on disk.
        folder: where their shards are built first.
        seconds: a loader feeds whole epochs for at least so long.
    """
    cv2.setNumThreads(1)  # of this process, and of the workers forked from it
    images = list(images)
    for encoding in ENCODINGS:
        plans = plan_shards(
            images,
            {image.image_id: "all" for image in images},
            str(folder / encoding),
            sizes=sizes,
            diseases=tuple(images[0].labels),
            encoding=encoding,
            rows=128,
        )
        build_shards(plans, local_engine(), dict)
    rates = []
    for size, count in itertools.product(sizes, workers):
        loaders = _loaders(images, folder, size, count)
        rates += _measured(loaders, size, count, repeats, seconds)
    return rates


def rate_table(rates: Sequence[Rate]) -> str:
    """One line a loader and size; images a second and ratio for each number of workers."""
    cells: dict[tuple[str, int], dict[str, Value]] = {}
    for rate in rates:
        row = cells.setdefault((rate.loader, rate.size), {})
        row[f"{rate.workers} workers"] = round(rate.images_per_second)
        row[f"ratio, {rate.workers} workers"] = f"{rate.ratio:.1f}"
    rows = [
        TableRow("", {"loader": loader, "size": size}, row) for (loader, size), row in cells.items()
    ]
    return to_text(ResultTable("loaders", "Images a second", tuple(rows), ()))


def hash_table(folder: Path, sizes: Sequence[int]) -> str:
    """What it costs to compare all shards with their hashes, once."""
    rows = []
    for encoding, size in itertools.product(ENCODINGS, sizes):
        storage = Storage.at(folder / encoding)
        manifest = read_manifest(storage, size)  # fills the disk's cache
        began = time.perf_counter()
        check_hashes(storage, manifest["shards"], "")
        passed = time.perf_counter() - began
        megabytes = sum(shard["bytes"] for shard in manifest["shards"]) / 1e6
        cells: dict[str, Value] = {
            "MB": round(megabytes),
            "seconds": f"{passed:.3f}",
            "MB a second": round(megabytes / passed),
            "images a second": round(manifest["rows"] / passed),
        }
        rows.append(TableRow("", {"loader": f"shards, {encoding}", "size": size}, cells))
    return to_text(ResultTable("hashes", "Comparing all hashes, once", tuple(rows), ()))


def _loaders(
    images: Sequence[Radiograph], folder: Path, size: int, workers: int
) -> dict[str, Iterable[Batch]]:
    """By name, the textbook loader first."""
    few = images[:PNG_IMAGES]
    settings: dict[str, Any] = {"num_workers": workers, "persistent_workers": workers > 0}
    loaders: dict[str, Iterable[Batch]] = {
        TEXTBOOK: DataLoader(TextbookImages(few, size), BATCH_SIZE, shuffle=True, **settings),
        "PNG, OpenCV grey": DataLoader(
            OpenCvImages(few, size), BATCH_SIZE, shuffle=True, **settings
        ),
    }
    for encoding in ENCODINGS:
        loaders[f"shards, {encoding}"] = _training_loader(images, folder / encoding, size, workers)
    return loaders


def _training_loader(images: Sequence[Radiograph], folder: Path, size: int, workers: int) -> Loader:
    """As a training with `data.shards` is fed."""
    shards = ShardSet(str(folder), size, row_groups_in_use(BATCH_SIZE))
    usable = [image for image in images if image.image_id in shards]
    batches = ImageBatches(shards, usable, shards.diseases)
    assert batches.groups is not None  # of shards it never is
    return make_loader(batches, BATCH_SIZE, ByRowGroups(batches.groups, BATCH_SIZE, 0), workers)


def _measured(
    loaders: Mapping[str, Iterable[Batch]], size: int, workers: int, repeats: int, seconds: float
) -> list[Rate]:
    for loader in loaders.values():  # starts the workers, fills the disk's cache
        _rate(loader, 0)
    rounds = [
        {name: _rate(each, seconds) for name, each in loaders.items()} for _ in range(repeats)
    ]
    return [
        Rate(
            name,
            size,
            workers,
            statistics.median(measured[name] for measured in rounds),
            statistics.median(measured[name] / measured[TEXTBOOK] for measured in rounds),
        )
        for name in loaders
    ]


def _rate(loader: Iterable[Batch], seconds: float) -> float:
    """Images a second of whole epochs, as many as begin within `seconds`."""
    images, began = 0, time.perf_counter()
    while True:
        images += sum(len(labels) for _, labels in loader)
        passed = time.perf_counter() - began
        if passed >= seconds:
            return images / passed
