"""Named protocols: a fixed list of boxes, fixed folds of their patients, and the rules of scoring.

    protocol = find_protocol("nih-boxes-v1")

Two papers can be compared where both scored the same boxes, with models that saw the same patients,
by the same rules. `NAME.json` beside this module ships what that needs and no box: for each image
its fold and a hash of its boxes, and the hash of the whole list. The folds were made by
`patient_folds` from NIH's own lists; they are the same on every disk, whichever images are there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

from cxrloc.datasets.files.keys import image_key, nih_patient, patient_key
from cxrloc.datasets.prepared.splits import patient_folds
from cxrloc.datasets.radiograph import Radiograph

Bbox = Sequence[float]  # x, y, width, height
_HERE = Path(__file__).parent
_SHORT = 8  # hexadecimal digits of an image's hash


@dataclass(frozen=True)
class ProtocolImage:
    """An image of a protocol: its fold, and the hash of its boxes (`boxes_hash`)."""

    fold: int
    boxes_hash: str


@dataclass(frozen=True)
class Protocol:
    """A protocol as it is shipped.

    Attributes:
        name: with its version, such as `nih-boxes-v1`; what changes a figure gets a new one.
        data: what the boxes are, and where they come from.
        diseases: their names; figures are averaged over them.
        boxes: number of boxes.
        boxes_sha256: of the list of all boxes (`list_hash`).
        frame_hw: of every image.
        k, seed: number of folds, and the seed that made them.
        resamples: of the intervals, with this seed too.
        rules: how boxes are scored, in sentences.
        images: name without ending (`00000013_005`) -> image, for every image with a box.
    """

    name: str
    data: str
    diseases: tuple[str, ...]
    boxes: int
    boxes_sha256: str
    frame_hw: tuple[int, int]
    k: int
    seed: int
    resamples: int
    rules: tuple[str, ...] = field(repr=False)
    images: Mapping[str, ProtocolImage] = field(repr=False)

    @cached_property
    def fold_of(self) -> dict[str, int]:
        """Patient -> fold."""
        return {nih_patient(stem): image.fold for stem, image in self.images.items()}

    def holds(self, radiographs: Iterable[Radiograph]) -> bool:
        """Whether a data set has the protocol's boxes, and no others on the protocol's images.

        Images of the protocol may be missing, and other images may have boxes of their own.
        """
        listed = [r for r in radiographs if r.boxes and image_key(r.image_id) in self.images]
        return bool(listed) and all(map(self._is_own, listed))

    def _is_own(self, radiograph: Radiograph) -> bool:
        stem = image_key(radiograph.image_id)
        boxes = [(b.disease, _xywh(b.box_xyxy)) for b in radiograph.boxes]
        return (
            self.images[stem].boxes_hash == boxes_hash(boxes)
            and radiograph.size_hw == self.frame_hw
            and patient_key(radiograph.patient_id) == nih_patient(stem)
        )


@cache
def protocol_names() -> tuple[str, ...]:
    """The protocols that are shipped."""
    return tuple(sorted(path.stem for path in _HERE.glob("*.json")))


@cache
def find_protocol(name: str) -> Protocol:
    """The protocol with this name.

    Raises:
        ValueError: for an unknown name; the known ones are listed.
    """
    if name not in protocol_names():
        raise ValueError(f"unknown protocol {name!r}; expected {' or '.join(protocol_names())}")
    record = json.loads((_HERE / f"{name}.json").read_text(encoding="utf-8"))
    height, width = record["frame_hw"]
    return Protocol(
        name=name,
        data=record["data"],
        diseases=tuple(record["diseases"]),
        boxes=record["boxes"],
        boxes_sha256=record["boxes_sha256"],
        frame_hw=(height, width),
        k=record["k"],
        seed=record["seed"],
        resamples=record["resamples"],
        rules=tuple(record["rules"]),
        images={stem: ProtocolImage(*facts) for stem, facts in record["images"].items()},
    )


def folds_of(
    radiographs: Sequence[Radiograph], diseases: Sequence[str], k: int, seed: int
) -> tuple[dict[str, int], str]:
    """Folds of the images on disk, and the name of the protocol that they follow, or "".

    Where the boxes are a protocol's and the number of folds and the seed too, its patients get its
    folds and the others are split among themselves (`patient_folds`); else all are.

    Args:
        radiographs: of the whole data set; those without a path get no fold.

    Raises:
        ValueError: as `patient_folds`.
    """
    on_disk = [r for r in radiographs if r.path is not None]
    for protocol in map(find_protocol, protocol_names()):
        if (k, seed) == (protocol.k, protocol.seed) and protocol.holds(radiographs):
            folds = _with_folds_of(protocol, on_disk, diseases)
            if set(folds.values()) == set(range(k)):  # a fold without an image tests nothing
                return folds, protocol.name
    return patient_folds(on_disk, diseases, k, seed), ""


def _with_folds_of(
    protocol: Protocol, on_disk: Sequence[Radiograph], diseases: Sequence[str]
) -> dict[str, int]:
    fold_of = dict(protocol.fold_of)
    rest = [r for r in on_disk if patient_key(r.patient_id) not in fold_of]
    patients = sorted({r.patient_id for r in rest})
    if len(patients) < protocol.k:
        others = {patient: i for i, patient in enumerate(patients)}
        folds = {r.image_id: others[r.patient_id] for r in rest}
    else:
        folds = patient_folds(rest, diseases, protocol.k, protocol.seed)
    listed = {r.image_id: fold_of.get(patient_key(r.patient_id)) for r in on_disk}
    return {image: folds[image] if fold is None else fold for image, fold in listed.items()}


def boxes_hash(boxes: Iterable[tuple[str, Bbox]]) -> str:
    """Short hash of an image's boxes (disease; x, y, width, height), in any order."""
    return _sha256(sorted(_line(*box) for box in boxes))[:_SHORT]


def list_hash(boxes: Iterable[tuple[str, str, Bbox]]) -> str:
    """SHA-256 of all boxes (stem, disease; x, y, width, height), in any order."""
    return _sha256(sorted(f"{stem} {_line(disease, bbox)}" for stem, disease, bbox in boxes))


def _line(disease: str, bbox: Bbox) -> str:
    """`Mass 225.1 547.0 86.8 79.2`: tenths of a pixel, which no rounding of a file format moves."""
    return " ".join([disease, *(f"{round(value, 1) + 0.0:.1f}" for value in bbox)])


def _sha256(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _xywh(box_xyxy: Sequence[float]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = box_xyxy
    return x1, y1, x2 - x1, y2 - y1
