"""A protocol of twelve drawn patients, for tests without NIH's files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cxrloc.datasets.prepared.coco import to_coco
from cxrloc.datasets.prepared.protocols.protocol import (
    Protocol,
    ProtocolImage,
    boxes_hash,
    list_hash,
)
from cxrloc.datasets.prepared.splits import patient_folds
from cxrloc.datasets.radiograph import Box, Radiograph

DISEASES = ("Mass", "Nodule")
K = 3
Row = tuple[str, tuple[float, float, float, float]]


def radiograph(patient: int, image: int, *boxes: Row, on_disk: bool = True) -> Radiograph:
    name = f"{patient:08d}_{image:03d}.png"
    return Radiograph(
        image_id=name,
        path=Path(name) if on_disk else None,
        patient_id=str(patient),
        view="PA",
        labels={d: float(any(d == box[0] for box in boxes)) for d in DISEASES},
        boxes=tuple(Box(disease, box) for disease, box in boxes),
        size_hw=(64, 64),
    )


def boxed_radiographs() -> list[Radiograph]:
    """Twelve patients; the first has two boxed images, every third image both diseases."""
    images = [
        radiograph(
            p,
            0,
            (DISEASES[p % 2], (p + 0.25, 8, p + 20.5, 30)),
            *([(DISEASES[1 - p % 2], (30, 30, 50, 40 + p))] if p % 3 == 0 else []),
        )
        for p in range(1, 13)
    ]
    return [*images, radiograph(1, 1, ("Mass", (5, 5, 25, 25)))]


def protocol_of(radiographs: list[Radiograph]) -> Protocol:
    folds = patient_folds(radiographs, DISEASES, K, 0)
    rows = {
        r.image_id.removesuffix(".png"): [
            (b.disease, (x1, y1, x2 - x1, y2 - y1))
            for b in r.boxes
            for x1, y1, x2, y2 in [b.box_xyxy]
        ]
        for r in radiographs
    }
    return Protocol(
        name="drawn-v1",
        data="Drawn boxes",
        diseases=DISEASES,
        boxes=sum(map(len, rows.values())),
        boxes_sha256=list_hash((stem, *box) for stem, boxes in rows.items() for box in boxes),
        frame_hw=(64, 64),
        k=K,
        seed=0,
        resamples=50,
        rules=("Disease given.",),
        images={
            stem: ProtocolImage(folds[f"{stem}.png"], boxes_hash(boxes))
            for stem, boxes in rows.items()
        },
    )


PROTOCOL = protocol_of(boxed_radiographs())


def coco_of(*others: Radiograph) -> dict[str, Any]:
    """The protocol's ground truth, and other images in the fold of their patient or in fold 0."""
    images = [*boxed_radiographs(), *others]
    folds = {r.image_id: PROTOCOL.fold_of.get(r.patient_id, 0) for r in images}
    return to_coco(images, DISEASES, folds)
