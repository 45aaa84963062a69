"""Does a network look outside the patient? Share of a heat map's mass on markers and air.

A side letter or a hospital's label can reveal to a network which images are positive (Zech et al.
2018). This measures the share of each map's mass on burned-in markers and outside the body. The
control is the share of the image's area there, which is what a uniform map would have. The regions
come from `cxrloc.datasets.images.markers` and
`cxrloc.datasets.images.body_mask`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from cxrloc.classification.metrics.bootstrap import (
    ClusterBootstrap,
    DiseaseEstimates,
    FloatArray,
    IndexArray,
)
from cxrloc.datasets.images.body_mask import Mask, body_mask
from cxrloc.datasets.images.markers import find_markers
from cxrloc.datasets.images.read import UnreadableImageError, read_grey
from cxrloc.datasets.images.transforms import fitted
from cxrloc.datasets.progress import progress
from cxrloc.localization.cam.boxes import map_to_frame, unit_map
from cxrloc.localization.cam.heat_maps import HeatMaps, Pair

REGIONS = ("markers", "outside the body")
MASS, AREA, EXCESS = "CAM mass, %", "area (control), %", "CAM mass minus area, % points"
Figures = dict[tuple[str, str], DiseaseEstimates]  # (region, MASS, AREA or EXCESS) -> its estimates
_SIDE = 256  # longer side of the frame for summing mass; a map has 7 to 32 cells a side


@dataclass(frozen=True)
class ImageRegions:
    """Regions of an image that do not show the patient.

    Attributes:
        shares: (2, h, w) float32; for each pixel of a small frame, the share covered by markers
            and the share outside the body, not counting markers again.
        marked: whether the image has a marker.
    """

    shares: npt.NDArray[np.float32] = field(repr=False)
    marked: bool

    @property
    def areas(self) -> FloatArray:
        """(2,) share of the image's area in each region."""
        return np.asarray(self.shares.mean(axis=(1, 2), dtype=np.float64))


def image_regions(pixels: npt.NDArray[np.uint8]) -> ImageRegions:
    """Find the regions of grey uint8 pixels (H, W), bright where dense."""
    body = body_mask(pixels)
    markers = find_markers(pixels, body).mask
    width, height = fitted((pixels.shape[0], pixels.shape[1]), _SIDE)
    shares = [_shrunk(region, width, height) for region in (markers, ~body & ~markers)]
    return ImageRegions(np.stack(shares), bool(markers.any()))


def read_regions(images: Mapping[str, Path], image_ids: Iterable[str]) -> dict[str, ImageRegions]:
    """Find the regions of all images with a readable file, with a progress bar."""
    to_read = [image for image in dict.fromkeys(image_ids) if image in images]
    regions = {}
    for image in progress(to_read, "markers and bodies") if to_read else ():
        try:
            regions[image] = image_regions(read_grey(images[image]))
        except UnreadableImageError as error:
            tqdm.write(f"shortcut check: skipped {image}: {error.reason}")
    return regions


def mass_shares(cells: npt.NDArray[np.float32], regions: ImageRegions, aligned: bool) -> FloatArray:
    """(2,) share of a map's mass on each region; NaN if the map is blank.

    Args:
        cells: (h, w) map from the network; its mass is measured above the image's minimum.
        aligned: see `map_to_frame`.
    """
    size_hw = (regions.shares.shape[1], regions.shares.shape[2])
    heat = unit_map(map_to_frame(cells, size_hw, aligned=aligned))
    total = float(heat.sum(dtype=np.float64))
    if not total > 0:
        return np.full(len(REGIONS), np.nan)
    return np.asarray((regions.shares * heat).sum(axis=(1, 2), dtype=np.float64) / total)


@dataclass(frozen=True)
class ShortcutShares:
    """Shares of all maps of a localizer that are not blank, as columns (N).

    Attributes:
        pairs: (image_id, disease).
        patient_ids: of the images.
        mass: (N, 2) share of the map's mass in each of `REGIONS`.
        area: (N, 2) share of the image's area there.
        marked: (N,) whether the image has a marker.
        empty: blank maps.
        unread: maps whose image is missing or unreadable.
    """

    pairs: tuple[Pair, ...] = field(repr=False)
    patient_ids: tuple[str, ...] = field(repr=False)
    mass: FloatArray = field(repr=False)
    area: FloatArray = field(repr=False)
    marked: npt.NDArray[np.bool_] = field(repr=False)
    empty: int = 0
    unread: int = 0

    @property
    def diseases(self) -> tuple[str, ...]:
        """Diseases of the maps, in alphabetical order."""
        return tuple(sorted({disease for _, disease in self.pairs}))

    def bootstrap(self, *, resamples: int, seed: int) -> ClusterBootstrap:
        """Resample the patients."""
        names = self.diseases
        disease_of: IndexArray = np.array([names.index(d) for _, d in self.pairs], dtype=np.intp)
        return ClusterBootstrap.of(
            self.patient_ids, disease_of, len(names), resamples=resamples, seed=seed
        )

    def select(self, pairs: Iterable[Pair]) -> ShortcutShares:
        """Rows of these pairs, in this order."""
        row_of = {pair: row for row, pair in enumerate(self.pairs)}
        chosen = tuple(pairs)
        rows = [row_of[pair] for pair in chosen]
        patients = tuple(self.patient_ids[row] for row in rows)
        return ShortcutShares(chosen, patients, self.mass[rows], self.area[rows], self.marked[rows])


def shortcut_shares(
    maps: HeatMaps, regions: Mapping[str, ImageRegions], patient_of: Mapping[str, str]
) -> ShortcutShares:
    """Compute the shares for every map of a localizer.

    Args:
        regions: image_id -> regions of the original image, even if its markers were removed before
            the network saw it.
        patient_of: image_id -> patient; a missing image counts as a separate patient.
    """
    readable = [pair for pair in maps.pairs if pair[0] in regions]
    mass = [_of_pair(maps, regions, pair) for pair in readable]
    seen = [i for i, shares in enumerate(mass) if np.isfinite(shares).all()]
    pairs = tuple(readable[i] for i in seen)
    return ShortcutShares(
        pairs=pairs,
        patient_ids=tuple(patient_of.get(image, image) for image, _ in pairs),
        mass=np.array([mass[i] for i in seen]).reshape(-1, len(REGIONS)),
        area=np.array([regions[image].areas for image, _ in pairs]).reshape(-1, len(REGIONS)),
        marked=np.array([regions[image].marked for image, _ in pairs], dtype=np.bool_),
        empty=len(readable) - len(seen),
        unread=len(maps.pairs) - len(readable),
    )


def shared_pairs(some: Sequence[ShortcutShares]) -> tuple[Pair, ...]:
    """Pairs measured for all of them, sorted."""
    return tuple(sorted(set.intersection(*(set(shares.pairs) for shares in some))))


def _of_pair(maps: HeatMaps, regions: Mapping[str, ImageRegions], pair: Pair) -> FloatArray:
    cells = maps.cells(*pair)
    assert cells is not None  # the pair comes from the file
    return mass_shares(cells, regions[pair[0]], maps.aligned)


def _shrunk(region: Mask, width: int, height: int) -> npt.NDArray[np.float32]:
    small = cv2.resize(region.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.float32)
