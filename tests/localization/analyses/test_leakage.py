"""The audit of a comparison: clean, leaked and unknown localizers, the stamp and the table."""

from __future__ import annotations

from pathlib import Path

from builders import coco_ground_truth, evaluated
from cxrloc.classification.report.tables import to_csv, to_latex, to_markdown
from cxrloc.datasets.provenance.image_lists import TRAINING_IMAGES, write_training_images
from cxrloc.datasets.provenance.leakage import CLEAN, LEAKED, NOT_KNOWN
from cxrloc.datasets.provenance.sidecar import (
    LookedAt,
    Provenance,
    read_provenance,
    sidecar_path,
    write_provenance,
)
from cxrloc.datasets.radiograph import Radiograph
from cxrloc.localization.analyses.leakage import (
    LocalizerAudit,
    audit_comparison,
    audits,
    leakage,
    leakage_stamp,
)
from cxrloc.localization.evaluation.evaluated import Evaluated
from cxrloc.localization.localizer import Localization
from cxrloc.localization.report.glossary import lookup

# two images of patient p in fold 0, one of q in fold 1; a0 and b have boxes
TRUTH = {"a0.png": "p", "a1.png": "p", "b.png": "q"}
BOXED = ("a0.png", "b.png")
LOOKED_AT = {0: ("a0.png", "a1.png"), 1: ("b.png",)}


def sidecar(root: Path, trained_on: dict[int, dict[str, str]], **inherited: Path) -> Provenance:
    """A results file of two folds whose models were trained on the given images."""
    looked_at = []
    for fold, images in trained_on.items():
        bundle = root / f"fold{fold}" / "maskrcnn.safetensors"
        bundle.parent.mkdir(parents=True)
        bundle.write_bytes(b"weights")
        radiographs = [
            Radiograph(image, None, patient, "", {}) for image, patient in images.items()
        ]
        write_training_images(bundle, {"train": radiographs}, inherited)
        looked_at.append(LookedAt(LOOKED_AT[fold], bundle, fold))
    return written(root, looked_at)


def written(root: Path, looked_at: list[LookedAt]) -> Provenance:
    root.mkdir(exist_ok=True)
    (root / "boxes.json").write_text("[]")
    write_provenance(root / "boxes.json", looked_at)
    provenance = read_provenance(root / "boxes.json")
    assert provenance is not None
    return provenance


def audited(provenance: Provenance | None) -> LocalizerAudit:
    (audit,) = audit_comparison(TRUTH, {"mask_rcnn": provenance}, boxed_images=BOXED)
    return audit


def compared(provenances: dict[str, Provenance | None]) -> Evaluated:
    """Localizers without boxes, and a gate if it is among them."""
    boxes = [(image, "Mass", (10, 10, 20, 20)) for image in BOXED]
    coco = coco_ground_truth(["Mass"], boxes, images=["a1.png"])
    for image in coco["images"]:
        image["patient_id"] = TRUTH[image["file_name"]]
    gate = {(image, "Mass"): True for image in TRUTH} if "gate" in provenances else None
    silent: dict[str, list[Localization]] = {name: [] for name in provenances if name != "gate"}
    return evaluated(coco, silent, gate, provenances=provenances)


def test_a_patient_may_be_in_the_training_of_a_fold_that_did_not_predict_him(
    tmp_path: Path,
) -> None:
    honest = audited(sidecar(tmp_path, {0: {"b.png": "q"}, 1: {"a0.png": "p", "a1.png": "p"}}))
    assert (honest.status, honest.images, honest.unknown) == (CLEAN, 3, ())
    assert leakage_stamp([honest]) == ""


def test_a_planted_image_of_a_scored_patient_is_stamped(tmp_path: Path) -> None:
    planted = {"a0.png": "p", "b_another.png": "q"}
    leaked = audited(sidecar(tmp_path, {0: {"b.png": "q"}, 1: planted}))
    assert leaked.status == LEAKED
    assert (leaked.shared_images, leaked.shared_patients) == ((), ("q",))
    assert leakage_stamp([leaked]) == (
        "LEAKED: trained on images or patients scored here: mask_rcnn (0 scored images, 1 patients)"
    )


def test_a_shared_boxed_image_is_counted_as_such(tmp_path: Path) -> None:
    seen = {"a0.jpg": "p", "a1.jpg": "p"}  # re-encoded copies
    leaked = audited(sidecar(tmp_path, {0: seen, 1: {"a0.png": "p"}}))
    assert leaked.shared_images == ("a0.png", "a1.png")
    assert leaked.boxed_in_training == ("a0.png",)
    assert leaked.shared_patients == ("p",)


def test_what_is_not_known_is_unknown_and_says_why(tmp_path: Path) -> None:
    assert audited(None).status == NOT_KNOWN
    assert "no .manifest.json next to its file" in audited(None).unknown[0]
    lost = sidecar(tmp_path / "lost", {0: {"b.png": "q"}, 1: {"a0.png": "p"}})
    (tmp_path / "lost" / "fold1" / TRAINING_IMAGES).unlink()
    assert audited(lost).status == NOT_KNOWN
    assert audited(lost).unknown[0].startswith("fold1: no ")
    gate = tmp_path / "gate" / "classifier.safetensors"
    began = sidecar(tmp_path / "began", {0: {"b.png": "q"}, 1: {"a0.png": "p"}}, gate=gate)
    assert audited(began).unknown == (f"training images of {gate} unknown",)
    old = tmp_path / "old.json"
    old.write_text("[]")
    sidecar_path(old).write_text('{"images": 3}')
    assert "predict again" in audited(read_provenance(old)).unknown[0]
    other = written(tmp_path / "other", [LookedAt(("z.png",))])
    assert audited(other).unknown == ("its sidecar lists none of the scored images",)


def test_a_leak_that_was_found_outweighs_what_is_not_known(tmp_path: Path) -> None:
    half = sidecar(tmp_path, {0: {"a0.png": "p"}, 1: {"a0.png": "p"}})
    (tmp_path / "fold1" / TRAINING_IMAGES).unlink()
    assert audited(half).status == LEAKED
    assert len(audited(half).unknown) == 1


def test_a_model_of_one_fold_is_audited_on_its_own_images_alone(tmp_path: Path) -> None:
    audit = audited(sidecar(tmp_path, {0: {"b.png": "q"}}))
    assert (audit.status, audit.images) == (CLEAN, 2)


def test_patients_that_the_ground_truth_does_not_name_leave_it_unknown(tmp_path: Path) -> None:
    provenance = sidecar(tmp_path, {0: {"b.png": "q"}, 1: {"a0.png": "p"}})
    for anonymous in (dict.fromkeys(TRUTH, ""), {image: image for image in TRUTH}):
        (audit,) = audit_comparison(anonymous, {"x": provenance}, boxed_images=BOXED)
        assert audit.status == NOT_KNOWN
        assert audit.unknown == ("patients of some images unknown",)


def test_a_control_on_disk_was_not_trained_and_is_clean(tmp_path: Path) -> None:
    control = audited(written(tmp_path, [LookedAt(tuple(TRUTH))]))
    assert (control.status, control.images) == (CLEAN, 3)


def test_the_section_has_a_row_for_each_localizer_and_a_word_for_each_column(
    tmp_path: Path,
) -> None:
    honest = sidecar(tmp_path / "a", {0: {"b.png": "q"}, 1: {"a0.png": "p"}})
    leaky = sidecar(tmp_path / "b", {0: {"a0.png": "p"}, 1: {"b.png": "q"}})
    everyone = compared({"grad_cam": honest, "mask_rcnn": leaky, "gate": None})
    section = leakage(everyone)
    assert section.key == "leakage"
    assert section.paragraphs[1].startswith("LEAKED: ")
    (table,) = section.tables
    columns = [{**row.lead, **row.cells, **row.trail} for row in table.rows]
    assert [list(row.values())[:6] for row in columns] == [
        ["grad_cam", CLEAN, 3, 0, 0, 0],
        ["mask_rcnn", LEAKED, 3, 2, 2, 2],
        ["gate", NOT_KNOWN, 0, 0, 0, 0],
    ]
    assert columns[0]["reason"] == ""
    for column in columns[0]:
        assert lookup(column).definition
    for text in (to_csv(table), to_markdown(table), to_latex(table)):
        assert "boxed images in training" in text
    assert "grad_cam" not in leakage_stamp(everyone.once(audits))


def test_the_answer_says_clean_or_who_could_not_be_checked(tmp_path: Path) -> None:
    honest = sidecar(tmp_path, {0: {"b.png": "q"}, 1: {"a0.png": "p"}})
    assert (
        leakage(compared({"a": honest})).paragraphs[1].startswith("No scored image, or other image")
    )
    unknown = compared({"a": honest, "b": None})
    assert "Nothing found, but not known for b:" in leakage(unknown).paragraphs[1]
