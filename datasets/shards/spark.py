"""The Spark session that a tool works in: the one that is there, or one of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def spark_session(master: str, name: str) -> Iterator[Any]:
    """The active session (Databricks has one), or one that is made here and stopped at the end.

    Args:
        master: of a session made here: local[*], spark://host:7077, yarn, ...
        name: of the application, in Spark's own pages.

    Raises:
        ValueError: without PySpark or without Java.
    """
    try:
        from pyspark.errors import PySparkRuntimeError
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise ValueError('Spark needs PySpark: pip install "cxrloc[spark]"') from error
    active = SparkSession.getActiveSession()
    builder = SparkSession.builder.appName(name).master(master)
    builder = builder.config("spark.ui.showConsoleProgress", "false")  # the bars are ours
    if master.startswith("local"):
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # else any python3 of the PATH
        builder = builder.config("spark.driver.host", "localhost")
    try:
        session = active or builder.getOrCreate()
    except PySparkRuntimeError as error:
        raise ValueError(f"Spark does not start (it needs Java 17 or newer): {error}") from error
    try:
        yield session
    finally:
        if active is None:
            session.stop()
