"""Decode images once: grey squares of one size in a memory-mapped .npy file, reused by later runs.

Decoding a 1024 x 1024 image costs 5 to 15 ms; reading its 224 x 224 square here a few microseconds.
The file's name contains a hash of ids, paths, file sizes and times, of the square's size and of the
marker removal.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from typing_extensions import TypedDict

from cxrloc.datasets.files.atomic import whole_file
from cxrloc.datasets.files.checked import Name, Sha256, Text, checked
from cxrloc.datasets.files.manifest import file_sha256, write_json
from cxrloc.datasets.files.parse import read_json
from cxrloc.datasets.images.markers import MARKERS_VERSION, check_markers, remove_markers
from cxrloc.datasets.images.read import UnreadableImageError, read_grey
from cxrloc.datasets.images.transforms import fit_square
from cxrloc.datasets.progress import progress
from cxrloc.datasets.radiograph import Radiograph

Result = TypeVar("Result")


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
        """
        _check(radiographs)
        check_markers(markers)
        path = directory / f"pixels_{size}_{_key(radiographs, size, markers)}.npy"
        directory.mkdir(parents=True, exist_ok=True)
        ids = [r.image_id for r in radiographs]
        unreadable = _reused(path, (len(ids), size, size))
        if unreadable is None:
            unreadable = _make(path, radiographs, size, workers, markers)
        if unreadable and strict:
            first = next(iter(unreadable))
            image = next(r for r in radiographs if r.image_id == first)
            raise UnreadableImageError(image.file, unreadable[first])
        for image_id, reason in unreadable.items():
            print(f"pixels: left out {image_id}: {reason}")
        rows = {image_id: row for row, image_id in enumerate(ids) if image_id not in unreadable}
        pixels = np.load(path, mmap_mode="r") if ids else np.zeros((0, size, size), np.uint8)
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


def in_threads(
    function: Callable[[Radiograph], Result],
    radiographs: Sequence[Radiograph],
    workers: int | None,
    description: str,
) -> Iterator[Result]:
    """Yield function(radiograph) in order, with a progress bar; 1 worker means no threads."""
    workers = min(32, os.cpu_count() or 1) if workers is None else workers
    if workers <= 1:
        yield from progress(map(function, radiographs), description, len(radiographs))
        return
    with ThreadPoolExecutor(workers) as pool:
        yield from progress(pool.map(function, radiographs), description, len(radiographs))


def _check(radiographs: Sequence[Radiograph]) -> None:
    seen: set[str] = set()
    for radiograph in radiographs:
        if radiograph.image_id in seen:
            raise ValueError(f"image {radiograph.image_id} is listed twice")
        seen.add(radiograph.image_id)


def _key(radiographs: Sequence[Radiograph], size: int, markers: str) -> str:
    changed = "" if markers == "keep" else f" {MARKERS_VERSION} {markers}"
    digest = hashlib.sha256(f"1 {size}{changed}".encode())
    for radiograph in radiographs:
        file = radiograph.file
        try:
            status = file.stat()
            state = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:
            state = "gone"
        digest.update(f"{radiograph.image_id}\0{file.absolute()}\0{state}\n".encode())
    return digest.hexdigest()[:16]


class _Facts(TypedDict):
    unreadable: dict[Name, Text]
    sha256: Sha256


def _reused(path: Path, shape: tuple[int, ...]) -> dict[str, str] | None:
    """The unreadable images of a finished cache; None if there is none that is whole."""
    about = path.with_suffix(".json")
    if not (path.is_file() and about.is_file()):
        return None
    try:
        facts: _Facts = checked(read_json(about), _Facts, str(about))
        if file_sha256(path) != facts["sha256"]:
            raise ValueError(f"{path}: its hash is not that of {about.name}")
        if np.load(path, mmap_mode="r").shape != shape:
            raise ValueError(f"{path}: expected an array of shape {shape}")
    except (ValueError, OSError) as error:
        print(f"pixels: decoding the images again, as the cache is damaged ({error})")
        return None
    print(f"pixels: reusing {path}")
    return facts["unreadable"]


def _make(
    path: Path, radiographs: Sequence[Radiograph], size: int, workers: int | None, markers: str
) -> dict[str, str]:
    """Write the .npy file, then the .json that validates it. Return the unreadable images."""
    unreadable: dict[str, str] = {}

    def square(radiograph: Radiograph) -> npt.NDArray[np.uint8] | str:
        try:
            return fit_square(remove_markers(read_grey(radiograph.file), markers), size)
        except UnreadableImageError as error:
            return error.reason

    with whole_file(path) as temporary:
        pixels = np.lib.format.open_memmap(
            temporary, mode="w+", dtype=np.uint8, shape=(len(radiographs), size, size)
        )
        squares = in_threads(square, radiographs, workers, f"decode to {size} px")
        for row, (radiograph, read) in enumerate(zip(radiographs, squares, strict=True)):
            if isinstance(read, str):
                unreadable[radiograph.image_id] = read
            else:
                pixels[row] = read
        pixels.flush()
    facts = {"size": size, "unreadable": unreadable, "sha256": file_sha256(path)}
    write_json(path.with_suffix(".json"), facts)
    return unreadable
