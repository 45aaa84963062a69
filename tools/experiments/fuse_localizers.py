r"""Fuse the boxes of several localizers into one: weighted boxes fusion, chosen on other patients.

    cxrloc fuse --ground-truth data/nih/ground_truth.json \
        --predictions mask_rcnn=runs/mask_rcnn.json grad_cam=runs/grad_cam.json \
        --out runs/fused.json
    cxrloc compare --ground-truth data/nih/ground_truth.json \
        --predictions mask_rcnn=runs/mask_rcnn.json fused=runs/fused.json \
        --out runs/comparison

Takes COCO results files of any localizers, all of the same images. Scores of different localizers
mean different things, so each is first replaced by the IoU that boxes with such a score had on
other patients. Then boxes of one disease on one image that overlap become one, the mean of all,
weighted by these scores and by a weight for each localizer (Solovyev et al. 2021).

Scores, weights and thresholds for the images of a fold are chosen on the boxes of the other folds
alone (without folds in the ground truth: of other parts of the patients). OUT.manifest.json says
which. There is no fusion for images without a ground truth: `cxrloc predict` does not fuse.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from cxrloc.configs.command_line import named_files, run_tool, tool_parser
from cxrloc.configs.help_page import add_full_paths
from cxrloc.datasets.files.manifest import RESEARCH_USE, file_sha256, run_manifest
from cxrloc.datasets.files.runs.locks import while_holding, writes_file
from cxrloc.datasets.prepared.coco import load_coco
from cxrloc.datasets.provenance.sidecar import read_provenance
from cxrloc.localization.comparison_report.inputs import warned
from cxrloc.localization.evaluation.detections import Detections, check_coverage, place
from cxrloc.localization.evaluation.ground_truth import GroundTruth, ground_truth_from_coco
from cxrloc.localization.fusion.fuse import Fusion, fuse, macro_iou
from cxrloc.localization.fusion.provenance import (
    external_facts,
    looked_at,
    write_fusion_provenance,
)
from cxrloc.localization.localizer import Localization
from cxrloc.localization.predictions.results_file import read_boxes, write_predictions


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    return run_tool("fuse_localizers", lambda: _run(_parser().parse_args(argv)))


def _parser() -> argparse.ArgumentParser:
    parser = tool_parser(__doc__)
    parser.add_argument(
        "--predictions",
        nargs="+",
        required=True,
        metavar="NAME=FILE",
        help="COCO results files of two localizers or more, all of the same images",
    )
    parser.add_argument(
        "--ground-truth",
        type=Path,
        required=True,
        metavar="FILE",
        help="COCO ground truth (JSON); each fold is fused by what the others' boxes tell",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="COCO results file to write"
    )
    add_full_paths(parser)
    return parser


@while_holding(lambda arguments: writes_file(arguments.out))
def _run(arguments: argparse.Namespace) -> None:
    started = time.time()
    files = named_files(arguments.predictions)
    _check_out(arguments.out, {**files, "--ground-truth": arguments.ground_truth})
    coco = load_coco(arguments.ground_truth)
    truth = ground_truth_from_coco(coco, arguments.ground_truth)
    provenances = {name: read_provenance(path) for name, path in files.items()}
    external, looked = external_facts(provenances), looked_at(truth.images, provenances)
    localizers = {n: place(truth, warned(read_boxes, path, coco)[0]) for n, path in files.items()}
    for name, detections in localizers.items():
        check_coverage(name, detections, looked)
    fusion = fuse(truth, localizers)
    write_predictions(arguments.out, _localizations(fusion.detections), coco)
    hashes = {"ground_truth": file_sha256(arguments.ground_truth)}
    hashes |= {f"predictions:{name}": file_sha256(path) for name, path in files.items()}
    facts = {"notice": RESEARCH_USE, "saw": saw(fusion), "fusion": record(fusion)}
    facts |= {} if external is None else {"external": external}
    facts |= run_manifest(
        vars(arguments), seed=0, hashes=hashes, started=started, folder=arguments.out.parent
    )
    write_fusion_provenance(arguments.out, fusion, truth.images, provenances, looked, facts)
    print("\n".join(_summary(truth, localizers, fusion)))
    print(f"{len(fusion.detections):,} boxes -> {arguments.out}\n{RESEARCH_USE}.")


def _check_out(out: Path, files: Mapping[str, Path]) -> None:
    for name, path in files.items():
        if path.resolve() == out.resolve():
            raise ValueError(f"--out {out} is the file of {name}; expected another")


def saw(fusion: Fusion) -> str:
    """What the fusion was allowed to see, as a clause."""
    return (
        f"the boxes of other patients, which chose how it fuses {' and '.join(fusion.names)} "
        f"(parts: {fusion.parts.source}); see those for what their models saw"
    )


def record(fusion: Fusion) -> dict[str, Any]:
    """The chosen rules as JSON-ready values."""
    return {
        "localizers": list(fusion.names),
        "parts": fusion.parts.source,
        "rules": {
            name: {**asdict(rule), "macro_mean_iou_on_the_others": None if np.isnan(iou) else iou}
            for name, rule, iou in zip(
                fusion.parts.names, fusion.rules, fusion.mean_iou, strict=True
            )
        },
    }


def _summary(truth: GroundTruth, localizers: Mapping[str, Detections], fusion: Fusion) -> list[str]:
    """How each part is fused, and what came out on boxes that chose nothing."""
    lines = []
    for part, rule in zip(fusion.parts.names, fusion.rules, strict=True):
        weights = ", ".join(
            f"{name} {weight}" for name, weight in zip(fusion.names, rule.weights, strict=True)
        )
        lines.append(
            f"{part}: weights {weights}; joined over an IoU of {rule.iou_threshold:g}; score: "
            f"{rule.score_rule}"
        )
    figures = {**localizers, "fused": fusion.detections}
    means = [f"{name} {macro_iou(truth, found):.3f}" for name, found in figures.items()]
    return [*lines, f"macro mean IoU, chosen on other patients: {', '.join(means)}"]


def _localizations(detections: Detections) -> list[Localization]:
    images = detections.truth.images
    rows = zip(
        (images.image_ids[row] for row in detections.image.tolist()),
        (images.diseases[column] for column in detections.disease.tolist()),
        map(tuple, detections.boxes_xyxy.tolist()),
        detections.score.tolist(),
        strict=True,
    )
    return [Localization(*row) for row in rows]


if __name__ == "__main__":
    sys.exit(main())
