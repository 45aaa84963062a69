"""Open a Spark session for a tool: the active one, or a new one."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any


@contextmanager
def spark_session(master: str, name: str) -> Iterator[Any]:
    """The active session (Databricks has one), or a new one that is stopped at the end.

    Args:
        master: master of a new session: local[*], spark://host:7077, yarn, ...
        name: name of the application in Spark's own pages.

    Raises:
        ValueError: without PySpark or Java.
    """
    try:
        from pyspark.errors import PySparkRuntimeError
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise ValueError('Spark needs PySpark: pip install "cxrloc[spark]"') from error
    active = SparkSession.getActiveSession()
    builder = SparkSession.builder.appName(name).master(master)
    builder = builder.config("spark.ui.showConsoleProgress", "false")  # we show our own bars
    if master.startswith("local"):
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # otherwise any python3 on the PATH
        builder = builder.config("spark.driver.host", "localhost")
        folder = tempfile.gettempdir()  # the run's own, which goes with it
        builder = builder.config("spark.local.dir", folder)
        builder = builder.config("spark.driver.extraJavaOptions", f"-Djava.io.tmpdir={folder}")
    handler = signal.getsignal(signal.SIGINT)
    try:
        session = active or builder.getOrCreate()
        if active is None and threading.current_thread() is threading.main_thread():
            signal.signal(
                signal.SIGINT, handler
            )  # Spark's own asks the JVM, in the midst of a call
    except PySparkRuntimeError as error:
        raise ValueError(f"Spark does not start (it needs Java 17 or newer): {error}") from error
    try:
        yield session
    finally:
        if active is None:
            session.stop()


def collected(context: Any, job: Any, tick: Callable[[], object], kept: str) -> list[Any]:
    """What the tasks of a job return.

    Args:
        context: of the session.
        job: an RDD.
        tick: called twice a second while they run, and at the end.
        kept: what a user has to know if a task fails.

    Raises:
        OSError: if a task failed, with its reason.
    """
    with ThreadPoolExecutor(1) as pool:
        result: Future[list[Any]] = pool.submit(job.collect)
        try:
            while wait([result], timeout=0.5).not_done:
                tick()
        except KeyboardInterrupt:
            context.cancelAllJobs()  # the pool waits for the thread that collects
            raise
        made = _result(result, kept)
        tick()
        return made


def _result(result: Future[list[Any]], kept: str) -> list[Any]:
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        return result.result()
    except (PySparkException, Py4JError) as error:
        lines = [line for line in str(error).splitlines() if "Error: " in line]
        reason = lines[-1].strip() if lines else str(error)
        raise OSError(f"a Spark task failed ({reason}); {kept}") from error
