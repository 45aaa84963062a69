"""Studies of judged images: means and thresholds by hand, images that failed, the file."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from cxrloc.datasets.readers.layouts import MuraStudy, study_of
from cxrloc.localization.diagnosis.examination_table import study_findings, write_studies


def image(tail: str) -> Path:
    return Path("/images/MURA-v1.1/valid", tail)


def study(tail: str) -> MuraStudy:
    of_file = study_of(image(f"{tail}/image1.png"))
    assert of_file is not None
    return of_file


HAND, ELBOW = study("XR_HAND/patient1/study1_positive"), study("XR_ELBOW/patient1/study1")


def test_a_studys_probability_is_the_mean_of_its_images_in_whatever_order_they_come() -> None:
    images = [(HAND, {"Abnormal": p}) for p in (0.2, 0.9)] + [(ELBOW, {"Abnormal": 0.4})]
    images.insert(1, (ELBOW, {"Abnormal": 0.3}))
    hand, elbow = study_findings(images, {"Abnormal": 0.6})
    assert (hand.study, hand.images) == ("XR_HAND/patient1/study1_positive", 2)
    assert hand.probability == pytest.approx(0.55)
    assert (hand.threshold, hand.threshold_from, hand.present) == (0.6, "validation", False)
    assert elbow.probability == pytest.approx(0.35)


def test_without_a_point_of_validation_a_half_decides_and_says_so() -> None:
    images = [(HAND, {"Abnormal": p}) for p in (0.25, 0.75)]
    (finding,) = study_findings(images, {"Abnormal": None})
    assert (finding.threshold, finding.threshold_from, finding.present) == (0.5, "default", True)


def test_a_image_that_failed_is_counted_and_not_averaged() -> None:
    images = [(HAND, {"Abnormal": 0.9}), (HAND, None), (ELBOW, None)]
    hand, elbow = study_findings(images, {"Abnormal": 0.6})
    assert (hand.images, hand.failed, hand.probability) == (1, 1, 0.9)
    assert (elbow.images, elbow.failed) == (0, 1)
    assert (elbow.probability, elbow.present) == (None, None)


def test_thirteen_images_are_one_study() -> None:
    images = [(HAND, {"Abnormal": n / 13}) for n in range(1, 14)]
    (finding,) = study_findings(images, {"Abnormal": 0.5})
    assert finding.images == 13
    assert finding.probability == pytest.approx(7 / 13)


def test_the_file_has_a_line_a_study_and_disease_and_the_counts_have_the_parts(
    tmp_path: Path,
) -> None:
    tails = (
        "XR_HAND/patient1/study1/a.png",
        "XR_HAND/patient1/study1/b.png",
        "XR_HAND/patient2/study1/a.png",
        "XR_WRIST/patient1/study1/a.png",
    )
    records: dict[Path, dict[str, float] | None] = {
        image(tail): {"Abnormal": p} for tail, p in zip(tails, (0.9, 0.5, 0.1, 0.8), strict=True)
    }
    records |= {image("XR_WRIST/patient2/study1/a.png"): None, Path("/images/a.png"): None}
    out = tmp_path / "studies.csv"
    lines = write_studies(out, records, {"Abnormal": 0.6})
    assert lines[0] == "Studies with Abnormal: XR_HAND 1 of 2, XR_WRIST 1 of 2, all 2 of 4."
    assert out.read_text().startswith("# Research use only, never a diagnosis")
    table = pd.read_csv(out, comment="#")
    assert table["study"].tolist() == [
        "XR_HAND/patient1/study1",
        "XR_HAND/patient2/study1",
        "XR_WRIST/patient1/study1",
        "XR_WRIST/patient2/study1",
    ]
    assert table["probability"].tolist()[:3] == pytest.approx([0.7, 0.1, 0.8])
    assert table["present"].tolist()[:3] == [1, 0, 1]
    assert table.loc[3, ["probability", "present"]].isna().all()


def test_one_part_is_not_counted_twice_and_images_outside_of_the_layout_write_nothing(
    tmp_path: Path,
) -> None:
    images = {image("XR_HAND/patient1/study1/a.png"): {"Abnormal": 0.7}}
    lines = write_studies(tmp_path / "a.csv", images, {"Abnormal": None})
    assert lines[0] == "Studies with Abnormal: XR_HAND 1 of 1."
    assert write_studies(tmp_path / "b.csv", {Path("/images/a.png"): {}}, {}) == []
    assert not (tmp_path / "b.csv").exists()
