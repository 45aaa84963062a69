"""Check that a COCO ground truth is a protocol's: its boxes, frame, patients and folds.

    check = check_ground_truth(find_protocol("nih-boxes-v1"), load_coco(path), str(path))
    check.status    # "complete", or "partial: 774 of 984 boxes"

Images of the protocol may be missing, for want of a file: then the check says how many boxes are
left, and no figure is the protocol's. Anything else that differs is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cxrloc.datasets.files.keys import image_key, nih_patient, patient_key
from cxrloc.datasets.prepared.protocols.protocol import (
    Protocol,
    boxes_hash,
    list_hash,
)

_PREPARE = "cxrloc prepare --dataset nih --root NIH --out DIR writes the protocol's ground truth"


@dataclass(frozen=True)
class ProtocolCheck:
    """A ground truth that follows a protocol.

    Attributes:
        boxes, images: how many of the protocol's are in it.
    """

    protocol: Protocol
    boxes: int
    images: int

    @property
    def complete(self) -> bool:
        """Whether every box of the protocol is there."""
        return self.boxes == self.protocol.boxes

    @property
    def status(self) -> str:
        """`complete`, or `partial: 774 of 984 boxes`."""
        if self.complete:
            return "complete"
        return f"partial: {self.boxes:,} of {self.protocol.boxes:,} boxes"

    @property
    def note(self) -> str:
        """What a reader of the figures must know, in one sentence without a full stop."""
        name, boxes = self.protocol.name, self.protocol.boxes
        if self.complete:
            return f"protocol {name}: all its {boxes:,} boxes, with its folds and its rules"
        return (
            f"protocol {name}, partial: {self.boxes:,} of its {boxes:,} boxes on {self.images:,} "
            f"of its {len(self.protocol.images):,} images were scored, so no figure here is the "
            "protocol's"
        )


def check_settings(protocol: Protocol, resamples: int, seed: int) -> None:
    """Raise unless the intervals are made as the protocol says.

    Raises:
        ValueError: naming the option.
    """
    wanted = {"--resamples": (resamples, protocol.resamples), "--seed": (seed, protocol.seed)}
    for option, (given, expected) in wanted.items():
        if given != expected:
            raise ValueError(
                f"{option} {given}: protocol {protocol.name} has {expected}; leave the option out"
            )


def check_ground_truth(protocol: Protocol, coco: Mapping[str, Any], where: str) -> ProtocolCheck:
    """Check a COCO ground truth (`datasets.prepared.coco.load_coco`) against a protocol.

    Args:
        where: the file, for messages.

    Raises:
        ValueError: for other categories, frames, boxes, patients or folds than the protocol's.
    """
    where = f"{where} does not follow {protocol.name}"
    _check_categories(protocol, coco["categories"], where)
    by_stem = _images_by_stem(coco["images"], where)
    present = {stem: image for stem, image in by_stem.items() if stem in protocol.images}
    _check_frames(protocol, present, where)
    boxes = _check_boxes(protocol, coco, present, where)
    _check_patients(protocol, by_stem, where)
    _check_folds(protocol, by_stem, where)
    return ProtocolCheck(protocol, boxes, len(present))


def _check_categories(
    protocol: Protocol, categories: Sequence[Mapping[str, Any]], where: str
) -> None:
    names = {str(category["name"]) for category in categories}
    unlike = sorted(names ^ set(protocol.diseases))
    if unlike:
        how = "is not one of its categories" if unlike[0] in names else "is missing"
        raise ValueError(
            f"{where}: category {unlike[0]!r} {how}; expected exactly "
            f"{', '.join(protocol.diseases)}, none of them merged or renamed"
        )


def _images_by_stem(images: Sequence[Mapping[str, Any]], where: str) -> dict[str, Any]:
    by_stem: dict[str, Any] = {}
    for image in images:
        stem = image_key(str(image["file_name"]))
        if stem in by_stem:
            raise ValueError(
                f"{where}: {by_stem[stem]['file_name']} and {image['file_name']} are one image; "
                "expected each once"
            )
        by_stem[stem] = image
    return by_stem


def _check_frames(protocol: Protocol, present: Mapping[str, Any], where: str) -> None:
    height, width = protocol.frame_hw
    for image in present.values():
        if (image["height"], image["width"]) != protocol.frame_hw:
            raise ValueError(
                f"{where}: image {image['file_name']} has a frame of {image['width']} x "
                f"{image['height']} pixels, expected {width} x {height}: boxes are scored in the "
                "frame of the original image"
            )


def _check_boxes(
    protocol: Protocol, coco: Mapping[str, Any], present: Mapping[str, Any], where: str
) -> int:
    """Number of boxes, all of them the protocol's."""
    disease_of = {category["id"]: str(category["name"]) for category in coco["categories"]}
    stem = {image["id"]: image_key(str(image["file_name"])) for image in coco["images"]}
    boxes = [
        (stem[a["image_id"]], disease_of[a["category_id"]], a["bbox"])
        for a in coco["annotations"]
        if not a.get("iscrowd", 0)
    ]
    of_image: dict[str, list[tuple[str, Any]]] = {name: [] for name in present}
    for name, disease, bbox in boxes:
        if name not in of_image:
            raise ValueError(
                f"{where}: it has a {disease} box on {name}, an image without a box in the protocol"
            )
        of_image[name].append((disease, bbox))
    for name, drawn in of_image.items():
        if boxes_hash(drawn) != protocol.images[name].boxes_hash:
            listed = ", ".join(f"{d} {[round(v, 1) for v in b]}" for d, b in drawn) or "none"
            raise ValueError(
                f"{where}: the boxes of {name} differ from the protocol's: {listed} (x, y, width, "
                "height); expected them as published, neither moved, rounded nor left out. "
                f"{_PREPARE}"
            )
    if len(present) == len(protocol.images) and list_hash(boxes) != protocol.boxes_sha256:
        raise ValueError(f"{where}: the hash of all boxes differs. {_PREPARE}")
    return len(boxes)


def _check_patients(protocol: Protocol, by_stem: Mapping[str, Any], where: str) -> None:
    """Intervals resample patients: an image under another patient would change them."""
    for stem, image in by_stem.items():
        given, expected = patient_key(image.get("patient_id")), nih_patient(stem)
        if expected in protocol.fold_of and given != expected:
            raise ValueError(
                f"{where}: image {image['file_name']} has patient_id {image.get('patient_id')!r}, "
                f"expected {expected}. {_PREPARE}"
            )


def _check_folds(protocol: Protocol, by_stem: Mapping[str, Any], where: str) -> None:
    """The protocol's patients have its folds; each other patient has one fold, whichever."""
    fold_of: dict[str, int] = dict(protocol.fold_of)
    for stem, image in by_stem.items():
        patient = patient_key(image.get("patient_id")) or stem
        fold = image.get("fold")
        if fold is None:
            raise ValueError(f"{where}: image {image['file_name']} has no `fold`. {_PREPARE}")
        if fold != fold_of.setdefault(patient, fold) or fold not in range(protocol.k):
            raise ValueError(
                f"{where}: image {image['file_name']} is in fold {fold}, expected fold "
                f"{fold_of[patient]} of {protocol.k}: the folds are not the protocol's. "
                f"{_PREPARE}, with {protocol.k} folds and seed {protocol.seed}"
            )
