"""Average the probabilities of each examination's images into one row per disease, as a CSV.

study, folder     XR_HAND/patient00011/study1_negative, and its location
body_part         XR_HAND
images            number of images in the mean
failed            images of the study without a prediction, left out of the mean
disease           one line for each disease of the classifier
probability       the mean, empty if every image failed
threshold         predicted present if probability >= threshold
threshold_from    validation: Youden's J on the studies of the classifier's validation patients;
                  default: one half, because validation gave none
present           1 or 0, empty without a probability
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cxrloc.datasets.files.atomic import write_text
from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.datasets.readers.layouts import MuraStudy, study_of

# takes a quarter of a second, and only studies need it
if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class StudyFinding:
    """One disease of one examination; the columns of the file, in order."""

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
    """Running sums of an examination."""

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
    """Compute the findings of all examinations, in order of first appearance; keeps no images.

    Args:
        images: the study of each image, and disease -> probability; None if the image failed.
        thresholds: disease -> operating point for studies; None if validation gave none.
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
    """Write the CSV of the images in MURA's layout, and return the lines to print about it.

    Writes nothing if there are no such images.

    Args:
        out: path of the CSV.
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
    import pandas as pd

    table = pd.DataFrame([asdict(finding) for finding in findings])
    table["present"] = table["present"].astype("Int64")  # 1, 0 or empty
    notice = f"# {RESEARCH_USE}. A study's probability is the mean over its images.\n"
    write_text(out, notice + table.to_csv(index=False, lineterminator="\n"))
    return [*_counts(table), f"Studies are in {out}."]


def _counts(table: pd.DataFrame) -> Iterator[str]:
    """Count the examinations predicted present, per body part and in total; one line a disease."""
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
