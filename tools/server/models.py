"""What /v1/models says of the bundles that are loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cxrloc.classification.bundle import read_bundle
from cxrloc.datasets.manifest import file_sha256
from cxrloc.localization.diagnose import Diagnoser
from cxrloc.tools.server.schemas import Model, ModelList


def loaded_models(diagnoser: Diagnoser, bundles: Sequence[Path]) -> ModelList:
    """The bundles with their hashes, the localizers and what runs the networks."""
    names = [diagnoser.cam.name, *(detector.name for detector in diagnoser.detectors)]
    return ModelList(
        localizers=names,
        runtime=diagnoser.runtime,
        models=[_model(path) for path in bundles],
    )


def _model(path: Path) -> Model:
    metadata = read_bundle(path)[1]
    return Model(
        kind=metadata["kind"],
        file_name=path.name,
        sha256=file_sha256(path),
        diseases=list(metadata["diseases"]),
        thresholds=metadata.get("thresholds"),
    )
