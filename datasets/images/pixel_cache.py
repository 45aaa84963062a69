"""Decode images once: grey squares of one size in a memory-mapped .npy file, reused by later runs.

Decoding a 1024 x 1024 image costs 5 to 15 ms; reading its 224 x 224 square here a few microseconds.
The file's name contains a hash of ids, paths, file sizes and times, of the square's size and of the
marker removal. A cache that holds more images than are asked for serves too, so that the pixels of
a training on some images are not stored beside those of all.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from typing_extensions import TypedDict

from cxrloc.datasets.files.atomic import HashedFile, whole_file
from cxrloc.datasets.files.checked import AtLeastOne, Name, Sha256, Text, checked
from cxrloc.datasets.files.manifest import file_sha256, write_json
from cxrloc.datasets.files.parse import read_json
from cxrloc.datasets.files.runs.workers import thread_pool
from cxrloc.datasets.images.markers import MARKERS_VERSION, check_markers, without_markers
from cxrloc.datasets.images.read import UnreadableImageError, read_image
from cxrloc.datasets.images.transforms import fit_square
from cxrloc.datasets.progress import progress
from cxrloc.datasets.radiograph import Radiograph

Result = TypeVar("Result")
_AHEAD = 4  # images per thread that wait to be written, at most


@dataclass(frozen=True)
class PixelCache:
    """Square uint8 pixels by image id: `cache[image_id]` is (size, size), made by `fit_square`.

    Attributes:
        pixels: (N, size, size) uint8, memory-mapped, read-only; rows of unreadable images are zero.
        rows: image id -> row, readable images only.
        unreadable: image id -> reason why its file is unreadable.
        path: the .npy file.
    """

    pixels: npt.NDArray[np.uint8]
    rows: dict[str, int]
    unreadable: dict[str, str]
    path: Path

    @classmethod
    def open(
        cls,
        radiographs: Sequence[Radiograph],
        size: int,
        directory: Path,
        *,
        workers: int | None = None,
        strict: bool = False,
        markers: str = "keep",
    ) -> PixelCache:
        """Open the cache of these images at this size; create it if necessary.

        Args:
            radiographs: images with a path.
            size: side of the squares in pixels.
            directory: folder of the cache files; created if missing.
            workers: decoding threads (OpenCV releases Python's lock); None means all cores.
            strict: treat an unreadable image as an error.
            markers: how to remove burned-in letters from each image before scaling, see
                `cxrloc.datasets.images.markers.remove_markers`.

        Raises:
            UnreadableImageError: in strict mode, for the first unreadable image.
            ValueError: for a radiograph without a path or an image listed twice.
            OSError: if the disk has no room for a new cache; it says how much is needed.
        """
        _check(radiographs)
        check_markers(markers)
        kind = f"{MARKERS_VERSION} {markers}" if markers != "keep" else ""
        states = {r.image_id: _state(r) for r in radiographs}
        directory.mkdir(parents=True, exist_ok=True)
        stored = _find(directory, size, kind, states)
        if stored is None:
            path = directory / f"pixels_{size}_{_key(states, size, kind)}.npy"
            stored = _make(path, radiographs, _Stored(path, size, kind, states), workers, markers)
        else:
            print(f"pixels: reusing {stored.path}")
        path, unreadable = stored.path, {i: r for i, r in stored.unreadable.items() if i in states}
        if unreadable and strict:
            first = next(iter(unreadable))
            image = next(r for r in radiographs if r.image_id == first)
            raise UnreadableImageError(image.file, unreadable[first])
        for image_id, reason in unreadable.items():
            print(f"pixels: left out {image_id}: {reason}")
        row_of = {image_id: row for row, image_id in enumerate(stored.states)}
        rows = {image_id: row_of[image_id] for image_id in states if image_id not in unreadable}
        pixels = np.load(path, mmap_mode="r") if states else np.zeros((0, size, size), np.uint8)
        return cls(pixels, rows, unreadable, path)

    def __getitem__(self, image_id: str) -> npt.NDArray[np.uint8]:
        if image_id not in self.rows:
            reason = self.unreadable.get(image_id, "not among the images of this cache")
            raise KeyError(f"no pixels of {image_id}: {reason}")
        square: npt.NDArray[np.uint8] = self.pixels[self.rows[image_id]]
        return square

    def __contains__(self, image_id: object) -> bool:
        return image_id in self.rows

    def __len__(self) -> int:
        return len(self.rows)

    def __reduce__(
        self,
    ) -> tuple[Callable[..., PixelCache], tuple[Path, dict[str, int], dict[str, str]]]:
        # Spawned loader workers map the file again: pickling a memmap would copy all its pixels.
        return _reopen, (self.path, self.rows, self.unreadable)


def _reopen(path: Path, rows: dict[str, int], unreadable: dict[str, str]) -> PixelCache:
    return PixelCache(np.load(path, mmap_mode="r"), rows, unreadable, path)


@dataclass(frozen=True)
class _Stored:
    """What a cache on disk holds: `states` in the order of its rows, see `_state`."""

    path: Path
    size: int
    kind: str
    states: Mapping[str, str]
    unreadable: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        return {
            "size": self.size,
            "markers": self.kind,
            "unreadable": dict(self.unreadable),
            "states": dict(self.states),
        }


def in_threads(
    function: Callable[[Radiograph], Result],
    radiographs: Sequence[Radiograph],
    workers: int | None,
    description: str,
) -> Iterator[Result]:
    """Yield function(radiograph) in order, with a progress bar; 1 worker means no threads.

    Threads work at most a few images ahead: results do not pile up where they are used slowly.
    """
    workers = min(32, os.cpu_count() or 1) if workers is None else workers
    if workers <= 1:
        yield from progress(map(function, radiographs), description, len(radiographs))
        return
    with thread_pool(workers) as pool:
        results = _a_few_ahead(pool, function, radiographs, _AHEAD * workers)
        yield from progress(results, description, len(radiographs))


def _a_few_ahead(
    pool: Executor,
    function: Callable[[Radiograph], Result],
    radiographs: Sequence[Radiograph],
    ahead: int,
) -> Iterator[Result]:
    waiting: deque[Future[Result]] = deque()
    for radiograph in radiographs:
        waiting.append(pool.submit(function, radiograph))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _check(radiographs: Sequence[Radiograph]) -> None:
    seen: set[str] = set()
    for radiograph in radiographs:
        if radiograph.image_id in seen:
            raise ValueError(f"image {radiograph.image_id} is listed twice")
        seen.add(radiograph.image_id)


def _state(radiograph: Radiograph) -> str:
    """Hash of where an image's file lies, and of its size and time."""
    file = radiograph.file
    try:
        status = file.stat()
        state = f"{status.st_size} {status.st_mtime_ns}"
    except OSError:
        state = "gone"
    return hashlib.sha256(f"{file.absolute()}\0{state}".encode()).hexdigest()[:16]


def _key(states: Mapping[str, str], size: int, kind: str) -> str:
    digest = hashlib.sha256(f"3 {size} {kind}".encode())
    for image_id, state in states.items():
        digest.update(f"{image_id}\0{state}\n".encode())
    return digest.hexdigest()[:16]


def _find(directory: Path, size: int, kind: str, states: Mapping[str, str]) -> _Stored | None:
    """The whole cache of exactly these images, or else of more; None if there is neither."""
    exact = directory / f"pixels_{size}_{_key(states, size, kind)}.npy"
    others = sorted(directory.glob(f"pixels_{size}_*.npy")) if states else []
    for path in dict.fromkeys([exact, *others]):
        try:
            stored = _read_stored(path, size, kind, states)
        except (ValueError, OSError) as error:
            print(f"pixels: decoding the images again, as the cache is damaged ({error})")
            continue
        if stored is not None:
            return stored
    return None


class _Facts(TypedDict):
    size: AtLeastOne
    markers: Text
    unreadable: dict[Name, Text]
    states: dict[Name, Name]
    sha256: Sha256


def _read_stored(path: Path, size: int, kind: str, states: Mapping[str, str]) -> _Stored | None:
    """A finished cache that holds these images, compared with its hash; None if it does not."""
    about = path.with_suffix(".json")
    if not (path.is_file() and about.is_file()):
        return None
    facts: _Facts = checked(read_json(about), _Facts, str(about))
    held, same = facts["states"], (facts["size"], facts["markers"]) == (size, kind)
    if not (same and states.items() <= held.items()):
        return None
    if file_sha256(path) != facts["sha256"]:
        raise ValueError(f"{path}: its hash is not that of {about.name}")
    if np.load(path, mmap_mode="r").shape != (len(held), size, size):
        raise ValueError(f"{path}: expected an array of {len(held)} squares of {size} px")
    return _Stored(path, size, kind, held, facts["unreadable"])


def _make(
    path: Path,
    radiographs: Sequence[Radiograph],
    planned: _Stored,
    workers: int | None,
    markers: str,
) -> _Stored:
    """Write the .npy file row by row, then the .json that validates it."""
    size, unreadable = planned.size, dict[str, str]()
    _check_room(path.parent, len(radiographs), size)

    def square(radiograph: Radiograph) -> npt.NDArray[np.uint8] | str:
        try:
            image = without_markers(read_image(radiograph.file), markers)
            return fit_square(image.finest, size)
        except UnreadableImageError as error:
            return error.reason

    # a stream, not a mapped file: that stays in memory, and a full disk would kill the program
    with whole_file(path) as temporary, temporary.open("wb") as stream:
        file = HashedFile(stream)
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(radiographs), size, size)}
        np.lib.format.write_array_header_1_0(file, header)
        squares = in_threads(square, radiographs, workers, f"decode to {size} px")
        for radiograph, read in zip(radiographs, squares, strict=True):
            if isinstance(read, str):
                unreadable[radiograph.image_id] = read
                read = np.zeros((size, size), np.uint8)
            file.write(read.tobytes())
    stored = replace(planned, unreadable=unreadable)
    write_json(path.with_suffix(".json"), stored.to_json() | {"sha256": file.sha256})
    return stored


def _check_room(directory: Path, images: int, size: int) -> None:
    """Say how large a new cache becomes.

    Raises:
        OSError: if the disk has less room.
    """
    needed, free = images * size**2, shutil.disk_usage(directory).free
    what = f"{images:,} images at {size} x {size} px take {in_gb(needed)}"
    if needed > free:
        raise OSError(
            f"{directory} has {in_gb(free)} free, but the decoded pixels of {what}; make room, "
            "name a folder on another disk (data.cache) or take a smaller size"
        )
    print(f"pixels: {what} in {directory}, where {in_gb(free)} are free", flush=True)


def in_gb(size_bytes: int) -> str:
    """The size as 29.4 GB, or as 12 MB if it is small."""
    return f"{size_bytes / 1e9:,.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:,.0f} MB"
