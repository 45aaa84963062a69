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
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cxrloc.classification.inference.gate_table import read_gate_table
from cxrloc.classification.metrics.bootstrap import RESAMPLES
from cxrloc.classification.report.tables import Cell, cell_text
from cxrloc.configs.command_line import named_files, run_tool
from cxrloc.datasets.files.manifest import RESEARCH_USE, file_sha256, run_manifest
from cxrloc.datasets.prepared.coco import load_coco
from cxrloc.datasets.provenance.sidecar import read_provenance
from cxrloc.localization.analyses.chexlocalize.format import read_segmentations
from cxrloc.localization.cam.heat_maps import read_heat_maps
from cxrloc.localization.comparison_report.build import ComparisonReport, build_report
from cxrloc.localization.comparison_report.files import (
    image_paths,
    read_masks,
    with_missing,
    write_results,
)
from cxrloc.localization.evaluation.detections import place
from cxrloc.localization.evaluation.evaluated import ComparisonInputs
from cxrloc.localization.evaluation.gate_decisions import gate_decisions
from cxrloc.localization.evaluation.ground_truth import ground_truth_from_coco
from cxrloc.localization.predictions.columns import BoxColumns
from cxrloc.localization.predictions.results_file import read_boxes
from cxrloc.localization.report.comparison_tables import comparison_notes
from cxrloc.localization.report.glossary import explain


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    return run_tool("compare_localizers", lambda: _run(_parser().parse_args(argv)))


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
    files = {
        "ground_truth": arguments.ground_truth,
        **_prefixed("predictions", named_files(arguments.predictions)),
        **_prefixed("maps", named_files(arguments.maps, "--maps")),
        **({"gate": arguments.gate} if arguments.gate else {}),
        **({"segmentations": arguments.segmentations} if arguments.segmentations else {}),
    }
    inputs = read_inputs(arguments)
    report = build_report(inputs)
    hashes = {name: file_sha256(path) for name, path in files.items()}
    manifest = run_manifest(vars(arguments), seed=arguments.seed, hashes=hashes, started=started)
    write_results(report, manifest, arguments.out, published=inputs.published)
    _print(report, arguments.out)


def _prefixed(kind: str, files: Mapping[str, Path]) -> dict[str, Path]:
    return {f"{kind}:{name}": path for name, path in files.items()}


def read_inputs(arguments: argparse.Namespace) -> ComparisonInputs:
    """All files that the command line names, and their manifests."""
    files, maps = named_files(arguments.predictions), named_files(arguments.maps, "--maps")
    coco = with_missing(load_coco(arguments.ground_truth), arguments.ground_truth)
    truth = ground_truth_from_coco(coco)
    provenances = {name: read_provenance(path) for name, path in files.items()}
    gate = segmentations = None
    if arguments.gate is not None:
        gate = gate_decisions(truth.images, read_gate_table(arguments.gate))
        provenances["gate"] = read_provenance(arguments.gate)
    if arguments.segmentations is not None:
        segmentations = read_segmentations(arguments.segmentations)
    return ComparisonInputs(
        truth=truth,
        predictions={name: place(truth, _read(path, coco)) for name, path in files.items()},
        gate=gate,
        provenances=provenances,
        maps={name: read_heat_maps(path) for name, path in maps.items()},
        masks=read_masks(files, provenances, coco),
        image_paths=image_paths(truth, arguments.ground_truth, arguments.images),
        segmentations=segmentations,
        resamples=arguments.resamples,
        seed=arguments.seed,
        noninferiority_margin=arguments.non_inferiority_margin,
        published=not arguments.no_published,
    )


def _read(path: Path, coco: dict[str, Any]) -> BoxColumns:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        boxes = read_boxes(path, coco)
    for warning in caught:
        print(f"warning: {warning.message}", file=sys.stderr)
    return boxes


def _print(report: ComparisonReport, out: Path) -> None:
    comparison = report.comparison
    for note in comparison_notes(comparison):
        print(f"- {note}.")
    print(f"\n{'macro mean over diseases':34s}{'mean IoU':22s}{'acc_iou@0.5':22s}")
    for scored in comparison.localizers:
        figures = [scored.estimates[m].macro for m in ("mean_iou", "acc_iou@0.5")]
        label = f"{scored.label} ({scored.setting})" if scored.is_control else scored.label
        print(f"{label:34s}" + "".join(f"{cell_text(Cell(f)):22s}" for f in figures))
    for difference in comparison.differences:
        if difference.measure != "mean_iou":
            continue
        macro = difference.estimates.macro
        verdict = "excludes zero" if macro.excludes_zero else "includes zero"
        print(f"{difference.localizer} - {difference.minus}: {cell_text(Cell(macro))} {verdict}")
    print("", *report.answer, *filter(None, [report.stamp]), sep="\n")
    print(f"\nThe report is {out / 'report.html'}. {RESEARCH_USE}.")


if __name__ == "__main__":
    raise SystemExit(main())
