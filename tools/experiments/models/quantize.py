r"""Make a gate's INT8 weights, for the fastest runtime on CPUs, and say what they change.

    cxrloc quantize images/ --gate runs/gate/fold0
    cxrloc predict images/ --gate runs/gate/fold0 --runtime openvino-int8 \
        --out predictions

IMAGES are image files (PNG, JPEG, DICOM) or folders of images like those that the gate will
predict; no labels are needed. 192 are drawn at random, or all if there are fewer (at least 32).
Half of them calibrate the weights; the others are predicted in float32 and in INT8. The difference
is printed and kept in the file: classifier.int8.safetensors, next to the gate's bundle, which is
left as it is. A gate that is trained again needs this again.

The comparison shows what rounding changes, not which is right: one patient's images may be in both
halves, and the gate's training images will do for both. It takes minutes, or with deep networks at
large sizes an hour. The CPU must have VNNI instructions, and the packages come with `pip install
"cxrloc[runtimes]"`. Networks gain as far as they consist of convolutions: a ConvNeXt hardly gains.
Research use only, never a diagnosis.
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

from cxrloc.classification.run_folder import bundle_at
from cxrloc.configs.command_line import run_tool, tool_parser
from cxrloc.configs.help_page import add_full_paths
from cxrloc.datasets.files.manifest import RESEARCH_USE, file_sha256, run_manifest
from cxrloc.datasets.files.runs.locks import writes_file
from cxrloc.datasets.images.read import read_image, readable_images
from cxrloc.datasets.progress import progress
from cxrloc.datasets.readers.loose_images import images_of

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
    parser = tool_parser(__doc__)
    parser.add_argument("inputs", nargs="+", type=Path, metavar="IMAGES", help="images or folders")
    parser.add_argument(
        "--gate",
        type=Path,
        required=True,
        help="the gate: a bundle (classifier.safetensors), or a run folder that holds one",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw of images")
    add_full_paths(parser)
    return parser


def _run(arguments: argparse.Namespace, started: float) -> None:
    from cxrloc.classification.bundle.int8 import int8_path
    from cxrloc.classification.inference.runtimes import require_int8

    require_int8()
    gate = bundle_at(arguments.gate)
    path = int8_path(gate)
    if not os.access(path.parent, os.W_OK):
        raise OSError(f"{path.parent} cannot be written to: copy {gate} elsewhere")
    with writes_file(path):
        _quantize(arguments, gate, path, started)


def _quantize(arguments: argparse.Namespace, gate: Path, path: Path, started: float) -> None:
    from cxrloc.classification.bundle.classifier import load_classifier
    from cxrloc.classification.bundle.int8 import save_int8
    from cxrloc.classification.inference.gate import Gate
    from cxrloc.classification.inference.int8_calibration import calibrate
    from cxrloc.classification.inference.runtimes import INT8
    from cxrloc.localization.analyses.runtimes.agreement import agreement

    bundle = load_classifier(gate)
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
    hashes = {"classifier": file_sha256(gate)}
    manifest = run_manifest(
        facts, seed=arguments.seed, hashes=hashes, started=started, folder=path.parent
    )
    save_int8(path, replace(int8, metadata={**int8.metadata, "manifest": manifest}))
    print(f"INT8 weights are in {path}, for --runtime {INT8}. {RESEARCH_USE}.")


def _readable(
    inputs: Sequence[Path], seed: int, preprocessing: Preprocessing
) -> tuple[list[npt.NDArray[np.uint8]], list[Path]]:
    """Paths of the first images of the draw that can be read, and squares of those to calibrate."""
    from cxrloc.classification.inference.int8_calibration import CALIBRATION_IMAGES

    paths, failures = images_of("quantize", inputs)
    if failures:
        raise ValueError("; ".join(failures))
    squares: list[npt.NDArray[np.uint8]] = []
    readable: list[Path] = []
    bar: tqdm[object] = progress(None, "reading", min(2 * CALIBRATION_IMAGES, len(paths)))
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
            f"{len(readable)} images can be read, expected at least {2 * FEWEST}: half of them to "
            f"calibrate on, half to compare on; {2 * CALIBRATION_IMAGES} are better"
        )
    return squares, readable


def _left_out(path: Path, error: ValueError) -> None:
    tqdm.write(f"quantize: left out: {error}", file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
