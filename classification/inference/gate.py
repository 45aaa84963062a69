"""Gate images: decide which diseases to examine, in one forward pass whose maps are kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from cxrloc.classification.bundle.classifier import ClassifierBundle
from cxrloc.classification.bundle.int8 import bundle_fingerprint
from cxrloc.classification.inference.gate_output import GateOutput, check_finite
from cxrloc.classification.inference.runtimes import INT8, load_runtime
from cxrloc.classification.network.demographics import encode
from cxrloc.classification.network.precision import Precision
from cxrloc.datasets.radiograph import LoadedImage


class Gate:
    """A classifier bundle ready for prediction: `gate(images) -> GateOutput`.

    Args:
        bundle: result of `load_classifier`.
        device: "cpu", "cuda", "cuda:0" or "auto".
        precision: "auto", "fp32" or "bf16" (see `cxrloc.classification.network.precision`).
        batch_size: images per forward pass; large batches are slower on a CPU at 512 px and more.
        runtime: a key of `cxrloc.classification.inference.runtimes.RUNTIMES`.
    """

    def __init__(
        self,
        bundle: ClassifierBundle,
        device: str = "cpu",
        precision: str = "auto",
        batch_size: int = 8,
        runtime: str = "torch",
    ) -> None:
        self.bundle = bundle
        bundle.model.eval()
        int8 = bundle.int8 if runtime == INT8 else None
        if int8 is not None and int8.fingerprint != bundle_fingerprint(bundle):
            raise ValueError(
                "the INT8 weights belong to another classifier, or to an earlier training of this "
                "one: make them again, "
                "`cxrloc quantize --gate BUNDLE IMAGES`"
            )
        side = bundle.preprocessing.size
        shape = (bundle.preprocessing.channels, side, side)
        self.network = load_runtime(runtime, bundle.model, shape, device, precision, int8)
        self.device = self.network.device
        self.batch_size = batch_size
        bundle.model.head.to(self.device)
        if bundle.model.demographics:
            bundle.model.demographic_head.to(self.device)

    @property
    def precision(self) -> Precision:
        """The number format of the network."""
        return self.network.precision

    @property
    def examination_thresholds(self) -> dict[str, float | None]:
        """Disease -> threshold for an examination's mean probability, or None."""
        return {d: self.bundle.examination_thresholds.get(d) for d in self.bundle.diseases}

    def __call__(self, images: Sequence[LoadedImage]) -> GateOutput:
        """Predict images of any size; they are scaled to the network's square."""
        squares = self.bundle.preprocessing.squares(images)
        demographics = encode(self.bundle.model.demographics, images)
        probabilities, features = self.forward_squares(squares, demographics)
        return GateOutput.of(images, self.bundle, probabilities, features=features)

    @property
    def demographics(self) -> tuple[str, ...]:
        """Inputs in addition to the image (see `cxrloc.classification.network.demographics`)."""
        return self.bundle.model.demographics

    @property
    def runtime(self) -> str:
        """Name of the runtime, for the records."""
        return self.network.name

    @torch.inference_mode()
    def forward_squares(
        self, squares: npt.NDArray[np.uint8], demographics: npt.NDArray[np.float32] | None = None
    ) -> tuple[npt.NDArray[np.float64], torch.Tensor]:
        """Probabilities (N, D) and features (N, C, h, w) for the result of `Preprocessing.squares`.

        `demographics` is the result (N, E) of `demographics.encode`; without it they count as
        unknown.
        """
        logits, features = [], []
        for start in range(0, max(len(squares), 1), self.batch_size):
            batch = torch.from_numpy(np.ascontiguousarray(squares[start : start + self.batch_size]))
            x = self.bundle.preprocessing.to_tensor(batch.to(self.device))
            chunk = None if demographics is None else demographics[start : start + self.batch_size]
            output = self.bundle.model.classify(self.network.backbone(x), self._tensor(chunk))
            logits.append(output.logits.double().cpu())
            features.append(output.features.float())
        whole = torch.cat(logits)
        check_finite(whole.numpy())
        return torch.sigmoid(whole).numpy(), torch.cat(features)

    def _tensor(self, chunk: npt.NDArray[np.float32] | None) -> torch.Tensor | None:
        return None if chunk is None else torch.from_numpy(chunk).to(self.device)
