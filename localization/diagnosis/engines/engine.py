"""Where images are predicted: in this process, in several of this machine, or on a Spark cluster.

All do the same work (`work`) on the same parts (`part`), so the results are the same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cxrloc.localization.diagnosis.engines.models import ModelFacts
from cxrloc.localization.diagnosis.engines.part import OpenParts, Part
from cxrloc.localization.diagnosis.engines.tally import Tally
from cxrloc.localization.diagnosis.engines.work import Outcome, Task, Work, in_turn

if TYPE_CHECKING:
    from tqdm import tqdm

    from cxrloc.localization.diagnosis.diagnoser import Diagnoser

Predicted = Callable[[Work, Iterator[Task]], Iterator[Outcome]]
LoadFiles = Callable[[Mapping[str, Path]], "Diagnoser"]


class Engine(Protocol):
    """A way to predict many images."""

    def facts(self) -> ModelFacts:
        """What the run has to know of the models."""

    def run(self, work: Work, parts: Iterable[Part], tally: Tally, bar: tqdm[Any]) -> None:
        """Predict what is not done, and count all of it."""


@contextmanager
def engine(
    files: Mapping[str, Path], load: LoadFiles, count: int | None, master: str | None
) -> Iterator[Engine]:
    """The engine that a command asks for.

    Args:
        files: kind -> file of everything that `load` reads.
        load: loads the models; can be sent to other processes.
        count: processes, each with one thread; None is this one, with all its threads.
        master: of a Spark cluster; None predicts on this machine.

    Raises:
        ValueError, OSError, ImportError: for models that cannot be loaded, or without Spark.
    """
    if master is not None:
        from cxrloc.datasets.shards.spark import spark_session

        facts = ModelFacts.of(load(files))  # a wrong model is said before Spark starts
        with spark_session(master, "cxrloc predict") as spark:
            yield _Spark(spark, files, load, facts)
    elif count is not None:
        from cxrloc.localization.diagnosis.engines.processes import workers

        with workers(count, partial(load, files)) as started:
            yield _Local(started.facts, started.predicted)
    else:
        diagnoser = load(files)
        yield _Local(partial(ModelFacts.of, diagnoser), partial(in_turn, diagnoser))


class _Local:
    """On this machine."""

    def __init__(self, facts: Callable[[], ModelFacts], predicted: Predicted) -> None:
        self._facts, self._predicted = facts, predicted

    def facts(self) -> ModelFacts:
        return self._facts()

    def run(self, work: Work, parts: Iterable[Part], tally: Tally, bar: tqdm[Any]) -> None:
        def count(outcome: Outcome) -> None:
            tally.add(outcome)
            bar.update()
            for warning in outcome.warnings:
                bar.write(f"predict: {outcome.task.source}: {warning}", file=sys.stderr)

        opened = OpenParts(parts, work, count)
        for outcome in self._predicted(work, opened.tasks()):
            opened.take(outcome)
            count(outcome)


class _Spark:
    """On a cluster."""

    def __init__(
        self, spark: Any, files: Mapping[str, Path], load: LoadFiles, facts: ModelFacts
    ) -> None:
        self._spark, self._files, self._load, self._facts = spark, files, load, facts

    def facts(self) -> ModelFacts:
        return self._facts

    def run(self, work: Work, parts: Iterable[Part], tally: Tally, bar: tqdm[Any]) -> None:
        from cxrloc.localization.diagnosis.engines.spark import predicted_on_spark

        for of_part in predicted_on_spark(self._spark, self._files, self._load, work, parts, bar):
            tally.merge(of_part)
