r"""Classify and box images: for each image two pictures (boxes, heat maps) and a JSON file.

    cxrloc predict chest.png --gate runs/gate/fold0/classifier.safetensors \
        --out predictions
    cxrloc predict images/ --gate demo/gate/fold0 \
        --maskrcnn demo/maskrcnn/fold0 --export coco --out predictions
    cxrloc predict study/*.dcm --gate classifier.safetensors --dicom-out \
        --out predictions
    cxrloc predict --dicomweb https://pacs.example/dicom-web \
        --dicomweb-token token.txt --study 1.2.840.113619.2.1 \
        --gate classifier.safetensors --out predictions

INPUT is an image file (PNG, JPEG, DICOM), a folder (searched with its subfolders) or what `cxrloc
prepare` wrote (the images that it lists are read, each as a file of its own). For image a.png, OUT
receives a.boxes.jpg, a.heat.jpg and a.json (described in localization/diagnosis/to_json.py);
further images of that name become a_2, a_3. An image that cannot be read is reported, and the
others are done. The same command resumes a run that was killed: an image is skipped if its JSON was
made from the same file by the same models and settings.

An image that does not look like a frontal chest radiograph (a photograph, a limb) is refused by a
gate of chest diseases; --any-image predicts it with a warning (docs/explanation/is_it_a_chest.md).

Images in MURA's layout (XR_HAND/patient00011/study1_positive/image1.png) or CheXpert's
(patient00001/study1/view1_frontal.jpg) are named after their study. For MURA, OUT also receives
study_predictions.csv: one answer per study, the mean over its images (columns:
localization/diagnosis/examination_table.py).

--dicom-out also writes a.sr.dcm (structured report), a.pr.dcm (presentation state) and a.sc.dcm
(secondary capture), and refuses an image that is not DICOM. These files hold the patient's name and
number; nothing else written here does (see docs/how-to/dicom.md). Research use only, never a
diagnosis.

--dicomweb fetches the radiographs of a study (QIDO-RS, WADO-RS) instead of reading files, and
stores these three objects about each at the same server (STOW-RS). The images are not kept. The
same command a second time stores nothing twice.

--labels renames the diseases in all that is written, one line `Effusion: Pleural Effusion` each,
null for those that are not reported. Where several become one, the finding is that of the one that
passes the gate, or else of the most probable one, and the boxes of all that pass count.

--export writes images and boxes for a tool in which people correct them; `cxrloc prepare` reads
what comes back (docs/tutorials/your_own_data.md).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrloc.classification.run_folder import bundle_at
from cxrloc.configs.command_line import add_any_image, add_model_options, run_tool, tool_parser
from cxrloc.datasets.files.manifest import RESEARCH_USE, file_sha256, run_manifest
from cxrloc.datasets.files.runs.locks import while_holding, writes_folder
from cxrloc.datasets.images.read import decode_image, read_bytes, readable_images

# what needs torch is imported where it is used: --help and a wrong option answer at once
from cxrloc.datasets.prepared.image_files import listed_images
from cxrloc.datasets.progress import progress
from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.datasets.readers.layouts import study_of
from cxrloc.datasets.readers.loose_images import STUDIES, image_name, images_of, unique_names
from cxrloc.detection.planning.external_models import check_unseen, detectors_at
from cxrloc.localization.diagnosis.finished import of_study, read_done, source_facts
from cxrloc.localization.diagnosis.prediction_table import terminal_table
from cxrloc.tools.data.dicomweb_study import Study, add_study_options, fetched, parsed

if TYPE_CHECKING:
    from cxrloc.localization.diagnosis.diagnoser import Diagnoser, Diagnosis
    from cxrloc.localization.dicom_output.source import SourceImage

EXPORT_FORMS = ("coco", "yolo", "labelstudio", "fiftyone")  # keys of exports.write.EXPORTS


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    return run_tool("predict", lambda: _run(parsed(_parser(), argv)))


@while_holding(lambda arguments: writes_folder(arguments.out))
def _run(arguments: argparse.Namespace) -> int:
    started = time.time()
    arguments.gate = bundle_at(arguments.gate)
    arguments.maskrcnn = detectors_at(arguments.maskrcnn, arguments.ensemble, arguments.sizes)
    with fetched(arguments) as study:
        diagnoser = _diagnoser(arguments)
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / STUDIES).unlink(missing_ok=True)  # until all its images are done
        return _predict(arguments, diagnoser, started, study)


def _predict(
    arguments: argparse.Namespace, diagnoser: Diagnoser, started: float, study: Study | None
) -> int:
    """Predict the images that are not done yet; returns 1 if some of them failed, else 0."""
    from cxrloc.localization.diagnosis.examination_table import write_studies

    given = arguments.inputs if study is None else study.images
    paths, failures = images_of("predict", listed_images(given), arguments.out)
    failures += () if study is None else study.failures
    check_unseen(arguments.maskrcnn if arguments.ensemble else (), paths)
    thresholds = diagnoser.examination_thresholds if any(map(study_of, paths)) else {}
    manifest, names = _manifest(arguments, diagnoser, started), unique_names(paths)
    done = {
        path: probabilities
        for path, name in names.items()
        if (probabilities := read_done(arguments.out, name, path, manifest)) is not None
    }
    missing = {path: name for path, name in names.items() if path not in done}
    before, boxed = len(done), 0
    try:
        for path, diagnosis in _predicted(diagnoser, missing, arguments, manifest, failures):
            done[path] = of_study(path, ((f.disease, f.probability) for f in diagnosis.findings))
            boxed += bool(diagnosis.present)
        if study is not None:
            failures += study.store([arguments.out / names[path] for path in done])
    except OSError as error:  # of writing: what cannot be read is a failure of its own
        raise OSError(f"writing to {arguments.out}: {error}") from error
    finally:
        print(
            f"{len(names)} images found: {before} done already, {len(done) - before} done now "
            f"({boxed} with a disease that passes the gate), {len(failures)} failures."
        )
        if done:
            table = terminal_table(arguments.out, [names[path] for path in names if path in done])
            print(f"\n{table}\n")
        _report(failures if study is None else map(study.shown, failures), arguments.out)
    if arguments.export and done:
        _export(arguments, {path: name for path, name in names.items() if path in done})
    studies = {path: done.get(path) for path in names}  # earlier ones included
    for line in write_studies(arguments.out / STUDIES, studies, thresholds):
        print(line)
    return int(bool(failures))


def _diagnoser(arguments: argparse.Namespace) -> Diagnoser:
    from cxrloc.detection.load_diagnoser import load_diagnoser
    from cxrloc.localization.dicom_output.output import require_highdicom

    if arguments.dicom_out:
        require_highdicom()
    diagnoser = load_diagnoser(
        arguments.gate,
        arguments.maskrcnn,
        arguments.device,
        arguments.precision,
        arguments.runtime,
        arguments.labels,
        arguments.sizes,
    )
    diagnoser.any_image = arguments.any_image
    return diagnoser


def _predicted(
    diagnoser: Diagnoser,
    names: Mapping[Path, str],
    arguments: argparse.Namespace,
    manifest: Mapping[str, Any],
    failures: list[str],
) -> Iterator[tuple[Path, Diagnosis]]:
    """Each image's path and diagnosis, its files written."""
    from tqdm import tqdm

    from cxrloc.localization.diagnosis.diagnoser import stream
    from cxrloc.localization.diagnosis.files import write_outputs
    from cxrloc.localization.dicom_output.origin import Origin
    from cxrloc.localization.dicom_output.output import dicom_objects, write_dicom_objects

    settings = {name: manifest["config"][name] for name in ("labels", "sizes")}
    origin = Origin(manifest["hashes"], settings)
    for (path, source), image, diagnosis in stream(
        diagnoser,
        _readable(progress(names, "images"), failures, arguments),
    ):
        if diagnosis.refusal:
            failures.append(f"{path}: {diagnosis.refusal}")
            continue
        for warning in diagnosis.warnings:
            tqdm.write(f"predict: {path}: {warning}", file=sys.stderr)
        stem = arguments.out / names[path]
        try:
            if source is not None:
                objects = dicom_objects(image, diagnosis, source, origin)
                write_dicom_objects(objects, stem)
        except ValueError as error:
            failures.append(f"{path}: {error}")
            continue
        write_outputs(image, diagnosis, stem, {**manifest, **source_facts(path)})
        yield path, diagnosis


def _readable(
    paths: Iterable[Path], failures: list[str], arguments: argparse.Namespace
) -> Iterator[tuple[tuple[Path, SourceImage | None], LoadedImage]]:
    """Read images one by one on demand; `failures` gets what is wrong with unreadable ones.

    Each comes with its path and, for DICOM output, what DICOM objects need of its file.
    """
    from cxrloc.localization.dicom_output.source import parse_source

    def read(path: Path) -> tuple[LoadedImage, SourceImage | None]:
        data = read_bytes(path)  # once, for the pixels and for what objects copy
        image = decode_image(data, path, any_body_part=arguments.any_body_part)
        source = parse_source(data, path.name) if arguments.dicom_out else None
        return replace(image, image_id=image_name(path)), source

    def failed(path: Path, error: ValueError) -> None:
        failures.append(str(error))

    for path, (image, source) in readable_images(paths, read, failed):
        yield (path, source), image


def _manifest(
    arguments: argparse.Namespace, diagnoser: Diagnoser, started: float
) -> dict[str, Any]:
    from cxrloc.detection.load_diagnoser import bundle_files

    bundles = bundle_files(arguments.gate, arguments.maskrcnn, arguments.runtime)
    hashes = {name: file_sha256(path) for name, path in bundles.items()}
    settings = {
        "precision": arguments.precision,
        "runtime": diagnoser.runtime,
        "labels": diagnoser.labels,
        "sizes": arguments.sizes,
        "dicom_out": arguments.dicom_out,
    }
    manifest = run_manifest(settings, seed=0, hashes=hashes, started=started, folder=arguments.out)
    # it goes into every image's JSON: without the command, which may name 100,000 images
    return {key: value for key, value in manifest.items() if key not in ("command", "wall_seconds")}


def _export(arguments: argparse.Namespace, names: Mapping[Path, str]) -> None:
    from cxrloc.localization.predictions.exports.write import write_export

    for form in arguments.export:
        written = write_export(form, names, arguments.out, arguments.export_boxes)
        print(f"For correction in {form}: {written}, with {len(names)} images beside it.")


def _report(failures: Iterable[str], out: Path) -> None:
    for failure in failures:
        print(f"predict: not done: {failure}", file=sys.stderr)
    print(f"Pictures (*.boxes.jpg, *.heat.jpg) and JSON files are in {out}. {RESEARCH_USE}.")


def _parser() -> argparse.ArgumentParser:
    parser = tool_parser(__doc__)
    looked_at = "images, folders, or prepared folders"
    parser.add_argument("inputs", nargs="*", type=_input, metavar="INPUT", help=looked_at)
    add_study_options(parser)
    add_model_options(parser)
    add_any_image(parser, body_part=True)
    fused = parser.add_argument_group("fused boxes of the detector")
    together = "of all models in its run folder, on images of patients that none was trained on"
    fused.add_argument("--ensemble", action="store_true", help=together)
    sides = "of squares with these sides, such as 384 512 (default: the training's)"
    fused.add_argument("--sizes", type=_count, nargs="+", default=[], metavar="N", help=sides)
    results = parser.add_argument_group("results")
    results.add_argument("--out", type=Path, required=True, help="folder for the results")
    renamed = "label map (YAML): disease of the gate -> name in the results, or null"
    results.add_argument("--labels", type=Path, metavar="MAP", help=renamed)
    results.add_argument("--dicom-out", action="store_true", help="also write DICOM objects")
    to_tool = f"also write images and boxes for correction: {', '.join(EXPORT_FORMS)}"
    results.add_argument("--export", action="append", choices=EXPORT_FORMS, help=to_tool)
    strongest = "boxes of a disease to export, the detector's if there is one (default: 1)"
    results.add_argument("--export-boxes", type=_count, default=1, metavar="N", help=strongest)
    return parser


def _count(word: str) -> int:
    if not (word.isdecimal() and int(word) > 0):
        raise argparse.ArgumentTypeError(f"{word!r}, expected a whole number from 1")
    return int(word)


def _input(word: str) -> Path:
    if not word:  # an unset variable of the shell; as a path it would be the current folder
        raise argparse.ArgumentTypeError("an empty name; expected an image or a folder")
    return Path(word)


if __name__ == "__main__":
    raise SystemExit(main())
