"""Images among files and folders, and the names of what is made of them."""

from __future__ import annotations

from pathlib import Path

from cxrloc.datasets.readers.loose_images import images_below, unique_names


def test_images_are_found_once_in_order_without_hidden_files_and_own_outputs(
    tmp_path: Path,
) -> None:
    """In `out` and, beside the JSON of their image, in another run's folder."""
    names = (
        "b.png",
        "sub/a.JPG",
        "sub/.hidden.png",
        "out/b.boxes.jpg",
        "out/b.heat.jpg",
        "run1/b.boxes.jpg",
        "run1/b.sr.dcm",
        "run1/b.json",
    )
    record = '{"manifest": {}}'
    for name in names:
        path = tmp_path / "x" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "x" / "notes.txt").write_text("no image")
    (tmp_path / "x" / "run1" / "b.json").write_text(record)
    out = tmp_path / "x" / "out"

    images, failures = images_below([tmp_path / "x" / "b.png", tmp_path / "x"], out)

    assert [image.relative_to(tmp_path / "x").as_posix() for image in images] == [
        "b.png",
        "sub/a.JPG",
    ]
    assert failures == []
    (out / "b.json").write_text(record)
    assert images_below([tmp_path / "x"]) == (images, [])
    (out / "b.json").write_text("{}")  # pictures that are merely called so are images
    assert len(images_below([tmp_path / "x"])[0]) == 4
    (out / "b.json").unlink()
    assert len(images_below([tmp_path / "x"])[0]) == 4


def test_outputs_of_images_with_the_same_stem_do_not_overwrite_each_other() -> None:
    paths = [Path(p) for p in ("x/a.png", "y/a.jpg", "y/a_2.png", "z/A.png", "b.tar.png")]

    names = unique_names(paths)

    assert list(names.values()) == ["a", "a_2", "a_2_2", "A_3", "b.tar"]


def test_outputs_in_the_layouts_of_mura_and_chexpert_are_named_after_the_study() -> None:
    folders = "MURA-v1.1/valid/XR_HAND/patient00011/study1_positive", "valid/patient64541/study2"
    other = "inpatient12/study1"
    paths = [Path(f"{folder}/a.png") for folder in (*folders, other)]

    names = unique_names(paths)

    assert list(names.values()) == [
        "XR_HAND_patient00011_study1_positive_a",
        "patient64541_study2_a",
        "a",
    ]


def test_many_images_of_one_name_are_told_apart_at_once() -> None:
    names = unique_names([Path(f"{i}/a.png") for i in range(20_000)])

    assert len(set(names.values())) == 20_000
    assert names[Path("19999/a.png")] == "a_20000"
