"""Read and write box rules for heat maps, one per test fold and disease, as a YAML file.

`cxrloc tune-cam` writes it and `cxrloc localize --cam-rules` applies it: images of
fold k get fold k's rules, which no box of fold k influenced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from cxrloc.datasets.files.atomic import write_text
from cxrloc.datasets.files.checked import (
    Count,
    Flag,
    FoldNumber,
    Name,
    Part,
    Sha256,
    Share,
    checked,
)
from cxrloc.datasets.files.manifest import RESEARCH_USE, file_sha256
from cxrloc.datasets.files.parse import read_yaml
from cxrloc.localization.cam.boxes import CamBoxRule, SizeRule

FOLDS_OF_THE_GROUND_TRUTH = "ground truth"
_SMOOTHEST = 1000  # cells; no map has so many


@dataclass(frozen=True)
class SizedRule:
    """A rule and the mean box size for its comparison.

    Attributes:
        rule: how to turn a map into boxes.
        mean_size: mean width and height of the disease's boxes as fractions of the frame's longer
            side; None if there is no box.
        boxes: number of boxes used for tuning.
    """

    rule: CamBoxRule
    mean_size: tuple[float, float] | None = None
    boxes: int = 0

    def mean_size_wh(self, size_hw: tuple[int, int]) -> tuple[float, float] | None:
        """Mean size in pixels of a frame."""
        if self.mean_size is None:
            return None
        side = max(size_hw)
        return self.mean_size[0] * side, self.mean_size[1] * side


Rules = Mapping[str, SizedRule]


@dataclass(frozen=True)
class CamRules:
    """Content of a rules file.

    Attributes:
        localizer: name of the localizer whose maps were used for tuning.
        aligned: placement of these maps in the frame.
        folds_from: origin of the patient folds, `FOLDS_OF_THE_GROUND_TRUTH` or another.
        ground_truth_sha256: hash of the file with the boxes.
        folds: test fold -> disease -> rule, tuned on the boxes of the other folds' patients.
        for_new_images: disease -> rule, tuned on all boxes; must not be scored on them.
        probabilities: whether the maps hold probabilities (guided_cam).
    """

    localizer: str
    aligned: bool
    folds_from: str
    ground_truth_sha256: str
    folds: Mapping[int, Rules] = field(repr=False)
    for_new_images: Rules = field(repr=False)
    probabilities: bool = False


def write_cam_rules(path: Path, rules: CamRules, comment: str) -> None:
    """Write the rules atomically; each line of `comment` becomes a comment at the top."""
    body = {
        "notice": RESEARCH_USE,
        "localizer": rules.localizer,
        "aligned": rules.aligned,
        "probabilities": rules.probabilities,
        "folds_from": rules.folds_from,
        "ground_truth_sha256": rules.ground_truth_sha256,
        "folds": {fold: _plain(of_fold) for fold, of_fold in rules.folds.items()},
        "all": _plain(rules.for_new_images),
    }
    head = "".join(f"# {line}".rstrip() + "\n" for line in comment.splitlines())
    write_text(path, head + yaml.safe_dump(body, sort_keys=False, default_flow_style=None))


def read_cam_rules(path: Path) -> CamRules:
    """Read the rules from a file that `cxrloc tune-cam` wrote.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if a key is missing, unknown or wrong; names the file and the key.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no rules at {path}; cxrloc tune-cam writes them")
    where = f"{path} is not a file from tune_cam"
    body: _Body = checked(read_yaml(path), _Body, where, "tune again")
    return CamRules(
        body["localizer"],
        body["aligned"],
        body["folds_from"],
        body["ground_truth_sha256"],
        {fold: _rules(of_fold) for fold, of_fold in body["folds"].items()},
        _rules(body["all"]),
        body["probabilities"],
    )


class _Rule(TypedDict):
    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    threshold: Annotated[float, Field(strict=True, ge=0, lt=255)]
    probability: Share | None
    size_rule: SizeRule
    smooth_cells: Annotated[float, Field(strict=True, ge=0, le=_SMOOTHEST)]
    mean_size: tuple[Part, Part] | None
    boxes: Count


class _Body(TypedDict):
    localizer: Name
    aligned: Flag
    folds_from: Name
    ground_truth_sha256: Sha256
    folds: dict[FoldNumber, dict[Name, _Rule]]
    all: dict[Name, _Rule]
    probabilities: Flag


def _plain(rules: Rules) -> dict[str, Any]:
    return {
        disease: {
            "threshold": sized.rule.thresholds[0],
            "probability": sized.rule.probability,
            "size_rule": sized.rule.size_rule,
            "smooth_cells": sized.rule.smooth_cells,
            "mean_size": None if sized.mean_size is None else list(sized.mean_size),
            "boxes": sized.boxes,
        }
        for disease, sized in rules.items()
    }


def _rules(of_diseases: Mapping[str, _Rule]) -> dict[str, SizedRule]:
    return {disease: _sized_rule(values) for disease, values in of_diseases.items()}


def _sized_rule(values: _Rule) -> SizedRule:
    rule = CamBoxRule(
        (values["threshold"],),
        size_rule=values["size_rule"],
        smooth_cells=values["smooth_cells"],
        probability=values["probability"],
    )
    return SizedRule(rule, values["mean_size"], values["boxes"])


def rules_of_fold(
    path: Path,
    fold: int,
    ground_truth: Path,
    *,
    aligned: bool,
    probabilities: bool = False,
) -> dict[str, SizedRule]:
    """Read the rules for the images of one test fold and check that no box of theirs was used.

    Args:
        path: rules file.
        fold: test fold of the images and of the model that boxes them, if that has one.
        ground_truth: file of the boxes that the folds belong to.
        aligned: placement of the maps to apply the rules to.
        probabilities: whether these maps hold probabilities (guided_cam).

    Raises:
        ValueError: if the rules are for other boxes, other folds or maps of another kind.
    """
    rules = read_cam_rules(path)
    if rules.folds_from != FOLDS_OF_THE_GROUND_TRUTH:
        raise ValueError(
            f"{path}: its folds come from {rules.folds_from}, not from the data set; prepare the "
            "ground truth with folds and tune again"
        )
    if rules.ground_truth_sha256 != file_sha256(ground_truth):
        raise ValueError(
            f"{path} was tuned on another ground truth than {ground_truth}, so it may have used "
            "boxes of these images; tune again"
        )
    if rules.aligned != aligned:
        raise ValueError(
            f"{path} was tuned on {'aligned' if rules.aligned else 'plain'} maps of "
            f"{rules.localizer}; the maps of this localizer are placed differently"
        )
    if rules.probabilities != probabilities:
        kinds = {True: "probabilities of cells (guided_cam)", False: "class activation maps"}
        raise ValueError(
            f"{path} was tuned on {kinds[rules.probabilities]} of {rules.localizer}, but this "
            f"localizer's maps are {kinds[probabilities]}; tune again on its own maps"
        )
    if fold not in rules.folds:
        raise ValueError(f"{path} has no rules for fold {fold}, only for {list(rules.folds)}")
    return dict(rules.folds[fold])
