"""cxrloc audit-leakage from its command line, on lists made by hand and on NIH's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cxrloc.datasets.files.manifest import file_sha256
from cxrloc.datasets.provenance.image_lists import write_training_images
from cxrloc.datasets.provenance.sidecar import LookedAt, write_provenance
from cxrloc.datasets.radiograph import Radiograph
from cxrloc.tools.data.audit_leakage import main


def listed(path: Path, *names: str) -> Path:
    path.write_text("\n".join(names) + "\n")
    return path


def audit(*arguments: object) -> int:
    return main(list(map(str, arguments)))


def test_clean_lists_end_with_0_and_leaky_ones_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = listed(tmp_path / "a.txt", "00000001_000.png", "00000002_000.png")
    second = listed(tmp_path / "b.txt", "00000003_000.png")
    third = listed(tmp_path / "c.txt", "00000002_001.png", "00000001_000.png")
    assert audit("--train", first, "--evaluate", second) == 0
    assert "Clean." in capsys.readouterr().out
    assert audit("--train", second, first, "--evaluate", third) == 1
    printed = capsys.readouterr().out
    assert "shared images             1 (00000001_000.png)" in printed
    assert "shared patients           2 (2, 1)" in printed
    assert f"LEAKED: {first}. " in printed  # and not the other list


def test_the_file_holds_all_names_and_counts_by_part(tmp_path: Path) -> None:
    radiographs = [Radiograph(f"{n}.png", None, f"p{n}", "", {}) for n in range(9)]
    bundle = tmp_path / "model" / "classifier.safetensors"
    write_training_images(bundle, {"train": radiographs[:6], "validation": radiographs[6:]})
    scored = listed(
        tmp_path / "scored.csv", "image_id,patient_id", *(f"{n}.png,p{n}" for n in "78")
    )
    out = tmp_path / "audit.json"
    arguments = ("--train", bundle.parent, "--evaluate", scored, "--boxes", scored, "--out", out)
    assert audit(*arguments) == 1
    record = json.loads(out.read_text())
    assert record["leaked"] is True
    (record_of_audit,) = record["audits"].values()
    assert (
        record_of_audit["shared_images"]
        == record_of_audit["boxed_in_training"]
        == ["7.png", "8.png"]
    )
    assert record_of_audit["by_part"]["train"]["shared_images"] == 0
    assert record_of_audit["by_part"]["validation"]["shared_images"] == 2
    assert record["manifest"]["hashes"][scored.name] == file_sha256(scored)


def test_each_model_of_a_results_file_is_audited_on_what_it_predicted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    looked_at = []
    for fold in (0, 1):
        bundle = tmp_path / f"fold{fold}" / "maskrcnn.safetensors"
        bundle.parent.mkdir()
        bundle.write_bytes(b"weights")
        other = Radiograph(f"{1 - fold}.png", None, f"p{1 - fold}", "", {})
        write_training_images(bundle, {"train": [other]})
        looked_at.append(LookedAt((f"{fold}.png",), bundle, fold))
    results = tmp_path / "boxes.json"
    results.write_text("[]")
    write_provenance(results, looked_at)
    scored = listed(tmp_path / "scored.csv", "image_id,patient_id", "0.png,p0", "1.png,p1")
    assert audit("--train", results, "--evaluate", scored, "--boxes", scored) == 0
    assert f"{results} fold1: 1 training images, 1 evaluated" in capsys.readouterr().out
    assert audit("--train", tmp_path / "fold0", "--evaluate", scored) == 1
    far = listed(tmp_path / "far.txt", "far.png")
    assert audit("--train", results, "--evaluate", far) == 2
    assert "its models predicted none of the evaluated images" in capsys.readouterr().err


def test_unknown_patients_are_said_to_be_unknown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = listed(tmp_path / "a.txt", "a.png"), listed(tmp_path / "b.txt", "b.png")
    out = tmp_path / "audit.json"
    assert audit("--train", first, "--evaluate", second, "--out", out) == 3
    printed = capsys.readouterr().out
    assert "  not known: patients of some images unknown\n" in printed
    assert f"Nothing found, not known: {first}." in printed
    assert "Clean" not in printed
    assert json.loads(out.read_text())["status"] == "not known"
    # what is leaked or not known outweighs what is clean
    nih = listed(tmp_path / "nih.txt", "00000001_000.png")
    assert audit("--train", nih, first, "--evaluate", nih) == 1
    other = listed(tmp_path / "other.txt", "00000002_000.png")
    assert audit("--train", nih, first, "--evaluate", other) == 3


def test_the_lists_that_chexpert_and_mura_publish_share_patients_by_their_paths(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release = "CheXpert-v1.0-small"
    train = listed(tmp_path / "train.csv", "Path,Sex", f"{release}/train/patient1/study1/v.jpg,F")
    valid = listed(tmp_path / "valid.csv", "Path,Sex", f"{release}/valid/patient9/study1/v.jpg,F")
    assert audit("--train", train, "--evaluate", valid) == 0
    assert "not known" not in capsys.readouterr().out
    hand, wrist = (f"MURA-v1.1/train/XR_{part}/patient00002" for part in ("HAND", "WRIST"))
    images = listed(tmp_path / "train_image_paths.csv", f"{hand}/study1_negative/image1.png")
    studies = listed(tmp_path / "train_labeled_studies.csv", f"{wrist}/study1_positive/,1")
    assert audit("--train", images, "--evaluate", studies) == 1
    assert "shared patients           1 (patient00002)" in capsys.readouterr().out
    assert audit("--train", images, "--evaluate", train) == 0


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ("gone.txt", "no image list"),
        ("gone.safetensors", "the training images are unknown; run the training's command again"),
        ("images.xlsx", "expected a list of images"),
        ("prior.json", "is from a control: nothing was trained"),
    ],
)
def test_what_the_user_can_mend_ends_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], train: str, message: str
) -> None:
    (tmp_path / "prior.json").write_text("[]")
    write_provenance(tmp_path / "prior.json", [LookedAt(("a.png",))])
    scored = listed(tmp_path / "b.txt", "b.png")
    assert audit("--train", tmp_path / train, "--evaluate", scored) == 2
    assert message in capsys.readouterr().err


def test_nihs_official_lists_are_clean_and_every_boxed_image_is_in_the_test_list(
    shared_data: Path, tmp_path: Path
) -> None:
    nih, out = shared_data / "nih", tmp_path / "audit.json"
    train, test = nih / "train_val_list.txt", nih / "test_list.txt"
    boxes = ("--boxes", nih / "BBox_List_2017.csv", "--out", out)
    assert audit("--train", train, "--evaluate", test, *boxes) == 0
    assert audit("--train", test, "--evaluate", train, *boxes) == 1
    (record_of_audit,) = json.loads(out.read_text())["audits"].values()
    assert (record_of_audit["training_images"], record_of_audit["evaluated_images"]) == (
        25_596,
        86_524,
    )
    assert (len(record_of_audit["shared_images"]), len(record_of_audit["shared_patients"])) == (
        0,
        0,
    )
    assert len(record_of_audit["boxed_in_training"]) == 880
    # the label file's patient numbers agree with those in the names
    labels = nih / "Data_Entry_2017_v2020.csv"
    assert audit("--train", labels, "--evaluate", test, *boxes) == 1
    (record_of_audit,) = json.loads(out.read_text())["audits"].values()
    assert (len(record_of_audit["shared_images"]), len(record_of_audit["shared_patients"])) == (
        25_596,
        2_797,
    )


def test_rsnas_and_chestx_dets_own_files_are_audited_against_nihs_lists(
    shared_data: Path, tmp_path: Path
) -> None:
    train = shared_data / "nih" / "train_val_list.txt"
    readers, out = shared_data / "second_readers", tmp_path / "audit.json"
    rsna = readers / "rsna" / "stage_2_train_labels.csv"
    det = readers / "chestx_det" / "ChestX_Det_train.json"

    def counts(*words: object) -> tuple[int, ...]:
        assert audit("--train", train, "--out", out, "--evaluate", *words) == 1
        (record,) = json.loads(out.read_text())["audits"].values()
        kinds = ("shared_images", "shared_patients", "boxed_in_training", "evaluated_as_nih")
        return (record["evaluated_images"], *(len(record[kind]) for kind in kinds))

    assert counts(rsna, "--boxes", rsna) == (315, 30, 28, 1, 315)
    assert counts(det) == (60, 4, 3, 1, 60)


def test_the_boxes_of_an_evaluated_ground_truth_are_looked_for_without_being_named_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coco = {
        "images": [
            {"id": 1, "file_name": "a.png", "width": 9, "height": 9, "patient_id": "1"},
            {"id": 2, "file_name": "b.png", "width": 9, "height": 9, "patient_id": "2"},
        ],
        "categories": [{"id": 1, "name": "Mass"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2]}],
    }
    (tmp_path / "gt.json").write_text(json.dumps(coco))
    (tmp_path / "train.csv").write_text("image_id,patient_id\na.png,1\nb.png,2\n")

    status = main(["--train", str(tmp_path / "train.csv"), "--evaluate", str(tmp_path / "gt.json")])

    assert status == 1
    assert "boxed images in training  1 (a.png)" in capsys.readouterr().out


def test_without_boxes_it_says_that_boxed_images_are_not_looked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "train.csv").write_text("image_id,patient_id\na.png,1\n")
    (tmp_path / "test.csv").write_text("image_id,patient_id\nb.png,2\n")

    paths = [str(tmp_path / name) for name in ("train.csv", "test.csv")]
    assert main(["--train", paths[0], "--evaluate", paths[1]]) == 0

    assert "Boxed images are not checked" in capsys.readouterr().out
