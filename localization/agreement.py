"""How far the answers of a gate in one runtime are from those of the same gate in another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from cxrloc.classification.gate import Gate, GateOutput
from cxrloc.datasets.radiograph import Film
from cxrloc.localization.boxes import iou
from cxrloc.localization.grad_cam import GradCamLocalizer

SAME_BOX = 0.8


@dataclass(frozen=True)
class Agreement:
    """Of two gates on the same films.

    Attributes:
        films: their number.
        mean_difference, largest_difference: of probabilities, over films and diseases.
        decisions, turned: films times diseases, and how many are present for one gate alone.
        boxes: pairs of the strongest Grad-CAM boxes of diseases present for both; where one gate
            alone has a box (the other's map shows nothing) the pair's IoU is 0.
        same_box: the part of them with an IoU over .8; None without boxes.
        median_iou: None without boxes.
    """

    films: int
    mean_difference: float
    largest_difference: float
    decisions: int
    turned: int
    boxes: int
    same_box: float | None
    median_iou: float | None

    def __str__(self) -> str:
        part = self.turned / self.decisions
        lines = [
            f"probabilities: {self.mean_difference:.4f} apart in the mean, "
            f"{self.largest_difference:.3f} at most",
            f"decisions: {self.turned} of {self.decisions} turned ({part:.2%})",
            "boxes: none to compare"
            if self.same_box is None
            else f"boxes: {self.same_box:.1%} of {self.boxes} overlap by more than {SAME_BOX} "
            f"(IoU), {self.median_iou:.3f} in the median",
        ]
        return "\n".join(lines)


def agreement(
    exact: Gate, other: Gate, films: Iterable[Film], total: int | None = None
) -> Agreement:
    """Judge films by both gates, which are of one classifier; shows a progress bar.

    Args:
        exact, other: the gate in two runtimes.
        films: read one by one.
        total: their number, for the progress bar.

    Raises:
        ValueError: without films.
    """
    differences, turned, overlaps = [], 0, []
    for film in tqdm(films, "comparing", total, unit="film"):
        first, second = exact([film]), other([film])
        differences.append(np.abs(first.probabilities - second.probabilities))
        turned += int((first.present != second.present).sum())
        present = set(second.present_diseases(0))
        both = [disease for disease in first.present_diseases(0) if disease in present]
        one, two = (_best(gate, film, out, both) for gate, out in ((exact, first), (other, second)))
        for disease in both:
            if disease in one and disease in two:
                overlaps.append(float(iou([one[disease]], [two[disease]])[0]))
            elif disease in one or disease in two:
                overlaps.append(0.0)
    if not differences:
        raise ValueError("no films to compare runtimes on")
    found = np.concatenate(differences)
    return Agreement(
        films=len(differences),
        mean_difference=float(found.mean()),
        largest_difference=float(found.max()),
        decisions=found.size,
        turned=turned,
        boxes=len(overlaps),
        same_box=float(np.mean(np.array(overlaps) > SAME_BOX)) if overlaps else None,
        median_iou=float(np.median(overlaps)) if overlaps else None,
    )


def _best(
    gate: Gate, film: Film, output: GateOutput, diseases: Sequence[str]
) -> dict[str, tuple[float, float, float, float]]:
    """Disease -> its strongest box; a map that shows nothing has none."""
    found = GradCamLocalizer(gate).localize_output([film], output, diseases)
    return {box.disease: box.box_xyxy for box in sorted(found, key=lambda box: box.score)}
