"""Check a data set, report missing images, and write the folder that later steps read.

    python tools/prepare_data.py --dataset nih --root DIR --out DIR [--folds 5 --seed 0]
        [--strict true] [--check_pixels false] [--label_file Data_Entry_2017.csv]
    python tools/prepare_data.py --dataset chexpert --root CheXpert-v1.0-small --out DIR
        [--frontal_only true]
    python tools/prepare_data.py --dataset mura --root MURA-v1.1 --out DIR [--body_part XR_ELBOW]

`--strict` makes every warning an error, an unreadable image among them. `--check_pixels false`
skips reading every image once. Folds are made, by patient, over the images that are on disk. A
second run replaces the folder's files one by one, each whole. Research use only, never a diagnosis.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cxrloc.configs.command_line import load_config, run_tool
from cxrloc.datasets.files.manifest import file_sha256, run_manifest
from cxrloc.datasets.prepared.check_images import check_images
from cxrloc.datasets.prepared.folder import write_prepared
from cxrloc.datasets.prepared.splits import patient_folds
from cxrloc.datasets.prepared.summary import counts, summary_text
from cxrloc.datasets.readers.index import DatasetIndex
from cxrloc.datasets.readers.registry import Dataset, find_dataset


@dataclass(frozen=True)
class PrepareConfig:
    """Options of prepare_data.

    Attributes:
        dataset: which reader: nih (a phantom chest is in NIH's layout too), chexpert or mura (a
            phantom limb too).
        root: folder of the data set.
        out: folder to write.
        folds: number of patient-wise folds.
        seed: of the folds.
        strict: every warning is an error.
        check_pixels: read every image once.
        label_file: label file to read instead of the one found in root.
        frontal_only: leave lateral images out (chexpert).
        body_part: only this body part, such as XR_ELBOW (mura); all when not given.
        workers: threads that read images; all cores when not given.
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
    workers: int | None = None

    def __post_init__(self) -> None:
        if self.folds < 3:
            raise ValueError(
                f"folds: got {self.folds}, expected at least 3 (to train, to validate, to test)"
            )


def prepare(config: PrepareConfig) -> Path:
    """Do what the module says; returns the folder written.

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
    print(f"indexed {len(index.radiographs):,} images in {time.time() - started:.1f} s")
    unreadable = _check(index, config)
    summary = _summary(dataset, index, unreadable, config)
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
    folds = patient_folds(on_disk, dataset.diseases, config.folds, config.seed)
    hashes = {path.name: file_sha256(path) for path in index.sources}
    manifest = {
        **run_manifest(config, seed=config.seed, hashes=hashes, started=started),
        "diseases": list(dataset.diseases),
        "counts": {"in the lists": counts(radiographs), "on disk": counts(on_disk)},
        "unreadable": unreadable,
        "warnings": dict(index.warnings),
    }
    write_prepared(
        out,
        radiographs,
        boxed_diseases=dataset.boxed_diseases,
        folds=folds,
        k=config.folds,
        official=index.official,
        summary=summary,
        manifest=manifest,
    )
    return out


def _options(dataset: Dataset, config: PrepareConfig) -> dict[str, bool | str]:
    """Settings for this data set only, as keywords of its reader."""
    asked: dict[str, bool | str] = {
        "frontal_only": config.frontal_only,
        "body_part": config.body_part,
    }
    unknown = [name for name, value in asked.items() if value and name not in dataset.options]
    if unknown:
        raise ValueError(f"--{unknown[0]}: data set {config.dataset} has no such option")
    return {name: value for name, value in asked.items() if name in dataset.options}


def _check(index: DatasetIndex, config: PrepareConfig) -> dict[str, str]:
    """Images that cannot be read. All are looked at before a strict run stops."""
    if not config.check_pixels:
        return {}
    images = [r for r in index.radiographs if r.path is not None]
    return check_images(images, index.warnings, config.workers)


def _summary(
    dataset: Dataset, index: DatasetIndex, unreadable: dict[str, str], config: PrepareConfig
) -> str:
    return summary_text(
        index.radiographs,
        unreadable,
        diseases=dataset.diseases,
        boxed_diseases=dataset.boxed_diseases,
        official=index.official,
        warnings=index.warnings,
        images_checked=config.check_pixels,
    )


def _bare_flags(argv: Sequence[str]) -> list[str]:
    """`--strict` alone means `--strict true`; the parser of dataclass fields wants the word."""
    following = [*argv[1:], ""][: len(argv)]
    return [
        f"{word}=true" if word == "--strict" and after not in ("true", "false") else word
        for word, after in zip(argv, following, strict=True)
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    arguments = _bare_flags(sys.argv[1:] if argv is None else argv)
    return run_tool(
        "prepare_data", lambda: _prepare(load_config(PrepareConfig, arguments, __doc__))
    )


def _prepare(config: PrepareConfig) -> None:
    out = prepare(config)
    print(f"wrote {out}: {', '.join(sorted(path.name for path in out.glob('*.*')))}")


if __name__ == "__main__":
    sys.exit(main())
