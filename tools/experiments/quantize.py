"""Make a classifier's INT8 weights, for the fastest runtime on CPUs, and say what they change.

    python tools/experiments/quantize.py --classifier BUNDLE IMAGES...
    python tools/predict.py --classifier BUNDLE --runtime openvino-int8 ...

IMAGES are image files (PNG, JPEG, DICOM) or folders of images like those that the classifier is to
predict; no labels are needed. 192 are drawn at random, or all if there are fewer (32 at least).
Half of them calibrate the weights; the others are predicted in float32 and in INT8. How far apart
the two are is printed and kept in the file: classifier.int8.safetensors, next to the classifier,
which is left as it is. A classifier that was trained again needs this again. The comparison tells
what rounding changes, not who is right: one patient's images may be in both halves, and images of
the classifier's training are fit for both. It takes minutes, with deep networks at large sizes an
hour. The CPU must have VNNI instructions, and `pip install -e '.[runtimes]'` the packages. Networks
gain as far as they consist of convolutions: a ConvNeXt hardly. Exit status: 0 done, 2 wrong usage,
130 interrupted. Research use only, never a diagnosis.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from cxrloc.configs.command_line import run_tool
from cxrloc.datasets.files.manifest import RESEARCH_USE, file_sha256, run_manifest
from cxrloc.datasets.images.read import read_image, readable_images
from cxrloc.datasets.progress import progress
from cxrloc.datasets.readers.loose_images import images_below

if TYPE_CHECKING:
    from cxrloc.classification.bundle.preprocessing import Preprocessing

FEWEST = 16  # to calibrate on, and as many others to compare on


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    return run_tool(
        "quantize",
        lambda: _run(_parser().parse_args(argv), time.time()),
        "no weights were written",
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("inputs", nargs="+", type=Path, metavar="IMAGES", help="images or folders")
    parser.add_argument("--classifier", type=Path, required=True, help="classifier.safetensors")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of images")
    return parser


def _run(arguments: argparse.Namespace, started: float) -> None:
    from cxrloc.classification.bundle.classifier import load_classifier
    from cxrloc.classification.bundle.int8 import int8_path, save_int8
    from cxrloc.classification.inference.gate import Gate
    from cxrloc.classification.inference.int8_calibration import calibrate
    from cxrloc.classification.inference.runtimes import INT8, require_int8
    from cxrloc.localization.analyses.runtimes.agreement import agreement

    require_int8()
    path = int8_path(arguments.classifier)
    bundle = load_classifier(arguments.classifier)
    if not os.access(path.parent, os.W_OK):
        raise OSError(f"{path.parent} cannot be written to: copy {arguments.classifier} elsewhere")
    squares, paths = _readable(arguments.inputs, arguments.seed, bundle.preprocessing)
    half = len(paths) // 2
    int8 = calibrate(bundle, np.concatenate(squares[:half]), seed=arguments.seed)
    other = Gate(replace(bundle, int8=int8), "cpu", runtime=INT8)
    left = ", ".join(int8.left) or "none"
    print(f"{len(int8.layers)} convolutions are in INT8; left in float: {left}.")
    images = (read_image(path) for path in paths[half:])
    change = agreement(Gate(bundle, "cpu", "fp32"), other, images, len(paths) - half)
    print(f"{other.runtime} against float32 on {change.images} other images:\n{change}")
    facts = {"calibrated_on": half, "runtime": other.runtime, "agreement": asdict(change)}
    hashes = {"classifier": file_sha256(arguments.classifier)}
    manifest = run_manifest(facts, seed=arguments.seed, hashes=hashes, started=started)
    save_int8(path, replace(int8, metadata={**int8.metadata, "manifest": manifest}))
    print(f"INT8 weights are in {path}, for --runtime {INT8}. {RESEARCH_USE}.")


def _readable(
    inputs: Sequence[Path], seed: int, preprocessing: Preprocessing
) -> tuple[list[npt.NDArray[np.uint8]], list[Path]]:
    """Of the first images of the draw that can be read: squares, as many as may
    calibrate, and paths."""
    from cxrloc.classification.inference.int8_calibration import CALIBRATION_IMAGES

    paths, failures = images_below(inputs)
    if failures:
        raise ValueError("; ".join(failures))
    squares: list[npt.NDArray[np.uint8]] = []
    readable: list[Path] = []
    bar = progress(None, "reading", min(2 * CALIBRATION_IMAGES, len(paths)))
    draw = (paths[i] for i in np.random.default_rng(seed).permutation(len(paths)))
    images = readable_images(draw, read_image, _left_out)
    for path, image in islice(images, 2 * CALIBRATION_IMAGES):
        for warning in image.warnings:
            tqdm.write(f"quantize: {path}: {warning}", file=sys.stderr)
        if len(squares) < CALIBRATION_IMAGES:
            squares.append(preprocessing.squares([image]))
        readable.append(path)
        bar.update()
    bar.close()
    if len(readable) < 2 * FEWEST:
        raise ValueError(
            f"{len(readable)} images that can be read, expected at least {2 * FEWEST}: half of "
            f"them to calibrate on, half to compare on; {2 * CALIBRATION_IMAGES} are better"
        )
    return squares, readable


def _left_out(path: Path, error: ValueError) -> None:
    tqdm.write(f"quantize: left out: {error}", file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
