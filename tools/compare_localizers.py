"""Score localizers side by side on the same boxes, beside controls and published figures.

    python tools/compare_localizers.py --ground-truth GT.json \\
        --predictions grad_cam=A.json mask_rcnn=B.json [--gate gate.csv] --out DIR

GT.json is a COCO ground truth, A.json and B.json are COCO results files of any model. DIR receives
iou_boxplots.png/.svg, mean_iou, skill, acc_iou, acc_iobb, differences and paired_tests as
.csv/.md/.tex, per_box.csv and summary.json. `--explain` prints what the words mean.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cxrloc.classification.gate import read_gate_table
from cxrloc.datasets.coco import load_coco
from cxrloc.datasets.files import write_text
from cxrloc.datasets.manifest import file_sha256, run_manifest, write_json
from cxrloc.localization.comparison import Comparison, compare
from cxrloc.localization.comparison_sections import comparison_tables
from cxrloc.localization.localizer import Localization
from cxrloc.localization.plots import iou_boxplots, save_figure
from cxrloc.localization.predictions import read_predictions
from cxrloc.localization.statistics import RESAMPLES
from cxrloc.localization.summary import per_box_csv, summary
from cxrloc.localization.table_files import cell_text, write_table
from cxrloc.localization.tables import Cell, comparison_notes
from cxrloc.localization.words import RESEARCH_USE, explain


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status: 0, or 2 after a message for what the user can mend."""
    arguments = _parser().parse_args(argv)
    try:
        _run(arguments)
    except (ValueError, OSError) as error:
        print(f"compare_localizers: error: {error}", file=sys.stderr)
        return 2
    return 0


def named_files(words: Sequence[str]) -> dict[str, Path]:
    """`NAME=FILE` words as a dict, in order.

    Raises:
        ValueError: for a word without a name or a file, or a name given twice.
    """
    files: dict[str, Path] = {}
    for word in words:
        name, equals, file = word.partition("=")
        if not (equals and name.strip() and file):
            raise ValueError(
                f"--predictions {word!r}: expected NAME=FILE, such as mask_rcnn=a.json"
            )
        if name in files:
            raise ValueError(f"--predictions: the name {name!r} is given twice; each needs its own")
        files[name] = Path(file)
    return files


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
        help="COCO results files; without any, the controls alone are scored",
    )
    parser.add_argument(
        "--gate", type=Path, help="gate.csv of train_classifier: score a second time, gated"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
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
    files = named_files(arguments.predictions)
    coco = with_missing(load_coco(arguments.ground_truth), arguments.ground_truth)
    predictions = {name: _read(path, coco) for name, path in files.items()}
    gate = None
    inputs = {"ground_truth": arguments.ground_truth}
    inputs |= {f"predictions:{name}": path for name, path in files.items()}
    if arguments.gate is not None:
        rows = read_gate_table(arguments.gate)
        gate = {(row.image_id, row.disease): row.present for row in rows}
        inputs["gate"] = arguments.gate
    comparison = compare(
        coco, predictions, gate, resamples=arguments.resamples, seed=arguments.seed
    )
    hashes = {name: file_sha256(path) for name, path in inputs.items()}
    manifest = run_manifest(vars(arguments), seed=arguments.seed, hashes=hashes, started=started)
    write_results(comparison, manifest, arguments.out, published=not arguments.no_published)
    _report(comparison, arguments.out)


def with_missing(coco: dict[str, Any], path: Path) -> dict[str, Any]:
    """The ground truth with how many boxed images are not on disk, where its own manifest says so.

    prepare_data.py leaves images without a file out of the ground truth and counts them in the
    manifest.json beside it. That holds the ground truth's hash too: another's is not believed.
    """
    manifest_path = path.parent / "manifest.json"
    if not manifest_path.is_file():
        return coco
    try:
        manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
    except ValueError:
        return coco
    if not isinstance(manifest, dict):
        return coco  # somebody else's file of that name
    counts = manifest.get("counts", {})
    if not {"in the lists", "on disk"} <= set(counts):
        return coco
    if manifest.get("hashes", {}).get(path.name) != file_sha256(path):
        return coco
    listed, there = counts["in the lists"], counts["on disk"]
    missing = {
        "images": listed["boxed images"] - there["boxed images"],
        "boxes": listed["boxes"] - there["boxes"],
    }
    return {**coco, "info": {**coco.get("info", {}), "not_on_disk": missing}}


def _read(path: Path, coco: dict[str, Any]) -> list[Localization]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = read_predictions(path, coco)
    for warning in caught:
        print(f"warning: {warning.message}", file=sys.stderr)
    return found


def write_results(
    comparison: Comparison, manifest: dict[str, object], out: Path, *, published: bool = True
) -> None:
    """Write the figure, the tables, the scores of each box and the summary into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    figure = iou_boxplots(comparison)
    for suffix in (".png", ".svg"):
        save_figure(figure, out / f"iou_boxplots{suffix}")
    for table in comparison_tables(comparison, published=published):
        write_table(table, out)
    write_text(out / "per_box.csv", per_box_csv(comparison))
    write_json(out / "summary.json", summary(comparison, manifest, published=published))


def _report(comparison: Comparison, out: Path) -> None:
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
    print(f"\nResults are in {out}. {RESEARCH_USE}.")


if __name__ == "__main__":
    raise SystemExit(main())
