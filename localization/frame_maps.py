"""Heat maps in a film's frame, kept as the few cells that a network gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from cxrloc.localization.cam_boxes import map_to_frame, unit_map


class FrameMaps(Mapping[str, npt.NDArray[np.float32]]):
    """Disease -> (H, W) map in 0..1 in the original frame, scaled up from cells when asked for.

    A film of 3,000 x 2,500 px has maps of 30 MB: the cells are what is kept.

    Args:
        cells: disease -> (h, w) map of the network.
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
        """The map in a frame of another size and the same shape, such as a picture's."""
        cells, (width, height) = self.cells[disease], size_wh
        return unit_map(map_to_frame(cells, (height, width), aligned=self.aligned))

    def __contains__(self, disease: object) -> bool:
        return disease in self.cells  # a mapping's own would make the whole map to see

    def __iter__(self) -> Iterator[str]:
        return iter(self.cells)

    def __len__(self) -> int:
        return len(self.cells)
