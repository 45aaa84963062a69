"""The comparison tool: its files, its messages, its exit statuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from cxrloc.classification.gate import GateRow, write_gate_table
from cxrloc.datasets.labels import NIH_BOXED_DISEASES
from cxrloc.datasets.manifest import file_sha256
from cxrloc.tools.compare_localizers import main

OUTPUTS = {
    *(f"{name}.{suffix}"
      for name in ("acc_iou", "acc_iobb", "mean_iou", "skill", "differences", "paired_tests")
      for suffix in ("csv", "md", "tex")),
    "iou_boxplots.png", "iou_boxplots.svg", "per_box.csv", "summary.json",
}  # fmt: skip


def _ground_truth(folder: Path) -> dict[str, Any]:
    """One box of each NIH disease on each film of three patients, written to gt.json."""
    diseases = list(enumerate(NIH_BOXED_DISEASES, start=1))
    coco = {
        "images": [
            {"id": i, "file_name": f"{i}_0.png", "width": 64, "height": 64, "patient_id": str(i)}
            for i in (1, 2, 3)
        ],
        "categories": [{"id": c, "name": d} for c, d in diseases],
        "annotations": [
            {"id": 10 * i + c, "image_id": i, "category_id": c, "bbox": [4 * c, 3 * i, 20, 20],
             "area": 400, "iscrowd": 0}
            for i in (1, 2, 3) for c, _ in diseases
        ],
    }  # fmt: skip
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
def test_a_foreign_results_file_and_a_gate_give_every_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coco = _ground_truth(tmp_path)
    results = _foreign_results(tmp_path, coco)
    rows = [GateRow(f"{i}_0.png", str(i), d, 0.5, 0.4, i != 1) for i in (1, 2, 3)
            for d in NIH_BOXED_DISEASES]  # fmt: skip
    write_gate_table(tmp_path / "gate.csv", rows)

    status = main(
        ["--ground-truth", str(tmp_path / "gt.json"), "--predictions", f"theirs={results}",
         "--gate", str(tmp_path / "gate.csv"), "--out", str(tmp_path / "out"), "--resamples", "50"]
    )  # fmt: skip

    assert status == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == OUTPUTS
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
    }
    assert manifest["seed"] == 0
    printed = capsys.readouterr().out
    assert "theirs - prior_box:" in printed
    assert "Research use only - not a diagnosis" in printed


def test_one_seed_gives_the_same_tables_and_controls_alone_are_enough(tmp_path: Path) -> None:
    _ground_truth(tmp_path)
    for out in ("one", "two"):
        arguments = ["--ground-truth", str(tmp_path / "gt.json"), "--out", str(tmp_path / out)]
        assert main([*arguments, "--resamples", "20", "--seed", "4"]) == 0

    for name in sorted(OUTPUTS - {"summary.json"}):  # the summary holds the run's wall time
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), (
            name
        )


def test_explain_prints_every_word_and_ends(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--explain"])

    assert end.value.code == 0
    printed = capsys.readouterr().out
    text = " ".join(printed.split())  # lines are broken where they are full
    words = "IoU, IoBB, IoGT, T(IoU), acc_iou@t, acc_iobb@t, AFP@t, top-1, any, gated, control, "
    words += "macro mean, oracle, Deep MedIA, published, 1/IoU = 1/IoBB + 1/IoGT - 1, Research use"
    for word in words.split(", "):
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
        (["prior_box=foreign.json"], "'prior_box' is taken by a control"),
        (["a=absent.json"], "absent.json does not exist"),
        (["a=broken.json"], "broken.json: not a JSON file"),
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
    arguments = ["--ground-truth", str(tmp_path / "gt.json"), "--out", str(tmp_path / "out"),
                 "--resamples", "10"]  # fmt: skip
    for digest, said in ((file_sha256(tmp_path / "gt.json"), True), ("of another file", False)):
        manifest = {"hashes": {"gt.json": digest}, "counts": counts}
        (tmp_path / "manifest.json").write_text(json.dumps(manifest))
        assert main(arguments) == 0
        sentence = "Not on disk, so not scored: 6 boxed images with 7 boxes"
        assert (sentence in capsys.readouterr().out) is said
