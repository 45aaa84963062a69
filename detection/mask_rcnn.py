"""Use Mask R-CNN as a localizer, whichever backend trained it.

A backend is a module with two functions (see `Backend`); to add one, write the module and add a
line to `BACKENDS`.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast, runtime_checkable

import cv2
import numpy as np
import numpy.typing as npt

from cxrloc.classification.bundle import onnx_file
from cxrloc.classification.bundle.file import read_bundle, rebuilding
from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.localization.localizer import Localization, LocalizerOutput

if TYPE_CHECKING:
    from torch import Tensor

    from cxrloc.detection.config import DetectorConfig, Init
    from cxrloc.detection.data import DetectionSet

FloatArray = npt.NDArray[np.float64]

# name -> module; imported only on demand, so that an optional backend costs nothing
BACKENDS: dict[str, str] = {
    "torchvision": "cxrloc.detection.torchvision_backend.backend",
    "detectron2": "cxrloc.detection.detectron2_backend.backend",
}
EXPORTED = "cxrloc.detection.torchvision_backend.export.exported_predictor"
DETECTRON2_HELP = (
    "detectron2 is not installed. It is not on the package index; install it from its repository:\n"
    "  pip install 'setuptools<81' wheel ninja\n"
    "  FORCE_CUDA=0 pip install --no-build-isolation git+https://github.com/facebookresearch/detectron2\n"
    "or use the default backend: --backend torchvision"
)
_MASK_ZOOM = 8


@dataclass(frozen=True)
class Detections:
    """All detections on one image, by descending score.

    Attributes:
        image_id: the image.
        size_hw: the original frame.
        boxes_xyxy: (M, 4) in absolute pixels of the original frame, inside it.
        scores: (M,) in [0, 1].
        diseases: M names.
        masks: (M, 28, 28) mask probabilities over each box (cell (0, 0) at its top left), or None.
            `pasted_mask` pastes them into the frame on demand, which is expensive.
    """

    image_id: str
    size_hw: tuple[int, int]
    boxes_xyxy: FloatArray
    scores: FloatArray
    diseases: tuple[str, ...]
    masks: npt.NDArray[np.float32] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        count = len(self.diseases)
        if self.boxes_xyxy.shape != (count, 4) or self.scores.shape != (count,):
            raise ValueError(
                f"{self.image_id}: {count} diseases need boxes ({count}, 4) and scores ({count},), "
                f"got {self.boxes_xyxy.shape} and {self.scores.shape}"
            )
        if self.masks is not None and (self.masks.ndim != 3 or len(self.masks) != count):
            raise ValueError(
                f"{self.image_id}: expected masks of shape ({count}, cells, cells), "
                f"got {self.masks.shape}"
            )

    def __len__(self) -> int:
        return len(self.diseases)

    def mask_boxes_xyxy(self, threshold: float = 0.5) -> FloatArray:
        """(M, 4) boxes around the masks above `threshold`; NaN if a mask is empty or missing."""
        boxes = np.full((len(self), 4), np.nan)
        for row, mask in enumerate([] if self.masks is None else self.masks):
            wide = cv2.resize(mask, None, fx=_MASK_ZOOM, fy=_MASK_ZOOM)
            boxes[row] = _box_around(np.asarray(wide), self.boxes_xyxy[row], threshold)
        return boxes

    def pasted_mask(self, row: int, threshold: float = 0.5) -> npt.NDArray[np.bool_]:
        """One detection's mask as (H, W) bool in the original frame."""
        frame = np.zeros(self.size_hw, dtype=np.bool_)
        if self.masks is None:
            return frame
        x1, y1 = np.floor(self.boxes_xyxy[row, :2]).astype(int)
        x2, y2 = np.ceil(self.boxes_xyxy[row, 2:]).astype(int)
        # box corners are rarely whole pixels: sample the mask at the centre of every pixel
        side_wh = self.boxes_xyxy[row, 2:] - self.boxes_xyxy[row, :2]
        cells = self.masks.shape[1]
        columns = (np.arange(x1, x2) + 0.5 - self.boxes_xyxy[row, 0]) / side_wh[0] * cells - 0.5
        lines = (np.arange(y1, y2) + 0.5 - self.boxes_xyxy[row, 1]) / side_wh[1] * cells - 0.5
        map_x, map_y = np.meshgrid(columns.astype(np.float32), lines.astype(np.float32))
        heat = cv2.remap(
            self.masks[row], map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        frame[y1:y2, x1:x2] = heat[: frame.shape[0] - y1, : frame.shape[1] - x1] > threshold
        return frame


def _box_around(
    heat: npt.NDArray[np.float32], box_xyxy: FloatArray, threshold: float
) -> FloatArray:
    columns = np.flatnonzero((heat > threshold).any(axis=0))
    lines = np.flatnonzero((heat > threshold).any(axis=1))
    if not len(columns):
        return np.full(4, np.nan)
    x1, y1, x2, y2 = box_xyxy
    inner = np.array([columns[0], lines[0], columns[-1] + 1, lines[-1] + 1]) / len(heat)
    around: FloatArray = np.array([x1, y1, x1, y1]) + inner * np.array([x2 - x1, y2 - y1] * 2)
    return around


class Predictor(Protocol):
    """A trained network, ready to predict.

    Attributes:
        runtime: name of the runtime for the records: program, number format and device.
    """

    runtime: str

    def predict(self, images: Sequence[LoadedImage]) -> list[Detections]:
        """Detections of each image, in input order and in the image's original frame."""
        ...


@dataclass(frozen=True)
class Candidates:
    """All that a detector considers on one image, in the original frame.

    Attributes:
        proposals: (P, 4) regions that the first stage hands to the second.
        boxes: (P, D, 4) box of every disease in each of them.
        scores: (P, D) of these boxes.
    """

    proposals: FloatArray
    boxes: FloatArray
    scores: FloatArray


@runtime_checkable
class Explained(Predictor, Protocol):
    """A predictor that also shows what it considers."""

    def candidates(self, images: Sequence[LoadedImage]) -> Iterable[Candidates]:
        """The candidates of each image, in input order."""
        ...


class Backend(Protocol):
    """Module-level functions of a backend module."""

    def train_detector(
        self,
        config: DetectorConfig,
        train_set: DetectionSet,
        validation_set: DetectionSet | None,
        out_dir: Path,
        init: Init,
        extra: Mapping[str, Any],
    ) -> Path:
        """Train one detector, resuming an interrupted call in `out_dir`.

        Args:
            validation_set: the best weights by mean IoU on it are kept; with None the last ones.
            extra: JSON-ready values to add to `bundle_metadata` in the bundle.

        Returns:
            `MaskRCNNFolder(out_dir).detector`, a bundle of kind `maskrcnn`.
        """
        ...

    def load(
        self,
        tensors: Mapping[str, Tensor],
        metadata: Mapping[str, Any],
        device: str = "auto",
        precision: str | None = None,
        size: int | None = None,
    ) -> Predictor:
        """Build a predictor from a bundle's content; None means the training's."""
        ...


def load_backend(name: str) -> Backend:
    """Import the backend's module.

    Raises:
        ValueError: for an unknown name, listing the valid ones.
        ImportError: with the install command, if an optional backend is missing.
    """
    if name not in BACKENDS:
        raise ValueError(f"unknown backend {name!r}; expected one of {', '.join(BACKENDS)}")
    if name == "detectron2" and importlib.util.find_spec("detectron2") is None:
        raise ImportError(DETECTRON2_HELP)
    return cast(Backend, importlib.import_module(BACKENDS[name]))


def bundle_metadata(config: DetectorConfig, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata of a `maskrcnn` bundle: what `load` needs to rebuild the network, and `extra`."""
    return {
        "kind": "maskrcnn",
        "backend": config.backend,
        "diseases": list(config.diseases),
        "size": config.size,
        "model": dataclasses.asdict(config.model),
        "precision": config.train.precision,
        "research_use_only": f"{RESEARCH_USE}.",
        **extra,
    }


def load_predictor(
    path: Path, device: str = "auto", precision: str | None = None, size: int | None = None
) -> tuple[Predictor, dict[str, Any]]:
    """Load the predictor and metadata of a `maskrcnn` bundle, or an exported one (always fp32).

    Args:
        size: side of the square that it looks at; None means the training's.

    Raises:
        ValueError: if the file is not such a bundle, if its backend is unknown, or if its settings
            or tensors are not those of this version.
    """
    if path.suffix == onnx_file.SUFFIX:
        exported = importlib.import_module(EXPORTED).ExportedPredictor(path, device, size)
        return exported, dict(exported.metadata)
    tensors, metadata = read_bundle(path, "maskrcnn")
    backend = load_backend(str(metadata.get("backend")))
    with rebuilding(path, "train-maskrcnn", KeyError, TypeError, ValueError, AttributeError):
        return backend.load(tensors, metadata, device, precision, size), dict(metadata)


class MaskRCNNLocalizer:
    """A trained Mask R-CNN as a localizer.

    Args:
        model: path of a `maskrcnn` bundle, or a predictor.
        box_from: `box` returns the box head's box; `mask` the box around the mask above .5
            (detections with an empty mask are left out). The two heads are scored separately.
        with_masks: fill `Localization.mask` in the original frame (slow and large; off by default).
    """

    def __init__(
        self,
        model: Path | Predictor,
        box_from: Literal["box", "mask"] = "box",
        with_masks: bool = False,
    ) -> None:
        if box_from not in ("box", "mask"):
            raise ValueError(f"box_from {box_from!r}: expected 'box' or 'mask'")
        self.predictor: Predictor = load_predictor(model)[0] if isinstance(model, Path) else model
        self.box_from = box_from
        self.with_masks = with_masks

    @property
    def name(self) -> str:
        return "mask_rcnn" if self.box_from == "box" else "mask_rcnn_mask_box"

    @property
    def runtime(self) -> str:
        """Name of the runtime, for the records."""
        return self.predictor.runtime

    def localize(self, images: Sequence[LoadedImage], diseases: Sequence[str]) -> LocalizerOutput:
        """All detections of the requested diseases, by descending score within an image."""
        detections = self.predictor.predict(images)
        return LocalizerOutput(
            tuple(box for image in detections for box in self.from_detections(image, diseases))
        )

    def from_detections(
        self, detections: Detections, diseases: Sequence[str]
    ) -> Iterator[Localization]:
        """Convert existing detections to localizations (one pass serves two localizers)."""
        boxes = detections.boxes_xyxy if self.box_from == "box" else detections.mask_boxes_xyxy()
        for row, disease in enumerate(detections.diseases):
            x1, y1, x2, y2 = (float(value) for value in boxes[row])
            if disease not in diseases or not (x2 > x1 and y2 > y1):
                continue
            mask = detections.pasted_mask(row) if self.with_masks else None
            yield Localization(
                detections.image_id, disease, (x1, y1, x2, y2), float(detections.scores[row]), mask
            )
