"""Files of every kind that is loaded, small, as their writers write them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cxrloc.classification.inference.gate_table import GateRow, read_gate_table, write_gate_table
from cxrloc.classification.metrics.scored_images import (
    ScoredImages,
    read_scored_images,
    write_scored_images,
)
from cxrloc.classification.runs.examination_report import EXAMINATION_POINTS, read_points
from cxrloc.datasets.files.manifest import write_json
from cxrloc.datasets.files.storage import Storage
from cxrloc.datasets.images.pixel_cache import PixelCache
from cxrloc.datasets.labels.map import read_label_map
from cxrloc.datasets.prepared.coco import load_coco
from cxrloc.datasets.prepared.folder import PreparedFolder, load_prepared, write_prepared
from cxrloc.datasets.provenance.image_lists import (
    TRAINING_IMAGES,
    read_training_images,
    write_training_images,
)
from cxrloc.datasets.provenance.sidecar import (
    LookedAt,
    read_sidecar,
    sidecar_path,
    write_provenance,
)
from cxrloc.datasets.radiograph import Box, Radiograph
from cxrloc.datasets.shards.engines import build_shards, local_engine
from cxrloc.datasets.shards.format import REJECTS, manifest_name
from cxrloc.datasets.shards.manifest import read_rejects
from cxrloc.datasets.shards.plan import plan_shards
from cxrloc.datasets.shards.read import ShardSet
from cxrloc.localization.analyses.chexlocalize.format import TASKS, empty_mask, read_segmentations
from cxrloc.localization.cam.boxes import CamBoxRule
from cxrloc.localization.cam.heat_maps import HeatMaps, read_heat_maps, write_heat_maps
from cxrloc.localization.cam.rules import CamRules, SizedRule, read_cam_rules, write_cam_rules
from cxrloc.localization.diagnosis.finished import read_done, source_facts
from cxrloc.localization.diagnosis.tables.parts import (
    BOXES_TABLE,
    FINDINGS_TABLE,
    part_name,
    read_part,
    write_part,
)
from cxrloc.localization.diagnosis.tables.rows import rows_of
from cxrloc.localization.evaluation.ground_truth import ground_truth_from_coco
from cxrloc.localization.localizer import Localization
from cxrloc.localization.predictions.results_file import read_results, write_predictions
from cxrloc.tools.experiments.benchmarks.fuzz.campaign import Target, fuzz
from cxrloc.tools.experiments.benchmarks.fuzz.image_targets import image_targets
from cxrloc.tools.experiments.benchmarks.fuzz.label_targets import label_targets
from cxrloc.tools.experiments.benchmarks.fuzz.model_targets import model_targets
from cxrloc.tools.experiments.benchmarks.fuzz.mutations import JSON, TENSORS, TEXT, damaged
from cxrloc.tools.experiments.benchmarks.fuzz.reader_targets import reader_targets

DISEASES = ("Mass", "Nodule")
_SIDE = 64


def targets(folder: Path) -> list[Target]:
    """Every loader with its file, in `folder`."""
    radiographs = _radiographs(folder / "images")
    makers = (_gate_files, _prepared, _coco_files, _shards, _run_files, _tables)
    ours = [target for make in makers for target in make(folder, radiographs)]
    models, images = model_targets(folder / "models"), image_targets(folder / "pictures")
    return [*models, *ours, *reader_targets(folder), *label_targets(folder), *images]


def fuzz_table(mutations: int, seed: int) -> int:
    """Print what came of so many mutations of all files; 1 if a loader did wrong."""
    with tempfile.TemporaryDirectory() as folder:
        campaign = fuzz(targets(Path(folder) / "files"), mutations, seed)
    print("\n".join([campaign.table(), *campaign.wrong]))
    return int(bool(campaign.wrong))


def _radiographs(folder: Path) -> list[Radiograph]:
    folder.mkdir(parents=True)
    rng, made = np.random.default_rng(0), []
    for n in range(4):
        path = folder / f"{n}.png"
        cv2.imwrite(str(path), rng.integers(0, 255, (_SIDE, _SIDE), dtype=np.uint8))
        labels = {"Mass": float(n % 2), "Nodule": 1.0 if n else float("nan")}
        outline = (8.0, 8.0, 40.0, 8.0, 40.0, 32.0)
        boxes = (Box("Mass", (8.0, 8.0, 40.0, 32.0), (outline,)),) if n % 2 else ()
        size = (_SIDE, _SIDE)
        facts = {"sex": "F", "age_years": 40.0 + n, "study_id": f"s{n}"}
        made.append(Radiograph(path.name, path, f"p{n}", "PA", labels, boxes, size, **facts))  # type: ignore[arg-type]
    return made


def _gate_files(folder: Path, radiographs: Sequence[Radiograph]) -> list[Target]:
    gate, maps = folder / "gate.csv", folder / "cam.maps.safetensors"
    rules, labels = folder / "rules.yaml", folder / "labels.yaml"
    rows = [
        GateRow(r.image_id, r.patient_id, d, p, 0.5, p >= 0.5, 1)
        for r in radiographs
        for d, p in zip(DISEASES, (0.75, 0.25), strict=True)
    ]
    write_gate_table(gate, rows)
    heat = {(r.image_id, "Mass"): np.full((2, 2), 0.5, np.float32) for r in radiographs}
    folds = {r.image_id: 0 for r in radiographs}
    write_heat_maps(maps, HeatMaps.of(heat, name="cam", aligned=False, folds=folds))
    sized = {"Mass": SizedRule(CamBoxRule((60.0,), 5, "largest", 0.5), (0.5, 0.25), 7)}
    write_cam_rules(rules, CamRules("cam", False, "ground truth", "a" * 64, {0: sized}, sized), "")
    labels.write_text("Mass: Lesion\nNodule: Lesion\nPleural Effusion: null\n'*': null\n")
    return [
        Target("gate.csv", gate, read_gate_table, TEXT),
        Target("heat maps", maps, read_heat_maps, TENSORS, hashed=True),
        Target("CAM rules", rules, read_cam_rules, TEXT),
        Target("label map", labels, read_label_map, TEXT),
    ]


def _prepared(folder: Path, radiographs: Sequence[Radiograph]) -> list[Target]:
    out = folder / "prepared"
    folds = {r.image_id: n % 3 for n, r in enumerate(radiographs)}
    facts: dict[str, Any] = {
        "boxed_diseases": DISEASES,
        "official": {},
        "summary": "",
        "manifest": {},
    }
    write_prepared(out, radiographs, folds=folds, k=3, **facts)
    files = PreparedFolder(out)

    def load(path: Path) -> Any:
        return load_prepared(out)

    of_fold = files.ground_truth_of(1)
    return [
        Target("ground truth of a fold", of_fold, _load_truth, JSON, hashed=True),
        Target("index.json", files.index, load, JSON, hashed=True),
        Target("folds.csv", files.folds, load, TEXT, hashed=True),
        Target("manifest.json", files.manifest, load, JSON),
    ]


def _load_truth(path: Path) -> Any:
    return ground_truth_from_coco(load_coco(path), path)


def _coco_files(folder: Path, radiographs: Sequence[Radiograph]) -> list[Target]:
    truth = PreparedFolder(folder / "prepared").ground_truth
    copy = folder / "truth.json"
    copy.write_bytes(truth.read_bytes())
    coco = load_coco(truth)
    results, second = folder / "boxes.json", folder / "masks.json"
    mask = np.zeros((_SIDE, _SIDE), np.bool_)
    mask[8:32, 8:40] = True
    boxes = [
        Localization(r.image_id, "Mass", (8.0, 8.0, 40.0, 32.0), 0.5, mask) for r in radiographs
    ]
    write_predictions(results, boxes, coco)
    foreign = [
        {"image_id": r.image_id, "category_id": "Mass", "score": 0.5, "segmentation": polygons}
        for r, polygons in zip(radiographs, [[[8.0, 8.0, 40.0, 8.0, 40.0, 32.0]]] * 4, strict=True)
    ]
    second.write_text(json.dumps(foreign))
    write_provenance(results, [LookedAt(tuple(r.image_id for r in radiographs))])
    listed = write_training_images(folder / "gate.safetensors", {"train": radiographs})
    assert listed.name == TRAINING_IMAGES
    blank = empty_mask((8, 8))
    segmentations = folder / "segmentations.json"
    write_json(segmentations, {"patient1_study1_view1_frontal": dict.fromkeys(TASKS, blank)})

    load_results = partial(read_results, coco=coco)

    return [
        Target("ground truth", copy, _load_truth, JSON),
        Target("results, run lengths", results, load_results, JSON, unbounded=True),
        Target("results, polygons", second, load_results, JSON, unbounded=True),
        Target("sidecar", sidecar_path(results), read_sidecar, JSON),
        Target("training_images.csv", listed, read_training_images, TEXT),
        Target("segmentations", segmentations, read_segmentations, JSON),
    ]


def _shards(folder: Path, radiographs: Sequence[Radiograph]) -> list[Target]:
    out = folder / "shards"
    splits = {r.image_id: "all" for r in radiographs}
    plans = plan_shards(radiographs, splits, str(out), sizes=(8,), diseases=DISEASES)
    made = build_shards(plans, local_engine(1), dict)

    def load(path: Path) -> Any:
        shards = ShardSet(str(out), 8)
        return [
            shards.image_ids,
            shards.patients,
            shards.labels,
            [shards[i] for i in shards.image_ids],
        ]

    def rejects(path: Path) -> Any:
        return read_rejects(Storage.at(out))

    return [
        Target("shard", out / made[0].name, load, (damaged,), hashed=True),
        Target("manifest of shards", out / manifest_name(8), load, JSON),
        Target("rejects of shards", out / REJECTS, rejects, (damaged,)),
    ]


def _run_files(folder: Path, radiographs: Sequence[Radiograph]) -> list[Target]:
    scored = folder / "validation.parquet"
    scores = np.full((len(radiographs), len(DISEASES)), 0.5)
    write_scored_images(scored, ScoredImages.of(radiographs, DISEASES, scores, 0, {"y": scores}))
    cache = PixelCache.open(radiographs, 8, folder / "pixel_cache", workers=1)

    def pixels(path: Path) -> Any:
        opened = PixelCache.open(radiographs, 8, folder / "pixel_cache", workers=1)
        return [np.asarray(opened.pixels), opened.unreadable]

    done = folder / "done" / "0.json"
    write_json(done, _prediction(radiographs[0]))
    manifest = {"config": {"a": 1}, "hashes": {"gate": "ab"}, "write": ["json"]}

    def finished(path: Path) -> Any:
        if read_done(done.parent, "0", radiographs[0].file, manifest) is None:
            print("predicted again")
        return path

    metrics = folder / "metrics.json"
    write_json(metrics, {"history": [], EXAMINATION_POINTS: {"Mass": {"threshold": 0.5}}})
    return [
        Target("finished prediction", done, finished, JSON),
        Target("metrics.json", metrics, read_points, JSON),
        Target("probabilities", scored, read_scored_images, (damaged,)),
        Target("pixels of the cache", cache.path, pixels, (damaged,), hashed=True),
        Target("notes of the cache", cache.path.with_suffix(".json"), pixels, JSON),
    ]


def _tables(folder: Path, radiographs: Sequence[Radiograph]) -> list[Target]:
    storage = Storage.at(folder / "tables")
    rows = [
        rows_of({"image": r.image_id, "result": r.image_id, "path": r.image_id}, _prediction(r), "")
        for r in radiographs
    ]
    write_part(storage, 0, "key", {}, rows)

    def load(path: Path) -> Any:
        read = read_part(storage, 0, "key")
        if read is None:
            raise ValueError(f"{path}: done again")
        return read

    files = (folder / "tables" / part_name(table, 0) for table in (FINDINGS_TABLE, BOXES_TABLE))
    return [
        Target(f"part of {file.parent.stem}", file, load, (damaged,), hashed=True) for file in files
    ]


def _prediction(radiograph: Radiograph) -> dict[str, Any]:
    models = {"config": {"a": 1}, "hashes": {"gate": "ab"}, "write": ["json"]}
    finding = {"category_id": 1, "disease": "Mass", "probability": 0.5, "threshold": 0.4}
    box = {"category_id": 1, "bbox": [8.0, 8.0, 32.0, 24.0], "score": 0.5, "rank": 1}
    return {
        "images": [{"id": 1, "file_name": radiograph.image_id, "width": _SIDE, "height": _SIDE}],
        "categories": [{"id": 1, "name": "Mass"}],
        "findings": [{**finding, "present": True}],
        "annotations": [{**box, "localizer": "cam"}],
        "localizers": ["cam"],
        "warnings": [],
        "manifest": {**models, **source_facts(radiograph.file)},
    }
