"""Read NIH ChestX-ray14 with other readers' boxes on the images of its official train part.

NIH drew boxes on 880 images, all of the official test part. ChestX-Det and RSNA drew some on images
of the train part: with them a detector learns on train and is tested on NIH's own boxes alone.

`boxes` names the sets and their folders: `chestx-det=FOLDER,rsna=FOLDER`. Their images are found
in NIH by the tables of names. Boxes on images of the official test part never enter, whichever set
they are of. The first set named that boxes a disease on an image counts for it, since two readers'
boxes of one finding would be two findings. Only the eight diseases of NIH's own boxes are taken,
and NIH's labels stay.

Error: no official lists; a set of which no name becomes one of the eight diseases; whatever is an
    error in NIH's or the set's own reader.
Note, counted: what was taken of each set and what was left out, and why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from cxrloc.datasets.labels.names import NIH_BOXED_DISEASES
from cxrloc.datasets.radiograph import Box, Radiograph
from cxrloc.datasets.readers import nih
from cxrloc.datasets.readers.box_sets import chest_x_det, rsna
from cxrloc.datasets.readers.box_sets.nih_names.lookup import nih_image_of_rsna
from cxrloc.datasets.readers.index import DatasetIndex, ReaderWarnings


@dataclass(frozen=True)
class _BoxSet:
    """A set drawn on NIH's images: its reader, and NIH's name of an image."""

    index: Callable[..., DatasetIndex]
    nih_name: Callable[[str], str | None]


BOX_SETS: dict[str, _BoxSet] = {
    "chestx-det": _BoxSet(chest_x_det.index, chest_x_det.nih_name),
    "chestx-det10": _BoxSet(chest_x_det.index10, chest_x_det.nih_name),
    "rsna": _BoxSet(rsna.index, nih_image_of_rsna),
}


def index(
    root: Path,
    *,
    label_file: Path | None = None,
    strict: bool = False,
    boxes: str = "",
    labels: str = "",
) -> DatasetIndex:
    """Index NIH, with `boxes` as the module's docstring says; without it NIH alone.

    Args:
        label_file: see `nih.index`.
        boxes: NAME=FOLDER of each set, with commas between.
        labels: YAML file, names of the sets -> diseases; without it names that are NIH's, too.

    Raises:
        FileNotFoundError: if a folder or a file in it is missing.
        ValueError: for faults listed as errors, and for all warnings if `strict`.
    """
    folders = _folders(boxes, labels)
    base = nih.index(root, label_file=label_file, strict=strict)
    if not folders:
        return base
    if not {"train_val", "test"} <= set(base.official.values()):
        raise ValueError(
            f"--boxes needs {' and '.join(nih.OFFICIAL_LISTS)} in {root}: boxes of other sets may "
            "only be added to the official train part"
        )
    added: dict[str, list[Box]] = {}
    sources = list(base.sources)
    for name, folder in folders.items():
        drawn = BOX_SETS[name].index(folder, strict=strict, labels=labels)
        _add(added, drawn, name, base, base.warnings)
        sources += drawn.sources
    radiographs = [
        replace(r, boxes=(*r.boxes, *added[r.image_id])) if r.image_id in added else r
        for r in base.radiographs
    ]
    _note_unlabelled(radiographs, added, base.warnings)
    return replace(base, radiographs=radiographs, sources=tuple(sources))


def _folders(boxes: str, labels: str) -> dict[str, Path]:
    """Set -> its folder."""
    folders: dict[str, Path] = {}
    for part in filter(None, (part.strip() for part in boxes.split(","))):
        name, equals, folder = part.partition("=")
        if name not in BOX_SETS or not equals or not folder or name in folders:
            raise ValueError(
                f"--boxes {part!r}: expected NAME=FOLDER, each set once, with NAME one of "
                f"{', '.join(BOX_SETS)}, and commas between several"
            )
        folders[name] = Path(folder)
    if labels and not folders:
        raise ValueError("--labels maps the names of other sets; nih takes it with --boxes alone")
    return folders


def _add(
    added: dict[str, list[Box]],
    drawn: DatasetIndex,
    name: str,
    base: DatasetIndex,
    warnings: ReaderWarnings,
) -> None:
    """Add a set's boxes on images of the official train part to `added`."""
    if not set(NIH_BOXED_DISEASES) & set(drawn.boxed_diseases):
        raise ValueError(
            f"--boxes {name}: none of its diseases ({', '.join(drawn.boxed_diseases)}) is one of "
            f"the eight that NIH boxed ({', '.join(NIH_BOXED_DISEASES)}); map its names onto them "
            "with --labels"
        )
    counted = _Counted(name, warnings)
    for radiograph in drawn.radiographs:
        image = BOX_SETS[name].nih_name(radiograph.image_id)
        part = None if image is None else base.official.get(image)
        if image is None or part != "train_val":
            counted.outside(radiograph, part)
            continue
        taken = {box.disease for box in added.get(image, ())}
        for box in radiograph.boxes:
            if counted.takes(box, taken, image):
                added.setdefault(image, []).append(box)
    for kind, count in drawn.warnings.items():
        warnings.note(f"{name}: {kind}", drawn.warnings.examples[kind], count)


class _Counted:
    """Decides on boxes of one set, and notes what becomes of them."""

    def __init__(self, name: str, warnings: ReaderWarnings) -> None:
        self.name, self.warnings = name, warnings

    def outside(self, radiograph: Radiograph, part: str | None) -> None:
        """Note the boxes of an image that is not in the official train part."""
        why = "of the official test part" if part == "test" else "of images in no official list"
        where = [radiograph.image_id] * len(radiograph.boxes)
        self.warnings.note(f"{self.name}: boxes {why}, left out", where)

    def takes(self, box: Box, taken: set[str], image: str) -> bool:
        """Whether a box is taken; `taken` are the image's diseases boxed by others before."""
        if box.disease not in NIH_BOXED_DISEASES:
            self.warnings.note(f"{self.name}: boxes of other diseases, left out", [box.disease])
            return False
        if box.disease in taken:
            kind = f"{self.name}: boxes of a disease that an earlier reader boxed, left out"
            self.warnings.note(kind, [f"{image} {box.disease}"])
            return False
        self.warnings.note(f"{self.name}: boxes taken", [f"{image} {box.disease}"])
        return True


def _note_unlabelled(
    radiographs: list[Radiograph], added: Mapping[str, list[Box]], warnings: ReaderWarnings
) -> None:
    unlike = [
        f"{r.image_id} {box.disease}"
        for r in radiographs
        for box in added.get(r.image_id, ())
        if not r.labels.get(box.disease)
    ]
    warnings.note("added boxes of a disease that NIH does not label; NIH's label stays", unlike)
