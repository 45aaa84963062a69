"""Small comparisons whose outcome is drawn by hand: every box is at a known IoU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from builders import coco_ground_truth, evaluated
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.localizer import Localization

DISEASES = ("Mass", "Nodule")
Box = tuple[float, float, float, float]
Drawn = Callable[[int, str], Box | None]
WHOLE: Box = (20, 20, 40, 40)  # IoU 1 with every ground-truth box
HALF: Box = (20, 20, 40, 30)  # IoU .5
THIRD: Box = (30, 20, 50, 40)  # IoU 1/3
FAR: Box = (0, 50, 10, 60)  # IoU 0


def drawn(
    patients: int = 12,
    gate: Mapping[tuple[str, str], bool] | None = None,
    truth: Drawn = lambda i, d: WHOLE,
    inputs: Mapping[str, Any] | None = None,
    **localizers: Drawn,
) -> Evaluated:
    """One image of each patient, with a box of both diseases; localizers by patient and disease."""
    truths = {(i, d): truth(i, d) or WHOLE for i in range(patients) for d in DISEASES}
    coco = coco_ground_truth(
        DISEASES,
        [(f"{i}.png", d, (b[0], b[1], b[2] - b[0], b[3] - b[1])) for (i, d), b in truths.items()],
    )
    boxes = {
        name: [
            Localization(f"{i}.png", d, box, 0.5)
            for i, d in truths
            if (box := where(i, d)) is not None
        ]
        for name, where in localizers.items()
    }
    return evaluated(coco, boxes, gate, **{"resamples": 200} | dict(inputs or {}))


def scattered(i: int, d: str) -> Box:
    """Ground truth in another place for each patient, so that the blind controls do badly."""
    x, y = 6.0 * (i % 8), 24.0 * (i // 8) + (6 if d == "Mass" else 0)
    return (x, y, x + 20, y + 20)


def shifted(step: float) -> Drawn:
    """The scattered truth, moved right by `step` of its 20 pixels: IoU (20 - s) / (20 + s)."""

    def box(i: int, d: str) -> Box:
        x1, y1, x2, y2 = scattered(i, d)
        return (x1 + step, y1, x2 + step, y2)

    return box
