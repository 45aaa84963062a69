"""Published AUCs: as printed, all of them, never mixed up."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from cxrloc.classification.metrics.bootstrap import MACRO_MEAN
from cxrloc.classification.report.published import (
    published_studies,
    studies_by_disease,
    studies_of_means,
)
from cxrloc.datasets.labels.names import CHEXPERT_LABELS, NIH_DISEASES, NO_FINDING

MURA_PAPER = "Rajpurkar et al. 2018"
FIVE = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")


def test_six_studies_print_aucs_per_disease_and_nine_networks_a_mean_of_nih() -> None:
    assert [len(s.values) for s in studies_by_disease(NIH_DISEASES)] == [14, 14, 14, 14, 9, 15]
    assert [s.scored_on for s in studies_of_means(NIH_DISEASES)] == ["NIH 14 labels"] * 9
    assert studies_by_disease(["Fracture"]) == ()
    assert studies_by_disease(["Edema", "Pleural Effusion"]) == ()  # of CheXpert
    labels = {*NIH_DISEASES, NO_FINDING, MACRO_MEAN}
    assert all(set(study.values) <= labels for study in published_studies())


def test_four_networks_print_a_mean_of_the_five_diseases_of_chexpert() -> None:
    studies = studies_of_means(FIVE[::-1])
    assert {s.measure for s in studies} == {"multilabel AUC"}
    assert [(s.study.partition("(")[2], s.values[MACRO_MEAN]) for s in studies] == [
        ("DenseNet-121 with enhancement layers)", "0.79"),
        ("DenseNet-121)", "0.77"),
        ("EfficientNet-B4 with enhancement layers)", "0.79"),
        ("EfficientNet-B4)", "0.78"),
    ]
    assert studies_of_means(["Abnormal"]) == ()


@pytest.mark.parametrize(
    "diseases",
    [FIVE[:4], FIVE[3:], (*FIVE, "Fracture"), (*FIVE[:4], "Pneumothorax"), CHEXPERT_LABELS],
)
def test_the_figures_of_chexpert_stand_beside_exactly_their_five(diseases: tuple[str, ...]) -> None:
    studies = studies_of_means(diseases)
    assert "CheXpert 5 labels" not in {s.scored_on for s in studies}


def test_a_mean_needs_every_disease() -> None:
    chexnet = next(s for s in published_studies() if s.study.startswith("CheXNet"))
    assert chexnet.mean_over(["Mass", "Hernia"]) == pytest.approx((0.8676 + 0.9164) / 2)
    assert chexnet.mean_over([*NIH_DISEASES, NO_FINDING]) is None
    assert chexnet.mean_over([]) is None


def test_muras_paper_has_its_kappa_by_part_and_an_auc_of_all_on_its_hidden_test_part() -> None:
    of_paper = [s for s in published_studies() if s.study.startswith(MURA_PAPER)]
    kappas = {s.scored_on: s.values[MACRO_MEAN] for s in of_paper if s.measure == "study kappa"}
    assert kappas == {
        "MURA elbow": ".710",
        "MURA finger": ".389",
        "MURA forearm": ".737",
        "MURA hand": ".851",
        "MURA humerus": ".600",
        "MURA shoulder": ".729",
        "MURA wrist": ".931",
        "MURA all": ".705",
    }
    (auc,) = [s for s in of_paper if s.measure == "study AUC"]
    assert (auc.scored_on, auc.values) == ("MURA all", {MACRO_MEAN: ".929"})
    assert all("hidden test part of 207 studies" in s.study for s in of_paper)


def test_our_file_holds_every_figure_of_the_shared_ones(shared_data: Path) -> None:
    folder = shared_data / "published"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    shared_figures = []
    with (folder / "nih_auc.csv").open(newline="") as handle:
        shared_figures += [
            (r["source"], r["split"], "AUC", r["disease"], r["auc"]) for r in csv.DictReader(handle)
        ]
    with (folder / "earlier_projects.csv").open(newline="") as handle:
        shared_figures += [
            (f"{r['source']} ({r['model']})", r["data"], r["measure"], MACRO_MEAN, r["value"])
            for r in csv.DictReader(handle)
        ]
    our_figures = [
        (s.study, s.scored_on, s.measure, disease, value)
        for s in published_studies()
        for disease, value in s.values.items()
        if not s.study.startswith(MURA_PAPER)  # of which they have nothing: the test above
    ]
    assert sorted(our_figures) == sorted(shared_figures)
