"""Read MURA in its own layout. No pixels are read.

    root/train_image_paths.csv         one image per line: MURA-v1.1/train/XR_ELBOW/patient00011/...
    root/train_labeled_studies.csv     one study per line: its folder and 0 (normal) or 1 (abnormal)
    root/valid_image_paths.csv, valid_labeled_studies.csv            the same for the official test
    root/train/XR_ELBOW/patient00011/study1_negative/image1.png      and so on

Rajpurkar et al., "MURA", MIDL 2018: 40,561 images, 14,863 studies, 12,173 patients, seven parts of
the arm. A study is one examination. The files have no header. A path starts with the release's
name, which is removed; `root` may also be the folder that contains `MURA-v1.1`. The label belongs
to the study: every image of a study is `Abnormal` or not, even one that shows nothing. A patient
may have several studies, of one or several parts; the patient is the unit of every split.
`official` is `train_val` for the train files and `test` for the valid ones (the release's own test
part is not published). The files do not state image sizes: `size_hw` is read from the image's
header. Views and demographics are unknown.

Error: a path in another form or with an unknown body part; a label other than 0 and 1;
    contradictory rows for one study; a request for an unknown body part; no train files.
Warning, counted (an error with `strict=True`): equal duplicate rows (one is kept); a study's folder
    that contradicts its label (the label file counts); images of a study without a label row (their
    label is unknown); labelled studies without an image (left out); no valid files; a patient in
    train and in valid (kept; the official split refuses them); an unreadable image header.
Note, counted (never an error): listed names that start with `._`, left in archives by macOS (left
    out: they are not images).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from cxrloc.datasets.labels.names import ABNORMAL
from cxrloc.datasets.radiograph import Radiograph
from cxrloc.datasets.readers.csv_text import first_row, named_file, read_text_columns
from cxrloc.datasets.readers.find_images import listed_files
from cxrloc.datasets.readers.index import DatasetIndex, ReaderWarnings
from cxrloc.datasets.readers.layouts import BODY_PARTS, PATIENT, RELEASE, STUDY

PARTS: dict[str, str] = {"train": "train_val", "valid": "test"}
_STUDY = rf"[^/]+/((?:train|valid)/(XR_[A-Z]+)/({PATIENT})/{STUDY})"
_IMAGE_PATH = re.compile(rf"{_STUDY}/([^/]+)")
_STUDY_PATH = re.compile(rf"{_STUDY}/?")
_SAID = {"positive": 1.0, "negative": 0.0}


def index(
    root: Path,
    *,
    label_file: Path | None = None,
    strict: bool = False,
    body_part: str = "",
) -> DatasetIndex:
    """Index a folder in MURA's layout; the module's docstring says how faults are treated.

    Args:
        label_file: file to read in place of train_labeled_studies.csv; a bare name is looked up in
            `root`.
        body_part: restrict to one of `BODY_PARTS`; empty means all listed parts.

    Raises:
        FileNotFoundError: if `root` or one of the train files is missing.
        ValueError: for faults listed as errors, and for all warnings if `strict`.
    """
    if body_part and body_part not in BODY_PARTS:
        raise ValueError(f"unknown body part {body_part!r}; expected {', '.join(BODY_PARTS)}")
    warnings = ReaderWarnings(strict)
    root = _release_folder(root)
    files = _files(root, label_file, warnings)
    tables = []
    for part, (images, studies) in files.items():
        labels = _labels(studies, body_part, warnings)
        tables.append(_images(images, body_part, labels, warnings).assign(part=PARTS[part]))
    table = pd.concat(tables, ignore_index=True)
    _warn_of_shared_patients(table, warnings)
    official = dict(zip(table["image"], table["part"], strict=True))
    sources = tuple(path for pair in files.values() for path in pair)
    return DatasetIndex(_radiographs(root, table, warnings), official, warnings, sources)


def _release_folder(root: Path) -> Path:
    folders = [root, root / RELEASE]
    for folder in folders:
        if (folder / "train_image_paths.csv").is_file():
            return folder.absolute()
    raise FileNotFoundError(
        f"no train_image_paths.csv in {root} nor in {folders[1]}; expected the folder {RELEASE} "
        "with its four CSV files and the images in train/ and valid/"
    )


def _files(
    root: Path, label_file: Path | None, warnings: ReaderWarnings
) -> dict[str, tuple[Path, Path]]:
    """Part -> its list of images and of labelled studies."""
    files = {
        part: (root / f"{part}_image_paths.csv", root / f"{part}_labeled_studies.csv")
        for part in PARTS
    }
    if label_file is not None:
        files["train"] = (files["train"][0], named_file(root, label_file))
    for path in files["train"]:
        if not path.is_file():
            raise FileNotFoundError(
                f"no {path}; expected the files of the release {RELEASE}. A list of labelled "
                "studies of another name or place is given with --label-file"
            )
    absent = [path.name for path in files["valid"] if not path.is_file()]
    if absent:
        warnings.warn("no files of the official test part (valid)", absent)
        del files["valid"]
    return files


def _read(path: Path, columns: Sequence[str], warnings: ReaderWarnings) -> pd.DataFrame:
    """Rows of a file without a header, stripped; equal duplicates are dropped."""
    table = read_text_columns(path, header=None)
    if len(table.columns) != len(columns):
        raise ValueError(
            f"{path} has {len(table.columns)} columns, expected {len(columns)} without a header: "
            + ", ".join(columns)
        )
    table.columns = pd.Index(columns)
    table = pd.DataFrame(table.apply(lambda column: column.str.strip()))
    # the release's folder says nothing of the image, nor does a slash at the end
    place = table["path"].str.replace(r"^[^/]+/", "", regex=True).str.rstrip("/")
    equal = table.assign(path=place).duplicated()
    warnings.warn(f"equal duplicate rows of {path.name} dropped", table["path"][equal].tolist())
    return table[~equal]


def _matched(
    table: pd.DataFrame, pattern: re.Pattern[str], path: Path, such_as: str
) -> pd.DataFrame:
    """The groups of `pattern` in the column `path`."""
    groups = pd.DataFrame(table["path"].str.extract(f"^{pattern.pattern}$"))
    wrong = groups[0].isna()
    if wrong.any():
        row = first_row(wrong)
        raise ValueError(
            f"{path}, row {table.index[row] + 1}: path {table['path'].iloc[row]!r}, expected one "
            f"such as {such_as}"
        )
    unknown = ~groups[1].isin(BODY_PARTS)
    if unknown.any():
        row = first_row(unknown)
        raise ValueError(
            f"{path}, row {table.index[row] + 1}: unknown body part {groups[1].iloc[row]!r} in "
            f"{table['path'].iloc[row]!r}; expected one of {', '.join(BODY_PARTS)}"
        )
    return groups


def _labels(path: Path, body_part: str, warnings: ReaderWarnings) -> dict[str, float]:
    """Study -> 0 or 1."""
    table = _read(path, ("path", "label"), warnings)
    such_as = f"{RELEASE}/train/XR_ELBOW/patient00011/study1_negative/"
    groups = _matched(table, _STUDY_PATH, path, such_as)
    bad = ~table["label"].isin(("0", "1"))
    if bad.any():
        row = first_row(bad)
        raise ValueError(
            f"{path}, row {table.index[row] + 1}: label {table['label'].iloc[row]!r} of "
            f"{table['path'].iloc[row]}, expected 0 (normal) or 1 (abnormal)"
        )
    contrary = groups[0].duplicated()
    if contrary.any():
        raise ValueError(
            f"{path}: study {groups[0][contrary].iloc[0]} has contradictory rows; keep one"
        )
    of_part = groups[1].isin((body_part,)) if body_part else groups[1].notna()
    studies, suffixes = groups[0][of_part].tolist(), groups[3][of_part].tolist()
    labels = dict(zip(studies, table["label"][of_part].astype(float).tolist(), strict=True))
    unlike = [
        s
        for s, word in zip(studies, suffixes, strict=True)
        if _SAID.get(word, labels[s]) != labels[s]
    ]
    warnings.warn("folders that contradict a study's label, which counts", unlike)
    return labels


def _images(
    path: Path, body_part: str, labels: Mapping[str, float], warnings: ReaderWarnings
) -> pd.DataFrame:
    """The listed images with the columns image, study, body_part, patient and label."""
    table = _read(path, ("path",), warnings)
    hidden = table["path"].str.contains(r"/\._[^/]*$")
    warnings.note("hidden macOS files in the list, left out", table["path"][hidden].tolist())
    table = table[~hidden]
    such_as = f"{RELEASE}/train/XR_ELBOW/patient00011/study1_negative/image1.png"
    groups = _matched(table, _IMAGE_PATH, path, such_as)
    columns = pd.DataFrame(
        {
            "image": groups[0] + "/" + groups[4],
            "study": groups[0],
            "body_part": groups[1],
            "patient": groups[2],
            "label": groups[0].map(labels),
        }
    )
    if body_part:
        columns = columns[columns["body_part"] == body_part]
    unlabelled = columns["image"][columns["label"].isna()].tolist()
    warnings.warn("images without a label row for their study; label unknown", unlabelled)
    listed = set(columns["study"])
    warnings.warn("labelled studies without an image", [s for s in labels if s not in listed])
    return columns


def _warn_of_shared_patients(table: pd.DataFrame, warnings: ReaderWarnings) -> None:
    parts = table.groupby("patient", sort=True)["part"].nunique()
    shared = [str(patient) for patient in parts.index[parts > 1]]
    warnings.warn("patients in train and in valid; the official split refuses them", shared)


def _radiographs(root: Path, table: pd.DataFrame, warnings: ReaderWarnings) -> list[Radiograph]:
    paths, sizes = listed_files(root, table["image"].tolist(), warnings)
    columns = (table[name].tolist() for name in ("image", "patient", "study", "body_part", "label"))
    return [
        Radiograph(
            image_id=image,
            path=path,
            patient_id=patient,
            view="",
            labels={ABNORMAL: label},
            size_hw=size,
            study_id=study,
            body_part=body_part,
        )
        for image, patient, study, body_part, label, path, size in zip(
            *columns, paths, sizes, strict=True
        )
    ]
