"""Leakage between lists made by hand, and between NIH's official lists."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxrloc.datasets.provenance.image_lists import ImageList, image_list, write_training_images
from cxrloc.datasets.provenance.leakage import audit, audit_model, provenance_of, read_image_list
from cxrloc.datasets.provenance.sidecar import LookedAt, sidecar_path, write_provenance
from cxrloc.datasets.radiograph import Radiograph

TRAINING = image_list(
    [("a1.png", "1", "train"), ("b1.png", "2", "train"), ("c1.png", "3", "validation")]
)


def test_other_patients_are_clean() -> None:
    result = audit(TRAINING, ImageList({"d1.png": "4", "e1.png": "5"}), ["d1.png"])
    assert not result.leaked
    assert (result.training_images, result.evaluated_images) == (3, 2)
    assert not result.patients_unknown


def test_a_shared_image_is_found_under_another_ending_and_folder() -> None:
    result = audit(TRAINING, ImageList({"copies/a1.jpg": "1", "d1.png": "4"}))
    assert result.leaked
    assert result.shared_images == ("copies/a1.jpg",)
    assert result.shared_patients == ("1",)
    assert result.boxed_in_training == ()


def test_a_published_list_is_the_same_images_though_it_names_the_release() -> None:
    names = [f"train/patient0000{n}/study1/view1_frontal.jpg" for n in (1, 2)]
    training = image_list(
        [(names[0], "patient00001", "train"), (names[1], "patient00002", "train")]
    )
    other = "CheXpert-v1.0-small/valid/patient64541/study1/view1_frontal.jpg"
    result = audit(training, ImageList({f"CheXpert-v1.0-small/{names[1]}": "", other: ""}))
    assert result.shared_images == (f"CheXpert-v1.0-small/{names[1]}",)
    assert not audit(training, ImageList({other: ""})).leaked


def test_a_patient_of_another_body_part_or_study_is_the_same_patient() -> None:
    hand = "train/XR_HAND/patient00002/study1_negative/image1.png"
    forearm = "MURA-v1.1/train/XR_FOREARM/patient00002/study1_positive/image1.png"
    training = image_list([(hand, "patient00002", "train")])
    result = audit(training, image_list([(forearm, "", "")]))
    assert (result.shared_images, result.shared_patients) == ((), ("patient00002",))
    assert not result.patients_unknown


def test_mura_and_chexpert_number_alike_and_share_no_patient() -> None:
    limb = "MURA-v1.1/train/XR_HAND/patient00002/study1_negative/image1.png"
    chest = "CheXpert-v1.0/train/patient00002/study1/view1_frontal.jpg"
    mura, chexpert = (image_list([(name, "", "train")]) for name in (limb, chest))
    assert not audit(mura, chexpert).leaked
    assert audit(image_list([(limb, "", ""), (chest, "", "")]), chexpert).leaked
    # an image that does not tell its data set may be of either
    copy = ImageList({"copy.png": "patient00002"})
    assert all(
        audit(dataset, copy).leaked and audit(copy, dataset).leaked for dataset in (mura, chexpert)
    )


def test_another_image_of_a_patient_is_a_leak_and_zeros_before_his_number_do_not_hide_it() -> None:
    result = audit(TRAINING, ImageList({"b2.png": "0002"}))
    assert result.leaked
    assert (result.shared_images, result.shared_patients) == ((), ("2",))


def test_a_boxed_image_in_training_is_a_leak_whatever_is_evaluated() -> None:
    result = audit(TRAINING, ImageList({"d1.png": "4"}), ["b1.png", "d1.png"])
    assert result.leaked
    assert result.boxed_in_training == ("b1.png",)


def test_validation_images_count_as_seen_and_parts_are_counted_apart() -> None:
    result = audit(TRAINING, ImageList({"c1.png": "3", "b2.png": "2"}), ["c1.png"])
    assert result.by_part == {
        "train": {"images": 2, "shared_images": 0, "shared_patients": 1, "boxed_in_training": 0},
        "validation": {
            "images": 1,
            "shared_images": 1,
            "shared_patients": 1,
            "boxed_in_training": 1,
        },
    }
    assert result.to_json()["leaked"] is True


def test_unknown_patients_are_not_one_patient_and_are_said_to_be_unknown() -> None:
    result = audit(ImageList({"a.png": ""}), ImageList({"b.png": ""}))
    assert not result.leaked
    assert result.patients_unknown


def test_views_of_the_same_name_in_other_folders_are_other_images() -> None:
    training = ImageList({"p1/view1.jpg": "p1", "p2/view1.jpg": "p2"})
    assert not audit(training, ImageList({"p3/view1.jpg": "p3"})).leaked
    assert audit(training, ImageList({"p2/view1.png": "x"})).shared_images == ("p2/view1.png",)


def run_of_two_folds(root: Path, trained_on: tuple[str, str]) -> Path:
    """Fold 0 predicts image a, fold 1 image b; trained on those given."""
    looked_at = []
    for fold, (seen, predicted) in enumerate(zip(trained_on, "ab", strict=True)):
        bundle = root / f"fold{fold}" / "maskrcnn.safetensors"
        bundle.parent.mkdir(parents=True)
        bundle.write_bytes(b"weights")
        write_training_images(bundle, {"train": [Radiograph(seen, None, f"p{seen}", "", {})]})
        looked_at.append(LookedAt((predicted,), bundle, fold))
    (root / "boxes.json").write_text("[]")
    write_provenance(root / "boxes.json", looked_at)
    return root / "boxes.json"


def test_in_a_cross_validation_each_image_is_held_against_the_model_that_predicted_it(
    tmp_path: Path,
) -> None:
    evaluated = ImageList({"a": "pa", "b": "pb", "c": "pc"})  # c was looked at by nobody
    honest = provenance_of(run_of_two_folds(tmp_path / "honest", ("b", "a")))
    assert honest is not None
    for model in ("fold0", "fold1"):
        result = audit_model(honest, model, evaluated, ["a", "b"])
        assert (result.evaluated_images, result.leaked) == (1, False)
    leaky = provenance_of(run_of_two_folds(tmp_path / "leaky", ("b", "b")))
    assert leaky is not None
    assert not audit_model(leaky, "fold0", evaluated, ["a", "b"]).leaked
    result = audit_model(leaky, "fold1", evaluated, ["a", "b"])
    assert (result.shared_images, result.boxed_in_training) == (("b",), ("b",))


def test_a_run_s_files_are_lists_of_images(tmp_path: Path) -> None:
    results = run_of_two_folds(tmp_path, ("b", "a"))
    for path in (results, sidecar_path(results)):
        assert read_image_list(path).patient_of == {"a": "", "b": ""}
    for path in (tmp_path / "fold1", tmp_path / "fold1" / "maskrcnn.safetensors"):
        assert read_image_list(path).patient_of == {"a": "pa"}


def test_what_lists_no_images_is_refused_with_what_to_do(tmp_path: Path) -> None:
    run = run_of_two_folds(tmp_path / "run", ("b", "a")).parent
    with pytest.raises(ValueError, match=r"a run of 2 models, .* one of fold0, fold1"):
        read_image_list(run)
    (run / "fold0" / "training_images.csv").unlink()
    for path in (run / "fold0", run / "fold0" / "maskrcnn.safetensors"):
        with pytest.raises(FileNotFoundError, match="run the training's command again"):
            read_image_list(path)
    with pytest.raises(ValueError, match=r"images.xlsx: expected a list of images: .txt, .csv"):
        read_image_list(tmp_path / "images.xlsx")
    (tmp_path / "alone.json").write_text("[]")
    with pytest.raises(ValueError, match="holds a JSON list, expected an object"):
        read_image_list(tmp_path / "alone.json")
    (run / "boxes.json").write_text("[2]")
    with pytest.raises(ValueError, match="its hash differs"):
        read_image_list(run / "boxes.json")
