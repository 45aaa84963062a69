"""One thread that decodes images and runs the networks, while the server keeps answering."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from cxrloc.tools.server.http.problems import ProblemError

Result = TypeVar("Result")
_RETRY_SECONDS = "10"


class Worker:
    """Runs jobs one after the other and refuses more than `places` at once.

    One thread: torch uses all cores for one image, and two images at once would need twice the
    memory for no gain.
    """

    def __init__(self, places: int) -> None:
        self.places = places
        self.taken = 0
        self._lock = threading.Lock()
        self._thread: ThreadPoolExecutor | None = None  # started by the first job
        self._stopping = False

    async def run(self, jobs: Sequence[Callable[[], Result]], seconds: float) -> list[Result]:
        """Results of the jobs, in order.

        Raises:
            ProblemError: 503 when there are not enough places for all jobs, or the server stops
                before all have started, or does not wait for the running one any longer; 504 after
                `seconds`; what has not started by then is dropped.
        """
        self._take(len(jobs))
        futures = [self._submit(job) for job in jobs]
        try:
            async with asyncio.timeout(seconds):
                return list(await asyncio.gather(*map(asyncio.wrap_future, futures)))
        except TimeoutError as error:
            raise ProblemError(
                504, f"not finished after {seconds:g} s; send fewer images, or try again later"
            ) from error
        except asyncio.CancelledError as error:
            if not (self._stopping or any(future.cancelled() for future in futures)):
                raise  # no job was cancelled, but the caller that waits for them
            raise _stops() from error
        finally:
            for future in futures:
                future.cancel()

    def stop(self) -> None:
        """Refuse new jobs and those that have not started; the running one finishes."""
        self._stopping = True
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """Stop, and wait for the running job; the next app over this worker starts afresh."""
        self.stop()
        if self._thread is not None:
            self._thread.shutdown(wait=True)
        self._thread, self._stopping = None, False

    def check_room(self, count: int) -> None:
        """Raise 503 if `run` would refuse this many jobs now."""
        if self._stopping:
            raise _stops()
        if self.taken + count > self.places:
            raise ProblemError(
                503,
                f"{self.taken} images are waiting, and {count} more would exceed the limit of "
                f"{self.places}; try again later",
                {"Retry-After": _RETRY_SECONDS},
            )

    def _take(self, count: int) -> None:
        with self._lock:
            self.check_room(count)
            self.taken += count

    def _submit(self, job: Callable[[], Result]) -> Future[Result]:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="networks")
        future = self._thread.submit(job)
        future.add_done_callback(self._leave)
        return future

    def _leave(self, _: Future[Result]) -> None:
        with self._lock:
            self.taken -= 1


def _stops() -> ProblemError:
    return ProblemError(
        503,
        "the server is stopping; send the image again when it is back",
        {"Retry-After": _RETRY_SECONDS},
    )
