"""Report diagnoses under the disease names of another data set.

Where several diseases of the model become one name, its finding is that of the disease that passes
the gate, or else of the most probable one, as in `cxrloc.localization.predictions.relabelled`. The
boxes of all that pass count; the heat map is the one that made the strongest of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from cxrloc.datasets.radiograph import LoadedImage
from cxrloc.localization.cam.heat_maps import FrameMaps
from cxrloc.localization.diagnosis.diagnoser import Diagnoser, Diagnosis, Finding, HeatMap
from cxrloc.localization.localizer import Localization
from cxrloc.localization.predictions.relabelled import Counterparts


class RelabelledDiagnoser(Diagnoser):
    """A diagnoser that answers with the names of another data set.

    Args:
        diagnoser: answers with the names of its gate.
        names: the diseases of the gate and the names that they become.
    """

    def __init__(self, diagnoser: Diagnoser, names: Counterparts) -> None:
        super().__init__(diagnoser.gate, diagnoser.cam, diagnoser.detectors)
        self._names = names
        self.labels = names.of_model

    @property
    def examination_thresholds(self) -> dict[str, float | None]:
        """Name -> operating point for studies.

        Raises:
            ValueError: if several diseases become one: their mean has no operating point.
        """
        of_model = super().examination_thresholds
        for name, diseases in self._names.sources.items():
            if len(diseases) > 1:
                raise ValueError(
                    f"{', '.join(diseases)} all become {name}, which has no operating point for "
                    "the images of a study together; map one of them alone"
                )
        return {name: of_model[disease] for name, (disease,) in self._names.sources.items()}

    def __call__(
        self, images: Sequence[LoadedImage], *, heat_maps: bool = True, detectors: bool = True
    ) -> list[Diagnosis]:
        diagnoses = super().__call__(images, heat_maps=heat_maps, detectors=detectors)
        return [relabelled(diagnosis, self._names) for diagnosis in diagnoses]


def relabelled(diagnosis: Diagnosis, names: Counterparts) -> Diagnosis:
    """The diagnosis under other names; diseases without one are left out."""
    finding_of = {finding.disease: finding for finding in diagnosis.findings}
    findings = tuple(
        replace(_speaking([finding_of[disease] for disease in diseases]), disease=name)
        for name, diseases in names.sources.items()
    )
    boxes = {name: _renamed(boxes, names) for name, boxes in diagnosis.boxes.items()}
    return replace(
        diagnosis, findings=findings, boxes=boxes, heat_maps=_heat_maps(diagnosis, names)
    )


def _speaking(findings: Sequence[Finding]) -> Finding:
    return max(findings, key=lambda finding: (finding.present, finding.probability))


def _renamed(boxes: Sequence[Localization], names: Counterparts) -> tuple[Localization, ...]:
    """The boxes that have a name, by name and then the strongest first."""
    return tuple(
        replace(box, disease=name)
        for name, diseases in names.sources.items()
        for box in sorted(boxes, key=lambda box: -box.score)
        if box.disease in diseases
    )


def _heat_maps(diagnosis: Diagnosis, names: Counterparts) -> Mapping[str, HeatMap]:
    maps = diagnosis.heat_maps
    source_of = {
        name: max(with_map, key=lambda disease: _strength(diagnosis, disease))
        for name, diseases in names.sources.items()
        if (with_map := [disease for disease in diseases if disease in maps])
    }
    if isinstance(maps, FrameMaps):  # still scaled up on request
        cells = {name: maps.cells[disease] for name, disease in source_of.items()}
        return FrameMaps(cells, maps.size_hw, aligned=maps.aligned)
    return {name: maps[disease] for name, disease in source_of.items()}


def _strength(diagnosis: Diagnosis, disease: str) -> float:
    """Score of the strongest box that the maps, the first localizer, gave a disease."""
    of_maps = next(iter(diagnosis.boxes.values()))
    return max((box.score for box in of_maps if box.disease == disease), default=0.0)
