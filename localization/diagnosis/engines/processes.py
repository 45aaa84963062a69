"""Predict images in several processes of this machine, each with one thread.

A process that dies (out of memory, a fault in a decoder) is replaced, and its image is tried once
more; an image on which two have died is a failure with this reason, and the others are done.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from cxrloc.datasets.files.runs.workers import ended_by_error, worker_pool
from cxrloc.localization.diagnosis.engines.models import Load, ModelFacts, loaded
from cxrloc.localization.diagnosis.engines.work import Outcome, Task, Work, batches

_DIED = "the process that predicted it ended twice, out of memory or by a fault of a library"
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass
class _Worker:
    """A process, as a pool of one: so it is known what it was doing when it died."""

    pool: ProcessPoolExecutor
    ready: Future[ModelFacts]


class Workers:
    """Processes that predict. They load the models while the images are being listed."""

    def __init__(self, count: int, load: Load, stack: ExitStack) -> None:
        self._load, self._stack = load, stack
        with _one_thread():
            self._workers = [self._start() for _ in range(count)]

    def facts(self) -> ModelFacts:
        """What a process says of the models.

        Raises:
            ValueError, OSError, ImportError: for models that cannot be loaded.
        """
        return _ready(self._workers[0])

    def predicted(self, work: Work, tasks: Iterator[Task]) -> Iterator[Outcome]:
        """Predict images, in the order in which the processes finish them."""
        waiting = batches(tasks, self.facts().batch)
        again: deque[tuple[list[Task], int]] = deque()
        running: dict[Future[list[Outcome]], tuple[_Worker, list[Task], int]] = {}
        idle = list(self._workers)
        while True:
            while idle and (given := again.popleft() if again else _next(waiting)):
                worker = idle.pop()
                future = worker.pool.submit(_do, self._load, work, given[0])
                running[future] = worker, *given
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                worker, batch, deaths = running.pop(future)
                try:
                    yield from future.result()
                except BrokenProcessPool:
                    idle.append(self._replaced(worker))
                    if deaths:
                        for task in batch:
                            yield Outcome(task, None, _DIED, f"{task.source}: {_DIED}")
                    else:
                        again.extend(([task], 1) for task in batch)
                else:
                    idle.append(worker)

    def _start(self) -> _Worker:
        pool = self._stack.enter_context(worker_pool(1))
        return _Worker(pool, pool.submit(_describe, self._load))

    def _replaced(self, worker: _Worker) -> _Worker:
        self._workers.remove(worker)
        if not any(_has_loaded(other) for other in self._workers):
            _ready(worker)  # one that could not even load the models would die again
        with _one_thread():
            self._workers.append(self._start())
        return self._workers[-1]


@contextmanager
def workers(count: int, load: Load) -> Iterator[Workers]:
    """Start `count` processes, which end with the block.

    Args:
        load: loads the models; a function that can be sent to a process.
    """
    with ExitStack() as stack, ended_by_error():  # the pools alone end one after the other
        yield Workers(count, load, stack)


def _next(waiting: Iterator[list[Task]]) -> tuple[list[Task], int] | None:
    batch = next(waiting, None)
    return None if batch is None else (batch, 0)


def _has_loaded(worker: _Worker) -> bool:
    return worker.ready.done() and worker.ready.exception() is None


def _ready(worker: _Worker) -> ModelFacts:
    try:
        return worker.ready.result()
    except BrokenProcessPool as error:
        raise OSError(
            "a process died while it loaded the models (out of memory?); the same command with "
            "fewer --workers does the rest"
        ) from error


@contextmanager
def _one_thread() -> Iterator[None]:
    """Processes that start within compute with one thread."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


def _describe(load: Load) -> ModelFacts:
    return ModelFacts.of(loaded("", load))


def _do(load: Load, work: Work, tasks: list[Task]) -> list[Outcome]:
    return work.do(loaded("", load), tasks)
