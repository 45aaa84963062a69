r"""Predict images by one gate or the mean of several, and score them where labels are known.

    cxrloc score-images --gate runs/gate/fold0/classifier.safetensors \
        --prepared data/test --out runs/test_scores.parquet
    cxrloc score-images --gate runs/gate --prepared data/test \
        --out runs/test_scores.parquet

A run folder stands for all its folds. Images of patients that a gate was trained or chosen on are
left out and counted: an ensemble of all folds is for images outside of them. (A cross-validation
has its own out-of-fold predictions in out_of_fold.parquet.) Blank labels and the parents of a
finding count as they did in the training; the gates must agree on that (data.blank, data.closure).

Next to the Parquet file, which has the form of out_of_fold.parquet, are written FILE.md with the
figures and FILE.manifest.json. For images with studies or body parts (MURA), the page also holds
the figures of studies (the mean over their images) and of images for each part and for all, and
FILE.studies.csv is written. A line below the figures says where the thresholds of a mean come from.
Research use only, never a diagnosis.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: spinning threads cost 5 x

from cxrloc.classification.run_folder import bundles_at
from cxrloc.configs.command_line import add_resampling_options, run_tool, tool_parser
from cxrloc.configs.help_page import add_full_paths
from cxrloc.datasets.files.runs.locks import while_holding, writes_file

if TYPE_CHECKING:
    from cxrloc.datasets.radiograph import Radiograph


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    return run_tool("score_images", lambda: _run(_parser().parse_args(argv)))


def _parser() -> argparse.ArgumentParser:
    parser = tool_parser(__doc__)
    parser.add_argument(
        "--gate",
        type=Path,
        nargs="+",
        required=True,
        metavar="PATH",
        help="bundles (.safetensors) or run folders; the probabilities of several are averaged",
    )
    parser.add_argument(
        "--prepared", type=Path, required=True, help="folder written by `cxrloc prepare`"
    )
    parser.add_argument(
        "--image-list",
        type=Path,
        metavar="LIST",
        help="only the images of this list: .txt with one name per line, .csv or .json",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE.parquet", help="file to write"
    )
    parser.add_argument("--device", default="cpu", help="cpu (the default), cuda or auto")
    parser.add_argument(
        "--precision",
        default="auto",
        choices=("auto", "fp32", "bf16"),
        help="number format of the network (default: auto)",
    )
    add_resampling_options(parser)
    add_full_paths(parser)
    return parser


@while_holding(lambda arguments: writes_file(arguments.out))
def _run(arguments: argparse.Namespace) -> int:
    # after the command line is read: --help needs no torch
    from cxrloc.classification.metrics.examinations import by_level
    from cxrloc.classification.metrics.scored_images import write_scored_images
    from cxrloc.classification.report.examinations import level_records, level_tables
    from cxrloc.classification.report.tables import page_markdown, write_records
    from cxrloc.classification.runs.ensemble import (
        load_ensemble,
        score_images,
        scores_table,
        unseen_images,
    )
    from cxrloc.datasets.files.atomic import write_text
    from cxrloc.datasets.files.manifest import file_sha256, run_manifest, write_json

    started, out = time.time(), arguments.out
    if out.suffix != ".parquet":
        raise ValueError(f"--out {out}: expected a name that ends in .parquet")
    bundles = [bundle for path in arguments.gate for bundle in bundles_at(path)]
    ensemble = load_ensemble(bundles, arguments.device, arguments.precision)
    radiographs, sentences = unseen_images(
        bundles, _listed(arguments.prepared, arguments.image_list)
    )
    scored = score_images(ensemble, radiographs)
    notes = [f"By {_members(bundles)}", *scored.notes]
    notes += [sentence.removesuffix(".") for sentence in sentences]
    draws = arguments.resamples, arguments.seed
    levels = by_level(scored.images, scored.examination_thresholds, *draws)
    studies = out.with_suffix(".studies.csv")
    table = scores_table(scored.images, notes, *draws)
    page = page_markdown(
        f"Images scored: {out.stem}", [table, *level_tables(levels, ensemble.diseases)]
    )
    write_scored_images(out, scored.images)
    if levels:
        write_records(studies, level_records(levels, ensemble.diseases))
    write_text(out.with_suffix(".md"), page)
    hashes = {str(path): file_sha256(path) for path in bundles}
    manifest = run_manifest(
        vars(arguments), seed=arguments.seed, hashes=hashes, started=started, folder=out.parent
    )
    write_json(out.with_suffix(".manifest.json"), manifest)
    written = [out, out.with_suffix(".md"), *([studies] if levels else [])]
    print(page, f"Results are in {', '.join(map(str, written))}.", sep="\n")
    return int(len(scored.images) < len(radiographs))  # the unreadable ones were reported


def _listed(prepared: Path, images: Path | None) -> list[Radiograph]:
    """The images on disk, or those of a list; says how many of the list are missing."""
    from cxrloc.datasets.prepared.folder import load_prepared
    from cxrloc.datasets.provenance.leakage import read_image_list
    from cxrloc.datasets.provenance.names import common_key

    radiographs = load_prepared(prepared).radiographs
    if images is None:
        return radiographs
    listed = read_image_list(images).patient_of
    key = common_key(listed, [r.image_id for r in radiographs])
    keys = {key(name) for name in listed}
    chosen = [r for r in radiographs if key(r.image_id) in keys]
    if not chosen:
        raise ValueError(f"no image of {images} is in {prepared}")
    if len(chosen) < len(keys):
        print(f"{len(keys) - len(chosen)} images of {images} are not in {prepared}")
    return chosen


def _members(bundles: Sequence[Path]) -> str:
    if len(bundles) == 1:
        return str(bundles[0])
    return f"the mean probability of {len(bundles)} classifiers: {', '.join(map(str, bundles))}"


if __name__ == "__main__":
    raise SystemExit(main())
