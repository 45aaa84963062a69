"""The comparison tool: its files, its messages, its exit statuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders import coco_ground_truth
from cxrloc.classification.inference.gate_table import GateRow, write_gate_table
from cxrloc.datasets.files.manifest import file_sha256
from cxrloc.datasets.labels.names import NIH_BOXED_DISEASES
from cxrloc.datasets.provenance.sidecar import LookedAt, write_provenance
from cxrloc.localization.cam.heat_maps import HeatMaps, write_heat_maps
from cxrloc.tools.compare_localizers import main

# every image of this ground truth is boxed: there is no FROC, which asks for others
TABLES = (
    "mean_iou",
    "skill",
    "acc_iou",
    "acc_iobb",
    "afp_iou",
    "afp_iobb",
    "differences",
    "paired_tests",
    "end_to_end",
    "gate_ledger",
    "false_boxes",
    "operating_point",
    "operating_point_diseases",
    "operating_thresholds",
    "coco_ap",
    "pointing",
    "taxonomy",
    "taxonomy_counts",
    "synonyms",
    "strata",
    "leakage",
    "second_reader",
    "second_reader_differences",
    "second_reader_agreement",
)
_BOXPLOTS = ("iou_boxplots", "paired_boxplots", "second_reader_1")
FIGURES = (*_BOXPLOTS, "accuracy_curves", "taxonomy", "strata")
PAGES = {"report.html", "per_box.csv", "summary.json"}


def _files(names: tuple[str, ...], *suffixes: str) -> set[str]:
    return {f"{name}.{suffix}" for name in names for suffix in suffixes}


def _ground_truth(folder: Path) -> dict[str, Any]:
    """One box of each NIH disease on each image of three patients, written to gt.json."""
    boxes = [
        (f"{i}_0.png", disease, (4 * c, 3 * i, 20, 20))
        for i in (1, 2, 3)
        for c, disease in enumerate(NIH_BOXED_DISEASES, start=1)
    ]
    coco = coco_ground_truth(NIH_BOXED_DISEASES, boxes, patient_of=lambda name: name.split("_")[0])
    (folder / "gt.json").write_text(json.dumps(coco))
    return coco


def _foreign_results(folder: Path, coco: dict[str, Any]) -> Path:
    """What any detector writes: ids and boxes, no names; every ground-truth box but the last."""
    found = [
        {k: a[k] for k in ("image_id", "category_id", "bbox")} | {"score": 0.5}
        for a in coco["annotations"][:-1]
    ]
    path = folder / "foreign.json"
    path.write_text(json.dumps(found))
    return path


@pytest.mark.slow
def test_a_foreign_results_file_a_gate_and_a_reader_give_every_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coco = _ground_truth(tmp_path)
    results = _foreign_results(tmp_path, coco)
    read = {**coco, "annotations": coco["annotations"][:12]}
    (tmp_path / "reader.json").write_text(json.dumps(read))
    (tmp_path / "names.yaml").write_text("Mass: Lesion\nNodule: Lesion\n")
    rows = [
        GateRow(f"{i}_0.png", str(i), d, 0.5 if i != 1 else 0.3, 0.4, i != 1)
        for i in (1, 2, 3)
        for d in NIH_BOXED_DISEASES
    ]
    write_gate_table(tmp_path / "gate.csv", rows)

    words = ["--ground-truth", tmp_path / "gt.json", "--predictions", f"theirs={results}"]
    words += ["--gate", tmp_path / "gate.csv", "--out", tmp_path / "out", "--resamples", 50]
    words += ["--second-reader", f"Dr B={tmp_path / 'reader.json'}"]
    words += ["--second-reader-labels", tmp_path / "names.yaml"]
    assert main(list(map(str, words))) == 0

    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert made == PAGES | _files(TABLES, "csv", "md", "tex") | _files(FIGURES, "png", "svg")
    with (tmp_path / "out" / "acc_iou.csv").open(newline="") as handle:
        rows_at = {
            (r["threshold"], r["localizer"], r["setting"]): r for r in csv.DictReader(handle)
        }
    assert float(rows_at["0.9", "theirs", "disease given"]["macro mean"]) == pytest.approx(
        (7 + 2 / 3) / 8, abs=1e-5
    )
    assert float(rows_at["0.9", "theirs", "gated"]["Atelectasis"]) == pytest.approx(2 / 3, abs=1e-5)
    assert ("0.5", "Deep MedIA 2021, Mask R-CNN", "published") in rows_at
    manifest = json.loads((tmp_path / "out" / "summary.json").read_text())["manifest"]
    assert manifest["hashes"] == {
        "ground_truth": file_sha256(tmp_path / "gt.json"),
        "predictions:theirs": file_sha256(results),
        "gate": file_sha256(tmp_path / "gate.csv"),
        "second_reader:Dr B": file_sha256(tmp_path / "reader.json"),
        "reader_labels": file_sha256(tmp_path / "names.yaml"),
    }
    assert manifest["seed"] == 0
    printed = capsys.readouterr().out
    assert "theirs beats constant_box, a box that never looks at the image, by " in printed
    row = next(line for line in printed.splitlines() if line.startswith("theirs  "))
    assert row.endswith("not known")  # no sidecar says what it was trained on
    assert f"Report: {tmp_path / 'out' / 'report.html'}." in printed
    assert "Research use only, never a diagnosis" in printed
    assert "A second reader: Dr B. On 3 images that Dr B read" in printed
    row = next(
        line for line in printed.splitlines() if line.startswith("Dr B (second reader, best")
    )
    assert row.split("  ")[1].startswith(".500 [")


def test_one_seed_gives_the_same_tables_and_controls_alone_are_enough(tmp_path: Path) -> None:
    _ground_truth(tmp_path)
    for out in ("one", "two"):
        arguments = ["--ground-truth", str(tmp_path / "gt.json"), "--out", str(tmp_path / out)]
        assert main([*arguments, "--resamples", "20", "--seed", "4"]) == 0

    one, two = (tmp_path / out for out in ("one", "two"))
    names = {path.name for path in one.iterdir()}
    assert names >= PAGES | _files(("mean_iou", "end_to_end", "coco_ap"), "csv", "md", "tex")
    for name in sorted(names - {"summary.json", "report.html"}):  # these hold the run's wall time
        assert (one / name).read_bytes() == (two / name).read_bytes(), name


def test_a_localizer_trained_on_a_scored_patient_is_stamped_on_every_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coco = _ground_truth(tmp_path)
    results = _foreign_results(tmp_path, coco)
    (tmp_path / "training_images.csv").write_text(
        "image_id,patient_id,part\n7_0.png,7,train\n2_9.png,2,validation\n"
    )
    (tmp_path / "bundle.safetensors").write_bytes(b"a model")
    looked_at = LookedAt(("1_0.png", "2_0.png", "3_0.png"), tmp_path / "bundle.safetensors")
    write_provenance(results, [looked_at])

    arguments = ["--ground-truth", str(tmp_path / "gt.json"), "--predictions", f"theirs={results}"]
    assert main([*arguments, "--out", str(tmp_path / "out"), "--resamples", "20"]) == 0

    stamp = "LEAKED: trained on images or patients scored here: theirs"
    assert stamp in capsys.readouterr().out
    for path in (tmp_path / "out").glob("*.md"):
        assert path.read_text().startswith(f"# {stamp}"), path.name
    for path in (tmp_path / "out").glob("*.csv"):
        if path.name != "per_box.csv":
            with path.open(newline="") as handle:
                assert all(row["note"].startswith(stamp) for row in csv.DictReader(handle))
    assert stamp in (tmp_path / "out" / "report.html").read_text()
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["leakage"] == [{"localizer": "theirs", "status": "leaked"}]


def test_maps_of_an_unknown_localizer_and_a_margin_out_of_range_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _ground_truth(tmp_path)
    maps = HeatMaps.of({("1_0.png", "Mass"): np.ones((2, 2), np.float32)}, name="m", aligned=False)
    write_heat_maps(tmp_path / "m.maps.safetensors", maps)
    arguments = ["--ground-truth", str(tmp_path / "gt.json"), "--out", str(tmp_path / "out")]

    assert main([*arguments, "--maps", f"m={tmp_path / 'm.maps.safetensors'}"]) == 2
    assert "maps of 'm': expected a name with predictions (none)" in capsys.readouterr().err
    assert main([*arguments, "--non-inferiority-margin", "1.5"]) == 2
    assert "1.5" in capsys.readouterr().err
    assert main([*arguments, "--images", str(tmp_path / "nowhere")]) == 2
    assert "nowhere is no folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_explain_prints_every_word_and_ends(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--explain"])

    assert end.value.code == 0
    printed = capsys.readouterr().out
    text = " ".join(printed.split())  # lines are broken where they are full
    terms = "IoU, IoBB, IoGT, T(IoU), acc_iou@t, acc_iobb@t, AFP@t, top-1, any, gated, control, "
    terms += "macro mean, oracle, Deep MedIA, published, 1/IoU = 1/IoBB + 1/IoGT - 1, Research use"
    for word in terms.split(", "):
        assert word in text


def test_explain_of_one_metric_says_formula_source_and_what_it_hides(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--explain", "acc_iobb@0.25"])

    assert end.value.code == 0
    printed = capsys.readouterr().out
    assert "formula: boxes with IoBB > t / number of ground-truth boxes" in printed
    assert "source: Wang et al." in printed
    assert "hides: Small boxes pass easily" in printed
    assert "mean_iou" not in printed


def test_explain_of_an_unknown_metric_lists_the_known_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--explain", "dice"])

    assert end.value.code == 2
    assert "no explanation of 'dice'; known are IoU, IoBB" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("predictions", "message"),
    [
        (["nothing"], "'nothing': expected NAME=FILE"),
        (["=x.json"], "'=x.json': expected NAME=FILE"),
        (["a="], "'a=': expected NAME=FILE"),
        (["a=foreign.json", "a=foreign.json"], "the name 'a' is given twice"),
        (["prior_box=foreign.json"], "'prior_box' belongs to a control"),
        (["a=absent.json"], "absent.json does not exist"),
        (["a=broken.json"], "broken.json is not JSON"),
        (["a=gt.json"], "expected a COCO results LIST"),
    ],
)
def test_what_the_user_can_mend_ends_with_status_2_and_a_message(
    predictions: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    _foreign_results(tmp_path, _ground_truth(tmp_path))
    Path("broken.json").write_text("[{")

    status = main(["--ground-truth", "gt.json", "--predictions", *predictions, "--out", "out"])

    assert status == 2
    assert message in capsys.readouterr().err
    assert not Path("out").exists()


def test_a_missing_ground_truth_and_a_gate_with_holes_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coco = _ground_truth(tmp_path)
    results = _foreign_results(tmp_path, coco)
    write_gate_table(tmp_path / "gate.csv", [GateRow("1_0.png", "1", "Mass", 0.5, 0.4, True)])
    predictions = ["--predictions", f"a={results}", "--out", str(tmp_path / "out")]

    assert main(["--ground-truth", str(tmp_path / "no.json"), *predictions]) == 2
    assert "no.json" in capsys.readouterr().err
    gate = ["--gate", str(tmp_path / "gate.csv")]
    assert main(["--ground-truth", str(tmp_path / "gt.json"), *predictions, *gate]) == 2
    assert "no decision for Atelectasis on 1_0.png" in capsys.readouterr().err


def test_what_the_prepared_folder_says_is_not_on_disk_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _ground_truth(tmp_path)
    counts = {
        "in the lists": {"boxed images": 9, "boxes": 31},
        "on disk": {"boxed images": 3, "boxes": 24},
    }
    arguments = [
        "--ground-truth",
        str(tmp_path / "gt.json"),
        "--out",
        str(tmp_path / "out"),
        "--resamples",
        "10",
    ]
    for digest, said in ((file_sha256(tmp_path / "gt.json"), True), ("of another file", False)):
        manifest = {"hashes": {"gt.json": digest}, "counts": counts}
        (tmp_path / "manifest.json").write_text(json.dumps(manifest))
        assert main(arguments) == 0
        sentence = "Not on disk, so not scored: 6 boxed images with 7 boxes"
        assert (sentence in capsys.readouterr().out) is said
