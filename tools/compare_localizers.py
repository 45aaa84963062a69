r"""Score localizers and blind controls on the same boxes, and report which one is better.

    cxrloc compare --ground-truth truth.json --predictions mine=boxes.json \
        --out comparison
    cxrloc compare --ground-truth data/nih/ground_truth.json --predictions \
        grad_cam=runs/grad_cam.json mask_rcnn=runs/maskrcnn/mask_rcnn.json \
        --gate runs/gate --out runs/comparison
    cxrloc compare --explain acc_iou@0.5

The ground truth is a COCO file; predictions are COCO results files of any model. OUT receives
report.html (one file, opens without a network), every table as .csv, .md and .tex, every figure as
.png and .svg, per_box.csv and summary.json. Images for the report's pictures come from the prepared
folder that holds the ground truth, or from --images.
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
from cxrloc.classification.run_folder import RunFolder
from cxrloc.configs.command_line import named_files, run_tool, tool_parser
from cxrloc.configs.help_page import add_full_paths
from cxrloc.datasets.files.runs.locks import while_holding, writes_folder
from cxrloc.localization.report.glossary import explain


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    return run_tool("compare_localizers", lambda: _run_fast(_parser().parse_args(argv)))


@while_holding(lambda arguments: writes_folder(arguments.out))
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
    parser = tool_parser(__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument(
        "--explain",
        action=_Explain,
        nargs="?",
        metavar="TERM",
        help="explain one term of the report, or all of them, and end",
    )
    _add_file_options(parser.add_argument_group("what is compared"))
    _add_reader_options(parser.add_argument_group("who else has read the images"))
    _add_statistics_options(parser.add_argument_group("statistics"))
    add_full_paths(parser)
    return parser


def _add_file_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--ground-truth", type=Path, required=True, metavar="FILE", help="COCO ground truth (JSON)"
    )
    group.add_argument(
        "--predictions",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=FILE",
        help="COCO results files; without any, only the controls are scored",
    )
    group.add_argument(
        "--gate",
        type=Path,
        metavar="PATH",
        help="run folder of the gate, or its gate.csv: scores the boxes a second time, gated",
    )
    group.add_argument(
        "--score-by-gate",
        action="store_true",
        help="with --gate: adds a section in which the gate's probability is a factor of each "
        "box's score instead of a cut",
    )
    group.add_argument(
        "--maps",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=FILE",
        help="heat maps of `cxrloc localize --maps`: adds the oracle ladder, the shortcut check "
        "(with and without letters, if they were made with --remove-markers) and pictures",
    )
    group.add_argument(
        "--segmentations",
        type=Path,
        metavar="FILE",
        help="cheXlocalize's gt_segmentations_*.json: adds its mIoU and hit rate, and writes masks "
        "and points for its own code to OUT/chexlocalize",
    )
    group.add_argument(
        "--images",
        type=Path,
        metavar="FOLDER",
        help="folder of the images (default: the prepared folder's)",
    )
    _add_ground_truth_options(group)


def _add_ground_truth_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--labels",
        type=Path,
        metavar="MAP.yaml",
        help="label map for the names of the ground truth's categories: one line `name: DISEASE` "
        "each, or `name: null` to leave it out; results files may use either name",
    )
    group.add_argument(
        "--protocol",
        default="",
        metavar="NAME",
        help="check that a named protocol is followed, such as nih-boxes-v1, stamp the report with "
        "it, and print the rows for its results table",
    )


def _add_reader_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--second-reader",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=FILE",
        help="COCO ground truth of another person, whose images are those that this person read: "
        "scored as a localizer is, with every localizer on the same boxes beside it",
    )
    group.add_argument(
        "--second-reader-labels",
        type=Path,
        metavar="MAP.yaml",
        help="YAML with `name: common name`: names of a second reader and of the ground truth with "
        "the same common name are one finding",
    )


def _add_statistics_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--non-inferiority-margin",
        type=float,
        metavar="M",
        help="say which localizer is worse than another by less than M, 0 < M < 1",
    )
    group.add_argument(
        "--resamples",
        type=int,
        default=RESAMPLES,
        metavar="N",
        help=f"resamples of patients for intervals (default: {RESAMPLES})",
    )
    group.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of resamples and of random_map"
    )
    group.add_argument(
        "--no-published",
        action="store_true",
        help="leave out published figures (which only NIH's diseases have)",
    )


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


def _gate_table(path: Path | None) -> Path | None:
    """The gate's decisions: a gate.csv, or that of a run folder."""
    return RunFolder(path).gate if path is not None and path.is_dir() else path


def _run(arguments: argparse.Namespace) -> None:
    started = time.time()
    if arguments.out.exists() and not arguments.out.is_dir():
        raise ValueError(f"--out {arguments.out} is a file; expected a folder, new or not")
    if arguments.second_reader_labels is not None and not arguments.second_reader:
        raise ValueError("--second-reader-labels is given without --second-reader NAME=FILE")
    if arguments.score_by_gate and arguments.gate is None:
        raise ValueError("--score-by-gate is given without --gate: there is nothing to multiply by")
    from cxrloc.datasets.files.manifest import run_manifest
    from cxrloc.localization.comparison_report.build import build_report
    from cxrloc.localization.comparison_report.files import terminal_text, write_results
    from cxrloc.localization.comparison_report.inputs import InputFiles, read_inputs

    files = InputFiles(
        arguments.ground_truth,
        named_files(arguments.predictions),
        named_files(arguments.maps, "--maps"),
        _gate_table(arguments.gate),
        arguments.segmentations,
        named_files(arguments.second_reader, "--second-reader"),
        arguments.second_reader_labels,
        arguments.images,
        arguments.labels,
        arguments.protocol,
    )
    inputs = read_inputs(
        files,
        resamples=arguments.resamples,
        seed=arguments.seed,
        noninferiority_margin=arguments.non_inferiority_margin,
        published=not arguments.no_published,
        score_by_gate=arguments.score_by_gate,
    )
    report = build_report(inputs)
    manifest = run_manifest(
        vars(arguments),
        seed=arguments.seed,
        hashes=files.hashes,
        started=started,
        folder=arguments.out,
    )
    write_results(report, manifest, arguments.out, published=inputs.published)
    print(terminal_text(report, arguments.out))


if __name__ == "__main__":
    raise SystemExit(main())
