r"""Does a network look at side letters, burnt-in text or the air around the patient?

    cxrloc check-shortcuts --prepared data/nih --gate runs/gate \
        --out runs/shortcuts
    cxrloc check-shortcuts --prepared data/nih --out runs/shortcuts \
        --maps grad_cam=runs/grad_cam.maps.safetensors

With --gate, Grad-CAM maps are made of every image and every disease it is labelled with, each image
by the model that has not seen its patient: once of the image as it is, and once with its markers
masked or inpainted (--remove-markers). A model that was trained without markers is shown them too,
and the report says so. With --maps, the maps of any model are measured; `cxrloc localize --maps
--remove-markers` writes both kinds.

OUT receives report.html, the table as .csv, .md and .tex, the figure, and the maps. No boxes are
needed, so limb images work as well as chest images. On boxed images `cxrloc compare` has the same
section. Research use only, never a diagnosis.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: spinning threads cost 5 x

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cxrloc.classification.metrics.bootstrap import RESAMPLES
from cxrloc.classification.report.tables import write_table
from cxrloc.classification.run_folder import CLASSIFIER
from cxrloc.configs.command_line import named_files, run_tool, tool_parser
from cxrloc.configs.help_page import add_full_paths
from cxrloc.datasets.files.manifest import RESEARCH_USE, file_sha256, run_manifest
from cxrloc.datasets.files.runs.locks import while_holding, writes_folder
from cxrloc.datasets.images.markers import REMOVALS, without_markers
from cxrloc.datasets.images.read import (
    print_left_out,
    read_radiograph,
    readable_images,
)
from cxrloc.datasets.prepared.folder import PreparedData, load_prepared
from cxrloc.datasets.progress import progress
from cxrloc.detection.planning.fold_models import FoldModel, ModelFiles, plan_fold_models, unseen
from cxrloc.localization.analyses.shortcut.section import shortcut_check
from cxrloc.localization.analyses.shortcut.shortcut import read_regions
from cxrloc.localization.cam.heat_maps import (
    SUFFIX,
    FloatMaps,
    HeatMaps,
    Pair,
    read_heat_maps,
    write_heat_maps,
)
from cxrloc.localization.report.first_screen import Answer
from cxrloc.localization.report.page import Report, write_report
from cxrloc.localization.report.sections import Section

NAME = "grad_cam"
_TERMS = (
    "CAM mass",
    "area (control)",
    "region",
    "maps",
    "maps of marked images",
    "localizer",
    "macro mean",
    "disease",
    "patients",
    "95 % interval",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    return run_tool("check_shortcuts", lambda: _run(_parser().parse_args(argv)))


def _parser() -> argparse.ArgumentParser:
    parser = tool_parser(__doc__)
    parser.add_argument(
        "--prepared", type=Path, required=True, help="folder written by `cxrloc prepare`"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--gate", type=Path, help="run folder with one folder per test fold, or one bundle"
    )
    source.add_argument(
        "--maps", nargs="+", metavar="NAME=FILE", help="heat maps of `cxrloc localize --maps`"
    )
    parser.add_argument(
        "--folds",
        type=int,
        nargs="+",
        metavar="FOLD",
        help="trained test folds of the run (default: all)",
    )
    parser.add_argument(
        "--remove-markers",
        choices=REMOVALS,
        default="mask",
        help="how markers are removed for the gate's second maps (default: mask)",
    )
    parser.add_argument(
        "--resamples", type=int, default=RESAMPLES, help="resamples of patients for intervals"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the resamples")
    add_full_paths(parser)
    return parser


@while_holding(lambda arguments: writes_folder(arguments.out))
def _run(arguments: argparse.Namespace) -> None:
    started = time.time()
    prepared = load_prepared(arguments.prepared)
    arguments.out.mkdir(parents=True, exist_ok=True)
    notes: tuple[str, ...] = ()
    if arguments.maps:
        files = named_files(arguments.maps, "--maps")
        maps = {name: read_heat_maps(path) for name, path in files.items()}
    else:
        models = ModelFiles(CLASSIFIER, arguments.gate)
        made, notes = make_maps(prepared, models, arguments.remove_markers, arguments.folds)
        maps, files = {NAME: made}, {NAME: arguments.out / f"{NAME}{SUFFIX}"}
        write_heat_maps(files[NAME], made)
    section = check(prepared, maps, resamples=arguments.resamples, seed=arguments.seed)
    section = replace(section, paragraphs=(*section.paragraphs, *notes))
    hashes = {name: file_sha256(path) for name, path in files.items()}
    facts, seed, out = vars(arguments), arguments.seed, arguments.out
    manifest = run_manifest(facts, seed=seed, hashes=hashes, started=started, folder=out)
    write_section(arguments.out, section, manifest, maps)
    print("", *section.paragraphs[1:], sep="\n")
    print(f"\nThe report is {arguments.out / 'report.html'}. {RESEARCH_USE}.")


def check(
    prepared: PreparedData, maps: dict[str, HeatMaps], *, resamples: int, seed: int
) -> Section:
    """The section of these maps, their images found through the prepared folder.

    Raises:
        ValueError: when no map can be measured, saying why.
    """
    paths = {r.image_id: r.path for r in prepared.radiographs if r.path is not None}
    patients = {r.image_id: r.patient_id for r in prepared.radiographs}
    regions = read_regions(
        paths, (image for heat_maps in maps.values() for image, _ in heat_maps.pairs)
    )
    section = shortcut_check(maps, regions, patients, resamples=resamples, seed=seed)
    if not section.tables:
        raise ValueError(" ".join(section.paragraphs[1:]))
    return section


def make_maps(
    prepared: PreparedData,
    models: ModelFiles,
    removal: str,
    folds: Sequence[int] | None = None,
) -> tuple[HeatMaps, tuple[str, ...]]:
    """Grad-CAM maps of labelled images, as they are and without their markers.

    Also what the page must say: images left out because a model without a fold was trained on their
    patients, and that models trained on images without markers are given the markers here, in the
    maps of images as they are.

    Raises:
        ValueError: when no image is labelled with a disease of the model, or all are of patients
            that it was trained on.
    """
    maps_by_removal: dict[str, dict[Pair, FloatMaps]] = {"keep": {}, removal: {}}
    trained: set[str] = set()
    labelled = [r for r in prepared.radiographs if r.positives]
    notes: list[str] = []
    for model in plan_fold_models(labelled, prepared, models, folds):
        trained.add(_add_maps(unseen(model, notes), maps_by_removal))
    if not maps_by_removal["keep"]:
        raise ValueError(
            f"no image of {prepared.root} is labelled with a disease of the model in "
            f"{models.path}: there is no map to check"
        )
    maps = HeatMaps.of(
        maps_by_removal["keep"],
        name=NAME,
        aligned=False,
        without_markers=maps_by_removal[removal],
        removal=removal,
    )
    return maps, (
        *notes,
        *(_trained_without_markers(how, removal) for how in sorted(trained - {"keep"})),
    )


def _trained_without_markers(trained: str, removal: str) -> str:
    return (
        f"The model was trained on images with markers {trained}ed, and removes them before it "
        f'predicts an image. Here it does not: "{NAME}" shows it the markers, which it has not '
        f'seen in training, and of "{NAME}, markers {removal}ed" they are {removal}ed once.'
    )


def _add_maps(model: FoldModel, maps_by_removal: dict[str, dict[Pair, FloatMaps]]) -> str:
    """Maps of one model's images, for each way of treating their markers, into `maps_by_removal`.

    The model's own way is set aside, so that each image is treated once; it is returned.
    """
    from cxrloc.classification.bundle.classifier import load_classifier
    from cxrloc.classification.inference.gate import Gate
    from cxrloc.localization.cam.localizer import GradCamLocalizer

    assert model.bundle is not None
    loaded = load_classifier(model.bundle)
    with_markers = replace(loaded.preprocessing, markers="keep")
    localizer = GradCamLocalizer(Gate(replace(loaded, preprocessing=with_markers)))
    title = "maps" if model.fold is None else f"maps of fold {model.fold}"
    diseases_of = {
        r.image_id: [d for d in r.positives if d in loaded.diseases] for r in model.images
    }
    labelled = [r for r in model.images if diseases_of[r.image_id]]
    bar = progress(labelled, title)
    for _, image in readable_images(bar, read_radiograph, print_left_out):
        for how, maps in maps_by_removal.items():
            shown = without_markers(image, how)
            maps |= localizer.localize([shown], diseases_of[image.image_id]).maps or {}
    return loaded.preprocessing.markers


def write_section(
    out: Path, section: Section, manifest: dict[str, object], maps: dict[str, HeatMaps]
) -> None:
    """The page, the table and the figure."""
    for table in section.tables:
        write_table(table, out)
    for figure in section.figures:
        figure.save(out)
    report = Report(
        title=f"Shortcut check: {', '.join(maps)}",
        answer=Answer(section.finding, words=section.paragraphs[1:]),
        sections=(section,),
        manifest=manifest,
        diseases=tuple(sorted({d for heat_maps in maps.values() for _, d in heat_maps.pairs})),
        terms=_TERMS,
    )
    write_report(out / "report.html", report)


if __name__ == "__main__":
    raise SystemExit(main())
