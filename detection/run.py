"""Train detectors by patient folds, or one on the official train part; predict unseen patients."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrloc.classification.bundle.card import write_card
from cxrloc.classification.run_folder import RunFolder
from cxrloc.classification.training.distributed import (
    member,
    process_group,
    run_on_rank_zero,
    sole_run,
)
from cxrloc.datasets.files.atomic import write_text
from cxrloc.datasets.files.manifest import (
    RESEARCH_USE,
    file_sha256,
    run_manifest,
    write_json,
    write_json_list,
)
from cxrloc.datasets.files.runs.shown_paths import shown_path
from cxrloc.datasets.images.pixel_cache import PixelCache
from cxrloc.datasets.images.transforms import fitted, square_scale
from cxrloc.datasets.prepared.choice import select_radiographs
from cxrloc.datasets.prepared.coco import load_coco
from cxrloc.datasets.prepared.folder import PreparedData, load_prepared
from cxrloc.datasets.prepared.splits import Split, fold_split, whole_official_split
from cxrloc.datasets.prepared.summary import patients_note
from cxrloc.datasets.progress import progress
from cxrloc.datasets.provenance.image_lists import write_training_images
from cxrloc.datasets.provenance.sidecar import LookedAt, write_provenance
from cxrloc.datasets.radiograph import Radiograph
from cxrloc.detection.config import Init, resolve_init
from cxrloc.detection.data import DetectionSet, Squares, training_images
from cxrloc.detection.mask_rcnn import (
    Detections,
    MaskRCNNLocalizer,
    Predictor,
    load_backend,
    load_predictor,
)
from cxrloc.detection.run_config import MaskRCNNConfig, MaskRCNNFolder
from cxrloc.detection.training import check_gate, fingerprint, torch_threads
from cxrloc.detection.validation import image_of, write_stages
from cxrloc.localization.evaluation.coco_ap import (
    AveragePrecision,
    ap_markdown,
    coco_ap,
    scaled_coco,
)
from cxrloc.localization.localizer import Localization
from cxrloc.localization.predictions.masks import encode_mask
from cxrloc.localization.predictions.results_file import join_results, write_predictions

_CHUNK = 16


@dataclass(frozen=True)
class _Run:
    """Data shared by all folds."""

    config: MaskRCNNConfig
    prepared: PreparedData
    coco: Mapping[str, Any]
    squares: Squares
    radiographs: tuple[Radiograph, ...]
    diseases: tuple[str, ...]
    out: MaskRCNNFolder


def run_maskrcnn(config: MaskRCNNConfig) -> Path:
    """Train and predict every requested fold; finished folds are skipped. Return the run folder.

    Writes `fold{k}/maskrcnn.safetensors` with its training images and logs. Then, for all folds
    run, `mask_rcnn.json` (the box head's boxes) and `mask_rcnn_mask_box.json` (boxes around the
    masks), each with its sidecar, `mask_rcnn_masks.json` (masks in the frame of `size` pixels),
    `coco_ap.json`, `coco_ap.md` and `manifest.json`. Under torchrun all processes train together.
    """
    started = time.time()
    load_backend(config.backend)
    with torch_threads(config.train.threads), process_group(config.train.device, config.held):
        member().images_per_step(config.train.batch_size)  # checks itself before anything slow
        run = _prepare(config)
        folds = config.test_folds(run.prepared.k)
        looked_at = [_run_fold(run, fold) for fold in folds]
        run_on_rank_zero(_finish, run, folds, looked_at, started)
    return run.out.path


def _finish(
    run: _Run, folds: Sequence[int | None], looked_at: Sequence[LookedAt], started: float
) -> None:
    _pool(run, folds, looked_at)
    config, out = run.config, run.out.path
    hashes = {
        "ground_truth": file_sha256(run.prepared.files.ground_truth),
        "folds": file_sha256(run.prepared.files.folds),
    }
    manifest = run_manifest(config, seed=config.seed, hashes=hashes, started=started, folder=out)
    write_json(run.out.manifest, manifest)
    print(f"Mask R-CNN: results in {run.out.path}. {RESEARCH_USE}.", flush=True)


def _prepare(config: MaskRCNNConfig) -> _Run:
    prepared = load_prepared(Path(config.data.prepared))
    coco = load_coco(prepared.files.ground_truth)
    has_box = {box.disease for r in prepared.radiographs for box in r.boxes}
    categories = [c["name"] for c in coco["categories"]]
    diseases = config.data.diseases or tuple(d for d in categories if d in has_box)
    unknown = [d for d in diseases if d not in has_box]
    if unknown or not diseases:
        raise ValueError(
            f"data.diseases {unknown}: no box in {prepared.root}; expected some of {categories}"
        )
    wanted = select_radiographs(prepared.radiographs, config.data.predict, prepared)
    radiographs = prepared.radiographs if config.data.negatives > 0 else wanted
    cache = run_on_rank_zero(_open_cache, config, prepared, radiographs)
    for image_id, reason in cache.unreadable.items():
        print(f"left out, unreadable: {image_id}: {reason}", flush=True)
    readable = tuple(r for r in radiographs if r.image_id not in cache.unreadable)
    return _Run(config, prepared, coco, cache, readable, diseases, MaskRCNNFolder(Path(config.out)))


def _open_cache(
    config: MaskRCNNConfig, prepared: PreparedData, radiographs: Sequence[Radiograph]
) -> PixelCache:
    directory = Path(config.data.cache or prepared.files.pixel_cache)
    return PixelCache.open(
        radiographs, config.size, directory, workers=config.data.workers, strict=config.data.strict
    )


def _run_fold(run: _Run, fold: int | None) -> LookedAt:
    config, prepared, folder = run.config, run.prepared, run.out.fold(fold)
    train_set, validation_set = _sets(run, fold)
    detector = config.detector(run.diseases)
    ids = sorted(r.image_id for r in train_set.radiographs)
    facts: dict[str, Any] = {
        "train_ids_sha256": fingerprint(ids),
        "prepared": shown_path(prepared.root, folder.path),
        "sources": dict(prepared.manifest["hashes"]),
        "patients": list(patients_note(prepared.radiographs)),
    }
    if fold is not None:
        facts |= {"fold": fold, "k": prepared.k, "folds_sha256": file_sha256(prepared.files.folds)}
    init = resolve_init(config.model, fold)
    if init.kind == "gate" and init.path is not None:
        check_gate(init.path, fold, file_sha256(prepared.files.folds))
    name = "official split" if fold is None else f"fold {fold}"
    print(f"{name}: {len(ids)} training images, in {folder.path}", flush=True)
    images = _test_images(run, fold)
    with sole_run(folder.path):
        bundle = load_backend(config.backend).train_detector(
            detector, train_set, validation_set, folder.path, init, facts
        )
        run_on_rank_zero(_list_training_images, bundle, train_set, validation_set, init)
        run_on_rank_zero(_predict_unless_done, run, bundle, images)
    return LookedAt(tuple(r.image_id for r in images), bundle, fold)


def _predict_unless_done(run: _Run, bundle: Path, images: Sequence[Radiograph]) -> None:
    folder = MaskRCNNFolder(bundle.parent)
    mark = fingerprint(file_sha256(bundle), [r.image_id for r in images])
    if folder.predicted_mark != mark:
        predictor = load_predictor(bundle)[0]
        _predict_fold(run, folder, predictor, images)
        boxed = tuple(r for r in images if r.boxes)
        data = DetectionSet(boxed, run.squares, run.config.size, run.diseases)
        write_stages(folder.stages, predictor, data)
        write_json(folder.predicted, {"of": mark, "images": len(images)})


def _test_images(run: _Run, fold: int | None) -> list[Radiograph]:
    tested = set(_split(run, fold).test)
    wanted = select_radiographs(run.radiographs, run.config.data.predict, run.prepared)
    return [r for r in wanted if r.image_id in tested]


def _split(run: _Run, fold: int | None) -> Split:
    data = run.prepared
    if fold is None:
        return whole_official_split(run.radiographs, data.official, run.config.seed, run.diseases)
    return fold_split(run.radiographs, data.folds, fold, data.k)


def _list_training_images(
    bundle: Path, train_set: DetectionSet, validation_set: DetectionSet | None, init: Init
) -> None:
    sets = {"train": train_set, "validation": validation_set}
    parts = {name: images.radiographs for name, images in sets.items() if images is not None}
    inherited, kind = {}, "gate" if init.kind == "gate" else "weights"
    path = init.path
    if path and (kind == "gate" or RunFolder(path.parent).training_images.is_file()):
        inherited[kind] = path
    write_training_images(bundle, parts, inherited)
    write_card(bundle)


def _sets(run: _Run, fold: int | None) -> tuple[DetectionSet, DetectionSet | None]:
    data = run.config.data
    split = _split(run, fold)
    train_ids, validation_ids = set(split.train), set(split.validation)
    if not data.validation:
        train_ids |= validation_ids
    pool = [r for r in run.radiographs if r.image_id in train_ids]
    chosen = training_images(pool, run.diseases, data.negatives > 0)
    train_set = DetectionSet(chosen, run.squares, run.config.size, run.diseases, data.negatives)
    if not data.validation:
        return train_set, None
    boxed = tuple(r for r in run.radiographs if r.image_id in validation_ids and r.boxes)
    return train_set, dataclasses.replace(train_set, radiographs=boxed)


def _predict_fold(
    run: _Run, folder: MaskRCNNFolder, predictor: Predictor, radiographs: Sequence[Radiograph]
) -> None:
    of_boxes = MaskRCNNLocalizer(predictor, "box"), list[Localization]()
    of_masks = MaskRCNNLocalizer(predictor, "mask"), list[Localization]()
    small_masks: list[dict[str, Any]] = []
    ids = {image["file_name"]: image["id"] for image in run.coco["images"]}
    starts = range(0, len(radiographs), _CHUNK)
    for start in progress(starts, f"predict {folder.path.name}", unit="chunk"):
        some = radiographs[start : start + _CHUNK]
        for image in predictor.predict([image_of(r, run.squares, run.config.size) for r in some]):
            for localizer, boxes in (of_boxes, of_masks):
                boxes += localizer.from_detections(image, run.diseases)
            small_masks += _small_masks(image, run, ids[image.image_id])
    write_predictions(folder.boxes, of_boxes[1], run.coco)
    write_predictions(folder.mask_boxes, of_masks[1], run.coco)
    write_json_list(folder.small_masks, small_masks)


def _small_masks(image: Detections, run: _Run, image_id: int) -> Iterator[dict[str, Any]]:
    categories = {c["name"]: c["id"] for c in run.coco["categories"]}
    small = _in_small_frame(image, run.config.size)
    for row, disease in enumerate(small.diseases):
        yield {
            "image_id": image_id,
            "category_id": categories[disease],
            "score": float(small.scores[row]),
            "segmentation": encode_mask(small.pasted_mask(row), small.size_hw),
        }


def _in_small_frame(image: Detections, size: int) -> Detections:
    boxes = image.boxes_xyxy * square_scale(image.size_hw, size)
    size_hw = fitted(image.size_hw, size)[::-1]
    return dataclasses.replace(image, size_hw=size_hw, boxes_xyxy=boxes)


def _pool(run: _Run, folds: Sequence[int | None], looked_at: Sequence[LookedAt]) -> None:
    of_folds = [run.out.fold(fold) for fold in folds]
    ids = {image["file_name"]: image["id"] for image in run.coco["images"]}
    tested = {image for look in looked_at for image in look.images}
    boxed = [ids[r.image_id] for r in run.radiographs if r.boxes and r.image_id in tested]
    boxes = join_results(run.out.boxes, [fold.boxes for fold in of_folds], boxed)
    masks = join_results(run.out.masks, [fold.small_masks for fold in of_folds], boxed)
    join_results(run.out.mask_boxes, [fold.mask_boxes for fold in of_folds], ())
    for results in (run.out.boxes, run.out.mask_boxes):
        write_provenance(results, looked_at, masks=run.out.masks)
    tables = average_precision(run.coco, boxed, boxes, masks, run.config.size)
    notes = patients_note(run.prepared.radiographs)
    write_json(
        run.out.average_precision,
        {
            "research_use_only": f"{RESEARCH_USE}.",
            "images": len(boxed),
            "folds": [fold for fold in folds if fold is not None],
            "notes": list(notes),
            "tables": [dataclasses.asdict(table) for table in tables],
        },
    )
    page = ap_markdown(tables, notes)
    write_text(run.out.average_precision_page, page)
    print(page, flush=True)


def average_precision(
    coco: Mapping[str, Any],
    image_ids: Sequence[int],
    boxes: Sequence[Mapping[str, Any]],
    masks: Sequence[Mapping[str, Any]],
    size: int,
) -> tuple[AveragePrecision, AveragePrecision]:
    """Box AP in the original frame and mask AP in the frame of `size` pixels, on these images."""
    asked = set(image_ids)
    truth = {
        **coco,
        "images": [image for image in coco["images"] if image["id"] in asked],
        "annotations": [a for a in coco["annotations"] if a["image_id"] in asked],
    }
    small = scaled_coco(coco, image_ids, size)
    return coco_ap(truth, boxes, "bbox"), coco_ap(small, masks, "segm")
