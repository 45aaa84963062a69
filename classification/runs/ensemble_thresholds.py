"""Choose the thresholds of a mean of classifiers.

A single classifier brings its own thresholds. For several, the mean of their thresholds is not a
threshold of their mean. Out-of-fold images unseen by every member, on which the mean itself could
be tried, exist only if some fold is not a member, and then they are mostly the scored ones. So the
thresholds are Youden's on the out-of-fold images of patients who are not scored, each predicted by
the fold that had not seen it (with several networks by the mean over networks). A mean of folds
varies less than a single fold: sensitivity and specificity on new images will differ from the
target, and are reported if labels exist. Thresholds of examinations use the same images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cxrloc.classification.bundle.classifier import ClassifierBundle
from cxrloc.classification.inference.exported_gate import ExportedBundle
from cxrloc.classification.metrics.ensembles import mean_of
from cxrloc.classification.metrics.examinations import choose_points
from cxrloc.classification.metrics.operating_point import thresholds_of
from cxrloc.classification.metrics.scored_images import (
    ScoredImages,
    read_scored_images,
)
from cxrloc.classification.run_folder import RunFolder
from cxrloc.datasets.provenance.image_lists import ImageList, listed
from cxrloc.datasets.provenance.leakage import audit
from cxrloc.datasets.radiograph import Radiograph


@dataclass(frozen=True)
class Thresholds:
    """Disease -> threshold, for images and examinations; may be empty. `note` gives the source."""

    images: Mapping[str, float | None]
    examinations: Mapping[str, float | None]
    note: str


def ensemble_thresholds(
    paths: Sequence[Path],
    bundles: Sequence[ClassifierBundle | ExportedBundle],
    scored: Sequence[Radiograph],
) -> Thresholds:
    """Thresholds for the mean probability of these bundles, which have the same diseases.

    Args:
        paths: paths of the bundles, in the same order.
        scored: images that must not influence the thresholds.

    Raises:
        FileNotFoundError, ValueError: if out-of-fold images do not fit.
    """
    diseases = bundles[0].diseases
    if len(bundles) == 1:
        (alone,) = bundles
        note = "Thresholds are the classifier's own."
        return Thresholds(alone.thresholds, alone.examination_thresholds, note)
    no_thresholds = "No thresholds, so nothing is predicted present"
    tables = {path: RunFolder(path.parent.parent).out_of_fold for path in paths}
    for path, table in tables.items():
        bundle = RunFolder(path.parent).classifier
        if path != bundle or not table.is_file():
            finished = f"a finished cross-validation, which has {table.name} in its run folder"
            return Thresholds({}, {}, f"{no_thresholds}: {path} is no {bundle.name} of {finished}")
    images, folds = _out_of_fold(list(dict.fromkeys(tables.values())), diseases)
    others = _of_other_patients(images, scored)
    if not len(others):
        scored_all = f"all {len(images)} out-of-fold images are of patients scored here"
        return Thresholds({}, {}, f"{no_thresholds}: {scored_all}")
    left_out = len(images) - len(others)
    note = (
        f"Thresholds are Youden's on {len(others)} out-of-fold images, each predicted by the "
        f"{folds} that had not seen it and not by all members; {left_out} others show patients "
        "who are scored here and were not used"
    )
    of_images, of_examinations = map(thresholds_of, choose_points(others))
    return Thresholds(of_images, of_examinations, note)


def _out_of_fold(tables: Sequence[Path], diseases: Sequence[str]) -> tuple[ScoredImages, str]:
    """The out-of-fold images, averaged over networks, and the word for what predicted each."""
    networks = [read_scored_images(table) for table in tables]
    _check(networks, diseases, tables)
    return (networks[0], "fold") if len(networks) == 1 else (mean_of(networks), "folds")


def _of_other_patients(images: ScoredImages, scored: Sequence[Radiograph]) -> ScoredImages:
    """Images that are not scored and share no patient with a scored image."""
    candidates = ImageList(dict(zip(images.image_ids, images.patient_ids, strict=True)))
    shared = audit(listed(scored), candidates)
    seen, patients = set(shared.shared_images), set(shared.shared_patients)
    return images.select(
        np.array([not candidates.shows(i, seen, patients) for i in images.image_ids], dtype=bool)
    )


def _check(
    networks: Sequence[ScoredImages], diseases: Sequence[str], tables: Sequence[Path]
) -> None:
    image_ids = set(networks[0].image_ids)
    for network, table in zip(networks, tables, strict=True):
        if network.diseases != tuple(diseases):
            raise ValueError(f"{table} has other diseases than the classifiers next to it")
        if set(network.image_ids) != image_ids:
            raise ValueError(
                f"{table} and {tables[0]} contain different images; cross-validate both on the same"
            )
