"""Audit leakage: evaluated images, or their patients' other images, that a model was trained on.

    audit(read_image_list(Path("train_val_list.txt")), read_image_list(Path("test_list.txt")))

Images that chose the weights or the thresholds (`validation`) count as seen. Images are identified
by name only (`names.py` here): those of RSNA and ChestX-Det are the NIH images that they were made
from. A copy under another name is not detected. Where patients are unknown, nothing found is not
clean.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cxrloc.datasets.prepared.folder import PreparedFolder
from cxrloc.datasets.provenance.image_lists import (
    TRAINING_IMAGES,
    ImageList,
    image_list,
    read_csv,
    read_ground_truth,
    read_text_list,
    read_training_images,
)
from cxrloc.datasets.provenance.names import People, common_key, names_of_others
from cxrloc.datasets.provenance.sidecar import (
    SIDECAR_ENDING,
    Provenance,
    read_provenance,
    read_sidecar,
)

CLEAN, LEAKED, NOT_KNOWN = "clean", "leaked", "not known"


@dataclass(frozen=True)
class LeakageAudit:
    """Images and patients shared by a training and an evaluation.

    Attributes:
        training_images, evaluated_images: lengths of the two lists.
        shared_images: evaluated images used in training, by their names in the evaluation.
        shared_patients: patients of evaluated images who also have one in the training, as keys.
        boxed_in_training: boxed images used in training.
        patients_unknown: whether any image has an unknown patient; such images were compared by
            name only.
        by_part: part of the training -> its number of images and of each kind of leak.
        unlisted: initial weights of the training whose images are unknown.
        ambiguous_patients: evaluated patients whose number the training has too, where the images'
            names do not tell that both lists are of one data set.
        evaluated_as_nih: evaluated images under another data set's name, read as NIH's.
    """

    training_images: int
    evaluated_images: int
    shared_images: tuple[str, ...] = field(repr=False)
    shared_patients: tuple[str, ...] = field(repr=False)
    boxed_in_training: tuple[str, ...] = field(repr=False)
    patients_unknown: bool
    by_part: Mapping[str, Mapping[str, int]]
    unlisted: tuple[str, ...] = ()
    ambiguous_patients: tuple[str, ...] = field(repr=False, default=())
    evaluated_as_nih: tuple[str, ...] = field(repr=False, default=())

    @property
    def leaked(self) -> bool:
        return bool(self.shared_images or self.shared_patients or self.boxed_in_training)

    @property
    def unknown(self) -> tuple[str, ...]:
        """What could not be compared, as phrases; empty if all could."""
        gaps = [f"training images of {weights} unknown" for weights in self.unlisted]
        if self.patients_unknown:
            gaps.append("patients of some images unknown")
        if self.ambiguous_patients:
            gaps.append(
                f"{len(self.ambiguous_patients)} patient numbers occur in both lists, and the "
                "images' names do not tell whether they are of one data set"
            )
        return tuple(gaps)

    @property
    def status(self) -> str:
        """`LEAKED`, `NOT_KNOWN` or `CLEAN`."""
        if self.leaked:
            return LEAKED
        return NOT_KNOWN if self.unknown else CLEAN

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values, `leaked` and `status` first."""
        return {"leaked": self.leaked, "status": self.status, **vars(self)}


def audit(
    training: ImageList, evaluated: ImageList, boxed_images: Collection[str] = ()
) -> LeakageAudit:
    """Compare a model's training images with the images that it is scored on.

    Args:
        boxed_images: images whose boxes are scored; none may be in the training.
    """
    key = common_key(training.patient_of, evaluated.patient_of, boxed_images)
    key_of = {image: key(image) for image in (*evaluated.patient_of, *boxed_images)}
    people = People(training.patient_of, evaluated.patient_of)

    def shared(names: Collection[str]) -> dict[str, tuple[str, ...]]:
        keys = {key(name) for name in names}
        return {
            "shared_images": tuple(i for i in evaluated.patient_of if key_of[i] in keys),
            "shared_patients": people.shared(names),
            "boxed_in_training": tuple(i for i in boxed_images if key_of[i] in keys),
        }

    by_part = {
        part: {"images": len(names)}
        | {kind: len(members) for kind, members in shared(names).items()}
        for part, names in training.parts.items()
    }
    return LeakageAudit(
        training_images=len(training),
        evaluated_images=len(evaluated),
        **shared(training.patient_of),
        patients_unknown=training.patients_unknown or evaluated.patients_unknown,
        by_part=by_part,
        unlisted=training.unlisted,
        ambiguous_patients=people.ambiguous(training.patient_of),
        evaluated_as_nih=names_of_others(evaluated.patient_of),
    )


def audit_model(
    provenance: Provenance, model: str, evaluated: ImageList, boxed_images: Collection[str] = ()
) -> LeakageAudit:
    """Audit one model of a results file on the evaluated images that this model predicted.

    In a cross-validation, fold 3 may train on a patient whose images another fold predicts.

    Raises:
        FileNotFoundError, ValueError: if the model's training images are unknown.
    """
    looked_at = provenance.images_by_model[model]
    key = common_key(looked_at, evaluated.patient_of, boxed_images)
    keys = {key(image) for image in looked_at}
    images = {image: p for image, p in evaluated.patient_of.items() if key(image) in keys}
    boxed = [name for name in boxed_images if key(name) in keys]
    return audit(provenance.training(model), ImageList(images), boxed)


def provenance_of(path: Path) -> Provenance | None:
    """The sidecar, if `path` is one or is a results file that has one."""
    if path.name.endswith(SIDECAR_ENDING):
        return read_sidecar(path)
    return read_provenance(path) if path.suffix.lower() in (".json", ".csv") else None


def read_image_list(path: Path) -> ImageList:
    """Read the images from any file that lists images.

    A .txt with one name per line; a .csv with a column of images (label file, gate table, RSNA's
    tables) or of paths (CheXpert's label files, MURA's lists without a header); a COCO ground truth
    or ChestX-Det's JSON; a prepared folder; a results file with its sidecar, or the sidecar itself
    (the images predicted); a .safetensors bundle or its folder (the images it was trained on).

    Raises:
        FileNotFoundError, ValueError: for a missing file or one of another kind.
    """
    provenance = provenance_of(path)
    if path.is_dir():
        return _of_folder(path)
    if provenance is not None:
        return _looked_at(provenance)
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise ValueError(
            f"{path}: expected a list of images: .txt, .csv, .json (ground truth, or predictions "
            "with their sidecar), a .safetensors bundle or its folder"
        )
    return _READERS[suffix](path)


def _looked_at(provenance: Provenance) -> ImageList:
    if provenance.problem:
        raise ValueError(provenance.problem)
    rows = [(image, "", "") for image in sorted(provenance.images)]
    return image_list(rows, str(provenance.path))


def _of_folder(folder: Path) -> ImageList:
    prepared = PreparedFolder(folder)
    if prepared.ground_truth.is_file():
        return read_ground_truth(prepared.ground_truth)
    folds = sorted(path.name for path in folder.glob("fold*") if path.is_dir())
    if folds and not (folder / TRAINING_IMAGES).is_file():
        raise ValueError(
            f"{folder} is a run of {len(folds)} models, each with its own training images; give "
            f"one of {', '.join(folds)}"
        )
    return read_training_images(folder / TRAINING_IMAGES)


_READERS: dict[str, Callable[[Path], ImageList]] = {
    ".txt": read_text_list,
    ".csv": read_csv,
    ".json": read_ground_truth,
    ".safetensors": lambda path: read_training_images(path.parent / TRAINING_IMAGES),
}
