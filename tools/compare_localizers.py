"""Is localizer A better than B? Score them and the controls on the same boxes, and write a report.

    python tools/compare_localizers.py --ground-truth GT.json \\
        --predictions grad_cam=A.json mask_rcnn=B.json [--gate gate.csv] \\
        [--maps grad_cam=A.maps.safetensors] --out DIR

GT.json is a COCO ground truth, A.json and B.json are COCO results files of any model. DIR receives
report.html (one file, opens without a network), every table as .csv/.md/.tex, every figure as
.png/.svg, per_box.csv and summary.json. Images for the report's pictures are found through the
prepared folder that GT.json is in, or with --images. `--explain` says what the words mean.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# what reads, scores and draws is imported where it is used: --help answers at once
from cxrloc.classification.metrics.bootstrap import RESAMPLES
from cxrloc.configs.command_line import named_files, run_tool
from cxrloc.localization.report.glossary import explain


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    return run_tool("compare_localizers", lambda: _run_fast(_parser().parse_args(argv)))


def _run_fast(arguments: argparse.Namespace) -> None:
    """Boxes are objects by the million, none in a cycle: a search for cycles costs a tenth more."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        _run(arguments)
    finally:
        if was_enabled:
            gc.enable()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ground-truth", type=Path, required=True, help="COCO ground truth (JSON)")
    parser.add_argument(
        "--predictions",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=FILE",
        help="COCO results files; without any, only the controls are scored",
    )
    parser.add_argument(
        "--gate", type=Path, help="gate.csv of train_classifier: score a second time, gated"
    )
    parser.add_argument(
        "--maps",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=FILE",
        help="heat maps of localize.py --maps: adds the oracle ladder, the shortcut check (with "
        "and without letters, if localize.py had --remove_markers) and pictures of the maps",
    )
    parser.add_argument(
        "--segmentations",
        type=Path,
        metavar="FILE",
        help="cheXlocalize's gt_segmentations_*.json: adds its mIoU and hit rate, and writes masks "
        "and points for its own code to DIR/chexlocalize (see tools/data/convert_chexlocalize.py)",
    )
    parser.add_argument(
        "--images", type=Path, help="folder of the images, where it is not the prepared folder's"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument(
        "--non-inferiority-margin",
        type=float,
        metavar="M",
        help="say which localizer is worse than another by less than M, 0 < M < 1",
    )
    parser.add_argument("--seed", type=int, default=0, help="of resamples and random_map")
    parser.add_argument(
        "--resamples", type=int, default=RESAMPLES, help="of patients, for intervals"
    )
    parser.add_argument(
        "--no-published",
        action="store_true",
        help="leave published figures out (NIH diseases only)",
    )
    parser.add_argument(
        "--explain", action=_Explain, nargs="?", metavar="METRIC", help="say what words mean, end"
    )
    return parser


class _Explain(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        try:
            print(explain(values), end="")
        except ValueError as error:
            parser.error(str(error))
        parser.exit(0)


def _run(arguments: argparse.Namespace) -> None:
    started = time.time()
    if arguments.out.exists() and not arguments.out.is_dir():
        raise ValueError(f"--out {arguments.out} is a file; expected a folder, made if need be")
    from cxrloc.datasets.files.manifest import run_manifest
    from cxrloc.localization.comparison_report.build import build_report
    from cxrloc.localization.comparison_report.files import terminal_text, write_results
    from cxrloc.localization.comparison_report.inputs import InputFiles, read_inputs

    files = InputFiles(
        arguments.ground_truth,
        named_files(arguments.predictions),
        named_files(arguments.maps, "--maps"),
        arguments.gate,
        arguments.segmentations,
        arguments.images,
    )
    inputs = read_inputs(
        files,
        resamples=arguments.resamples,
        seed=arguments.seed,
        noninferiority_margin=arguments.non_inferiority_margin,
        published=not arguments.no_published,
    )
    report = build_report(inputs)
    manifest = run_manifest(
        vars(arguments), seed=arguments.seed, hashes=files.hashes, started=started
    )
    write_results(report, manifest, arguments.out, published=inputs.published)
    print(terminal_text(report, arguments.out))


if __name__ == "__main__":
    raise SystemExit(main())
