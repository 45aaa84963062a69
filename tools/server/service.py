"""The one place that predicts images for the API and the page: queue, limits, metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from cxrloc.tools.server.http.limits import Limits
from cxrloc.tools.server.http.metrics import Metrics
from cxrloc.tools.server.http.problems import ProblemError
from cxrloc.tools.server.http.schemas import ModelList
from cxrloc.tools.server.images.prediction import Engine, Prediction, predict
from cxrloc.tools.server.images.uploads import Upload
from cxrloc.tools.server.worker import Worker

Result = TypeVar("Result")


@dataclass(frozen=True)
class Done:
    """The outcome of one upload: the requested view of its prediction, or an error."""

    upload: Upload
    view: object = None
    error: ProblemError | None = None


@dataclass
class Service:
    """An engine behind a queue.

    Attributes:
        engine: predicts images; called from one thread.
        models: what /v1/models says of it.
        limits: what clients may ask.
    """

    engine: Engine
    models: ModelList
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        self.worker = Worker(self.limits.queue)
        self.metrics = Metrics()
        self.metrics.waiting.set_function(lambda: self.worker.taken)

    async def predict(
        self, uploads: Sequence[Upload], view: Callable[[Prediction], object]
    ) -> list[Done]:
        """Decode, predict and view each upload in the worker; a bad one does not stop the others.

        Args:
            uploads: the files of one request.
            view: the part of a prediction to keep, such as its record; pixels and maps are dropped.

        Raises:
            ProblemError: 503 or 504, see `Worker.run`.
        """
        jobs = [partial(self._predict, upload, view) for upload in uploads]
        return await self.worker.run(jobs, self.limits.seconds)

    async def run(self, job: Callable[[], Result]) -> Result:
        """One more job in the queue, such as drawing a picture of an earlier prediction."""
        return (await self.worker.run([job], self.limits.seconds))[0]

    def _predict(self, upload: Upload, view: Callable[[Prediction], object]) -> Done:
        try:
            prediction = predict(upload, self.engine, self.limits)
            seen = view(prediction)
        except ProblemError as error:
            self.metrics.images.labels(error.status_code).inc()
            return Done(upload, error=error)
        for stage, seconds in prediction.seconds.items():
            self.metrics.image_seconds.labels(stage).observe(seconds)
        self.metrics.images.labels(200).inc()
        return Done(upload, seen)
