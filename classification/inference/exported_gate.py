"""Run an exported gate in ONNX Runtime, without torch: probabilities and heat maps in one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cxrloc.classification.bundle.metadata import BOX_SUPERVISION, check_thresholds
from cxrloc.classification.bundle.onnx_file import OnnxNetwork, check_keys, open_onnx
from cxrloc.classification.bundle.preprocessing import Preprocessing, restored
from cxrloc.classification.inference.gate_output import GateOutput
from cxrloc.classification.network.demographics import encode
from cxrloc.datasets.files.parse import naming
from cxrloc.datasets.radiograph import LoadedImage

# names of the network's inputs and outputs
SQUARES, DEMOGRAPHICS = "squares", "demographics"
PROBABILITIES, HEAT_MAPS = "probabilities", "heat_maps"
_KEYS = (
    *("diseases", "thresholds", "study_thresholds"),
    *("preprocessing", "mean_box_sizes", "demographics"),
)


@dataclass(frozen=True)
class ExportedBundle:
    """What an exported gate says of itself; the attributes are those of a `ClassifierBundle`.

    Attributes:
        preprocessing: makes the squares. The network standardises them itself.
        demographics: inputs in addition to the image.
    """

    diseases: tuple[str, ...]
    thresholds: Mapping[str, float | None]
    preprocessing: Preprocessing
    mean_box_sizes: Mapping[str, tuple[float, float]]
    metadata: Mapping[str, Any]
    examination_thresholds: Mapping[str, float | None]
    demographics: tuple[str, ...]

    @property
    def trained_with_boxes(self) -> bool:
        """Whether the maps are those of guided_cam."""
        return bool(self.metadata.get(BOX_SUPERVISION))

    @property
    def manifest(self) -> Mapping[str, Any]:
        """Of the training."""
        manifest: Mapping[str, Any] = self.metadata.get("manifest", {})
        return manifest

    @classmethod
    def of(cls, metadata: Mapping[str, Any], path: Path) -> ExportedBundle:
        """From the metadata of an exported file.

        Raises:
            ValueError: for a file that lacks some of it, or has thresholds of other diseases.
        """
        check_keys(path, metadata, _KEYS)
        with naming(str(path)):
            made = cls(
                diseases=tuple(metadata["diseases"]),
                thresholds=metadata["thresholds"],
                preprocessing=restored(metadata["preprocessing"], {}),
                mean_box_sizes={d: (w, h) for d, (w, h) in metadata["mean_box_sizes"].items()},
                metadata=metadata,
                examination_thresholds=metadata["study_thresholds"],
                demographics=tuple(metadata["demographics"]),
            )
            check_thresholds(made.diseases, made.thresholds, made.examination_thresholds)
        return made


class ExportedGate:
    """A gate that `cxrloc export` wrote, ready for prediction as a `Gate` is.

    Args:
        path: the `.onnx` file.
        device, precision: for the caller who has a choice to offer; there is none here.

    Raises:
        FileNotFoundError, ValueError, ImportError: see `open_onnx`; ValueError for a device other
            than the CPU, and a precision other than float32.
    """

    batch_size = 1  # as on every CPU, a batch is no faster than its images
    runtime, precision = "onnx fp32 on cpu", "fp32"

    def __init__(self, path: Path, device: str = "auto", precision: str = "auto") -> None:
        check_device(path, device)
        if precision not in ("auto", "fp32"):
            raise ValueError(
                f"{path} is an exported network, which computes in fp32; expected --precision "
                f"auto or fp32, got {precision}"
            )
        network: OnnxNetwork = open_onnx(path, "classifier")
        self.session = network.session
        self.bundle = ExportedBundle.of(network.metadata, path)

    @property
    def demographics(self) -> tuple[str, ...]:
        """Inputs in addition to the image."""
        return self.bundle.demographics

    @property
    def examination_thresholds(self) -> dict[str, float | None]:
        """Disease -> threshold for an examination's mean probability, or None."""
        return {d: self.bundle.examination_thresholds.get(d) for d in self.bundle.diseases}

    def __call__(self, images: Sequence[LoadedImage]) -> GateOutput:
        """Predict images of any size; they are scaled to the network's square."""
        inputs: dict[str, Any] = {SQUARES: self.bundle.preprocessing.squares(images)}
        if self.demographics:
            inputs[DEMOGRAPHICS] = encode(self.demographics, images)
        probabilities, maps = self.session.run([PROBABILITIES, HEAT_MAPS], inputs)
        return GateOutput.of(images, self.bundle, probabilities.astype(np.float64), heat_maps=maps)


def check_device(path: Path, device: str) -> None:
    """Raise ValueError for another device than the CPU."""
    if device not in ("auto", "cpu"):
        raise ValueError(
            f"{path} is an exported network, which runs on the CPU; expected --device auto or cpu, "
            f"got {device}"
        )


def check_runtime(path: Path, runtime: str | None) -> None:
    """Raise ValueError for another runtime than that of exported networks."""
    if runtime not in (None, "onnx"):
        raise ValueError(
            f"{path} is an exported network, which ONNX Runtime runs: leave out --runtime "
            f"{runtime}, or give the bundle that it was made from"
        )
