"""Make a classifier's INT8 weights, the fastest way to run it on CPUs, and say what they cost.

    python tools/quantize.py --classifier BUNDLE FILMS...
    python tools/predict.py --classifier BUNDLE --runtime openvino-int8 ...

FILMS are image files (PNG, JPEG, DICOM) or folders of films like those that the classifier is to
judge; no labels are needed. Of a random draw up to 96 films calibrate the weights; up to 96 others
are judged in float32 and in INT8, and how far apart the two are is printed and kept in the file:
classifier.int8.safetensors, beside the classifier, which is left as it is. A classifier that was
trained again needs this again. The comparison tells what rounding changes, not who is right: one
patient's films may be on both sides of the draw, and films of the classifier's training are fit for
both. Exit status: 0 done, 2 wrong usage, 130 interrupted. Research use only - not a diagnosis.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

import numpy as np

from cxrloc.datasets.film_search import find_films
from cxrloc.datasets.image_files import read_film
from cxrloc.datasets.manifest import file_sha256, run_manifest
from cxrloc.datasets.radiograph import Film
from cxrloc.localization.words import RESEARCH_USE

FILMS = 96  # to calibrate on, and as many others to compare on
FEWEST = 16
_EXPECTED = (
    f"expected at least {2 * FEWEST}: {FEWEST} to calibrate on and as many others to compare on; "
    f"{2 * FILMS} are better"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status: 0, or 2 after a message for what the user can mend."""
    arguments = _parser().parse_args(argv)
    try:
        _run(arguments, time.time())
    except (ValueError, OSError, ImportError) as error:
        print(f"quantize: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("quantize: interrupted; nothing was written", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("inputs", nargs="+", type=Path, metavar="FILMS", help="films or folders")
    parser.add_argument("--classifier", type=Path, required=True, help="classifier.safetensors")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of films")
    return parser


def _run(arguments: argparse.Namespace, started: float) -> None:
    from cxrloc.classification.gate import Gate
    from cxrloc.classification.int8_calibration import calibrate
    from cxrloc.classification.int8_network import int8_path, save_int8
    from cxrloc.classification.models import load_classifier
    from cxrloc.classification.runtimes import INT8, require_int8
    from cxrloc.localization.agreement import agreement

    require_int8()
    bundle = load_classifier(arguments.classifier)
    films, half = _films(arguments.inputs, arguments.classifier.parent, arguments.seed)
    squares = [bundle.preprocessing.squares([film]) for film in islice(films, half)]
    if len(squares) < FEWEST:
        raise ValueError(f"{len(squares)} films can be read, {_EXPECTED}")
    int8 = calibrate(bundle, np.concatenate(squares), seed=arguments.seed)
    exact = Gate(bundle, "cpu", "fp32")
    other = Gate(replace(bundle, int8=int8), "cpu", runtime=INT8)
    found = agreement(exact, other, islice(films, FILMS), min(half, FILMS))
    path = int8_path(arguments.classifier)
    facts = {"calibrated_on": len(squares), "agreement": asdict(found)}
    hashes = {"classifier": file_sha256(arguments.classifier)}
    manifest = run_manifest(facts, seed=arguments.seed, hashes=hashes, started=started)
    metadata = {"diseases": list(bundle.diseases), "manifest": manifest}
    save_int8(path, replace(int8, metadata=metadata))
    left = ", ".join(int8.left) or "none"
    print(f"{len(int8.layers)} convolutions are in INT8; left in float: {left}.")
    print(f"{other.runtime} against float32 on {found.films} other films:\n{found}")
    print(f"INT8 weights are in {path}, for --runtime openvino-int8. {RESEARCH_USE}.")


def _films(inputs: Sequence[Path], out: Path, seed: int) -> tuple[Iterator[Film], int]:
    """Films in the order of the draw, each read when it is asked for, and how many calibrate."""
    paths, failures = find_films(inputs, out)
    if failures:
        raise ValueError("; ".join(failures))
    if len(paths) < 2 * FEWEST:
        raise ValueError(f"{len(paths)} films, {_EXPECTED}")
    drawn = [paths[i] for i in np.random.default_rng(seed).permutation(len(paths))]
    return _readable(drawn), min(FILMS, len(paths) // 2)


def _readable(paths: Iterable[Path]) -> Iterator[Film]:
    for path in paths:
        try:
            yield read_film(path)
        except ValueError as error:
            print(f"quantize: left out: {error}", file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
