"""What a comparison reads: the files that are named, and what stands beside them."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from typing_extensions import TypedDict

from cxrloc.classification.inference.gate_table import read_gate_table
from cxrloc.classification.metrics.bootstrap import RESAMPLES
from cxrloc.datasets.files.checked import Count, Name, Text, checked
from cxrloc.datasets.files.coco.read import NOT_ON_DISK
from cxrloc.datasets.files.manifest import file_sha256
from cxrloc.datasets.files.parse import read_json
from cxrloc.datasets.labels.map import LabelMap, read_label_map
from cxrloc.datasets.prepared.coco import load_coco
from cxrloc.datasets.prepared.folder import PreparedFolder, load_prepared
from cxrloc.datasets.prepared.protocols.check import (
    ProtocolCheck,
    check_ground_truth,
    check_settings,
)
from cxrloc.datasets.prepared.protocols.protocol import find_protocol
from cxrloc.datasets.provenance.sidecar import Provenance, read_provenance
from cxrloc.datasets.readers.find_images import find_images
from cxrloc.datasets.readers.index import ReaderWarnings
from cxrloc.localization.analyses.chexlocalize.format import read_segmentations
from cxrloc.localization.cam.heat_maps import read_heat_maps
from cxrloc.localization.comparison_report.counterparts import (
    external_notes,
    scored_boxes,
    scored_masks,
    without_counterpart,
)
from cxrloc.localization.comparison_report.image_sizes import size_notes, sizes_in
from cxrloc.localization.evaluation.detections import place
from cxrloc.localization.evaluation.evaluated import ComparisonInputs
from cxrloc.localization.evaluation.gate_decisions import gate_decisions
from cxrloc.localization.evaluation.ground_truth import GroundTruth, ground_truth_from_coco
from cxrloc.localization.predictions.columns import BoxColumns
from cxrloc.localization.predictions.masks import MaskResult
from cxrloc.localization.predictions.results_file import (
    read_boxes,
    read_mask_results,
    read_results,
)
from cxrloc.localization.predictions.second_reader import SecondReading, read_second_reader

Result = TypeVar("Result")
GUIDED = "guided_cam"  # its name in the registry, as sidecars carry it


@dataclass(frozen=True)
class InputFiles:
    """The files of a comparison.

    Attributes:
        ground_truth: COCO ground truth.
        predictions: localizer -> COCO results file.
        maps: localizer -> heat maps, of those that have any.
        gate: gate.csv; None: nothing is gated.
        segmentations: cheXlocalize's masks; None: not asked for.
        second_readers: name -> COCO ground truth of another person.
        reader_labels: label map to common names, for the second readers' names and the ground
            truth's; None: names are compared as they are.
        images: folder of the images; None: that of the prepared folder.
        labels: label map of the ground truth's categories; None: they keep their names.
        protocol: name of the protocol that is followed; empty: none.
    """

    ground_truth: Path
    predictions: Mapping[str, Path] = field(default_factory=dict)
    maps: Mapping[str, Path] = field(default_factory=dict)
    gate: Path | None = None
    segmentations: Path | None = None
    second_readers: Mapping[str, Path] = field(default_factory=dict)
    reader_labels: Path | None = None
    images: Path | None = None
    labels: Path | None = None
    protocol: str = ""

    @property
    def hashes(self) -> dict[str, str]:
        """What a file is -> its SHA-256."""
        named = {f"predictions:{name}": path for name, path in self.predictions.items()}
        named |= {f"maps:{name}": path for name, path in self.maps.items()}
        named |= {f"second_reader:{name}": path for name, path in self.second_readers.items()}
        single = {"gate": self.gate, "segmentations": self.segmentations, "labels": self.labels}
        single |= {"reader_labels": self.reader_labels}
        named |= {name: path for name, path in single.items() if path is not None}
        files = {"ground_truth": self.ground_truth, **named}
        return {name: file_sha256(path) for name, path in files.items()}


def read_inputs(files: InputFiles, **settings: Any) -> ComparisonInputs:
    """All that the files hold, and what stands beside them.

    Args:
        settings: of `ComparisonInputs`: resamples, seed, noninferiority_margin, published,
            score_by_gate.

    Raises:
        FileNotFoundError, ValueError: naming the file and what was expected of it.
    """
    labels = None if files.labels is None else read_label_map(files.labels)
    size_of = None if files.images is None else sizes_in(files.images)
    coco, _ = warned(partial(load_coco, size_of=size_of), files.ground_truth, labels)
    coco = with_missing(coco, files.ground_truth)
    protocol = _followed(files, coco, settings)
    provenances = {name: read_provenance(path) for name, path in files.predictions.items()}
    if files.gate is not None:
        provenances["gate"] = read_provenance(files.gate)
    scored = without_counterpart(coco, provenances)
    truth = ground_truth_from_coco(scored, files.ground_truth)
    rules = () if protocol is None else (protocol.note,)
    supervised = supervision_notes(provenances)
    shown = (f"{n} also saw {p.saw}" for n, p in provenances.items() if p is not None and p.saw)
    notes_of_models = (*external_notes(coco, provenances), *supervised, *shown)
    truth = replace(truth, notes=(*rules, *truth.notes, *notes_of_models))
    gate = segmentations = None
    if files.gate is not None:
        gate = gate_decisions(truth.images, read_gate_table(files.gate))
    if files.segmentations is not None:
        segmentations = read_segmentations(files.segmentations)
    reader_labels = None if files.reader_labels is None else read_label_map(files.reader_labels)
    boxes, masks, notes = read_localizers(files.predictions, provenances, coco)
    paths = image_paths(truth, files.ground_truth, files.images)
    # a prepared folder's files may be resized copies: `prepare` has compared their shapes
    sizes = [] if files.images is None else size_notes(truth.images, paths)
    truth = replace(truth, notes=(*truth.notes, *sizes, *notes))
    return ComparisonInputs(
        truth=truth,
        predictions={n: place(truth, scored_boxes(columns, truth)) for n, columns in boxes.items()},
        gate=gate,
        provenances=provenances,
        maps={name: read_heat_maps(path) for name, path in files.maps.items()},
        masks={n: scored_masks(results, truth) for n, results in masks.items()},
        image_paths=paths,
        second_readers={
            name: _reading(path, scored, reader_labels)
            for name, path in files.second_readers.items()
        },
        segmentations=segmentations,
        protocol=protocol,
        **settings,
    )


def supervision_notes(provenances: Mapping[str, Provenance | None]) -> tuple[str, ...]:
    """One note on the localizers whose maps learnt from boxes.

    Raises:
        ValueError: if one of them goes under Grad-CAM's name, which learns from labels alone.
    """
    guided = [n for n, p in provenances.items() if p is not None and p.localizer == GUIDED]
    wrong = [name for name in guided if name.replace("-", "_").lower().startswith("grad_cam")]
    if wrong:
        raise ValueError(
            f"--predictions {wrong[0]}: the file's sidecar says {GUIDED}, whose maps learnt from "
            f"boxes; Grad-CAM learns from labels alone: give it another name, such as {GUIDED}"
        )
    if not guided:
        return ()
    names = ", ".join(f"{n}" if n == GUIDED else f"{n} ({GUIDED})" for n in guided)
    return (f"supervised by boxes of the training images, unlike grad_cam: the maps of {names}",)


def _followed(
    files: InputFiles, coco: Mapping[str, Any], settings: Mapping[str, Any]
) -> ProtocolCheck | None:
    """The check of the protocol that is asked for, if any."""
    if not files.protocol:
        return None
    protocol = find_protocol(files.protocol)
    check_settings(protocol, settings.get("resamples", RESAMPLES), settings.get("seed", 0))
    return check_ground_truth(protocol, coco, str(files.ground_truth))


def _reading(path: Path, coco: dict[str, Any], labels: LabelMap | None) -> SecondReading:
    """A second reader's file, with what was said of it."""
    reading, notes = warned(partial(read_second_reader, labels=labels), path, coco)
    return replace(reading, notes=(*reading.notes, *notes))


_Counts = TypedDict("_Counts", {"boxed images": Count, "boxes": Count})
_Listed = TypedDict("_Listed", {"in the lists": _Counts, "on disk": _Counts})


class _Manifest(TypedDict):
    counts: _Listed
    hashes: dict[Name, Text]


def with_missing(coco: dict[str, Any], path: Path) -> dict[str, Any]:
    """The ground truth with how many boxed images are not on disk, where its own manifest says so.

    prepare_data.py leaves images without a file out of the ground truth and counts them in the
    manifest.json beside it. That holds the ground truth's hash too: another's is not believed.
    """
    manifest_path = PreparedFolder(path.parent).manifest
    if not manifest_path.is_file():
        return coco
    try:
        manifest: _Manifest = checked(read_json(manifest_path), _Manifest, str(manifest_path))
    except ValueError:
        return coco  # somebody else's file of that name
    if manifest["hashes"].get(path.name) != file_sha256(path):
        return coco
    listed, there = manifest["counts"]["in the lists"], manifest["counts"]["on disk"]
    missing = {
        "images": listed["boxed images"] - there["boxed images"],
        "boxes": listed["boxes"] - there["boxes"],
    }
    return {**coco, "info": {**coco.get("info", {}), NOT_ON_DISK: missing}}


def read_localizers(
    files: Mapping[str, Path], provenances: Mapping[str, Provenance | None], coco: dict[str, Any]
) -> tuple[dict[str, BoxColumns], dict[str, list[MaskResult]], list[str]]:
    """Boxes of each localizer, masks of each that has any, and what was said of their files.

    Masks are in its results file, or where its sidecar says. Two localizers of one network (its
    box head, its mask head) have the same masks: they count once, under the first name.
    """
    sources = _mask_sources(files, provenances)
    boxes: dict[str, BoxColumns] = {}
    masks: dict[str, list[MaskResult]] = {}
    notes: list[str] = []
    for name, path in files.items():
        if sources.get(name) == path:
            (boxes[name], masks[name]), said = warned(read_results, path, coco)
        else:
            boxes[name], said = warned(read_boxes, path, coco)
            if name in sources:
                masks[name], more = warned(read_mask_results, sources[name], coco)
                said += more
        notes += [f"predictions of {name}: {note}" for note in said]
    return boxes, {name: results for name, results in masks.items() if results}, notes


def _mask_sources(
    files: Mapping[str, Path], provenances: Mapping[str, Provenance | None]
) -> dict[str, Path]:
    """Localizer -> the file of its masks, of those that are the first with this file."""
    first: dict[Path, str] = {}
    for name, path in files.items():
        provenance = provenances.get(name)
        beside = None if provenance is None else provenance.masks
        first.setdefault(beside or path, name)
    return {name: path for path, name in first.items()}


def warned(
    read: Callable[[Path, Any], Result], path: Path, argument: Any
) -> tuple[Result, list[str]]:
    """What `read` gives, and its warnings, which are printed as lines of the terminal."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = read(path, argument)
    notes = [str(warning.message).removeprefix(f"{path}: ") for warning in caught]
    for note in notes:
        print(f"warning: {path}: {note}", file=sys.stderr)
    return result, notes


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
