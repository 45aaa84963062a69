"""Read images from shards by name, on demand, as the same squares as in the pixel cache.

On a local disk raw pixels are mapped, and nothing is kept in memory. Elsewhere, and for PNGs, a
process keeps the row groups it used last. In a training's order (`samplers.ByRowGroups`) at most
2 max(batch_size, 32) groups are in use at a time and are kept: with batches of up to 32 images, 128
MiB raw at 256 px and 512 MiB at 512 px. The loader workers of a rank take its batches in turn, so
the order does not depend on the number of workers. But every worker reads and keeps the rank's
groups: for raw shards in a distant store, use one worker per rank.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from cxrloc.datasets.files.storage import Storage
from cxrloc.datasets.radiograph import Radiograph
from cxrloc.datasets.shards.format import (
    LABEL_PREFIX,
    ShardFile,
    Squares,
    decode_square,
    kind_of,
    manifest_name,
)
from cxrloc.datasets.shards.manifest import HOW_TO_MAKE, read_manifest, read_rejects

SHUFFLED_GROUPS = 32
IntArray = npt.NDArray[np.int64]
Kept = TypeVar("Kept")


class ShardSet:
    """All images of one size in a folder of build_shards.py: labels at once, pixels on demand.

    `shards[image_id]` is (size, size) uint8 as in a `PixelCache`, or (3, size, size) for input
    enhanced; do not write to it.

    Attributes:
        kind: size, input and so on of all shards.
        size: side of the squares in pixels.
        diseases: columns of `labels`.
        image_ids, patients, splits: per image, in the order of the shards.
        labels: (N, D) float32: 0, 1 or NaN (unknown).
        rows: image id -> position.
        groups: (N,) number of each image's row group, counted over all shards.
    """

    def __init__(self, url: str, size: int, held: int | None = None) -> None:
        """Check every file against the manifest's hashes, and read everything except the pixels.

        Args:
            url: folder or URL of the shards, with `size=SIZE` folders.
            size: side of the squares in pixels.
            held: most row groups that a process keeps if they cannot be mapped; default
                `SHUFFLED_GROUPS`.

        Raises:
            FileNotFoundError: if the folder, the size or a shard is missing.
            ValueError: if a shard differs from the manifest, by a single byte.
        """
        storage = Storage.at(url)
        manifest = read_manifest(storage, size)
        names = [shard["name"] for shard in manifest["shards"]]
        files = [ShardFile(storage, name) for name in names]
        try:
            self.size, self.url, self.kind = size, url, kind_of(manifest)
        except ValueError as error:
            raise ValueError(f"{url}/{manifest_name(size)}: {error}") from error
        for file, shard in zip(files, manifest["shards"], strict=True):
            if (file.kind, file.rows) != (self.kind, shard["rows"]):
                raise ValueError(
                    f"{url}/{manifest_name(size)} says other things of {shard['name']} than the "
                    f"shard itself; {HOW_TO_MAKE.format(out=url, size=size)}"
                )
        tables = [file.images() for file in files]
        self.diseases = self.kind.diseases
        self.image_ids: tuple[str, ...] = tuple(
            i for t in tables for i in t["image_id"].to_pylist()
        )
        self.patients: tuple[str, ...] = tuple(
            p for t in tables for p in t["patient_id"].to_pylist()
        )
        self.splits = tuple(file.split for file in files for _ in range(file.rows))
        self.labels = np.concatenate([_labels(table, self.diseases) for table in tables])
        self.rows = {image: position for position, image in enumerate(self.image_ids)}
        places = [(name, group) for name, f in zip(names, files, strict=True) for group in f.groups]
        lengths = [rows for file in files for rows in file.groups.values()]
        self.groups: IntArray = np.repeat(np.arange(len(lengths)), lengths)
        self._begins = np.cumsum([0, *lengths])
        self._pixels = _GroupPixels(storage, places, held or SHUFFLED_GROUPS)

    def __getitem__(self, image_id: str) -> Squares:
        if image_id not in self.rows:
            raise KeyError(f"no pixels of {image_id} in {self.url} at {self.size} px")
        position = self.rows[image_id]
        group = int(self.groups[position])
        pixels = self._pixels[group][position - self._begins[group]]
        return decode_square(pixels) if isinstance(pixels, bytes) else pixels

    def __contains__(self, image_id: object) -> bool:
        return image_id in self.rows

    def __len__(self) -> int:
        return len(self.image_ids)


def epoch_order(groups: IntArray, rng: np.random.Generator, together: int) -> IntArray:
    """Shuffle such that few row groups are in use at a time.

    Args:
        groups: (N,) row group of each image.
        rng: source of randomness.
        together: number of row groups whose images are shuffled together.

    Returns:
        (N,) positions of the images: row groups in random order, and images in random order within
        each `together` of them.
    """
    _, numbers = np.unique(groups, return_inverse=True)
    turn = rng.permutation(numbers.max(initial=-1) + 1)
    return np.lexsort((rng.random(len(groups)), turn[numbers] // together))


class _GroupPixels:
    """Row group -> its pixels: mapped if possible; otherwise the last few used are kept."""

    def __init__(self, storage: Storage, places: Sequence[tuple[str, int]], most: int) -> None:
        self._storage, self._places, self._most = storage, tuple(places), most
        self._forget()

    def __getitem__(self, number: int) -> Squares | list[bytes]:
        if self._process != os.getpid():  # a forked worker must not share a store's connections
            self._storage = Storage.at(self._storage.url)
            self._forget()
        if number in self._mapped:
            return self._mapped[number]
        if number in self._held:
            self._held.move_to_end(number)
            return self._held[number]
        name, group = self._places[number]
        file = _keep(self._files, name, lambda: ShardFile(self._storage, name), self._most)
        if (mapped := file.mapped(group)) is None:
            return _keep(self._held, number, lambda: file.read(group), self._most)
        self._mapped[number] = mapped
        return mapped

    def __reduce__(self) -> tuple[type[_GroupPixels], tuple[Any, ...]]:
        return type(self), (
            self._storage,
            self._places,
            self._most,
        )  # spawned workers open files themselves

    def _forget(self) -> None:
        self._process = os.getpid()
        self._mapped: dict[int, Squares] = {}
        self._files: OrderedDict[str, ShardFile] = OrderedDict()
        self._held: OrderedDict[int, Squares | list[bytes]] = OrderedDict()


def _keep(cache: OrderedDict[Any, Kept], key: Any, make: Callable[[], Kept], most: int) -> Kept:
    """cache[key], made if missing; beyond `most` entries the least recently used is dropped."""
    if key not in cache:
        cache[key] = make()
        if len(cache) > most:
            cache.popitem(last=False)
    cache.move_to_end(key)
    return cache[key]


def _labels(table: Any, diseases: Sequence[str]) -> npt.NDArray[np.float32]:
    columns = [table[LABEL_PREFIX + disease].to_numpy() for disease in diseases]
    return np.array(columns, dtype=np.float32).reshape(len(diseases), table.num_rows).T


def check_complete(shards: ShardSet, radiographs: Sequence[Radiograph], *, strict: bool) -> None:
    """Report images that the shards lack because their files are unreadable.

    Args:
        shards: shards of these images.
        radiographs: the images to use; all readable ones must be in the shards.
        strict: treat an unreadable image as an error.

    Raises:
        ValueError: for images that are neither in the shards nor in their rejects.parquet or, in
            strict mode, for the first one in rejects.parquet.
    """
    absent = [r.image_id for r in radiographs if r.image_id not in shards]
    if not absent:
        return
    reasons = read_rejects(Storage.at(shards.url))
    strange = [image for image in absent if image not in reasons]
    if strange:
        raise ValueError(
            f"{len(strange)} of {len(radiographs)} images are not in {shards.url}, for example "
            f"{strange[0]}; " + HOW_TO_MAKE.format(out=shards.url, size=shards.size)
        )
    if strict:
        raise ValueError(f"{shards.url} lacks {absent[0]}: {reasons[absent[0]]}; see data.strict")
    for image in absent:
        print(f"shards: left out {image}: {reasons[image]}")
