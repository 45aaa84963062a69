"""Shards to training batches: the same tensors as the pixel cache gives, streamed.

An epoch's order is drawn from the seed and the epoch: row groups of all shards are shuffled, then
the films of `SHUFFLED_GROUPS` neighbouring groups among each other (a shuffle buffer of 1,024
films). Each rank takes its own stretch of that order, so it reads its own shards; the batches of a
rank go round its loader workers, so they come in one order however many workers there are.

On a local disk raw pixels are mapped, nothing is held. Elsewhere, and for PNGs, a worker holds at
most `SHUFFLED_GROUPS` row groups (64 MiB raw at 256 px, 256 MiB at 512 px), and every worker of a
rank reads the rank's groups: for raw shards in a far store one worker a rank is best.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, IterableDataset, default_collate, get_worker_info

from cxrloc.datasets.shards import (
    LABEL_PREFIX,
    ShardFile,
    Squares,
    decode_square,
    manifest_name,
)
from cxrloc.datasets.storage import Storage

SHUFFLED_GROUPS = 32
HOW_TO_MAKE = "make it with: python tools/build_shards.py --prepared DIR --out {out} --size {size}"

IntArray = npt.NDArray[np.int64]
ShardBatch = tuple[torch.Tensor, torch.Tensor]
Kept = TypeVar("Kept")


class ShardSet:
    """All films of one size in a folder of tools/build_shards.py: labels at once, pixels on demand.

    `shards[image_id]` is (size, size) uint8 as in a `PixelCache`.

    Attributes:
        size: side of the squares in pixels.
        diseases: columns of `labels`.
        image_ids, patients, splits: of each film, in the order of the shards.
        labels: (N, D) float32: 0, 1 or NaN (unknown).
        rows: image id -> position.
        groups: (N,) number of each film's row group, counted over all shards.
    """

    def __init__(self, url: str, size: int, held: int | None = None) -> None:
        """Read everything but the pixels.

        Args:
            url: folder or URL of the shards, which holds `size=SIZE` folders.
            size: side of the squares in pixels.
            held: row groups that a process keeps at most, of those that cannot be mapped; default
                `SHUFFLED_GROUPS`.

        Raises:
            FileNotFoundError: if the folder, the size or a shard is not there.
            ValueError: if a shard is not the one of the manifest.
        """
        storage = Storage.at(url)
        manifest = _manifest(storage, size)
        names = [shard["name"] for shard in manifest["shards"]]
        files = [ShardFile(storage, name) for name in names]
        tables = [file.films() for file in files]
        self.size, self.url = size, url
        self.diseases: tuple[str, ...] = tuple(manifest["diseases"])
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
        return self.square(self.rows[image_id])

    def __contains__(self, image_id: object) -> bool:
        return image_id in self.rows

    def __len__(self) -> int:
        return len(self.image_ids)

    def square(self, position: int) -> Squares:
        """(size, size) uint8 pixels of the film at a position; do not write to them."""
        group = int(self.groups[position])
        found = self._pixels[group][position - self._begins[group]]
        return decode_square(found) if isinstance(found, bytes) else found


class ShardBatches(IterableDataset[ShardBatch]):
    """Batches of one rank: (B, S, S) uint8 squares and (B, D) labels, NaN unknown.

    With a seed, shuffled anew for each epoch (`set_epoch`): every rank gives the same number of
    batches, and a last batch that is not full is left out. Without, in the order of `image_ids`,
    every film once over all ranks.

    Attributes:
        image_ids, patients: of the films to feed, over all ranks.
        labels: (N, D) float32 of them.
    """

    def __init__(
        self,
        shards: ShardSet,
        image_ids: Sequence[str],
        diseases: Sequence[str],
        batch_size: int,
        seed: int | None = None,
        *,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Choose films and diseases of a set, and the rank's share of them.

        Raises:
            ValueError: for an image or a disease that the shards do not hold, or a rank out of
                0 .. world_size - 1.
        """
        _check(shards, image_ids, diseases, rank, world_size)
        self.shards, self.batch_size, self.seed = shards, batch_size, seed
        self.rank, self.world_size = rank, world_size
        self.image_ids = tuple(image_ids)
        self._positions = np.array([shards.rows[i] for i in image_ids], dtype=np.int64)
        self.patients = tuple(shards.patients[p] for p in self._positions)
        columns = [shards.diseases.index(disease) for disease in diseases]
        self.labels = shards.labels[self._positions][:, columns]
        # Shared: the copies that persistent workers hold must hear of a new epoch.
        self._epoch = torch.tensor(0).share_memory_()  # type: ignore[no-untyped-call]

    def set_epoch(self, epoch: int) -> None:
        """Draw this epoch's order from the next iteration on, in loader workers too."""
        self._epoch.fill_(epoch)

    def batches(self) -> list[IntArray]:
        """Of each batch of this rank in this epoch, in order, the places in `image_ids`."""
        count, ranks = len(self.image_ids), self.world_size
        if self.seed is None:
            begin, end = count * self.rank // ranks, count * (self.rank + 1) // ranks
            mine = np.arange(begin, end)
        else:
            seed = [self.seed, int(self._epoch)]
            order = epoch_order(self.shards.groups[self._positions], np.random.default_rng(seed))
            mine = order[: count // ranks * ranks].reshape(ranks, -1)[self.rank]
        full, rest = divmod(len(mine), self.batch_size)
        number = full + bool(rest and (self.seed is None or full == 0))
        return [mine[i * self.batch_size : (i + 1) * self.batch_size] for i in range(number)]

    def __len__(self) -> int:
        return len(self.batches())

    def __iter__(self) -> Iterator[ShardBatch]:
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for places in self.batches()[first::step]:
            found = [self.shards.square(position) for position in self._positions[places].tolist()]
            # collated: in a worker straight into shared memory, one copy in all
            squares: torch.Tensor = default_collate([torch.from_numpy(each) for each in found])
            yield squares, torch.from_numpy(self.labels[places])


def make_shard_loader(batches: ShardBatches, workers: int = 0) -> DataLoader[ShardBatch]:
    """Loader of whole batches, in one order whatever the number of workers."""
    return DataLoader(batches, batch_size=None, num_workers=workers, persistent_workers=workers > 0)


def epoch_order(
    groups: IntArray, rng: np.random.Generator, together: int | None = None
) -> IntArray:
    """A shuffled order in which few row groups are in use at a time.

    Args:
        groups: (N,) row group of each film.
        rng: what draws it.
        together: row groups whose films are shuffled among each other; default `SHUFFLED_GROUPS`.

    Returns:
        (N,) the films' places: row groups in random order, then films in random order within each
        `together` of them.
    """
    together = together or SHUFFLED_GROUPS
    _, numbers = np.unique(groups, return_inverse=True)
    turn = rng.permutation(numbers.max(initial=-1) + 1)
    return np.lexsort((rng.random(len(groups)), turn[numbers] // together))


class _GroupPixels:
    """Row group -> its pixels: mapped where that is possible, else the last few used are held."""

    def __init__(self, storage: Storage, places: Sequence[tuple[str, int]], most: int) -> None:
        self._storage, self._places, self._most = storage, tuple(places), most
        self._forget()

    def __getitem__(self, number: int) -> Squares | list[bytes]:
        if self._process != os.getpid():  # a forked worker must not share a store's connections
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


def _keep(kept: OrderedDict[Any, Kept], key: Any, make: Callable[[], Kept], most: int) -> Kept:
    """kept[key], made if need be; of more than `most` the one that was used longest ago goes."""
    if key not in kept:
        kept[key] = make()
        if len(kept) > most:
            kept.popitem(last=False)
    kept.move_to_end(key)
    return kept[key]


def _manifest(storage: Storage, size: int) -> dict[str, Any]:
    """The size's manifest, its shards all there with their bytes."""
    how = HOW_TO_MAKE.format(out=storage.url, size=size)
    if not storage.exists(manifest_name(size)):
        raise FileNotFoundError(f"no finished shards of {size} px in {storage.url}; {how}")
    manifest: dict[str, Any] = storage.read_json(manifest_name(size))
    names = [shard["name"] for shard in manifest["shards"]]
    for shard, state in zip(manifest["shards"], storage.states(names), strict=True):
        found = "no file" if state is None else f"{state[0]} bytes"
        if found != f"{shard['bytes']} bytes":
            raise ValueError(
                f"{storage.url}/{shard['name']}: {found}, expected {shard['bytes']} bytes; {how}"
            )
    return manifest


def _labels(table: Any, diseases: Sequence[str]) -> npt.NDArray[np.float32]:
    columns = [table[LABEL_PREFIX + disease].to_numpy() for disease in diseases]
    return np.array(columns, dtype=np.float32).reshape(len(diseases), table.num_rows).T


def _check(
    shards: ShardSet, image_ids: Sequence[str], diseases: Sequence[str], rank: int, world_size: int
) -> None:
    absent = [image for image in image_ids if image not in shards]
    if absent:
        raise ValueError(
            f"{len(absent)} images are not in the shards of {shards.url}, the first is {absent[0]}"
        )
    unknown = [disease for disease in diseases if disease not in shards.diseases]
    if unknown:
        raise ValueError(
            f"no label {', '.join(unknown)} in {shards.url}; known are {list(shards.diseases)}"
        )
    if not 0 <= rank < world_size:
        raise ValueError(f"rank {rank} of {world_size}: expected 0 to {world_size - 1}")
