r"""Tune how heat maps become boxes, for each test fold on the boxes of the other folds' patients.

    cxrloc tune-cam --maps runs/grad_cam.maps.safetensors \
        --ground-truth data/nih/ground_truth.json --out runs/cam_rules.yaml
    cxrloc localize --localizer grad_cam --cam-rules runs/cam_rules.yaml \
        --gate runs/gate --prepared data/nih --out runs/grad_cam_tuned.json

Threshold, size rule and smoothing are chosen for each disease by mean IoU; the threshold is a share
of the map's own range or, for guided_cam, a probability if that does better. `cxrloc localize
--cam-rules` then boxes the images of each fold by the rules of that fold. Research use only, never
a diagnosis.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cxrloc.configs.command_line import run_tool, tool_parser
from cxrloc.configs.help_page import add_full_paths
from cxrloc.datasets.files.manifest import RESEARCH_USE, file_sha256
from cxrloc.datasets.files.runs.locks import while_holding, writes_file
from cxrloc.datasets.files.runs.shown_paths import shown_command
from cxrloc.datasets.prepared.coco import load_coco
from cxrloc.localization.analyses.ladder.cam_tuning import Tuning, tune
from cxrloc.localization.cam.heat_maps import read_heat_maps
from cxrloc.localization.cam.rules import FOLDS_OF_THE_GROUND_TRUTH, CamRules, write_cam_rules
from cxrloc.localization.evaluation.ground_truth import ground_truth_from_coco


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    given = sys.argv[1:] if argv is None else list(argv)
    return run_tool("tune_cam", lambda: _run(_parser().parse_args(given), given))


def _parser() -> argparse.ArgumentParser:
    parser = tool_parser(__doc__)
    parser.add_argument(
        "--maps",
        type=Path,
        required=True,
        metavar="FILE",
        help="NAME.maps.safetensors, written by `cxrloc localize --maps`",
    )
    parser.add_argument("--ground-truth", type=Path, required=True, help="COCO ground truth (JSON)")
    parser.add_argument("--out", type=Path, required=True, help="YAML file of rules to write")
    parser.add_argument(
        "--localizer-name", metavar="NAME", help="name noted in the file (default: the maps')"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of patient folds, if the ground truth has none"
    )
    add_full_paths(parser)
    return parser


@while_holding(lambda arguments: writes_file(arguments.out))
def _run(arguments: argparse.Namespace, argv: Sequence[str]) -> None:
    maps = read_heat_maps(arguments.maps)
    coco = load_coco(arguments.ground_truth)
    tuning = tune(ground_truth_from_coco(coco, arguments.ground_truth), maps, seed=arguments.seed)
    if not tuning.mapped.any():
        raise ValueError(
            f"{arguments.maps} has no map of a boxed image and disease of "
            f"{arguments.ground_truth}; its first pair is "
            f"{maps.pairs[0] if maps.pairs else 'missing'}"
        )
    rules = CamRules(
        arguments.localizer_name or maps.name,
        maps.aligned,
        tuning.folds.source,
        file_sha256(arguments.ground_truth),
        tuning.rules,
        tuning.rules_for_new_images,
        maps.probabilities,
    )
    facts = scored(tuning)
    write_cam_rules(
        arguments.out, rules, "\n".join((command(argv, arguments.out.parent), *facts, *_SAW))
    )
    print("\n".join(facts))
    if tuning.folds.source != FOLDS_OF_THE_GROUND_TRUTH:
        print(f"The ground truth has no two folds: {tuning.folds.source}", file=sys.stderr)
    print(f"Rules are in {arguments.out}. {RESEARCH_USE}.")


_SAW = (
    "Saw: each fold's rules, for its images, the boxes of the other folds' patients and no box of",
    "its own. 'all', for new images, saw every box: never score it on these.",
)


def command(argv: Sequence[str], folder: Path) -> str:
    """The command line that wrote a file in `folder`."""
    return f"cxrloc tune-cam {shlex.join(shown_command(argv, folder))}"


def scored(tuning: Tuning) -> list[str]:
    """Sentences on what the rules score out of fold, each disease and the macro mean."""
    iou = tuning.tuned_iou
    means = [float(iou[tuning.disease_of == d].mean()) for d in range(len(tuning.diseases))]
    parts = [f"{name} {mean:.3f}" for name, mean in zip(tuning.diseases, means, strict=True)]
    missing = int(np.count_nonzero(~tuning.mapped))
    return [
        f"Out of fold, mean IoU: macro mean {np.mean(means):.3f} ({', '.join(parts)})",
        f"on {len(iou)} boxes, {missing} of them without a map (IoU 0).",
    ]


if __name__ == "__main__":
    raise SystemExit(main())
