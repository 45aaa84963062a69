r"""Check a data set, report missing images, and write the folder that all later steps read.

    cxrloc prepare --dataset nih --root NIH --out data/nih
    cxrloc prepare --dataset chexpert --root CheXpert-v1.0-small \
        --frontal-only --out data/chexpert
    cxrloc prepare --dataset mura --root MURA-v1.1 --body-part XR_ELBOW \
        --out data/elbow
    cxrloc prepare --dataset coco --root EXPORT --labels diseases.yaml \
        --patient '^([0-9]+)_' --out data/mine
    cxrloc prepare --dataset vindr --root vinbigdata --readers majority \
        --out data/vindr

coco, yolo, voc and csv are folders of anyone's images (PNG, JPEG, DICOM) with boxes as CVAT, Label
Studio, Roboflow and others write them; see docs/tutorials/your_own_data.md. For public sets of
boxes see docs/how-to/public_box_sets.md.

The folds are by patient, over the images that are on disk. Patients with NIH's own boxes get the
folds of protocol nih-boxes-v1, whichever images are there (with 5 folds and seed 0). With --strict,
every warning is an error, an unreadable image among them. A second run replaces the folder's files
one by one, each as a whole. Research use only, never a diagnosis.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cxrloc.configs.command_line import load_config, run_tool
from cxrloc.datasets.files.manifest import file_sha256, run_manifest
from cxrloc.datasets.files.runs.locks import while_holding, writes_folder
from cxrloc.datasets.prepared.check_images import check_images
from cxrloc.datasets.prepared.folder import write_prepared
from cxrloc.datasets.prepared.protocols.protocol import folds_of
from cxrloc.datasets.prepared.summary import counts, summary_text
from cxrloc.datasets.readers.index import DatasetIndex
from cxrloc.datasets.readers.registry.datasets import DATASETS, Dataset, find_dataset


@dataclass(frozen=True)
class PrepareConfig:
    """What is prepared.

    Attributes:
        dataset: the data set's layout: nih, chexpert, mura, chestx-det, chestx-det10, rsna, vindr,
            siim or chexlocalize, or the format of the annotations: coco, yolo, voc or csv. Phantoms
            come in the layouts of nih, chexpert and mura.
        root: folder of the data set.
        out: folder to write.
        folds: number of folds, by patient.
        seed: seed of the folds.
        strict: treat every warning as an error.
        check_pixels: do not read every image once to check it.
        label_file: label file to read instead of the one found in the root folder.
        frontal_only: leave out lateral images (chexpert).
        body_part: take only this body part, such as XR_ELBOW (mura; default: all).
        annotations: file or folder of the annotations (coco, yolo, voc, csv; default: looked for in
            the usual places below the root folder).
        labels: YAML file with lines `name: disease` that map and merge the names of the
            annotations (coco, yolo, voc, csv, public sets of boxes; default: names as they are).
        patient: regular expression with one group, the patient in an image's file name (coco, yolo,
            voc, csv; default: the annotations' own patient, or each image is its own).
        patient_column: column with the patient (csv).
        boxes: boxes of other sets for the official train part: chestx-det=FOLDER,rsna=FOLDER (nih).
        readers: union, majority, wbf or one reader such as R8 (vindr; default: majority).
        unboxed: what a disease without a box is on an annotated image: negative or unknown (coco,
            yolo, voc, csv; default: negative).
        workers: threads that read images (default: one per core).
    """

    dataset: str
    root: str
    out: str
    folds: int = 5
    seed: int = 0
    strict: bool = False
    check_pixels: bool = True
    label_file: str | None = None
    frontal_only: bool = False
    body_part: str = ""
    annotations: str = ""
    labels: str = ""
    patient: str = ""
    patient_column: str = ""
    boxes: str = ""
    readers: str = ""
    unboxed: str = ""
    workers: int | None = None

    def __post_init__(self) -> None:
        if self.folds < 3:
            raise ValueError(
                f"folds: got {self.folds}, expected at least 3 (to train, to validate, to test)"
            )


def prepare(config: PrepareConfig) -> Path:
    """Write the prepared folder; returns its path.

    Raises:
        FileNotFoundError: if a needed file is missing, or no image is on disk.
        ValueError: for faulty files, or any warning if strict.
    """
    started = time.time()
    dataset, root, out = find_dataset(config.dataset), Path(config.root), Path(config.out)
    label_file = Path(config.label_file) if config.label_file else None
    index = dataset.index(
        root, label_file=label_file, strict=config.strict, **_options(dataset, config)
    )
    diseases = index.diseases or dataset.diseases
    boxed_diseases = index.boxed_diseases or dataset.boxed_diseases
    print(f"indexed {len(index.radiographs):,} images in {time.time() - started:.1f} s")
    unreadable = _check(index, config)
    summary = summary_text(
        index.radiographs,
        unreadable,
        diseases=diseases,
        boxed_diseases=boxed_diseases,
        official=index.official,
        warnings=index.warnings,
        images_checked=config.check_pixels,
        folds=config.folds,
    )
    print(f"\n{summary}")
    radiographs = [
        replace(r, path=None) if r.image_id in unreadable else r for r in index.radiographs
    ]
    on_disk = [r for r in radiographs if r.path is not None]
    if not on_disk:
        raise FileNotFoundError(
            f"none of the {len(radiographs):,} listed images is on disk; expected them in {root} "
            f"in the data set's own layout, which datasets/{config.dataset}.py describes"
        )
    folds, protocol = folds_of(radiographs, diseases, config.folds, config.seed)
    if protocol:
        print(f"folds of protocol {protocol}: score with cxrloc compare --protocol {protocol}")
    hashes = {path.name: file_sha256(path) for path in index.sources}
    manifest = {
        **run_manifest(config, seed=config.seed, hashes=hashes, started=started, folder=out),
        "diseases": list(diseases),
        "protocol": protocol or None,
        "counts": {"in the lists": counts(radiographs), "on disk": counts(on_disk)},
        "unreadable": unreadable,
        "warnings": dict(index.warnings),
    }
    write_prepared(
        out,
        radiographs,
        boxed_diseases=boxed_diseases,
        folds=folds,
        k=config.folds,
        official=index.official,
        summary=summary,
        manifest=manifest,
    )
    return out


def _options(dataset: Dataset, config: PrepareConfig) -> dict[str, bool | str]:
    """Settings of this data set alone, as keywords of its reader."""
    known = dict.fromkeys(name for other in DATASETS.values() for name in other.options)
    asked: dict[str, bool | str] = {name: getattr(config, name) for name in known}
    unknown = [name for name, value in asked.items() if value and name not in dataset.options]
    if unknown:
        option = unknown[0].replace("_", "-")
        takers = ", ".join(name for name, other in DATASETS.items() if unknown[0] in other.options)
        raise ValueError(
            f"--{option}: data set {config.dataset} has no such option; it is for {takers}"
        )
    return {name: value for name, value in asked.items() if name in dataset.options}


def _check(index: DatasetIndex, config: PrepareConfig) -> dict[str, str]:
    """Images that cannot be read. A strict run stops only after all have been checked."""
    if not config.check_pixels:
        return {}
    images = [r for r in index.radiographs if r.path is not None]
    return check_images(images, index.warnings, config.workers)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    return run_tool("prepare_data", lambda: _prepare(load_config(PrepareConfig, argv, __doc__)))


@while_holding(lambda config: writes_folder(Path(config.out)))
def _prepare(config: PrepareConfig) -> None:
    out = prepare(config)
    print(f"wrote {out}: {', '.join(sorted(path.name for path in out.glob('[!.]*.*')))}")


if __name__ == "__main__":
    sys.exit(main())
