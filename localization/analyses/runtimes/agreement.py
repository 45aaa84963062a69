"""Compare the predictions of one gate in two runtimes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxrloc.classification.inference.gate import Gate
from cxrloc.datasets.progress import progress
from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.localization.boxes import iou
from cxrloc.localization.cam.guided import map_localizer
from cxrloc.localization.localizer import best_by_score

SAME_BOX = 0.8

Corners = tuple[float, float, float, float]


@dataclass(frozen=True)
class RuntimePrediction:
    """A gate's predictions and boxes for one image.

    Attributes:
        probabilities: (D,) in the gate's order of diseases.
        present: diseases above their threshold, including `No Finding` if the gate predicts it.
        boxes: present disease -> its strongest Grad-CAM box, (x1, y1, x2, y2) in pixels of the
            image; none for a map that shows nothing.
    """

    probabilities: npt.NDArray[np.float64]
    present: frozenset[str]
    boxes: Mapping[str, Corners]


def predict(gate: Gate, image: LoadedImage) -> RuntimePrediction:
    """Predict one image."""
    output = gate([image])
    cam = map_localizer(gate).localize_output([image], output, output.present_diseases(0))
    boxes = {box.disease: box.box_xyxy for box in best_by_score(cam.boxes).values()}
    passes = zip(output.diseases, output.present[0], strict=True)
    return RuntimePrediction(
        output.probabilities[0], frozenset(d for d, yes in passes if yes), boxes
    )


def overlaps(first: RuntimePrediction, second: RuntimePrediction) -> list[float]:
    """IoU of the two boxes of each disease present for both.

    It is 0 if only one has a box (the other's map shows nothing); if neither has, it is left out.
    """
    ious = []
    for disease in sorted(first.present & second.present):
        pair = first.boxes.get(disease), second.boxes.get(disease)
        if pair[0] is not None and pair[1] is not None:
            ious.append(float(iou([pair[0]], [pair[1]])[0]))
        elif pair != (None, None):
            ious.append(0.0)
    return ious


@dataclass(frozen=True)
class RuntimeAgreement:
    """Agreement of two gates on the same images.

    Attributes:
        images: number of images.
        mean_difference, largest_difference: of probabilities, over images and diseases.
        decisions, turned: images times diseases, and how many are present for only one gate.
        boxes: pairs of boxes for diseases present for both (see `overlaps`).
        same_box: share of them with an IoU over .8; None without boxes.
        median_iou: None without boxes.
    """

    images: int
    mean_difference: float
    largest_difference: float
    decisions: int
    turned: int
    boxes: int
    same_box: float | None
    median_iou: float | None

    @classmethod
    def of(cls, pairs: Sequence[tuple[RuntimePrediction, RuntimePrediction]]) -> RuntimeAgreement:
        """Summarize the two predictions of each image.

        Raises:
            ValueError: without images.
        """
        if not pairs:
            raise ValueError("no images to compare runtimes on")
        apart = np.abs([first.probabilities - second.probabilities for first, second in pairs])
        ious = np.array([value for pair in pairs for value in overlaps(*pair)])
        return cls(
            images=len(pairs),
            mean_difference=float(apart.mean()),
            largest_difference=float(apart.max()),
            decisions=apart.size,
            turned=sum(len(first.present ^ second.present) for first, second in pairs),
            boxes=len(ious),
            same_box=float(np.mean(ious > SAME_BOX)) if len(ious) else None,
            median_iou=float(np.median(ious)) if len(ious) else None,
        )

    def __str__(self) -> str:
        part = self.turned / self.decisions
        lines = [
            f"probabilities differ by {self.mean_difference:.4f} on average, "
            f"{self.largest_difference:.3f} at most",
            f"decisions: {self.turned} of {self.decisions} turned ({part:.2%})",
            "boxes: none to compare"
            if self.same_box is None
            else f"boxes: {self.same_box:.1%} of {self.boxes} overlap by more than {SAME_BOX} "
            f"(IoU), median {self.median_iou:.3f}",
        ]
        return "\n".join(lines)


def agreement(
    exact: Gate, other: Gate, images: Iterable[LoadedImage], total: int | None = None
) -> RuntimeAgreement:
    """Predict images with two gates of the same classifier; shows a progress bar.

    Args:
        exact, other: the gate in two runtimes.
        images: read one by one.
        total: number of images, for the progress bar.

    Raises:
        ValueError: without images.
    """
    shown = progress(images, "comparing", total)
    return RuntimeAgreement.of([(predict(exact, image), predict(other, image)) for image in shown])
