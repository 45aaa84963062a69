"""Read the SIIM-ACR Pneumothorax Segmentation challenge of 2019. No pixels are read.

    root/train-rle.csv                      ImageId, EncodedPixels: a row per annotation
    root/stage_2_train.csv                  the same, of the challenge's second stage
    root/**/1.2.276.0...dcm                 images in folders of UIDs, or converted ones

The second column's name starts with a space in the first file, and so do its values. A value is -1
for no pneumothorax, or a mask of 1024 x 1024 pixels as pairs `gap length`: the gap counts from the
end of the last run (relative, unlike other challenges), and pixels are numbered down the columns,
from 0. A row is one annotation: its box surrounds the whole mask, its outlines are the mask's parts
along the edges of the pixels (holes are filled). An image may have several rows.

The files name no patients, and a DICOM file's patient is the image's own number: patients are
unknown. The images come from NIH ChestX-ray14; which ones was never published.

Error: another layout; a mask that is not pairs of numbers or leaves the frame; an image with masks
    and with -1.
Warning, counted (an error with `strict=True`): both files (train-rle.csv is read); equal duplicate
    rows (one is kept).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cxrloc.datasets.files.parse import naming
from cxrloc.datasets.images.outlines import Mask, box_around, outlines
from cxrloc.datasets.progress import progress
from cxrloc.datasets.radiograph import Radiograph
from cxrloc.datasets.readers.box_sets.findings import (
    BoxReader,
    NamedBox,
    disease_labels,
    diseases_of,
    label_map,
)
from cxrloc.datasets.readers.box_sets.image_files import image_files
from cxrloc.datasets.readers.csv_text import named_file, read_text_columns
from cxrloc.datasets.readers.index import DatasetIndex, ReaderWarnings

FRAME_HW = (1024, 1024)
LABEL_FILES = ("train-rle.csv", "stage_2_train.csv")
FINDINGS = ("Pneumothorax",)
_NONE = "-1"


def index(
    root: Path,
    *,
    label_file: Path | None = None,
    strict: bool = False,
    labels: str = "",
) -> DatasetIndex:
    """Index the challenge's training images; the module's docstring says how faults are treated.

    Args:
        root: folder with the images.
        label_file: the file of masks, where it is not in `root`.
        labels: YAML file, Pneumothorax -> another name.

    Raises:
        FileNotFoundError: if `root` or the label file is missing.
        ValueError: for faults listed as errors, and for all warnings if `strict`.
    """
    warnings = ReaderWarnings(strict)
    asked = label_map(labels, FINDINGS, warnings)
    path = _label_file(root, label_file, warnings)
    masks = _masks(path, warnings)
    reader = BoxReader(asked, warnings)
    paths = image_files(root).find([f"{image}.dcm" for image in masks], warnings)
    with naming(str(path)):
        radiographs = [
            _radiograph(image, encoded, file, reader, path)
            for (image, encoded), file in zip(
                progress(masks.items(), "masks", len(masks)), paths, strict=True
            )
        ]
    diseases = diseases_of(asked, FINDINGS)
    return DatasetIndex(radiographs, {}, warnings, (path,), diseases, diseases)


def _label_file(root: Path, asked: Path | None, warnings: ReaderWarnings) -> Path:
    if asked is not None:
        path = named_file(root, asked)
        if not path.is_file():
            raise FileNotFoundError(f"no label file {asked} or {root / asked}")
        return path
    found = [root / name for name in LABEL_FILES if (root / name).is_file()]
    if not found:
        raise FileNotFoundError(
            f"no label file in {root}; expected {' or '.join(LABEL_FILES)}. Where it lies "
            "elsewhere than the images, name it with --label-file"
        )
    warnings.warn(
        f"label files besides {found[0].name}, which is read; choose with --label-file",
        [path.name for path in found[1:]],
    )
    return found[0]


def _masks(path: Path, warnings: ReaderWarnings) -> dict[str, list[str]]:
    """Image -> its encoded masks, none for an image without pneumothorax."""
    table = read_text_columns(path)
    header = list(table.columns)
    table.columns = table.columns.str.strip()
    missing = [name for name in ("ImageId", "EncodedPixels") if name not in table]
    if missing:
        raise ValueError(f"{path} has no column {missing}; its header is {header}")
    table = pd.DataFrame({n: table[n].str.strip() for n in ("ImageId", "EncodedPixels")})
    equal = table.duplicated()
    warnings.warn("equal duplicate rows dropped", table["ImageId"][equal].tolist())
    masks: dict[str, list[str]] = {}
    for image, encoded in table[~equal].itertuples(index=False):
        masks.setdefault(image, []).append(encoded)
    if not masks:
        raise ValueError(f"{path} has a header but no rows; is the copy complete?")
    if "" in masks:
        raise ValueError(f"{path} has a row without an ImageId")
    for image, rows in masks.items():
        if _NONE in rows and len(rows) > 1:
            raise ValueError(f"{path}: image {image} has masks and {_NONE}, no mask; keep one kind")
    return {i: [row for row in rows if row != _NONE] for i, rows in masks.items()}


def decode(encoded: str, frame_hw: tuple[int, int] = FRAME_HW) -> Mask:
    """The (H, W) uint8 mask of a value of the file; the module's docstring defines it.

    Raises:
        ValueError: for anything else.
    """
    try:
        numbers = np.array(encoded.split(), dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"mask {encoded[:40]!r}: {error}") from error
    if not len(numbers) or len(numbers) % 2 or (numbers < 0).any() or (numbers[1::2] == 0).any():
        raise ValueError(f"mask {encoded[:40]!r}: expected pairs of a gap and a positive length")
    ends = np.cumsum(numbers)[1::2]
    height, width = frame_hw
    if ends[-1] > height * width:
        raise ValueError(
            f"mask {encoded[:40]!r} ends at pixel {ends[-1]:,} of {height * width:,}; absolute "
            "starts are not the format of this challenge"
        )
    pixels = np.zeros(height * width, dtype=np.uint8)
    for start, end in zip((ends - numbers[1::2]).tolist(), ends.tolist(), strict=True):
        pixels[start:end] = 1
    return np.ascontiguousarray(pixels.reshape(width, height).T)


def _radiograph(
    image: str, encoded: Sequence[str], path: Path | None, reader: BoxReader, source: Path
) -> Radiograph:
    where = f"{source} ({image})"
    drawn = [_annotation(text, where) for text in encoded]
    present: Mapping[str, None] = dict.fromkeys(FINDINGS if drawn else ())
    return Radiograph(
        image_id=image,
        path=path,
        patient_id=image,
        patient_known=False,
        view="",
        labels=disease_labels(reader.labels, FINDINGS, present.keys()),
        boxes=reader.boxes(drawn, FRAME_HW),
        size_hw=FRAME_HW,
    )


def _annotation(encoded: str, where: str) -> NamedBox:
    try:
        mask = decode(encoded)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    left, top, right, bottom = box = box_around(mask)
    part = mask[int(top) : int(bottom), int(left) : int(right)]
    shifted = tuple(
        tuple(value + (top if i % 2 else left) for i, value in enumerate(outline))
        for outline in outlines(part)
    )
    return NamedBox(FINDINGS[0], box, where, shifted)
