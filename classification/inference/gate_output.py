"""What a gate says of images, whatever computed it: no torch is needed to read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from cxrloc.datasets.labels.names import NO_FINDING
from cxrloc.datasets.radiograph import LoadedImage

if TYPE_CHECKING:
    import torch


class Decisions(Protocol):
    """What a bundle decides by."""

    @property
    def diseases(self) -> tuple[str, ...]: ...

    @property
    def thresholds(self) -> Mapping[str, float | None]: ...


@dataclass(frozen=True)
class GateOutput:
    """The gate's predictions for a batch of N images.

    Attributes:
        image_ids: the images, in input order.
        diseases: columns of the matrices.
        probabilities: (N, D) float64 in 0..1.
        present: (N, D) bool: probability >= threshold; never true without a threshold.
        features: (N, C, h, w) float32, the map pooled in the same forward pass, on its device; None
            from an exported gate.
        thresholds: per disease; None if validation data provided none.
        heat_maps: (N, D, h, w) float32, from an exported gate, which computes them itself.
    """

    image_ids: tuple[str, ...]
    diseases: tuple[str, ...]
    probabilities: npt.NDArray[np.float64]
    present: npt.NDArray[np.bool_]
    features: torch.Tensor | None
    thresholds: Mapping[str, float | None]
    heat_maps: npt.NDArray[np.float32] | None = None

    @classmethod
    def of(
        cls,
        images: Sequence[LoadedImage],
        bundle: Decisions,
        probabilities: npt.NDArray[np.float64],
        *,
        features: torch.Tensor | None = None,
        heat_maps: npt.NDArray[np.float32] | None = None,
    ) -> GateOutput:
        """Decide by the bundle's thresholds; the arguments are the attributes.

        Raises:
            ValueError: for probabilities that are NaN.
        """
        check_finite(probabilities)
        return cls(
            image_ids=tuple(image.image_id for image in images),
            diseases=bundle.diseases,
            probabilities=probabilities,
            present=decide(probabilities, bundle.diseases, bundle.thresholds),
            features=features,
            thresholds=bundle.thresholds,
            heat_maps=heat_maps,
        )

    def present_diseases(self, row: int) -> tuple[str, ...]:
        """Diseases to examine on image number `row`, in the order of `diseases`.

        Excludes `No Finding`, which may be an output but has nothing to examine.
        """
        decisions = zip(self.diseases, self.present[row], strict=True)
        return tuple(d for d, yes in decisions if yes and d != NO_FINDING)

    def of_image(self, row: int) -> GateOutput:
        """The output for image number `row` alone: N = 1."""
        rows = slice(row, row + 1)
        return replace(
            self,
            image_ids=self.image_ids[rows],
            probabilities=self.probabilities[rows],
            present=self.present[rows],
            features=None if self.features is None else self.features[rows],
            heat_maps=None if self.heat_maps is None else self.heat_maps[rows],
        )


def check_finite(numbers: npt.NDArray[np.float64]) -> None:
    """Raise ValueError for what absurdly large weights give: NaN, or logits beyond any number."""
    if not np.isfinite(numbers).all():
        raise ValueError(
            "the gate computes NaN or infinite numbers: its weights are finite, but no network's. "
            "Train it again, or copy it again from where it was made"
        )


def decide(
    probabilities: npt.NDArray[np.float64],
    diseases: Sequence[str],
    thresholds: Mapping[str, float | None],
) -> npt.NDArray[np.bool_]:
    """(N, D) bool: probability >= threshold; always False for a disease without a threshold."""
    cuts = [np.inf if thresholds[d] is None else float(thresholds[d] or 0.0) for d in diseases]
    return probabilities >= np.array(cuts, dtype=np.float64)
