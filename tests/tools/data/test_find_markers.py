"""find_markers.py: images to a table and sheets, drawn images to precision and recall."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from cxrloc.tools.data.find_markers import main


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Nine images with an L, more than a sheet holds, and a broken one."""
    folder = tmp_path / "images"
    folder.mkdir()
    image = np.random.default_rng(1).normal(100, 3, (256, 256)).astype(np.uint8)
    cv2.putText(image, "L", (20, 50), cv2.FONT_HERSHEY_SIMPLEX, 1.0, 240, 3)
    for n in range(9):
        cv2.imwrite(str(folder / f"{n}.png"), image)
    (folder / "broken.png").write_bytes(b"no image")
    return folder


def test_images_get_a_table_and_sheets_and_a_broken_one_is_named(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main([str(images), "--out", str(out), "--remove-markers", "inpaint"]) == 1
    printed = capsys.readouterr()
    assert "9 markers on 9 images" in printed.out
    assert "broken.png" in printed.err
    rows = list(csv.DictReader((out / "markers.csv").open()))
    assert [Path(row["image"]).name for row in rows] == [f"{n}.png" for n in range(9)]
    x1, y1, x2, y2 = (float(rows[0][name]) for name in ("x1", "y1", "x2", "y2"))
    assert 15 < x1 < 22 < 30 < x2 < 45
    assert 22 < y1 < 30 < 48 < y2 < 55
    assert sorted(p.name for p in out.glob("sheet*")) == ["sheet1.jpg", "sheet2.jpg"]


def test_the_finder_is_scored_on_drawn_images(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--phantoms", "2", "--image-size", "256"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["images", "markers", "found", "precision", "recall"]
    assert [line.split()[0] for line in lines[1:3]] == ["chest", "limb"]
    assert all(float(line.split()[4]) > 0.5 for line in lines[1:3])
    assert lines[-1] == "Research use only, never a diagnosis."


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either images or --phantoms N"),
        (["a.png", "--phantoms", "3"], "give either images or --phantoms N"),
        (["a.png"], "--out is missing"),
        (["--phantoms", "0"], "expected --phantoms of at least 1"),
        (["--phantoms", "1", "--image-size", "64"], "--image-size of 256"),
    ],
)
def test_wrong_usage_says_what_is_right(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_a_image_that_is_not_there_and_an_out_that_is_a_file_are_named(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "none.png"), "--out", str(tmp_path / "out")]) == 2
    assert f"{tmp_path / 'none.png'}: no such file or folder" in capsys.readouterr().err
    assert main([str(images / "0.png"), "--out", str(images / "1.png")]) == 2
    assert "1.png" in capsys.readouterr().err
