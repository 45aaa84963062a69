"""SIIM-ACR: relative runs down the columns, several rows an image, the leading space."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cxrloc.datasets.readers.box_sets.siim import decode, index
from datasets.readers.box_sets.layouts import rectangle_mask, relative_rle, siim


def test_runs_go_down_the_columns_from_the_end_of_the_last_one() -> None:
    # 4 high, 3 wide: pixels 1 and 2 of the first column, then the gap of 3 to pixel 6
    assert decode("1 2 3 1", (4, 3)).tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 0]]
    whole = decode(f"0 {1024 * 1024}")
    assert whole.all()


def test_an_encoded_mask_is_decoded_again() -> None:
    mask = rectangle_mask(7, 1000, 30, 1024) | rectangle_mask(900, 0, 901, 3)
    assert (decode(relative_rle(mask)) == mask).all()


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        ("1 2 3", "expected pairs of a gap and a positive length"),
        ("", "expected pairs"),
        ("5 0", "expected pairs"),
        ("-5 3", "expected pairs"),
        ("1 x", "invalid literal"),
        (f"1 {'9' * 400}", "too large"),
        ("1048570 7", "ends at pixel 1,048,577 of 1,048,576"),
        # absolute starts, as in other challenges, run out of the frame
        ("600000 10 601024 10", "absolute starts are not the format"),
    ],
)
def test_another_encoding_is_refused(encoded: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode(encoded)


def test_a_row_is_one_annotation_of_all_its_parts(tmp_path: Path) -> None:
    mask = rectangle_mask(100, 200, 110, 230) | rectangle_mask(400, 100, 420, 130)
    (tmp_path / "train-rle.csv").write_text(f"ImageId, EncodedPixels\n1.2.3, {relative_rle(mask)}")
    (image,) = index(tmp_path).radiographs
    (box,) = image.boxes
    assert list(box.box_xyxy) == [100, 100, 420, 230]
    extents = [np.reshape(points, (-1, 2)) for points in box.polygons]
    assert [[*p.min(axis=0), *p.max(axis=0)] for p in extents] == [
        [400, 100, 420, 130],
        [100, 200, 110, 230],
    ]


def test_both_spellings_of_the_header_and_of_no_mask_are_read(tmp_path: Path) -> None:
    siim(tmp_path)
    first = index(tmp_path).radiographs
    text = (tmp_path / "train-rle.csv").read_text().replace(", ", ",")
    (tmp_path / "train-rle.csv").rename(tmp_path / "old.csv")
    (tmp_path / "stage_2_train.csv").write_text(text)
    assert index(tmp_path).radiographs == first
    assert [len(r.boxes) for r in first] == [2, 0]
    assert [r.labels["Pneumothorax"] for r in first] == [1, 0]
    assert not any(r.patient_known for r in first)
    assert all(r.path is not None for r in first)


def test_contradicting_rows_are_refused_and_equal_ones_counted(tmp_path: Path) -> None:
    row = f"1.2.3, {relative_rle(rectangle_mask(0, 0, 9, 9))}\n"
    (tmp_path / "train-rle.csv").write_text("ImageId, EncodedPixels\n" + row + row)
    found = index(tmp_path)
    assert len(found.radiographs[0].boxes) == 1
    assert found.warnings["equal duplicate rows dropped"] == 1
    (tmp_path / "train-rle.csv").write_text("ImageId, EncodedPixels\n" + row + "1.2.3, -1\n")
    with pytest.raises(ValueError, match=r"image 1\.2\.3 has masks and -1, no mask"):
        index(tmp_path)


def test_a_faulty_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"expected train-rle.csv or stage_2_train.csv"):
        index(tmp_path)
    (tmp_path / "train-rle.csv").write_text("ImageId,Mask\n1,2\n")
    with pytest.raises(ValueError, match=r"has no column .*EncodedPixels"):
        index(tmp_path)
    (tmp_path / "train-rle.csv").write_text("ImageId,EncodedPixels\n1.2.3,1 2 3\n")
    with pytest.raises(ValueError, match=r"train-rle.csv \(1.2.3\): mask '1 2 3'"):
        index(tmp_path)


@pytest.mark.parametrize("image", ["null", "x" * 1500])
def test_a_name_that_is_none_is_refused_with_the_file(tmp_path: Path, image: str) -> None:
    (tmp_path / "train-rle.csv").write_text(f"ImageId,EncodedPixels\n{image},-1\n")
    with pytest.raises(ValueError, match=r"train-rle\.csv: ") as error:
        index(tmp_path)
    assert len(str(error.value)) < 600
