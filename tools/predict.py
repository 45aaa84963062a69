r"""Classify and box images: for each image two pictures (boxes, heat maps) and a JSON file.

    cxrloc predict chest.png --gate demo/gate/fold0 \
        --maskrcnn demo/maskrcnn/fold0 --out predictions
    cxrloc predict images/ --gate demo/gate/fold0 --workers 8 --write table \
        --out predictions
    cxrloc predict --dicomweb https://pacs.example/dicom-web \
        --dicomweb-token token.txt --study 1.2.840.113619.2.1 \
        --gate classifier.safetensors --out predictions

INPUT is an image file (PNG, JPEG, DICOM), a folder (searched with its subfolders) or what `cxrloc
prepare` wrote (the images that it lists are read, each as a file of its own). For image a.png, OUT
receives a.boxes.jpg, a.heat.jpg and a.json (described in localization/diagnosis/to_json.py);
further images of that name become a_2, a_3. An image that cannot be read is reported, and the
others are done. The same command resumes a run that was killed: an image is skipped if its JSON, or
its part of the tables, was made from the same file by the same models and settings.

An image that does not look like a frontal chest radiograph (a photograph, a limb) is refused by a
gate of chest diseases; --any-image predicts it with a warning (docs/explanation/is_it_a_chest.md).

Images in MURA's layout (XR_HAND/patient00011/study1_positive/image1.png) or CheXpert's
(patient00001/study1/view1_frontal.jpg) are named after their study. For MURA, OUT also receives
study_predictions.csv: one answer per study, the mean over its images (columns:
localization/diagnosis/examination_table.py).

--write chooses what is written: json; pictures; dicom: a.sr.dcm (structured report), a.pr.dcm
(presentation state) and a.sc.dcm (secondary capture), which refuses an image that is not DICOM;
table: OUT/findings.parquet (a row per image and disease, or with the reason why an image could not
be read) and OUT/boxes.parquet (columns: localization/diagnosis/tables/rows.py), with the boxes as
COCO files in OUT/coco_results, which `cxrloc compare --predictions` takes. The DICOM objects hold
the patient's name and number (see docs/how-to/dicom.md); nothing else written here does, but the
tables tell the images' paths. Research use only, never a diagnosis.

--workers and --engine spark are for many images, which may lie in a store (s3://bucket/images), see
docs/how-to/scale_out.md.

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
import contextlib
import os
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrloc.classification.run_folder import bundle_at
from cxrloc.configs.command_line import add_any_image, add_model_options, run_tool, tool_parser
from cxrloc.datasets.files.manifest import RESEARCH_USE, file_sha256, run_manifest
from cxrloc.datasets.files.runs.locks import while_holding, writes_folder
from cxrloc.datasets.files.storage import Storage

# what needs torch is imported where it is used: --help and a wrong option answer at once
from cxrloc.datasets.prepared.image_files import listed_images
from cxrloc.datasets.progress import progress
from cxrloc.datasets.readers.layouts import study_of
from cxrloc.datasets.readers.loose_images import STUDIES, ResultNames, found_images
from cxrloc.localization.diagnosis.engines.engine import Engine, engine
from cxrloc.localization.diagnosis.engines.models import ModelFacts
from cxrloc.localization.diagnosis.engines.options import (
    add_engine_options,
    check_engine,
    count,
    place,
)
from cxrloc.localization.diagnosis.engines.part import parts_of
from cxrloc.localization.diagnosis.engines.tally import Tally
from cxrloc.localization.diagnosis.engines.work import WRITTEN, Work
from cxrloc.tools.data.dicomweb_study import Study, add_study_options, fetched, parsed

if TYPE_CHECKING:
    from tqdm import tqdm

    from cxrloc.localization.diagnosis.diagnoser import Diagnoser

EXPORT_FORMS = ("coco", "yolo", "labelstudio", "fiftyone")  # keys of exports.write.EXPORTS
_FILES = {
    "json": "JSON files",
    "pictures": "pictures (*.boxes.jpg, *.heat.jpg)",
    "dicom": "DICOM objects",
    "table": "tables (findings.parquet, boxes.parquet, coco_results)",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    return run_tool("predict", lambda: _run(parsed(_parser(), argv)))


def _held(arguments: argparse.Namespace) -> contextlib.AbstractContextManager[None]:
    folder = Storage.at(arguments.out).local_path("")
    return contextlib.nullcontext() if folder is None else writes_folder(folder)


@while_holding(_held)
def _run(arguments: argparse.Namespace) -> int:
    from cxrloc.detection.load_diagnoser import detectors_at

    started = time.time()
    check_engine(arguments)
    arguments.gate = bundle_at(arguments.gate)
    arguments.maskrcnn = detectors_at(arguments.maskrcnn, arguments.ensemble, arguments.sizes)
    files, load = _model_files(arguments), partial(_diagnoser, arguments)
    with (
        engine(files, load, arguments.workers, arguments.master) as models,
        fetched(arguments) as study,
    ):
        return _predict(arguments, models, files, started, study)


def _predict(
    arguments: argparse.Namespace,
    models: Engine,
    files: Mapping[str, Path],
    started: float,
    study: Study | None,
) -> int:
    """Predict the images that are not done yet; returns 1 if some of them failed, else 0."""
    folder = Storage.at(arguments.out).local_path("")
    given = arguments.inputs if study is None else study.images
    found = found_images("predict", listed_images(given), folder)
    tally = Tally(failures=[*found.failures, *(() if study is None else study.failures)])
    if arguments.ensemble:
        from cxrloc.detection.planning.external_models import check_unseen

        check_unseen(arguments.maskrcnn, found.paths)
    sources, names, facts = found.files, ResultNames(found.files), models.facts()
    if any("://" not in file and study_of(Path(file)) for file in sources):
        facts.study_thresholds()  # where there are none, that is said before the first image
    work = _work(arguments, files, facts, started)
    try:
        _begin(work, folder, len(sources))
        bar: tqdm[Any] = progress(None, "images", len(sources))
        with bar:
            models.run(work, parts_of(sources, names, work.out), tally, bar)
        if study is not None:
            tally.failures += study.store([arguments.out / name for name in tally.done(names)])
    except OSError as error:  # of writing: what cannot be read is a failure of its own
        raise OSError(f"writing to {arguments.out}: {error}") from error
    finally:
        _report(arguments, tally, len(sources), study)
    if arguments.export and tally.before + tally.now:
        done = zip(tally.done(sources), tally.done(names), strict=True)
        _export(arguments, {Path(file): name for file, name in done})
    _finish(arguments, tally, work, len(sources), facts)
    return int(bool(tally.failures))


def _model_files(arguments: argparse.Namespace) -> dict[str, Path]:
    """Kind -> file of everything that `_diagnoser` reads."""
    from cxrloc.detection.load_diagnoser import bundle_files

    files = bundle_files(arguments.gate, arguments.maskrcnn, arguments.runtime)
    return files if arguments.labels is None else {**files, "labels": arguments.labels}


def _diagnoser(arguments: argparse.Namespace, files: Mapping[str, Path]) -> Diagnoser:
    from cxrloc.detection.load_diagnoser import load_diagnoser

    if "dicom" in arguments.write:
        from cxrloc.localization.dicom_output.output import require_highdicom

        require_highdicom()
    diagnoser = load_diagnoser(
        files["classifier"],
        [path for kind, path in files.items() if kind.startswith("maskrcnn")] or None,
        arguments.device,
        arguments.precision,
        arguments.runtime,
        files.get("labels"),
        arguments.sizes,
    )
    diagnoser.any_image = arguments.any_image
    return diagnoser


def _work(
    arguments: argparse.Namespace, files: Mapping[str, Path], facts: ModelFacts, started: float
) -> Work:
    hashes = {kind: file_sha256(path) for kind, path in files.items() if kind != "labels"}
    settings = {
        "precision": arguments.precision,
        "runtime": facts.runtime,
        "labels": facts.labels,
        "sizes": arguments.sizes,
    }
    folder = Storage.at(arguments.out).local_path("") or Path.cwd()
    manifest = run_manifest(settings, seed=0, hashes=hashes, started=started, folder=folder)
    # it goes into every image's JSON: without the command, which may name 100,000 images
    kept = {key: value for key, value in manifest.items() if key not in ("command", "wall_seconds")}
    kept["write"] = sorted(arguments.write)
    out = arguments.out if isinstance(arguments.out, str) else os.path.abspath(arguments.out)
    return Work(out, arguments.write, kept, arguments.any_body_part)


def _begin(work: Work, folder: Path | None, images: int) -> None:
    """Remove what would be wrong until all images are done, and tables of other models."""
    if folder is not None:
        (folder / STUDIES).unlink(missing_ok=True)
    if "table" in work.write:
        from cxrloc.localization.diagnosis.tables.begin_and_end import begin_tables

        begin_tables(Storage.at(work.out), work.manifest, images)


def _finish(
    arguments: argparse.Namespace, tally: Tally, work: Work, images: int, facts: ModelFacts
) -> None:
    from cxrloc.localization.diagnosis.examination_table import write_studies

    if "table" in work.write:
        from cxrloc.localization.diagnosis.tables.begin_and_end import end_tables

        for line in end_tables(Storage.at(work.out), images, facts.localizers, work.manifest):
            print(line)
    if tally.studies and not isinstance(arguments.out, str):
        studies = tally.of_studies()  # earlier ones included
        for line in write_studies(arguments.out / STUDIES, studies, facts.study_thresholds()):
            print(line)


def _export(arguments: argparse.Namespace, names: Mapping[Path, str]) -> None:
    from cxrloc.localization.predictions.exports.write import write_export

    for form in arguments.export:
        written = write_export(form, names, arguments.out, arguments.export_boxes)
        print(f"For correction in {form}: {written}, with {len(names)} images beside it.")


def _report(arguments: argparse.Namespace, tally: Tally, images: int, study: Study | None) -> None:
    print(
        f"{images} images found: {tally.before} done already, {tally.now} done now "
        f"({tally.boxed} with a disease that passes the gate), {len(tally.failures)} failures."
    )
    if tally.shown:
        print(f"\n{tally.table()}\n")
    for failure in tally.failures if study is None else map(study.shown, tally.failures):
        print(f"predict: not done: {failure}", file=sys.stderr)
    done = tally.before + tally.now  # an image that failed has its row in the table, no more
    kinds = [each for each in WRITTEN if each in arguments.write and (done or each == "table")]
    written = ", ".join(_FILES[each] for each in kinds)
    print(f"{written} are in {arguments.out}. {RESEARCH_USE}." if kinds else "Nothing was written.")


def _parser() -> argparse.ArgumentParser:
    parser = tool_parser(__doc__)
    looked_at = "images, folders, prepared folders, or URLs"
    parser.add_argument("inputs", nargs="*", type=place, metavar="INPUT", help=looked_at)
    add_study_options(parser)
    add_model_options(parser)
    add_any_image(parser, body_part=True)
    fused = parser.add_argument_group("fused boxes of the detector")
    together = "of all models in its run folder, on images of patients that none was trained on"
    fused.add_argument("--ensemble", action="store_true", help=together)
    sides = "of squares with these sides, such as 384 512 (default: the training's)"
    fused.add_argument("--sizes", type=count, nargs="+", default=[], metavar="N", help=sides)
    results = parser.add_argument_group("results")
    where = "folder for the results, or its URL"
    results.add_argument("--out", type=place, required=True, help=where)
    renamed = "label map (YAML): disease of the gate -> name in the results, or null"
    results.add_argument("--labels", type=Path, metavar="MAP", help=renamed)
    to_tool = f"also write images and boxes for correction: {', '.join(EXPORT_FORMS)}"
    results.add_argument("--export", action="append", choices=EXPORT_FORMS, help=to_tool)
    strongest = "boxes of a disease to export, the detector's if there is one (default: 1)"
    results.add_argument("--export-boxes", type=count, default=1, metavar="N", help=strongest)
    add_engine_options(parser)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
