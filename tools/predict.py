"""Classify and box films: per film a picture with boxes, one with heat maps, and a JSON file.

    python tools/predict.py --classifier BUNDLE [--maskrcnn BUNDLE] INPUT... --out DIR

INPUT is an image file or a folder (searched with its subfolders). For film a.png DIR receives
a.boxes.png, a.heat.png and a.json (schema: localization/diagnose.py); films of the same name get
a_2, a_3. A film that cannot be read is reported and the rest go on. Exit status: 0 all done, 1 some
film failed, 2 wrong usage. Research use only - not a diagnosis.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from cxrloc.classification.gate import Gate
from cxrloc.classification.models import load_classifier
from cxrloc.datasets.image_files import IMAGE_SUFFIXES, UnreadableImageError, read_grey
from cxrloc.datasets.manifest import file_sha256, run_manifest, write_json
from cxrloc.datasets.radiograph import Film
from cxrloc.detection.mask_rcnn import MaskRCNNLocalizer, load_predictor
from cxrloc.localization.diagnose import Diagnosis, diagnose, to_json
from cxrloc.localization.drawing import draw_boxes, draw_heat_maps
from cxrloc.localization.grad_cam import GradCamLocalizer
from cxrloc.localization.localizer import Localizer
from cxrloc.localization.plots import save_figure
from cxrloc.localization.words import RESEARCH_USE

_OWN_PICTURES = (".boxes.png", ".heat.png")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    arguments = _parser().parse_args(argv)
    started = time.time()
    try:
        gate, detector = _load(arguments)
        arguments.out.mkdir(parents=True, exist_ok=True)
    except (ValueError, ImportError, OSError) as error:
        print(f"predict: error: {error}", file=sys.stderr)
        return 2
    paths, failures = find_films(arguments.inputs, arguments.out)
    manifest = _manifest(arguments, started)
    cam = GradCamLocalizer(gate)
    boxed = 0
    for path, name in tqdm(unique_names(paths).items(), desc="films", unit="film"):
        try:
            pixels = read_grey(path)
        except UnreadableImageError as error:
            failures.append(str(error))
            continue
        film = Film(path.name, pixels, (pixels.shape[0], pixels.shape[1]))
        diagnosis = diagnose(film, gate, cam, detector)
        write_outputs(film, diagnosis, arguments.out / name, manifest)
        boxed += bool(diagnosis.present)
    return _report(len(paths), boxed, failures, arguments.out)


def find_films(inputs: Sequence[Path], out: Path) -> tuple[list[Path], list[str]]:
    """Image files of the inputs, each once, and a message for every input that gives none.

    Folders are searched with their subfolders, sorted; hidden files and what this tool itself wrote
    into `out` are left out.
    """
    films: dict[Path, Path] = {}
    failures = []
    for given in inputs:
        found = _films_of(given, out)
        if not found:
            reason = "no image in this folder" if given.is_dir() else "no such file or folder"
            failures.append(f"{given}: {reason}; expected {', '.join(IMAGE_SUFFIXES)}")
        for path in found:
            films.setdefault(path.resolve(), path)
    return list(films.values()), failures


def _films_of(given: Path, out: Path) -> list[Path]:
    if given.is_file():
        return [given]
    return sorted(
        path
        for path in given.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not path.name.startswith(".")
        and path.is_file()
        and not (path.name.endswith(_OWN_PICTURES) and path.resolve().parent == out.resolve())
    )


def unique_names(paths: Sequence[Path]) -> dict[Path, str]:
    """Path -> stem of its outputs: its own stem, or with _2, _3 behind it where that is taken.

    Names that differ in case only count as the same: some file systems do not tell them apart.
    """
    taken: set[str] = set()
    names = {}
    for path in paths:
        number, name = 1, path.stem
        while name.casefold() in taken:
            number += 1
            name = f"{path.stem}_{number}"
        taken.add(name.casefold())
        names[path] = name
    return names


def write_outputs(film: Film, diagnosis: Diagnosis, stem: Path, manifest: dict[str, Any]) -> None:
    """Write STEM.boxes.png, STEM.heat.png and, last, STEM.json."""
    save_figure(draw_boxes(film, diagnosis), stem.with_name(f"{stem.name}.boxes.png"))
    save_figure(draw_heat_maps(film, diagnosis), stem.with_name(f"{stem.name}.heat.png"))
    record = to_json(diagnosis) | {"manifest": manifest}
    write_json(stem.with_name(f"{stem.name}.json"), record)


def _load(arguments: argparse.Namespace) -> tuple[Gate, Localizer | None]:
    bundle = load_classifier(arguments.classifier)
    gate = Gate(bundle, arguments.device, arguments.precision)
    if arguments.maskrcnn is None:
        return gate, None
    found = load_predictor(arguments.maskrcnn, arguments.device, arguments.precision)
    return gate, MaskRCNNLocalizer(found[0])


def _manifest(arguments: argparse.Namespace, started: float) -> dict[str, Any]:
    bundles = {"classifier": arguments.classifier, "maskrcnn": arguments.maskrcnn}
    hashes = {name: file_sha256(path) for name, path in bundles.items() if path is not None}
    return run_manifest(vars(arguments), seed=0, hashes=hashes, started=started)


def _report(films: int, boxed: int, failures: Sequence[str], out: Path) -> int:
    for failure in failures:
        print(f"predict: not done: {failure}", file=sys.stderr)
    unread = len(failures)
    print(f"{films} films found, {boxed} with a disease that passes the gate, {unread} failures.")
    print(f"Results are in {out}. {RESEARCH_USE}.")
    return 1 if failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="films or folders")
    parser.add_argument("--classifier", type=Path, required=True, help="classifier.safetensors")
    parser.add_argument("--maskrcnn", type=Path, help="maskrcnn.safetensors: second localizer")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or auto")
    parser.add_argument("--precision", default="auto", help="auto, fp32 or bf16")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
