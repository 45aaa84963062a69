"""Let a localizer of one data set answer with the disease names of another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cxrloc.datasets.labels.map import LabelMap
from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.localization.localizer import Localization, Localizer, LocalizerOutput, Pair


@dataclass(frozen=True)
class Counterparts:
    """The diseases of a model and of a ground truth, side by side.

    Attributes:
        of_model: disease of the model -> name in the ground truth; None if it has no counterpart.
        of_truth: names of the ground truth, in order.
    """

    of_model: Mapping[str, str | None]
    of_truth: tuple[str, ...]

    @property
    def sources(self) -> dict[str, tuple[str, ...]]:
        """Name in the ground truth -> the diseases of the model that answer for it."""
        pairs = {name: self._sources(name) for name in self.of_truth}
        return {name: diseases for name, diseases in pairs.items() if diseases}

    def _sources(self, name: str) -> tuple[str, ...]:
        return tuple(disease for disease, target in self.of_model.items() if target == name)

    @property
    def model_alone(self) -> tuple[str, ...]:
        """Diseases of the model without a counterpart."""
        return tuple(disease for disease, target in self.of_model.items() if target is None)

    @property
    def truth_alone(self) -> tuple[str, ...]:
        """Diseases of the ground truth that the model cannot answer."""
        return tuple(name for name in self.of_truth if name not in self.sources)


def counterparts(
    of_model: Sequence[str], of_truth: Sequence[str], labels: LabelMap | None = None
) -> Counterparts:
    """Pair the diseases of a model with those of a ground truth: by map, or else by equal names.

    Raises:
        ValueError: for a disease of the model that the map does not list, and for a name in the map
            that the ground truth lacks.
    """
    if labels is None:
        return Counterparts({d: d if d in of_truth else None for d in of_model}, tuple(of_truth))
    targets = {disease: labels.disease(disease, "the model") for disease in of_model}
    for disease, target in targets.items():
        if target is not None and target not in of_truth:
            raise ValueError(
                f"{labels.source}: {disease} becomes {target!r}, which the ground truth lacks; it "
                f"has {', '.join(of_truth)}"
            )
    return Counterparts(targets, tuple(of_truth))


class RelabelledLocalizer:
    """A localizer that is asked for, and answers with, the names of another data set.

    Where several diseases of the model answer for one name, the boxes of all count; the gate's word
    is that of the disease that it holds present, or most probable.

    Args:
        sources: name -> the diseases of the model that answer for it.
    """

    def __init__(self, localizer: Localizer, sources: Mapping[str, Sequence[str]]) -> None:
        self._localizer, self._sources = localizer, sources

    @property
    def name(self) -> str:
        return self._localizer.name

    def localize(self, images: Sequence[LoadedImage], diseases: Sequence[str]) -> LocalizerOutput:
        """Boxes, facts and, of diseases that are not merged, maps under the names asked for."""
        target_of = {source: name for name in diseases for source in self._sources[name]}
        output = self._localizer.localize(images, list(target_of))
        boxes = tuple(self._renamed(box, target_of) for box in output.boxes)
        single = {s: name for s, name in target_of.items() if len(self._sources[name]) == 1}
        maps = None
        if output.maps is not None:
            maps = {(i, single[d]): m for (i, d), m in output.maps.items() if d in single}
        return LocalizerOutput(boxes, maps, _merged(output.facts, target_of))

    def _renamed(self, box: Localization, target_of: Mapping[str, str]) -> Localization:
        return replace(box, disease=target_of[box.disease])


def _merged(
    facts: Mapping[Pair, Mapping[str, Any]], target_of: Mapping[str, str]
) -> dict[Pair, Mapping[str, Any]]:
    merged: dict[Pair, Mapping[str, Any]] = {}
    for (image, disease), fact in facts.items():
        pair = image, target_of[disease]
        if pair not in merged or _certainty(fact) > _certainty(merged[pair]):
            merged[pair] = fact
    return merged


def _certainty(fact: Mapping[str, Any]) -> tuple[bool, float]:
    return bool(fact.get("gate_present")), float(fact.get("gate_probability", 0.0))
