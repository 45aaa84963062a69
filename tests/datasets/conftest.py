"""Tiny trees in NIH's layout, header quirks included."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import gdcm
import pytest

from builders import write_image

V2020_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
BOX_HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,"
NihTree = Callable[..., Path]
CHEXPERT_HEADER = (
    "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,"
    "Lung Opacity,Lung Lesion,Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,"
    "Pleural Effusion,Pleural Other,Fracture,Support Devices"
)


GDCM_SYNTAXES = {
    "JPEG baseline": gdcm.TransferSyntax.JPEGBaselineProcess1,
    "JPEG extended": gdcm.TransferSyntax.JPEGExtendedProcess2_4,
    "JPEG lossless": gdcm.TransferSyntax.JPEGLosslessProcess14_1,
    "JPEG-LS": gdcm.TransferSyntax.JPEGLSLossless,
    "JPEG 2000 lossless": gdcm.TransferSyntax.JPEG2000Lossless,
    "JPEG 2000": gdcm.TransferSyntax.JPEG2000,
    "RLE": gdcm.TransferSyntax.RLELossless,
}


@pytest.fixture(scope="session")
def transcode() -> Callable[[Path, str], Path]:
    """`transcode(path, "JPEG-LS")` writes a DICOM file anew in that syntax, by GDCM."""

    def change_syntax(path: Path, name: str) -> Path:
        reader, writer = gdcm.ImageReader(), gdcm.ImageWriter()
        reader.SetFileName(str(path))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(GDCM_SYNTAXES[name]))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.SetFileName(str(path))
        assert writer.Write()
        return path

    return change_syntax


@pytest.fixture
def nih_tree(tmp_path: Path) -> NihTree:
    """Writes a tree: rows (image, labels) or whole CSV lines; boxes (image, disease, x, y, w, h).

    `lists` are the names of train_val_list.txt and test_list.txt; None writes no lists.
    """

    def build(
        rows: Sequence[tuple[str, str] | str],
        boxes: Sequence[tuple[object, ...]] | None = (),
        lists: tuple[Sequence[str], Sequence[str]] | None = ((), ()),
        images: Sequence[str] = (),
        label_file: str = "Data_Entry_2017_v2020.csv",
        header: str = V2020_HEADER,
    ) -> Path:
        root = tmp_path / "nih"
        root.mkdir(exist_ok=True)
        lines = [row if isinstance(row, str) else _row(*row) for row in rows]
        (root / label_file).write_text("\n".join([header, *lines]) + "\n")
        if boxes is not None:
            lines = [",".join(map(str, box)) + ",,," for box in boxes]
            (root / "BBox_List_2017.csv").write_text("\n".join([BOX_HEADER, *lines]) + "\n")
        if lists is not None:
            for name, listed in zip(("train_val_list.txt", "test_list.txt"), lists, strict=True):
                (root / name).write_text("\n".join(listed))  # NIH's lists end without a newline
        for name in images:
            write_image(root / name, corner=99)
        return root

    return build


def _row(image: str, labels: str) -> str:
    patient = int(image.partition("_")[0])
    return f"{image},{labels},0,{patient},58,M,PA,2682,2749,0.143,0.143"


@pytest.fixture
def chexpert_tree(tmp_path: Path) -> Callable[..., Path]:
    """Writes a tree of CheXpert-v1.0-small: whole CSV lines of train.csv and valid.csv.

    `images` are images under the root with (height, width); None as `valid` writes no valid.csv.
    """

    def build(
        train: Sequence[str],
        valid: Sequence[str] | None = (),
        images: dict[str, tuple[int, int]] | None = None,
        header: str = CHEXPERT_HEADER,
    ) -> Path:
        root = tmp_path / "CheXpert-v1.0-small"
        root.mkdir(exist_ok=True)
        for name, rows in (("train.csv", train), ("valid.csv", valid)):
            if rows is not None:
                (root / name).write_text("\n".join([header, *rows]) + "\n")
        for name, shape in (images or {}).items():
            write_image(root / name, shape=shape, corner=99)
        return root

    return build


@pytest.fixture
def mura_tree(tmp_path: Path) -> Callable[..., Path]:
    """Writes MURA-v1.1: `studies` maps a study's folder (as listed, without the release) to 0 or 1.

    Each study gets the images of `images`, else image1.png and image2.png; `extra` are further
    whole lines of a CSV file, by its name.
    """

    def build(
        studies: dict[str, int],
        images: dict[str, Sequence[str]] | None = None,
        extra: dict[str, Sequence[str]] | None = None,
        parts: Sequence[str] = ("train", "valid"),
    ) -> Path:
        root = tmp_path / "MURA-v1.1"
        root.mkdir(exist_ok=True)
        for part in parts:
            image_lines, labelled = [], []
            for study, label in studies.items():
                if study.startswith(f"{part}/"):
                    labelled.append(f"MURA-v1.1/{study}/,{label}")
                    for name in (images or {}).get(study, ("image1.png", "image2.png")):
                        image_lines.append(f"MURA-v1.1/{study}/{name}")
                        write_image(root / study / name, shape=(20, 12), corner=99)
            for name, lines in (
                (f"{part}_image_paths.csv", image_lines),
                (f"{part}_labeled_studies.csv", labelled),
            ):
                lines = [*lines, *(extra or {}).get(name, ())]
                (root / name).write_text("".join(f"{line}\n" for line in lines))
        return root

    return build
