"""Pools of processes and of threads that end with the work they are for, whatever ends it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import cv2


@contextlib.contextmanager
def thread_pool(count: int | None = None) -> Iterator[ThreadPoolExecutor]:
    """A pool of threads; an error within drops what has not started, and waits for the rest."""
    with ThreadPoolExecutor(count) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextlib.contextmanager
def worker_pool(count: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of `count` processes, each with one thread for OpenCV.

    An error within, or an order to stop, ends the processes at once.
    """
    context = multiprocessing.get_context("spawn")  # fork after OpenCV's threads may hang
    pool = ProcessPoolExecutor(count, context, _begin)
    try:
        # cancelled futures would break the pool's thread, which prints that
        with ended_by_error():
            with _without_ctrl_c():
                pool.submit(os.getpid)  # starts all of them
            yield pool
    finally:
        pool.shutdown()


@contextlib.contextmanager
def ended_by_error() -> Iterator[None]:
    """An error within ends the processes that have started within, all at once."""
    others = set(multiprocessing.active_children())
    try:
        yield
    except BaseException:
        for worker in set(multiprocessing.active_children()) - others:
            worker.terminate()
        raise


@contextlib.contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Processes that start within never see Ctrl+C, which a terminal sends to all; their parent
    does, and ends them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin() -> None:
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
