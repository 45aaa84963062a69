"""Join annotations with the image files below a folder into what `prepare` writes.

Error: a name that the label map does not list; a box without a size, outside its image or far over
    its edge; a file of another shape than its annotations state; an image annotated twice in
    different ways; a name that fits two different files; no annotated image on disk; no box and no
    finding at all.
Warning, counted (an error with `strict=True`): image files that no annotation names (left out:
    nobody says what they show); equal boxes (one is kept); boxes over the edge (clipped); a finding
    on an image that is stated to have none (the finding counts); copies of an image in two folders
    or formats (the first is used); unreadable image headers (left out); a patient in both parts of
    the split; images in a format that is not read.
Note, counted: files of another size than their annotations state (resized copies); findings that
    no image has; a name in several spellings; images that are named as in NIH, where the name
    tells the patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cxrloc.datasets.files.coco.values import some
from cxrloc.datasets.files.parse import naming
from cxrloc.datasets.images.sizes import sizes_hw
from cxrloc.datasets.radiograph import Box, Radiograph
from cxrloc.datasets.readers.annotations.matching.annotated import Annotations
from cxrloc.datasets.readers.annotations.matching.files import image_files
from cxrloc.datasets.readers.annotations.matching.frames import Frames
from cxrloc.datasets.readers.annotations.matching.labels import (
    NEGATIVE,
    UNKNOWN,
    ImageLabels,
    Labels,
)
from cxrloc.datasets.readers.annotations.matching.matched import MatchedImage, match
from cxrloc.datasets.readers.annotations.matching.parts import official_lists, part_of_path
from cxrloc.datasets.readers.annotations.matching.patients import (
    Patients,
    find_patients,
    in_both_parts,
    patient_pattern,
)
from cxrloc.datasets.readers.index import DatasetIndex, ReaderWarnings

_UNKNOWN_SIZE = (1, 1)  # of a missing image whose frame nobody states; its boxes are left out


@dataclass(frozen=True)
class Choices:
    """What a user decides about a folder with annotations.

    Attributes:
        labels: file that maps names onto diseases; None keeps the names.
        patient: pattern with one group, the patient in an image's file name; empty without.
        unboxed: `negative` or `unknown`: a disease without a box on an annotated image.
    """

    labels: Path | None = None
    patient: str = ""
    unboxed: str = NEGATIVE

    def __post_init__(self) -> None:
        if self.unboxed not in (NEGATIVE, UNKNOWN):
            raise ValueError(f"--unboxed {self.unboxed}: expected {NEGATIVE} or {UNKNOWN}")
        if self.patient:
            patient_pattern(self.patient)

    @classmethod
    def of(cls, labels: str, patient: str, unboxed: str) -> Choices:
        """The choices as written on the command line, empty where nothing is."""
        return cls(Path(labels) if labels else None, patient, unboxed or NEGATIVE)


@dataclass(frozen=True)
class _Placed:
    """An image in its frame."""

    match: MatchedImage
    size_hw: tuple[int, int]
    boxes: tuple[Box, ...]
    labels: ImageLabels


def to_index(
    root: Path,
    annotations: Annotations,
    choices: Choices,
    warnings: ReaderWarnings,
    paths: Sequence[Path] | None = None,
) -> DatasetIndex:
    """Build the index; the module's docstring says how faults are treated.

    Args:
        root: folder of the images.
        paths: the image files below it, if they are known already.

    Raises:
        FileNotFoundError: if `root` is missing or none of the annotated images is below it.
        ValueError: for faults listed as errors, and for all warnings if strict.
    """
    root = root.absolute()
    matches = match(
        root, annotations.images, image_files(root, warnings) if paths is None else paths, warnings
    )
    images = _placed(matches, Labels.of(choices.labels, annotations, warnings), warnings)
    diseases, boxed = _diseases(images, annotations, choices, warnings)
    patients = _patients(matches, choices, warnings)
    parts = {m.image_id: m.image.part or part_of_path(m.place) for m in matches}
    official = official_lists(parts, warnings)
    both = in_both_parts(patients.patient_of, official)
    warnings.warn("patients in both parts of the split", both)
    sources = annotations.sources
    with naming(str(sources[0] if len(sources) == 1 else root)):
        radiographs = [
            _radiograph(image, image.labels.values(diseases, choices.unboxed), patients)
            for image in images
        ]
    return DatasetIndex(radiographs, official, warnings, annotations.sources, diseases, boxed)


def _placed(
    matches: Sequence[MatchedImage], labels: Labels, warnings: ReaderWarnings
) -> list[_Placed]:
    paths = [m.path for m in matches if m.path is not None]
    sizes = dict(zip(paths, sizes_hw(paths), strict=True))
    unreadable = [m.image_id for m in matches if m.path is not None and sizes[m.path] is None]
    warnings.warn("unreadable image headers, left out", unreadable)
    frames, equal, contrary, images = Frames(), list[str](), list[str](), []
    for m in matches:
        file_hw = None if m.path is None else sizes[m.path]
        size = frames.size_hw(m.image, file_hw)
        boxes = () if size is None else _boxes(m, size, frames, labels, equal)
        of_image = labels.of_image(m.image)
        if of_image.normal and of_image.present:
            contrary.append(f"{m.image_id} {of_image.present[0]}")
        there = m if file_hw else replace(m, path=None)
        images.append(_Placed(there, size or _UNKNOWN_SIZE, boxes, of_image))
    frames.tell(warnings)
    warnings.warn("equal duplicate boxes dropped", equal)
    warnings.warn("images stated to have no finding that have one; it counts", contrary)
    return images


def _boxes(
    m: MatchedImage, size: tuple[int, int], frames: Frames, labels: Labels, equal: list[str]
) -> tuple[Box, ...]:
    boxes: dict[Box, None] = {}
    for drawn in frames.placed(m.image, size):
        if (disease := labels.of_box(drawn)) is None:
            continue
        box = Box(disease, drawn.box_xyxy, drawn.polygons)
        if box in boxes:
            equal.append(f"{m.image_id} {disease}")
        boxes[box] = None
    return tuple(boxes)


def _diseases(
    images: Sequence[_Placed],
    annotations: Annotations,
    choices: Choices,
    warnings: ReaderWarnings,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Diseases that some image has, and those with boxes, in the order of the map or the files."""
    order = Labels.of(choices.labels, annotations, ReaderWarnings()).labels.diseases
    used = {d for image in images for d in image.labels.present}
    boxed = {box.disease for image in images for box in image.boxes}
    if not used:
        raise ValueError(
            f"{some([str(path) for path in annotations.sources])}: {len(images):,} annotated images"
            " without any box or finding; there is nothing to train or to compare. The annotations "
            f"name {', '.join(annotations.names) or 'nothing'}"
        )
    warnings.note("findings that no image has, left out", [d for d in order if d not in used])
    return tuple(d for d in order if d in used), tuple(d for d in order if d in boxed)


def _patients(
    matches: Sequence[MatchedImage], choices: Choices, warnings: ReaderWarnings
) -> Patients:
    return find_patients(
        {m.image_id: m.image.patient for m in matches},
        {m.image_id: m.place for m in matches},
        patient_pattern(choices.patient) if choices.patient else None,
        warnings,
    )


def _radiograph(image: _Placed, labels: dict[str, float], patients: Patients) -> Radiograph:
    m = image.match
    return Radiograph(
        image_id=m.image_id,
        path=m.path,
        patient_id=patients.patient_of[m.image_id],
        patient_known=patients.known[m.image_id],
        view=m.image.view,
        labels=labels,
        boxes=image.boxes,
        size_hw=image.size_hw,
        sex=m.image.sex,
        age_years=m.image.age_years,
    )
