r"""Make a prepared folder with boxes from CheXpert and cheXlocalize's ground-truth masks.

    cxrloc prepare --dataset chexpert --root CheXpert-v1.0 --out data/chexpert
    cxrloc convert-chexlocalize --prepared data/chexpert \
        --segmentations gt_segmentations_val.json --out data/chexlocalize

The new folder lists the images of the part (valid or test) that has masks; the box of a disease is
the box around its mask. `cxrloc localize` then boxes these images, and `cxrloc compare
--segmentations` scores boxes, masks and points on them, and writes the masks and points as files
for cheXlocalize's own code.

Use a gate of `data.split` official: label_sets and iterative train on images of valid too. Research
use only, never a diagnosis.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from cxrloc.configs.command_line import run_tool, tool_parser
from cxrloc.configs.help_page import add_full_paths
from cxrloc.datasets.files.manifest import RESEARCH_USE, file_sha256
from cxrloc.datasets.files.runs.locks import while_holding, writes_folder
from cxrloc.datasets.files.runs.shown_paths import shown_path
from cxrloc.datasets.prepared.folder import PreparedData, load_prepared, write_prepared
from cxrloc.datasets.radiograph import Box, Radiograph
from cxrloc.localization.analyses.chexlocalize.format import (
    TASKS,
    Segmentations,
    box_of,
    disease_of,
    image_key,
    read_segmentations,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    return run_tool("convert_chexlocalize", lambda: _run(_parser().parse_args(argv)))


def _parser() -> argparse.ArgumentParser:
    parser = tool_parser(__doc__)
    parser.add_argument("--prepared", type=Path, required=True, help="prepared folder of CheXpert")
    parser.add_argument(
        "--segmentations", type=Path, required=True, help="cheXlocalize's gt_segmentations_*.json"
    )
    parser.add_argument("--out", type=Path, required=True, help="prepared folder to write")
    add_full_paths(parser)
    return parser


@while_holding(lambda arguments: writes_folder(arguments.out))
def _run(arguments: argparse.Namespace) -> None:
    prepared = load_prepared(arguments.prepared)
    truth = read_segmentations(arguments.segmentations)
    images = with_boxes(prepared, truth)
    matched = {image_key(r.image_id) for r in images} & truth.keys()
    boxes = sum(len(r.boxes) for r in images)
    summary = (
        f"{len(images)} images, {len(matched)} of the {len(truth)} with masks, {boxes} boxes around"
        f" masks.\n{RESEARCH_USE}.\n"
    )
    hashes = {
        **prepared.manifest["hashes"],
        "segmentations": file_sha256(arguments.segmentations),
    }
    config = dict(prepared.manifest.get("config", {}))
    if prepared.images_root is not None:
        config["root"] = shown_path(prepared.images_root, arguments.out)
    write_prepared(
        arguments.out,
        images,
        boxed_diseases=[disease_of(task) for task in TASKS],
        folds={r.image_id: prepared.folds[r.image_id] for r in images},
        k=prepared.k,
        official={r.image_id: prepared.official.get(r.image_id, "test") for r in images},
        summary=summary,
        manifest={**prepared.manifest, "config": config, "hashes": hashes, "counts": {}},
    )
    print(f"{arguments.out}: {summary}", end="")


def with_boxes(prepared: PreparedData, truth: Segmentations) -> list[Radiograph]:
    """The images of the part that the masks belong to, with their boxes.

    Raises:
        ValueError: when none of the masks' images is there.
    """
    parts = {_part(r) for r in prepared.radiographs if image_key(r.image_id) in truth}
    if not parts:
        raise ValueError(
            f"{prepared.root} has none of the {len(truth)} images of the segmentations, such as "
            f"{next(iter(truth))}; prepare CheXpert with its valid (or test) folder"
        )
    return [_boxed(r, truth) for r in prepared.radiographs if _part(r) in parts]


def _part(radiograph: Radiograph) -> str:
    return PurePosixPath(radiograph.image_id).parts[0]


def _boxed(radiograph: Radiograph, truth: Segmentations) -> Radiograph:
    masks = truth.get(image_key(radiograph.image_id), {})
    around = {
        disease_of(task): box_of(mask, radiograph.size_hw)
        for task, mask in masks.items()
        if task in TASKS
    }
    boxes = tuple(Box(disease, box) for disease, box in sorted(around.items()) if box is not None)
    labels = {**radiograph.labels, **{box.disease: 1.0 for box in boxes}}
    return replace(radiograph, boxes=boxes, labels=labels)


if __name__ == "__main__":
    raise SystemExit(main())
