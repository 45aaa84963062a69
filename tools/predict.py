"""Classify and box images: per image a picture with boxes, one with heat maps, and a JSON file.

    python tools/predict.py --classifier BUNDLE [--maskrcnn BUNDLE] INPUT... --out DIR

INPUT is an image file (PNG, JPEG, DICOM) or a folder (searched with its subfolders). For image
a.png DIR receives a.boxes.jpg, a.heat.jpg and a.json (schema: localization/diagnosis/to_json.py);
images of the same name get a_2, a_3. Images in MURA's layout
(XR_HAND/patient00011/study1_positive/image1.png) or CheXpert's
(patient00001/study1/view1_frontal.jpg) are named after their study. Of MURA's DIR also receives
study_predictions.csv: one answer per study, the mean over its images (columns:
localization/diagnosis/examination_table.py). An image that cannot be read is reported and the rest
go on. A
killed run is taken up again by the same command: an image whose JSON is there, made of the same
    file
by the same models and settings, is left as it is. --dicom-out writes a.sr.dcm (structured report),
a.pr.dcm (presentation state) and a.sc.dcm (secondary capture) beside them; an image that is not
DICOM is then refused. They hold the patient's name and number, which nothing else written here does
(see docs/dicom.md). Exit status: 0 all done, 1 some image failed, 2 wrong usage or a folder that
cannot be written, 130 interrupted. Research use only, never a diagnosis.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrloc.datasets.files.manifest import RESEARCH_USE, file_sha256, run_manifest, write_json
from cxrloc.datasets.images.read import read_image
from cxrloc.datasets.radiograph import LoadedImage

# what needs torch is imported where it is used: --help and a wrong option answer at once
from cxrloc.datasets.readers.loose_images import find_images, image_name, unique_names

if TYPE_CHECKING:
    from cxrloc.localization.diagnosis.diagnoser import Diagnoser, Diagnosis
    from cxrloc.localization.dicom_output.source import SourceImage

STUDIES = "study_predictions.csv"
INTERRUPTED = "predict: interrupted; the same command does the rest"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    arguments = _parser().parse_args(argv)
    started = time.time()
    try:
        diagnoser = _diagnoser(arguments)
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / STUDIES).unlink(missing_ok=True)  # until all its images are done
    except (ValueError, ImportError, OSError) as error:
        print(f"predict: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("predict: interrupted while loading; nothing was done", file=sys.stderr)
        return 130
    try:
        return _predict(arguments, diagnoser, started)
    except KeyboardInterrupt:  # before the first image or after the last one
        print(INTERRUPTED, file=sys.stderr)
        return 130


def _predict(arguments: argparse.Namespace, diagnoser: Diagnoser, started: float) -> int:
    """Do the images that are not done yet; returns the exit status."""
    paths, failures = find_images(arguments.inputs, arguments.out)
    manifest = _manifest(arguments, diagnoser.runtime, started)
    named = unique_names(paths)
    missing = {
        p: name for p, name in named.items() if read_done(arguments.out, name, p, manifest) is None
    }
    done, boxed, stopped = 0, 0, 0
    try:
        for diagnosis in _predicted(diagnoser, missing, arguments, manifest, failures):
            done += 1
            boxed += bool(diagnosis.present)
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        stopped = 130
    except OSError as error:  # of writing: what cannot be read is a failure of its own
        print(f"predict: error: writing to {arguments.out}: {error}", file=sys.stderr)
        stopped = 2
    before = len(named) - len(missing)
    print(
        f"{len(named)} images found: {before} done already, {done} done now ({boxed} with a "
        f"disease that passes the gate), {len(failures)} failures."
    )
    if not stopped:
        _write_studies(arguments.out, named, manifest, diagnoser.gate.study_thresholds)
    _report(failures, arguments.out)
    return stopped or int(bool(failures))


def _diagnoser(arguments: argparse.Namespace) -> Diagnoser:
    from cxrloc.detection.load_diagnoser import load_diagnoser
    from cxrloc.localization.dicom_output.output import require_highdicom

    if arguments.dicom_out:
        require_highdicom()
    return load_diagnoser(
        arguments.classifier,
        arguments.maskrcnn,
        arguments.device,
        arguments.precision,
        arguments.runtime,
    )


def _predicted(
    diagnoser: Diagnoser,
    named: Mapping[Path, str],
    arguments: argparse.Namespace,
    manifest: Mapping[str, Any],
    failures: list[str],
) -> Iterator[Diagnosis]:
    """Each image's diagnosis, its files written."""
    from tqdm import tqdm

    from cxrloc.localization.diagnosis.diagnoser import stream

    progress = tqdm(named, desc="images", unit="image")
    images = _readable(progress, failures, arguments.dicom_out)
    for (path, source), image, diagnosis in stream(diagnoser, images):
        for warning in diagnosis.warnings:
            tqdm.write(f"predict: {path}: {warning}", file=sys.stderr)
        stem = arguments.out / named[path]
        try:
            if source is not None:
                write_dicom_objects(source, image, diagnosis, stem, manifest)
        except ValueError as error:
            failures.append(f"{path}: {error}")
            continue
        write_outputs(image, diagnosis, stem, {**manifest, **_source(path)})
        yield diagnosis


def _write_studies(
    out: Path,
    named: Mapping[Path, str],
    manifest: Mapping[str, Any],
    thresholds: Mapping[str, float | None],
) -> None:
    """Of all images of the command, those that were done before too."""
    from cxrloc.localization.diagnosis.examination_table import write_studies

    read = lambda path: read_done(out, named[path], path, manifest)  # noqa: E731
    for line in write_studies(out / STUDIES, named, read, thresholds):
        print(line)


def read_done(
    out: Path, name: str, path: Path, manifest: Mapping[str, Any]
) -> dict[str, Any] | None:
    """What `out` holds of this very file by the same models and settings; None where nothing."""
    try:
        record: dict[str, Any] = json.loads((out / f"{name}.json").read_bytes())
        then, now = record["manifest"], {**manifest, **_source(path)}
        same = all(then[key] == now[key] for key in ("config", "hashes", "image"))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # no such file, or none of this tool's: the image is done again
    return record if same else None


def write_outputs(
    image: LoadedImage, diagnosis: Diagnosis, stem: Path, manifest: Mapping[str, Any]
) -> None:
    """Write STEM.boxes.jpg, STEM.heat.jpg and, last, STEM.json."""
    from cxrloc.localization.diagnosis.drawing import draw_boxes, draw_heat_maps
    from cxrloc.localization.diagnosis.to_json import to_json

    draw_boxes(image, diagnosis).save(stem.with_name(f"{stem.name}.boxes.jpg"))
    draw_heat_maps(image, diagnosis).save(stem.with_name(f"{stem.name}.heat.jpg"))
    record = to_json(diagnosis) | {"manifest": manifest}
    write_json(stem.with_name(f"{stem.name}.json"), record)


def write_dicom_objects(
    source: SourceImage,
    image: LoadedImage,
    diagnosis: Diagnosis,
    stem: Path,
    manifest: Mapping[str, Any],
) -> None:
    """Write STEM.sr.dcm, STEM.pr.dcm and STEM.sc.dcm about a DICOM image."""
    from cxrloc.localization.dicom_output import output

    objects = output.dicom_objects(image, diagnosis, source, manifest["hashes"])
    output.write_dicom_objects(objects, stem)


def _readable(
    paths: Iterable[Path], failures: list[str], dicom_out: bool
) -> Iterator[tuple[tuple[Path, SourceImage | None], LoadedImage]]:
    """Images one by one as they are asked for; what is wrong with the others goes to `failures`.

    Each comes with its path and, for DICOM output, what DICOM objects need of its file.
    """
    from cxrloc.localization.dicom_output.source import read_source

    for path in paths:
        try:
            image = replace(read_image(path), image_id=image_name(path))
            source = read_source(path) if dicom_out else None
        except ValueError as error:
            failures.append(str(error))
            continue
        yield (path, source), image


def _source(path: Path) -> dict[str, Any]:
    """What tells an image's file from another one of its name, without reading it."""
    status = path.stat() if path.is_file() else None
    changed = (status.st_size, status.st_mtime_ns) if status else (None, None)
    # as a hash: archives call folders after patients
    place = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()
    return {"image": {"path_sha256": place, "bytes": changed[0], "mtime_ns": changed[1]}}


def _manifest(arguments: argparse.Namespace, runtime: str, started: float) -> dict[str, Any]:
    from cxrloc.detection.load_diagnoser import bundle_files

    bundles = bundle_files(arguments.classifier, arguments.maskrcnn, arguments.runtime)
    hashes = {name: file_sha256(path) for name, path in bundles.items()}
    settings = {
        "precision": arguments.precision,
        "runtime": runtime,
        "dicom_out": arguments.dicom_out,
    }
    manifest = run_manifest(settings, seed=0, hashes=hashes, started=started)
    # every image's JSON holds it: not the command, which may name 100,000 images
    return {key: value for key, value in manifest.items() if key not in ("command", "wall_seconds")}


def _report(failures: Sequence[str], out: Path) -> None:
    for failure in failures:
        print(f"predict: not done: {failure}", file=sys.stderr)
    print(f"Results are in {out}. {RESEARCH_USE}.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("inputs", nargs="+", type=_input, metavar="INPUT", help="images or folders")
    parser.add_argument("--classifier", type=Path, required=True, help="classifier.safetensors")
    parser.add_argument("--maskrcnn", type=Path, help="maskrcnn.safetensors: second localizer")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto")
    parser.add_argument("--precision", default="auto", help="auto, fp32 or bf16")
    parser.add_argument("--dicom-out", action="store_true", help="also write DICOM objects")
    parser.add_argument(
        "--runtime",
        default="torch",
        help="of networks: torch, torch-bf16, onnx, openvino or openvino-int8 (see quantize.py)",
    )
    return parser


def _input(word: str) -> Path:
    if not word:  # an unset variable of the shell; as a path it would be the current folder
        raise argparse.ArgumentTypeError("an empty name; expected an image or a folder")
    return Path(word)


if __name__ == "__main__":
    raise SystemExit(main())
