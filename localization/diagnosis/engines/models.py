"""The models at work in a process: loaded once, and what the run has to know of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cxrloc.localization.diagnosis.diagnoser import Diagnoser

Load = Callable[[], "Diagnoser"]


@dataclass(frozen=True)
class ModelFacts:
    """What a run records of its models, or needs of them.

    Attributes:
        runtime: of the networks.
        labels: disease of the gate -> its name in the results; None where names are the gate's own.
        localizers: their names.
        batch: images that are predicted together.
        thresholds: disease -> operating point for studies; a sentence if studies cannot be
            predicted.
    """

    runtime: str
    labels: Mapping[str, str | None] | None
    localizers: tuple[str, ...]
    batch: int
    thresholds: Mapping[str, float | None] | str

    @classmethod
    def of(cls, diagnoser: Diagnoser) -> ModelFacts:
        names = [diagnoser.cam.name, *(detector.name for detector in diagnoser.detectors)]
        thresholds: Mapping[str, float | None] | str
        try:
            thresholds = dict(diagnoser.examination_thresholds)
        except ValueError as error:
            thresholds = str(error)
        batch = diagnoser.gate.batch_size
        return cls(diagnoser.runtime, diagnoser.labels, tuple(names), batch, thresholds)

    def study_thresholds(self) -> Mapping[str, float | None]:
        """Disease -> operating point for studies.

        Raises:
            ValueError: if several diseases have become one, which has none.
        """
        if isinstance(self.thresholds, str):
            raise ValueError(self.thresholds)
        return self.thresholds


_loaded: dict[str, Diagnoser] = {}


def loaded(key: str, load: Load) -> Diagnoser:
    """The models, loaded the first time that this process is asked for them, for one thread."""
    if key not in _loaded:
        _loaded.clear()
        one_thread()
        _loaded[key] = load()
        one_thread()
    return _loaded[key]


def one_thread() -> None:
    """Compute with one thread in this process; what is not imported stays so."""
    import cv2

    cv2.setNumThreads(1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
