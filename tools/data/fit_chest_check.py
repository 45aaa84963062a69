r"""Fit the check that an image is a chest radiograph, and measure what it refuses.

    cxrloc fit-chest-check --prepared data/nih \
        --others photographs=photos/ limbs=mura/ ct=slices/

--prepared is what `cxrloc prepare` wrote of frontal chest radiographs. Mean and deviation of the
statistics in datasets/images/doubts/chest.py are printed as they stand there, and the two limits.
The share of chests refused is out of sample: each image is judged by the statistics of the other
folds' patients. --others are folders of other images (a NAME each), which are not fitted: the table
gives the share of each that is refused, or at least doubted, by the limits in the code. Images that
cannot be read are left out and counted. Research use only, never a diagnosis.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cxrloc.configs.command_line import named_files, run_tool, tool_parser
from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.datasets.images.doubts.chest import (
    CHESTS,
    DOUBTED,
    REFUSED,
    STATISTICS,
    chest_statistics,
    distances,
)
from cxrloc.datasets.images.read import read_grey, readable_images
from cxrloc.datasets.prepared.folder import load_prepared
from cxrloc.datasets.progress import progress
from cxrloc.datasets.readers.loose_images import images_of

_SHARES = (0.008, 0.025)  # of the chests, beyond the limits for refusal and for doubt
Floats = npt.NDArray[np.float64]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    return run_tool("fit_chest_check", lambda: _run(_parser().parse_args(argv)))


def _run(arguments: argparse.Namespace) -> None:
    folders = named_files(arguments.others, "--others", "NAME=FOLDER, such as limbs=mura/")
    others = {name: images_of("fit_chest_check", [path])[0] for name, path in folders.items()}
    data = load_prepared(arguments.prepared)
    paths = [radiograph.file for radiograph in data.radiographs]
    chests, read = _statistics(paths, "chests")
    folds = np.array([data.folds[data.radiographs[i].image_id] for i in read])
    held_out = _out_of_fold(chests, folds)
    print("CHESTS: dict[str, tuple[float, float]] = {")
    for name, mean, deviation in zip(STATISTICS, chests.mean(0), chests.std(0), strict=True):
        print(f'    "{name}": ({mean:.3f}, {deviation:.3f}),')
    refused, doubted = (np.quantile(held_out, 1 - share) for share in _SHARES)
    print(f"}}\nREFUSED, DOUBTED = {refused:.1f}, {doubted:.1f}\n")
    print(f"{'images':24}{'read':>7}{'left out':>10}{'refused':>9}{'or doubted':>12}")
    _row("chests, out of fold", held_out, len(paths))
    mean, deviation = np.array(list(CHESTS.values())).T
    for name, found in others.items():
        _row(name, distances(_statistics(found, name)[0], mean, deviation), len(found))
    print(RESEARCH_USE)


def _statistics(paths: Sequence[Path], what: str) -> tuple[Floats, list[int]]:
    """(N, K) statistics of the images that can be read, and their places in `paths`."""
    ignored: Callable[[int, ValueError], object] = lambda place, error: None  # noqa: E731
    bar: Iterable[int] = progress(range(len(paths)), what)
    rows, read = [], []
    for place, grey in readable_images(bar, lambda place: read_grey(paths[place]), ignored):
        rows.append(chest_statistics(grey))
        read.append(place)
    return np.array(rows).reshape(len(rows), len(STATISTICS)), read


def _out_of_fold(statistics: Floats, folds: npt.NDArray[np.int64]) -> Floats:
    """(N,) distances, each by mean and deviation of the other folds."""
    found = np.zeros(len(statistics))
    for fold in np.unique(folds):
        inside, others = folds == fold, statistics[folds != fold]
        found[inside] = distances(statistics[inside], others.mean(0), others.std(0))
    return found


def _row(name: str, found: Floats, total: int) -> None:
    shares = [f"{(found > limit).mean():.1%}" for limit in (REFUSED, DOUBTED)]
    print(f"{name:24}{len(found):7}{total - len(found):10}{shares[0]:>9}{shares[1]:>12}")


def _parser() -> argparse.ArgumentParser:
    parser = tool_parser(__doc__)
    chests = "prepared folder of frontal chest radiographs"
    parser.add_argument("--prepared", type=Path, required=True, help=chests)
    named = "folders of other images, a name for each"
    parser.add_argument("--others", nargs="+", default=[], metavar="NAME=FOLDER", help=named)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
