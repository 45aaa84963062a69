r"""Check whether a model was trained on images, or on patients, that it is scored on.

    cxrloc audit-leakage --train runs/gate/fold0/classifier.safetensors \
        --evaluate data/nih/ground_truth.json
    cxrloc audit-leakage --train train_val_list.txt --evaluate test_list.txt \
        --boxes BBox_List_2017.csv
    cxrloc audit-leakage --train runs/grad_cam.json \
        --evaluate data/nih/ground_truth.json
    cxrloc audit-leakage --train train_val_list.txt \
        --evaluate stage_2_train_labels.csv

A LIST is a .txt of image names (NIH's official lists), a .csv with a column of images (CheXpert's
train.csv, RSNA's tables) or MURA's without a header, a COCO ground truth, ChestX-Det's JSON, a
prepared folder, a .safetensors bundle or its folder (its training images), or a results file with
its .manifest.json. Each model behind a results file is audited on the images that it predicted.
RSNA's ids and ChestX-Det's names are known as the NIH images and patients behind them.

--boxes names the boxes that are scored: a COCO ground truth or a box list such as NIH's
BBox_List_2017.csv. None of their images may be in a training.

Exit status: 0 clean, 1 leaked, 3 nothing found but not known (patients or training images are not
recorded), 2 wrong usage or a file that is no list, 130 interrupted.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from cxrloc.configs.command_line import run_tool, tool_parser
from cxrloc.configs.help_page import add_full_paths
from cxrloc.datasets.files.manifest import RESEARCH_USE, file_sha256, run_manifest, write_json
from cxrloc.datasets.files.runs.locks import while_holding, writes_file
from cxrloc.datasets.files.runs.shown_paths import shown_name
from cxrloc.datasets.prepared.folder import PreparedFolder
from cxrloc.datasets.provenance.image_lists import ImageList, read_boxed_images
from cxrloc.datasets.provenance.leakage import (
    CLEAN,
    LEAKED,
    NOT_KNOWN,
    LeakageAudit,
    audit,
    audit_model,
    provenance_of,
    read_image_list,
)
from cxrloc.datasets.provenance.sidecar import SIDECAR_ENDING, read_provenance

_NAMED = 5
_EXIT_STATUS = {LEAKED: 1, NOT_KNOWN: 3, CLEAN: 0}
_VERDICTS = {LEAKED: "LEAKED: {}.", NOT_KNOWN: "Nothing found, not known: {}.", CLEAN: "Clean."}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    return run_tool("audit_leakage", lambda: _run(_parser().parse_args(argv)))


@while_holding(lambda arguments: writes_file(arguments.out))
def _run(arguments: argparse.Namespace) -> int:
    started = time.time()
    audits = _audits(arguments)
    if arguments.out is not None:
        _write(arguments, audits, started)
    for label, result in audits.items():
        print(description(label, result))
    status = _status(audits)
    labels = ", ".join(label for label, result in audits.items() if result.status == status)
    print(f"\n{_VERDICTS[status].format(labels)} {RESEARCH_USE}.")
    return _EXIT_STATUS[status]


def _status(audits: Mapping[str, LeakageAudit]) -> str:
    """The worst of all: leaked, then not known, then clean."""
    statuses = {result.status for result in audits.values()}
    return next(status for status in _EXIT_STATUS if status in statuses)


def _parser() -> argparse.ArgumentParser:
    parser = tool_parser(__doc__)
    parser.add_argument(
        "--train",
        type=Path,
        nargs="+",
        required=True,
        metavar="LIST",
        help="training images: lists, bundles or results files",
    )
    parser.add_argument(
        "--evaluate", type=Path, required=True, metavar="LIST", help="images that are scored"
    )
    parser.add_argument(
        "--boxes",
        type=Path,
        metavar="FILE",
        help="boxes that are scored (default: --evaluate, if it is a ground truth)",
    )
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write all names here")
    add_full_paths(parser)
    return parser


def _audits(arguments: argparse.Namespace) -> dict[str, LeakageAudit]:
    evaluated = read_image_list(arguments.evaluate)
    boxes = _boxes(arguments)
    boxed = () if boxes is None else read_boxed_images(boxes)
    if boxes is None:
        print("Boxed images are not checked: name the scored boxes with --boxes.")
    audits: dict[str, LeakageAudit] = {}
    for path in arguments.train:
        audits |= _audits_of(path, evaluated, boxed)
    return audits


def _boxes(arguments: argparse.Namespace) -> Path | None:
    """The file with the scored boxes: --boxes, or the ground truth that is evaluated."""
    evaluated: Path = arguments.evaluate
    if arguments.boxes is not None:
        return Path(arguments.boxes)
    if evaluated.is_dir() and PreparedFolder(evaluated).ground_truth.is_file():
        return PreparedFolder(evaluated).ground_truth
    is_truth = evaluated.suffix == ".json" and not evaluated.name.endswith(SIDECAR_ENDING)
    return evaluated if is_truth and read_provenance(evaluated) is None else None


def _audits_of(path: Path, evaluated: ImageList, boxed: Sequence[str]) -> dict[str, LeakageAudit]:
    provenance = provenance_of(path)
    if provenance is None:
        return {str(path): audit(read_image_list(path), evaluated, boxed)}
    if provenance.problem or not provenance.models:
        raise ValueError(provenance.problem or f"{path} is from a control: nothing was trained")
    audits = {
        f"{path} {model}": audit_model(provenance, model, evaluated, boxed)
        for model in provenance.images_by_model
    }
    if not any(result.evaluated_images for result in audits.values()):
        raise ValueError(f"{path}: its models predicted none of the evaluated images")
    return audits


def description(label: str, result: LeakageAudit) -> str:
    """The counts of one audit, the first few names behind each, and what could not be compared."""
    lines = [
        f"{label}: {result.training_images:,} training images, "
        f"{result.evaluated_images:,} evaluated",
        _line("shared images", result.shared_images),
        _line("shared patients", result.shared_patients),
        _line("boxed images in training", result.boxed_in_training),
    ]
    if result.evaluated_as_nih:
        lines.append(_line("read as NIH's images", result.evaluated_as_nih))
    return "\n".join([*lines, *(f"  not known: {gap}" for gap in result.unknown)])


def _line(title: str, names: Sequence[str]) -> str:
    more = ", ..." if len(names) > _NAMED else ""
    examples = f" ({', '.join(names[:_NAMED])}{more})" if names else ""
    return f"  {title:26s}{len(names):,}{examples}"


def _write(arguments: argparse.Namespace, audits: dict[str, LeakageAudit], started: float) -> None:
    folder = arguments.out.parent
    paths = [*arguments.train, arguments.evaluate, *([arguments.boxes] if arguments.boxes else [])]
    hashes = {str(path): file_sha256(path) for path in paths if path.is_file()}
    record = {
        "notice": f"{RESEARCH_USE}.",
        "leaked": any(result.leaked for result in audits.values()),
        "status": _status(audits),
        "audits": {shown_name(label, folder): each.to_json() for label, each in audits.items()},
        "manifest": run_manifest(
            vars(arguments), seed=0, hashes=hashes, started=started, folder=folder
        ),
    }
    write_json(arguments.out, record)


if __name__ == "__main__":
    raise SystemExit(main())
