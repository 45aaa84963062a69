"""One answer per study: the mean probability of its images, as a CSV.

study, folder     XR_HAND/patient00011/study1_negative, and where it lies
body_part         XR_HAND
images            images that the mean is over
failed            images of the study without a prediction, so not in the mean
disease           one line for each that the classifier knows
probability       the mean, empty where every image failed
threshold         present is probability >= threshold
threshold_from    validation: chosen by Youden's J on the studies of the classifier's validation
                  patients; default: one half, as validation gave none
present           1 or 0, empty without a probability
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from cxrloc.datasets.files.atomic import write_text
from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.datasets.readers.layouts import MuraStudy, study_of


@dataclass(frozen=True)
class StudyFinding:
    """One disease on one study; the columns of the file, in order."""

    study: str
    folder: str
    body_part: str
    images: int
    failed: int
    disease: str
    probability: float | None
    threshold: float
    threshold_from: str
    present: bool | None


@dataclass
class _Sums:
    """What is kept of a study while its images pass by."""

    images: int = 0
    failed: int = 0
    probabilities: dict[str, float] | None = None

    def add(self, found: Mapping[str, float] | None) -> None:
        if found is None:
            self.failed += 1
            return
        self.images += 1
        before = self.probabilities or dict.fromkeys(found, 0.0)
        self.probabilities = {disease: before[disease] + p for disease, p in found.items()}


def study_findings(
    images: Iterable[tuple[MuraStudy, Mapping[str, float] | None]],
    thresholds: Mapping[str, float | None],
) -> list[StudyFinding]:
    """The findings of all studies, in order of first appearance; images are not kept.

    Args:
        images: the study of each image, and disease -> probability; None for an image that failed.
        thresholds: disease -> operating point of studies, None where validation gave none.
    """
    studies: dict[MuraStudy, _Sums] = {}
    for study, probabilities in images:
        studies.setdefault(study, _Sums()).add(probabilities)
    return [
        _finding(study, sums, disease, cut)
        for study, sums in studies.items()
        for disease, cut in thresholds.items()
    ]


def write_studies(
    out: Path,
    images: Mapping[Path, Mapping[str, float] | None],
    thresholds: Mapping[str, float | None],
) -> list[str]:
    """Write the CSV of the images in MURA's layout, and return what to print of it.

    Nothing is written without such images.

    Args:
        out: the CSV.
        images: image, in this layout or not -> its probabilities by disease; None if it failed.
        thresholds: see `study_findings`.
    """
    of_studies = (
        (study, probabilities)
        for path, probabilities in images.items()
        if (study := study_of(path))
    )
    findings = study_findings(of_studies, thresholds)
    if not findings:
        return []
    table = pd.DataFrame([asdict(finding) for finding in findings])
    table["present"] = table["present"].astype("Int64")  # 1, 0 or empty
    notice = f"# {RESEARCH_USE}. A study's probability is the mean over its images.\n"
    write_text(out, notice + table.to_csv(index=False, lineterminator="\n"))
    return [*_counts(table), f"Studies are in {out}."]


def _counts(table: pd.DataFrame) -> Iterator[str]:
    """How many studies of each part, and then of all, are called present; a line a disease."""
    for disease, rows in table.groupby("disease", sort=False):
        parts = {str(part): of_part for part, of_part in rows.groupby("body_part")}
        parts |= {"all": rows} if len(parts) > 1 else {}
        counts = (
            f"{part} {of_part['present'].sum()} of {len(of_part)}"
            for part, of_part in parts.items()
        )
        yield f"Studies with {disease}: {', '.join(counts)}."


def _finding(study: MuraStudy, sums: _Sums, disease: str, cut: float | None) -> StudyFinding:
    threshold, source = (0.5, "default") if cut is None else (cut, "validation")
    mean = None if sums.probabilities is None else sums.probabilities[disease] / sums.images
    return StudyFinding(
        study.name,
        str(study.folder),
        study.body_part,
        sums.images,
        sums.failed,
        disease,
        mean,
        threshold,
        source,
        None if mean is None else mean >= threshold,
    )
