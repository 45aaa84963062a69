"""Convert images to the network's input tensor, identically in training and prediction.

An image optionally loses its markers, is fitted into a square, converted into the channels of
`model.input` (see `cxrloc.datasets.images.transforms.input_channels`) and standardised, either by
ImageNet's mean and deviation or per pixel over the training images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cxrloc.classification.network.imagenet import IMAGENET_MEAN, IMAGENET_STD
from cxrloc.datasets.images.markers import check_markers, without_markers
from cxrloc.datasets.images.mean_image import MeanImage
from cxrloc.datasets.images.transforms import fit_square, input_channels
from cxrloc.datasets.radiograph import LoadedImage

# torch is imported where it is used: the squares of an exported network need none
if TYPE_CHECKING:
    import torch

MIN_SIZE, MAX_SIZE = 64, 1024
INPUTS = {"grey": 3, "single": 1, "enhanced": 3}  # name -> channels of the network's input
_PREFIX = "preprocessing."


@dataclass(frozen=True)
class Preprocessing:
    """Images -> uint8 squares -> network input: / 255, minus the mean, divided by the deviation.

    Attributes:
        size: side S of the square network input, pixels.
        mean, std: per channel, for values in 0..1; a single channel uses their means.
        clahe_clip: clip limit of the equalisation applied to every image in its square; 0 is off.
        input: a key of `INPUTS`.
        image: mean and deviation of each pixel, in 0..1, of shape (S, S), or (3, S, S) for enhanced
            input; they replace `mean` and `std`. A pixel with a deviation under one grey level
            (1/255: for example padding around all images) is divided by 1. Where most images are
            dark, a bright spot, above all a side marker, is many deviations off.
        markers: how to remove burned-in letters, see
            `cxrloc.datasets.images.markers.remove_markers`.
    """

    size: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    clahe_clip: float = 0.0
    input: str = "grey"
    image: MeanImage | None = None
    markers: str = "keep"

    def __post_init__(self) -> None:
        if not MIN_SIZE <= self.size <= MAX_SIZE or self.size % 32:
            raise ValueError(
                f"input size {self.size}, expected a multiple of 32 from {MIN_SIZE} to {MAX_SIZE}"
            )
        if self.input not in INPUTS:
            raise ValueError(f"unknown input {self.input!r}; expected one of {', '.join(INPUTS)}")
        check_markers(self.markers)
        if self.image is not None and self.image.mean.shape != self._square_shape:
            raise ValueError(
                f"mean image of shape {self.image.mean.shape}, expected {self._square_shape}"
            )

    @property
    def channels(self) -> int:
        """Number of channels C of the network's input, 1 or 3."""
        return INPUTS[self.input]

    @property
    def _square_shape(self) -> tuple[int, ...]:
        return (3, self.size, self.size) if self.input == "enhanced" else (self.size, self.size)

    def squares(self, images: Sequence[LoadedImage]) -> npt.NDArray[np.uint8]:
        """(N, S, S) uint8: images fitted into the square, aspect kept, top left, padded with zeros.

        Equalised if so configured. (N, 3, S, S) for enhanced input.
        """
        if not images:
            return np.zeros((0, *self._square_shape), np.uint8)
        clean = (without_markers(image, self.markers) for image in images)
        squares = (fit_square(image.finest, self.size) for image in clean)
        return np.stack([input_channels(s, self.input, self.clahe_clip) for s in squares])

    def to_tensor(self, squares: npt.NDArray[np.uint8] | torch.Tensor) -> torch.Tensor:
        """Convert `squares`, uint8 or float in 0..255, to (N, C, S, S) float32, channels last."""
        import torch

        images = torch.as_tensor(squares)
        if tuple(images.shape[1:]) != self._square_shape:
            expected = ", ".join(map(str, self._square_shape))
            raise ValueError(
                f"expected squares of shape (N, {expected}), got {tuple(images.shape)}"
            )
        return self.normalise(images.float())

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """Standardise (N, S, S) or (N, 3, S, S) in 0..255, any side S, to (N, C, S, S)."""
        import torch

        scale, shift = self.affine(images)
        x = images.new_empty(len(images), *images.shape[-2:], self.channels)
        for c in range(self.channels):  # all channels at once take 3 to 5 x as long
            plane = images if images.ndim == 3 else images[:, c]
            torch.addcmul(shift[..., c], plane, scale[..., c], out=x[..., c])
        return x.permute(0, 3, 1, 2)

    def from_images(self, images: Sequence[LoadedImage]) -> torch.Tensor:
        """Network input (N, C, S, S) from images."""
        return self.to_tensor(self.squares(images))

    def affine(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Factor and summand for grey values in 0..255: (C,), or (S, S, C) with a mean image.

        Of the type, side S and device of `images`.
        """
        if self.image is not None:
            return self._affine_image(self.image, images)
        constants = np.array([self.mean, self.std])
        mean, std = constants.mean(axis=1, keepdims=True) if self.channels == 1 else constants
        return images.new_tensor(1 / (255 * std)), images.new_tensor(-mean / std)

    @property
    def grey_affine(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Factors and summands, per channel, for grey values in 0..255 shared by all channels.

        None if channels differ (enhanced input) or pixels differ (a mean image).
        """
        if self.image is not None or self.input == "enhanced":
            return None
        import torch

        scale, shift = self.affine(torch.empty(0, dtype=torch.float64))
        return tuple(scale.tolist()), tuple(shift.tolist())

    def _affine_image(
        self, image: MeanImage, images: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        import torch
        from torch.nn import functional as F

        side = images.shape[-1]
        planes = torch.from_numpy(np.stack([image.mean, image.deviation]).astype(np.float32))
        mean, std = planes.view(2, -1, self.size, self.size).to(images.device)
        if side != self.size:  # images trained at half size
            mean, std = (F.adaptive_avg_pool2d(plane, side) for plane in (mean, std))
        std = torch.where(std < 1 / 255, 1.0, std)
        shape = self.channels, side, side
        scale, shift = (1 / (255 * std)).expand(shape), (-mean / std).expand(shape)
        return scale.permute(1, 2, 0), shift.permute(1, 2, 0)


def stored(preprocessing: Preprocessing) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Contents for a bundle: JSON-ready values, and the tensors of a mean image."""
    names = [field.name for field in fields(preprocessing) if field.name != "image"]
    image = preprocessing.image
    tensors = {} if image is None else mean_image_tensors(image, 1)
    values = {name: getattr(preprocessing, name) for name in names}
    return values, {_PREFIX + name: tensor for name, tensor in tensors.items()}


def restored(values: Mapping[str, Any], tensors: dict[str, torch.Tensor]) -> Preprocessing:
    """Restore the preprocessing of a bundle; removes its tensors from `tensors`."""
    image_tensors = {
        n.removeprefix(_PREFIX): tensors.pop(n) for n in list(tensors) if n.startswith(_PREFIX)
    }
    return Preprocessing(
        size=values["size"],
        mean=tuple(values["mean"]),
        std=tuple(values["std"]),
        clahe_clip=float(values["clahe_clip"]),
        input=values["input"],
        image=mean_image_of(image_tensors) if image_tensors else None,
        markers=values["markers"],
    )


def mean_image_tensors(image: MeanImage, unit: float) -> dict[str, torch.Tensor]:
    import torch

    parts = {"mean_image": image.mean, "deviation_image": image.deviation}
    return {n: torch.from_numpy((a / unit).astype(np.float32)) for n, a in parts.items()}


def mean_image_of(tensors: Mapping[str, torch.Tensor]) -> MeanImage:
    return MeanImage(tensors["mean_image"].numpy(), tensors["deviation_image"].numpy())
