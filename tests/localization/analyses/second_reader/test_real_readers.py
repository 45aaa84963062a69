"""The second readers of NIH's boxes, prepared as the how-to says, on the real annotations."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from cxrloc.classification.report.tables import TableRow
from cxrloc.localization.analyses.second_reader.section import second_reader
from cxrloc.localization.comparison_report.build import ComparisonReport, build_report
from cxrloc.localization.comparison_report.files import terminal_text
from cxrloc.localization.comparison_report.inputs import InputFiles, read_inputs
from cxrloc.tools.prepare_data import main as prepare

_NAMES = (
    "Pneumonia: opacity\nInfiltration: opacity\nConsolidation: opacity\nLung Opacity: opacity\n"
)


def _prepared(dataset: str, annotations: Path, images: Path, folder: Path) -> Path:
    """`cxrloc prepare` on a folder of links to the annotations and NIH's images."""
    root = folder / dataset
    root.mkdir()
    for path in annotations.iterdir():
        if path.name != "images":
            (root / path.name).symlink_to(path)
    (root / "images").symlink_to(images)
    words = ["--dataset", dataset, "--root", str(root), "--no-check-pixels"]
    assert prepare([*words, "--out", str(folder / f"{dataset}-prepared")]) == 0
    return folder / f"{dataset}-prepared" / "ground_truth.json"


def _nih(nih: Path, read: set[str], path: Path) -> Path:
    """NIH's boxes on the images that were read by others and are on disk."""
    with (nih / "images.csv").open(newline="") as handle:
        there = {row["image_index"]: row["patient_id"] for row in csv.DictReader(handle)}
    with (nih / "BBox_List_2017.csv").open(newline="") as handle:
        rows = [row[:6] for row in csv.reader(handle) if row[0] in there.keys() & read]
    images = list(dict.fromkeys(image for image, *_ in rows))
    diseases = sorted({disease for _, disease, *_ in rows})
    coco = {
        "images": [
            {"id": i, "file_name": name, "width": 1024, "height": 1024, "patient_id": there[name]}
            for i, name in enumerate(images, start=1)
        ],
        "categories": [{"id": i, "name": name} for i, name in enumerate(diseases, start=1)],
        "annotations": [
            {
                "id": i,
                "image_id": images.index(image) + 1,
                "category_id": diseases.index(disease) + 1,
                "bbox": list(map(float, xywh)),
            }
            for i, (image, disease, *xywh) in enumerate(rows, start=1)
        ],
    }
    path.write_text(json.dumps(coco))
    return path


@pytest.mark.slow
def test_the_lines_of_both_readers(shared_data: Path, tmp_path: Path) -> None:
    seconds, nih = shared_data / "second_readers", shared_data / "nih"
    if not seconds.is_dir():
        pytest.skip(f"no annotations of ChestX-Det and RSNA in {seconds}")
    truths = {
        "ChestX-Det": _prepared("chestx-det", seconds / "chestx_det", nih / "images", tmp_path),
        "RSNA": _prepared("rsna", seconds / "rsna", nih / "images", tmp_path),
    }
    read = set()
    for table in ("chestx_det/chestxdet_to_nih.csv", "rsna/rsna_to_nih.csv"):
        with (seconds / table).open(newline="") as handle:
            read |= {row["nih_image_index"] for row in csv.DictReader(handle)}
    truth = _nih(nih, read, tmp_path / "nih.json")
    (tmp_path / "names.yaml").write_text(_NAMES)
    files = InputFiles(truth, second_readers=truths, reader_labels=tmp_path / "names.yaml")

    report = build_report(read_inputs(files, resamples=200), analyses=(second_reader,))

    printed = {}
    for line in terminal_text(report, tmp_path).splitlines():
        if "second reader," in line:
            who, _, figures = line.partition(")")
            printed[who] = [text for text in figures.split() if text.startswith(".")]
    assert {who: (figures[0], figures[2]) for who, figures in printed.items()} == {
        "ChestX-Det (second reader, best of several": (".332", ".472"),
        "ChestX-Det (second reader, by chance": (".245", ".349"),
        "RSNA (second reader, best of several": (".228", ".474"),
        "RSNA (second reader, by chance": (".174", ".362"),
    }
    counts = {row.lead["boxes counted"]: row.trail["boxes"] for row in _rows(report, "ChestX-Det")}
    assert counts == {"all": 74, "marked by both": 52}


def _rows(report: ComparisonReport, reader: str) -> list[TableRow]:
    rows = report.sections[0].tables[0].rows
    return [row for row in rows if row.lead["localizer"] == reader]
