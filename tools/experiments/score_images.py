"""Predict images by one classifier or the mean of several, and score them where labels are known.

    python tools/experiments/score_images.py --classifier runs/gate/fold*/classifier.safetensors \\
        --prepared data/test --out runs/test_scores.parquet

Images of patients whom a classifier was trained or chosen on are left out and counted: an ensemble
of all folds is for images outside of them (a cross-validation has those of its own, predicted out
of fold, in its out_of_fold.parquet). Blank labels and the parents of a finding count as in the
training; the classifiers must agree on that (data.blank, data.closure). Beside the Parquet, of the
same form as that one, stand FILE.md with the figures and FILE.manifest.json; of images with studies
or body parts (MURA) the page holds the figures of studies, the mean over their images, and of
images for each part and for all, and FILE.studies.csv too. Where the thresholds of a mean come from
is said below the figures. Exit status: 0 all done, 1 some image could not be read, 2 wrong usage,
130 interrupted. Research use only, never a diagnosis.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: spinning threads cost 5 x

from cxrloc.configs.command_line import run_tool

if TYPE_CHECKING:
    from cxrloc.datasets.radiograph import Radiograph


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    return run_tool("score_images", lambda: _run(_parser().parse_args(argv)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--classifier",
        type=Path,
        nargs="+",
        required=True,
        metavar="BUNDLE",
        help="trained classifiers (.safetensors); of several the probabilities are averaged",
    )
    parser.add_argument(
        "--prepared", type=Path, required=True, help="folder that tools/prepare_data.py wrote"
    )
    parser.add_argument(
        "--images",
        type=Path,
        metavar="LIST",
        help="only the images of this list (.txt with a name a line, .csv, .json); left out: all",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.parquet")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or auto")
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16"))
    parser.add_argument("--resamples", type=int, default=1000, help="of patients, for intervals")
    parser.add_argument("--seed", type=int, default=0, help="of the resamples")
    return parser


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

    started, bundles, out = time.time(), arguments.classifier, arguments.out
    if out.suffix != ".parquet":
        raise ValueError(f"--out {out}: expected a name that ends in .parquet")
    ensemble = load_ensemble(bundles, arguments.device, arguments.precision)
    radiographs, sentences = unseen_images(bundles, _listed(arguments.prepared, arguments.images))
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
    manifest = run_manifest(vars(arguments), seed=arguments.seed, hashes=hashes, started=started)
    write_json(out.with_suffix(".manifest.json"), manifest)
    written = [out, out.with_suffix(".md"), *([studies] if levels else [])]
    print(page, f"results: {', '.join(map(str, written))}", sep="\n")
    return int(len(scored.images) < len(radiographs))  # those that cannot be read were named


def _listed(prepared: Path, images: Path | None) -> list[Radiograph]:
    """The images on disk, or those of a list; how many of it are missing is printed."""
    from cxrloc.datasets.prepared.folder import load_prepared
    from cxrloc.datasets.provenance.image_lists import common_key
    from cxrloc.datasets.provenance.leakage import read_image_list

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
