"""The model card of a trained model: a page of Markdown, written from what the bundle says.

Nothing in it is invented: what neither the metadata nor the files of the training say is named as
not known, so that a reader sees what to ask for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cxrloc.classification.bundle.file import read_metadata
from cxrloc.classification.bundle.licence import NOT_KNOWN, licence, sources
from cxrloc.classification.bundle.metadata import BOX_SUPERVISION
from cxrloc.datasets.files.atomic import write_text
from cxrloc.datasets.files.manifest import RESEARCH_USE, file_sha256
from cxrloc.datasets.files.parse import read_json
from cxrloc.datasets.provenance.image_lists import TRAINING_IMAGES, read_training_images

METRICS = "metrics.json"  # of a gate, written by its training
_STAGES = "stages.md"  # of a Mask R-CNN, written when it has predicted its test images


def card_path(bundle: Path) -> Path:
    """`classifier.card.md` beside `classifier.safetensors`."""
    return bundle.with_name(f"{bundle.stem}.card.md")


def write_card(bundle: Path) -> Path:
    """Write the card beside the bundle; returns its path.

    Raises:
        FileNotFoundError, ValueError: for a bundle, or a file of its training, that cannot be read;
            for a bundle that is no whole model, such as a gate's INT8 weights.
    """
    path = card_path(bundle)
    write_text(path, model_card(bundle))
    return path


def model_card(bundle: Path) -> str:
    """The card; errors as for `write_card`."""
    metadata = read_metadata(bundle)
    if metadata["kind"] not in ("classifier", "maskrcnn"):
        raise ValueError(
            f"{bundle} is a {metadata['kind']} bundle, expected a gate or a Mask R-CNN"
        )
    sections = {
        f"Model card: {bundle.name}": [f"**{RESEARCH_USE}.**", *_what(metadata)],
        "Data": list(_data(metadata, bundle)),
        "Figures": list(_figures(metadata, bundle)),
        "Thresholds": list(_thresholds(metadata)),
        "Limits": _bullets(_limits(metadata, bundle)),
        "Licence of the data": list(licence(metadata)),
        "How to use": list(_use(metadata, bundle)),
        "Where it comes from": _bullets(_provenance(metadata, bundle)),
    }
    blocks = []
    for number, (title, paragraphs) in enumerate(sections.items()):
        blocks += [f"{'#' if number == 0 else '##'} {title}", *paragraphs]
    return "\n\n".join(blocks) + "\n"


def _what(metadata: Mapping[str, Any]) -> Iterator[str]:
    diseases = ", ".join(metadata["diseases"])
    if metadata["kind"] == "maskrcnn":
        model = metadata.get("model", {})
        yield (
            f"A Mask R-CNN ({model.get('architecture', 'unknown backbone')}, backend "
            f"{metadata.get('backend')}) that boxes diseases on chest radiographs, on squares of "
            f"{metadata['size']} px."
        )
    else:
        preprocessing = metadata["preprocessing"]
        yield (
            f"A multi-label classifier ({metadata['architecture']}, head {metadata['head']}) of "
            f"chest radiographs, the gate, on squares of {preprocessing['size']} px "
            f"(input {preprocessing['input']}, map cells of {metadata['map_stride']} px)."
        )
        taught = metadata.get(BOX_SUPERVISION)
        yield (
            "It learnt from image labels and from boxes: its maps are those of guided_cam."
            if taught
            else "It learnt from image labels alone: its maps are those of grad_cam."
        )
    yield f"Diseases: {diseases}."


def _data(metadata: Mapping[str, Any], bundle: Path) -> Iterator[str]:
    listed = bundle.with_name(TRAINING_IMAGES)
    if listed.is_file():
        images = read_training_images(listed)
        rows = [
            [part, f"{len(ids):,}", f"{len({images.patient_of[i] for i in ids}):,}"]
            for part, ids in images.parts.items()
        ]
        yield _table(["part", "images", "patients"], rows)
        yield f"Every image is named in `{TRAINING_IMAGES}` beside the bundle."
    else:
        yield f"Images and patients: not known, there is no `{TRAINING_IMAGES}` beside the bundle."
    if boxes := metadata.get("train_boxes"):
        yield _table(["disease", "boxes"], [[name, f"{count:,}"] for name, count in boxes.items()])
    yield " ".join(_split(metadata))
    hashes = sources(metadata)
    if hashes:
        yield "Files that it was made from, by SHA-256:"
        yield _table(["file", "SHA-256"], [[f"`{n}`", f"`{h}`"] for n, h in hashes.items()])


def _split(metadata: Mapping[str, Any]) -> Iterator[str]:
    fold, k = metadata.get("fold"), metadata.get("k")
    if fold is not None and k is not None:
        yield f"Split: fold {fold} of {k} (numbered from 0) is its test fold; patients are not"
        yield "shared between folds."
    elif split := metadata.get("manifest", {}).get("config", {}).get("data", {}).get("split"):
        yield f"Split: {split}."
    else:
        yield f"Split: {NOT_KNOWN[0].lower()}{NOT_KNOWN[1:]}"
    if sha256 := metadata.get("train_ids_sha256"):
        yield f"SHA-256 of its training images' names: `{sha256}`."


def _figures(metadata: Mapping[str, Any], bundle: Path) -> Iterator[str]:
    path = bundle.with_name(METRICS)
    metrics = read_json(path) if path.is_file() else {}
    test = metrics.get("test")
    if bundle.with_name(_STAGES).is_file() and metadata["kind"] == "maskrcnn":
        yield (
            f"`{_STAGES}` beside the bundle says how far its boxes overlap those of its test "
            "images, without intervals. `cxrloc compare` gives them."
        )
        return
    if metadata["kind"] != "classifier" or not test or not _are_of(metrics, metadata):
        yield (
            "Not known: no figures of it stand beside the bundle. `cxrloc compare` scores its "
            "boxes, with intervals, on images that it has not seen."
        )
        return
    rows = [
        [
            disease,
            _interval(figures, "auc"),
            _interval(figures, "average_precision"),
            f"{figures['positives']} / {figures['known']}",
        ]
        for disease, figures in test["diseases"].items()
    ]
    macro = [_interval(test, "macro_auc"), _interval(test, "macro_average_precision"), ""]
    yield (
        f"On {test['images']:,} test images of {test['patients']:,} patients whom it has not seen; "
        "in brackets 95 % intervals, patients resampled."
    )
    columns = ["disease", "AUC", "average precision", "positives / known"]
    yield _table(columns, [*rows, ["macro mean", *macro]])
    yield "A random ranking has an AUC of .5 and an average precision equal to the prevalence."


def _are_of(metrics: Mapping[str, Any], metadata: Mapping[str, Any]) -> bool:
    """Whether the figures beside a bundle are its own: a folder may hold other models, too."""
    points = metrics.get("operating_points", {})
    return bool(metadata["thresholds"] == {name: p["threshold"] for name, p in points.items()})


def _interval(figures: Mapping[str, Any], key: str) -> str:
    value, interval = figures.get(key), figures.get(f"{key}_interval")
    if value is None:
        return "not known"
    if not interval or None in interval:
        return f"{value:.3f} (no interval)"
    return f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"


def _thresholds(metadata: Mapping[str, Any]) -> Iterator[str]:
    thresholds = metadata.get("thresholds")
    if not thresholds:
        yield "None: the detector scores boxes, the gate decides which diseases are examined."
        return
    yield "A disease is present from this probability on; chosen on validation images."
    rows = [
        [name, "none: never present" if t is None else f"{t:.4f}"] for name, t in thresholds.items()
    ]
    yield _table(["disease", "threshold"], rows)
    if metadata.get("study_thresholds"):
        rows = [
            [n, "none" if t is None else f"{t:.4f}"]
            for n, t in metadata["study_thresholds"].items()
        ]
        yield "For the mean over the images of an examination:"
        yield _table(["disease", "threshold"], rows)


def _limits(metadata: Mapping[str, Any], bundle: Path) -> Iterator[str]:
    yield f"{RESEARCH_USE}: nothing here says what it does in a clinic."
    yield (
        "Figures on images of the data that it was trained on say little of other hospitals, where "
        "its thresholds may not fit either: see docs/how-to/external_validation.md."
    )
    yield "It knows the diseases above and no others; a chest without them is not a healthy one."
    yield (
        "Labels and boxes carry the errors of those who made them; what a second radiologist says "
        "is in docs/how-to/second_reader.md."
    )
    if metadata["kind"] == "classifier":
        yield (
            "Its probabilities are not calibrated. Its heat maps have cells of "
            f"{metadata['map_stride']} px of the square: smaller findings have no box of their own."
        )
        if asked := metadata.get("demographics"):
            yield (
                f"It also sees {', '.join(asked)}: it may answer from them instead of the image, "
                "and its boxes say nothing of them."
            )
    if metadata.get("manifest", {}).get("patients"):
        yield "The patients of some images were not known: figures are too good."
    if not bundle.with_name(TRAINING_IMAGES).is_file():
        yield "Without the list of its training images nobody can tell whether a test is leaked."


def _use(metadata: Mapping[str, Any], bundle: Path) -> Iterator[str]:
    option = "--gate GATE --maskrcnn" if metadata["kind"] == "maskrcnn" else "--gate"
    yield f"```\ncxrloc predict IMAGE {option} {bundle.name} --out predictions\n```"
    if "export" not in metadata:
        yield (
            f"Without torch: `cxrloc export {bundle.name} --to onnx`, then the same with "
            f"`{bundle.with_suffix('.onnx').name}`."
        )


def _provenance(metadata: Mapping[str, Any], bundle: Path) -> Iterator[str]:
    manifest = metadata.get("manifest", {})
    yield f"SHA-256 of this file: `{file_sha256(bundle)}`"
    if export := metadata.get("export"):
        made = export["made_from"]
        yield f"Exported from `{made['file']}`, SHA-256 `{made['sha256']}`"
    yield f"Commit of the code: {manifest.get('git_commit', 'not known')}"
    yield f"Seed: {manifest.get('seed', 'not known')}"
    versions = manifest.get("versions", {})
    used = [f"{n} {v}" for n, v in versions.items() if v != "not installed"]
    yield f"Made with: {', '.join(used) or 'not known'}"
    if command := manifest.get("command"):
        yield f"Command: `{' '.join(map(str, command))}`"


def _bullets(sentences: Iterator[str]) -> list[str]:
    return ["\n".join(f"- {sentence}" for sentence in sentences)]


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines
    )
