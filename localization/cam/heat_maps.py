"""Read and write heat maps of our localizers or any other model: `NAME.maps.safetensors`.

The file holds one tensor, `maps` (M, h, w) float32, with one map per image and disease, and this
JSON under the metadata key `cxrloc`:

    {"kind": "heat_maps", "format": 1, "name": "my model", "aligned": false,
     "pairs": [["00000001_000.png", "Mass"], ...], "folds": {"00000001_000.png": 0} or null,
     "hashed": true, "notice": "Research use only, never a diagnosis"}

`pairs` lists the image (the ground truth's file name) and disease of each map, in order. The maps
are the network's raw output, finite or not, of any scale, all the same size. Cells cover the square
over the image's longer side, with the image at its top left (for a square image: the image).
If `aligned` is false they tile it like pixels; if true, cell i sees the area around pixel 32 i (see
`cam_boxes.map_to_frame`). `folds` gives the test fold of the model that made an image's maps. If
`probabilities` is true (guided_cam), the values mean the same on every image. A second tensor,
`maps_without_markers`, may hold the maps of the same images after burned-in letters were removed;
the key `removal` then gives the method: mask or inpaint. Where `hashed` is true, the metadata key
`cxrloc_sha256` holds the hash of all this, and a file with another content is refused. Write
another model's maps with `write_heat_maps`, or with safetensors alone, without `hashed`.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from cxrloc.classification.network.content_hash import HASH
from cxrloc.datasets.files.atomic import whole_file
from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.datasets.images.markers import REMOVALS
from cxrloc.localization.cam.boxes import map_to_frame, unit_map
from cxrloc.localization.cam.map_metadata import (
    FORMAT,
    KEY,
    KIND,
    check_maps,
    map_metadata,
    maps_sha256,
)

SUFFIX = ".maps.safetensors"
_TENSOR, _WITHOUT = "maps", "maps_without_markers"
FloatMaps = npt.NDArray[np.float32]
Pair = tuple[str, str]


@dataclass(frozen=True)
class HeatMaps:
    """Heat maps of one localizer.

    Attributes:
        pairs: (image_id, disease) of each map, all different.
        maps: (M, h, w) float32 cells, any scale.
        aligned: place the cells as `map_to_frame(aligned=True)` does.
        name: name of the localizer.
        folds: image_id -> test fold of the model that made the image's maps; None if unknown.
        maps_without_markers: like `maps`, for the same images without their burned-in markers; None
            if not computed.
        removal: method that removed the markers, from `markers.REMOVALS`, else empty.
        probabilities: whether the maps hold probabilities of cells, in 0..1.
    """

    pairs: tuple[Pair, ...]
    maps: FloatMaps = field(repr=False)
    aligned: bool
    name: str
    folds: Mapping[str, int] | None = field(default=None, repr=False)
    maps_without_markers: FloatMaps | None = field(default=None, repr=False)
    removal: str = ""
    probabilities: bool = False

    def __post_init__(self) -> None:
        if self.probabilities and not ((self.maps >= 0) & (self.maps <= 1)).all():
            raise ValueError("maps: expected probabilities from 0 to 1, as the file says")
        if self.maps.ndim != 3 or self.maps.dtype != np.float32 or 0 in self.maps.shape[1:]:
            raise ValueError(
                f"maps: expected float32 of shape (M, h, w) with cells, got {self.maps.dtype} of "
                f"shape {self.maps.shape}"
            )
        if len(self.pairs) != len(self.maps):
            raise ValueError(
                f"maps: expected one for each of the {len(self.pairs)} pairs of image and disease, "
                f"got {len(self.maps)}"
            )
        if len(self._row_of) != len(self.pairs):
            twice = next(p for i, p in enumerate(self.pairs) if self._row_of[p] != i)
            raise ValueError(f"pairs: {twice[1]} on {twice[0]} has two maps; expected one")
        if self.folds is not None and (untold := {i for i, _ in self.pairs} - self.folds.keys()):
            raise ValueError(f"folds: no fold for {len(untold)} images, such as {min(untold)}")
        self._check_without_markers()

    def _check_without_markers(self) -> None:
        others = self.maps_without_markers
        if others is not None and (others.shape, others.dtype) != (
            self.maps.shape,
            self.maps.dtype,
        ):
            raise ValueError(
                f"{_WITHOUT}: expected float32 of shape {self.maps.shape}, like the maps, got "
                f"{others.dtype} of shape {others.shape}"
            )
        allowed = ("",) if others is None else REMOVALS
        if self.removal not in allowed:
            raise ValueError(
                f"removal {self.removal!r}: expected {' or '.join(REMOVALS)} with "
                f"{_WITHOUT}, else an empty string"
            )

    @classmethod
    def of(
        cls,
        maps: Mapping[Pair, FloatMaps],
        *,
        name: str,
        aligned: bool,
        folds: Mapping[str, int] | None = None,
        without_markers: Mapping[Pair, FloatMaps] | None = None,
        removal: str = "",
        probabilities: bool = False,
    ) -> HeatMaps:
        """Build from a dict of maps, sorted by image and disease.

        Args:
            without_markers: maps of the same pairs from images without markers.

        Raises:
            ValueError: if they differ in size.
        """
        pairs = tuple(sorted(maps))
        sizes = sorted({maps[pair].shape for pair in pairs})
        if len(sizes) > 1:
            raise ValueError(
                f"maps of {name}: expected one size, got {sizes}; write one file per size"
            )
        others = None if without_markers is None else _stacked(without_markers, pairs)
        stacked = _stacked(maps, pairs)
        return cls(pairs, stacked, aligned, name, folds, others, removal, probabilities)

    @property
    def without_markers(self) -> HeatMaps | None:
        """Maps of the images without markers, named after the removal method."""
        if self.maps_without_markers is None:
            return None
        name, maps = f"{self.name}, markers {self.removal}ed", self.maps_without_markers
        return replace(self, name=name, maps=maps, maps_without_markers=None, removal="")

    @cached_property
    def _row_of(self) -> dict[Pair, int]:
        return {pair: row for row, pair in enumerate(self.pairs)}

    def cells(self, image_id: str, disease: str) -> FloatMaps | None:
        """(h, w) map as the network gave it, or None if the file has none."""
        row = self._row_of.get((image_id, disease))
        return None if row is None else self.maps[row]

    def in_frame(self, image_id: str, disease: str, size_hw: tuple[int, int]) -> FloatMaps | None:
        """Map in the original frame: (H, W) in 0..1, or None if the file has none.

        A blank map (constant, not finite) is all zero.
        """
        cells = self.cells(image_id, disease)
        if cells is None:
            return None
        return unit_map(map_to_frame(cells, size_hw, aligned=self.aligned))


def _stacked(maps: Mapping[Pair, FloatMaps], pairs: Sequence[Pair]) -> FloatMaps:
    stacked = np.stack([maps[pair] for pair in pairs]) if pairs else np.zeros((0, 1, 1))
    return stacked.astype(np.float32)


def check_map_file(path: Path) -> None:
    """Raise ValueError unless the name ends like a file of heat maps."""
    if not path.name.endswith(SUFFIX):
        raise ValueError(f"{path}: expected a file of heat maps, whose name ends in {SUFFIX}")


def write_heat_maps(path: Path, heat_maps: HeatMaps) -> None:
    """Write the maps atomically; `path` ends in `.maps.safetensors`.

    Raises:
        ValueError: for another ending.
    """
    check_map_file(path)
    metadata = {
        "kind": KIND,
        "format": FORMAT,
        "name": heat_maps.name,
        "aligned": heat_maps.aligned,
        "pairs": heat_maps.pairs,
        "folds": None if heat_maps.folds is None else dict(heat_maps.folds),
        "probabilities": heat_maps.probabilities,
        "hashed": True,
        "notice": RESEARCH_USE,
    }
    tensors = {_TENSOR: heat_maps.maps}
    if heat_maps.maps_without_markers is not None:
        tensors[_WITHOUT] = heat_maps.maps_without_markers
        metadata["removal"] = heat_maps.removal
    tensors = {name: np.ascontiguousarray(maps) for name, maps in tensors.items()}
    text = json.dumps(metadata)
    stated = {KEY: text, HASH: maps_sha256(tensors, text)}
    with whole_file(path) as temporary:
        save_file(tensors, temporary, metadata=stated)


def read_heat_maps(path: Path) -> HeatMaps:
    """Read the maps from a file in the format above.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is invalid; names the file, the error and the expected content.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no heat maps at {path}; cxrloc localize writes them with --maps")
    try:
        with safe_open(str(path), framework="numpy") as handle:
            stated = handle.metadata() or {}
            names = list(handle.keys())
            tensors = {n: handle.get_tensor(n) for n in (_TENSOR, _WITHOUT) if n in names}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a valid .safetensors file: {error}") from error
    metadata = map_metadata(path, stated.get(KEY))
    if _TENSOR not in tensors:
        raise ValueError(f"{path}: expected a tensor {_TENSOR!r}, got {names}")
    check_maps(path, tensors, stated, metadata)
    try:
        maps = HeatMaps(
            tuple(metadata["pairs"]),
            tensors[_TENSOR],
            metadata.get("aligned", False),
            metadata["name"],
            metadata.get("folds"),
            tensors.get(_WITHOUT),
            metadata.get("removal", ""),
            metadata.get("probabilities", False),
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    _count_blank(maps, path)
    return maps


def _count_blank(heat_maps: HeatMaps, path: Path) -> None:
    finite = np.asarray(np.isfinite(heat_maps.maps).all(axis=(1, 2)))
    if not finite.all():
        image_id, disease = heat_maps.pairs[int(finite.argmin())]
        warnings.warn(
            f"{path}: {int((~finite).sum())} of {len(finite)} maps hold values that are not "
            f"finite, and count as blank, for example {disease} on {image_id}",
            stacklevel=3,
        )


class FrameMaps(Mapping[str, npt.NDArray[np.float32]]):
    """Disease -> (H, W) map in 0..1 in the original frame, scaled up from cells on request.

    Keeps only the cells: for an image of 3,000 x 2,500 px a full map takes 30 MB.

    Args:
        cells: disease -> (h, w) map from the network.
        size_hw: the original frame.
        aligned: see `map_to_frame`.
    """

    def __init__(
        self,
        cells: Mapping[str, npt.NDArray[np.float32]],
        size_hw: tuple[int, int],
        *,
        aligned: bool = False,
    ) -> None:
        self.cells, self.size_hw, self.aligned = dict(cells), size_hw, aligned

    def __getitem__(self, disease: str) -> npt.NDArray[np.float32]:
        return unit_map(map_to_frame(self.cells[disease], self.size_hw, aligned=self.aligned))

    def fitted(self, disease: str, size_wh: tuple[int, int]) -> npt.NDArray[np.float32]:
        """Scale the map to a frame of another size and the same shape, for example a figure's."""
        cells, (width, height) = self.cells[disease], size_wh
        return unit_map(map_to_frame(cells, (height, width), aligned=self.aligned))

    def __contains__(self, disease: object) -> bool:
        return disease in self.cells  # Mapping's default would build the whole map

    def __iter__(self) -> Iterator[str]:
        return iter(self.cells)

    def __len__(self) -> int:
        return len(self.cells)
