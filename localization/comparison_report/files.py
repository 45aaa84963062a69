"""The files around a comparison: those next to its inputs, and all that it writes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cxrloc.classification.report.tables import ResultTable, write_table
from cxrloc.datasets.files.atomic import write_text
from cxrloc.datasets.files.manifest import file_sha256, write_json
from cxrloc.datasets.prepared.folder import PreparedFolder, load_prepared
from cxrloc.datasets.provenance.sidecar import Provenance
from cxrloc.datasets.readers.find_images import find_images
from cxrloc.datasets.readers.index import ReaderWarnings
from cxrloc.localization.comparison_report.build import ComparisonReport
from cxrloc.localization.comparison_report.summary import per_box_csv, summary
from cxrloc.localization.evaluation.ground_truth import GroundTruth
from cxrloc.localization.predictions.masks import MaskResult
from cxrloc.localization.predictions.results_file import read_mask_results
from cxrloc.localization.report.page import Report, write_report


def with_missing(coco: dict[str, Any], path: Path) -> dict[str, Any]:
    """The ground truth with how many boxed images are not on disk, where its own manifest says so.

    prepare_data.py leaves images without a file out of the ground truth and counts them in the
    manifest.json beside it. It holds the ground truth's hash too: another's is ignored.
    """
    manifest_path = PreparedFolder(path.parent).manifest
    if not manifest_path.is_file():
        return coco
    try:
        manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
    except ValueError:
        return coco
    if not isinstance(manifest, dict):
        return coco  # somebody else's file of that name
    counts = manifest.get("counts", {})
    if not {"in the lists", "on disk"} <= set(counts):
        return coco
    if manifest.get("hashes", {}).get(path.name) != file_sha256(path):
        return coco
    listed, there = counts["in the lists"], counts["on disk"]
    missing = {
        "images": listed["boxed images"] - there["boxed images"],
        "boxes": listed["boxes"] - there["boxes"],
    }
    return {**coco, "info": {**coco.get("info", {}), "not_on_disk": missing}}


def read_masks(
    files: Mapping[str, Path], provenances: Mapping[str, Provenance | None], coco: dict[str, Any]
) -> dict[str, list[MaskResult]]:
    """Masks of each localizer that has any: in its results file, or where its sidecar says.

    Two localizers of one network (its box head, its mask head) have the same masks: they count
    once, under the first name.
    """
    sources: dict[Path, str] = {}
    for name, path in files.items():
        provenance = provenances.get(name)
        mask_file = None if provenance is None else provenance.masks
        sources.setdefault(mask_file or path, name)
    masks_of = {name: read_mask_results(path, coco) for path, name in sources.items()}
    return {name: masks for name, masks in masks_of.items() if masks}


def image_paths(truth: GroundTruth, ground_truth: Path, images: Path | None) -> dict[str, Path]:
    """Image id -> its file, from `images` or else from the prepared folder of the ground truth.

    Raises:
        FileNotFoundError: if `images` is given and is no folder.
    """
    if images is not None:
        if not images.is_dir():
            raise FileNotFoundError(f"--images {images} is no folder; expected that of the images")
        names = list(truth.images.image_ids)
        paths = find_images(images, names, ReaderWarnings())
        return {name: path for name, path in zip(names, paths, strict=True) if path is not None}
    try:
        prepared = load_prepared(ground_truth.parent)
    except (FileNotFoundError, ValueError):
        return {}  # a ground truth of others, or images that were moved: the pictures say so
    return {r.image_id: r.path for r in prepared.radiographs if r.path is not None}


def write_results(
    report: ComparisonReport, manifest: dict[str, Any], out: Path, *, published: bool = True
) -> None:
    """Write the report, its tables and figures, the scores of each box and the summary."""
    out.mkdir(parents=True, exist_ok=True)
    for section in report.sections:
        for table in section.tables:
            write_table(stamped(table, report.stamp), out)
        for figure in section.figures:
            figure.save(out)
        for name, value in section.attachments.items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            write_json(out / name, value)
    comparison = report.comparison
    write_text(out / "per_box.csv", per_box_csv(comparison))
    write_report(out / "report.html", page_of(report, manifest))
    results = summary(comparison, manifest, published=published)
    results |= {"stamp": report.stamp, "answer": list(report.answer)}
    results["leakage"] = [{"localizer": a.localizer, "status": a.status} for a in report.audits]
    write_json(out / "summary.json", results)


def stamped(table: ResultTable, stamp: str) -> ResultTable:
    """The table with the stamp in its title, its notes and every row; as it is without one."""
    if not stamp:
        return table
    rows = tuple(dataclasses.replace(row, note=f"{stamp}; {row.note}") for row in table.rows)
    title, notes = f"{stamp}. {table.title}", (stamp, *table.notes)
    return dataclasses.replace(table, title=title, rows=rows, notes=notes)


def page_of(report: ComparisonReport, manifest: dict[str, Any]) -> Report:
    """The page of a comparison."""
    comparison = report.comparison
    names = list(dict.fromkeys(s.name for s in comparison.localizers if not s.is_control))
    who = " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]])) or "the controls"
    return Report(
        title=f"Localizers compared: {who}",
        question=(
            "Which localizer boxes diseases on chest radiographs better, for which diseases, by "
            "how much, how sure is that, and what is each of them losing to?"
        ),
        answer=report.answer,
        sections=report.sections,
        gallery=report.gallery,
        manifest=manifest,
        stamp=report.stamp,
        diseases=comparison.truth.disease_names,
    )
