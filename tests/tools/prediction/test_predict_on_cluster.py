"""cxrloc predict on a standalone Spark cluster of two workers on this machine.

Four JVMs and some 30 s on two quiet cores: run with CXRLOC_TEST_CLUSTER=1.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.prediction.predicting import draw_image, run
from tools.prediction.test_predict_many import same_rows

HOST = "127.0.0.1"


@pytest.fixture
def master(tmp_path: Path) -> Iterator[str]:
    if not os.environ.get("CXRLOC_TEST_CLUSTER"):
        pytest.skip("takes four JVMs; set CXRLOC_TEST_CLUSTER=1")
    if importlib.util.find_spec("pyspark") is None or shutil.which("java") is None:
        pytest.skip("PySpark or Java is not installed: pip install 'cxrloc[spark]', Java 17")
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = str(free.getsockname()[1])
    url = f"spark://{HOST}:{port}"
    name = "org.apache.spark.deploy"
    lines = [[f"{name}.master.Master", "--host", HOST, "--port", port, "--webui-port", "0"]]
    for number in range(2):
        folder = tmp_path / f"worker{number}"
        words = ["--host", HOST, "--cores", "1", "--memory", "1g", "--webui-port", "0"]
        lines.append([f"{name}.worker.Worker", *words, "--work-dir", str(folder), url])
    started = []
    try:
        for line in lines:
            started.append(_java(line))
            time.sleep(3)
        yield url
    finally:
        for each in started:
            each.terminate()
        for each in started:
            each.wait(30)


def _java(line: list[str]) -> subprocess.Popen[bytes]:
    import pyspark

    home = Path(pyspark.__file__).parent
    environment = {**os.environ, "SPARK_HOME": str(home), "SPARK_LOCAL_IP": HOST}
    environment["PYSPARK_PYTHON"] = sys.executable
    command = [str(home / "bin" / "spark-class"), *line]
    silent = subprocess.DEVNULL
    return subprocess.Popen(command, env=environment, stdout=silent, stderr=silent)


@pytest.mark.slow
def test_a_standalone_cluster_makes_the_rows_of_this_machine(
    bundles: dict[str, Path], master: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    monkeypatch.setenv("SPARK_LOCAL_IP", HOST)
    images = tmp_path / "images"
    for seed in range(40):  # three parts
        draw_image(images / f"{seed}.png", seed)
    (images / "7b.png").write_bytes(b"no picture")
    local, spark = tmp_path / "local", tmp_path / "spark"

    assert run(bundles["all"], [images], local, "--write", "table") == 1
    on = ("--engine", "spark", "--master", master)
    assert run(bundles["all"], [images], spark, "--write", "table", *on) == 1

    same_rows(local, spark)
    executors = {path.parts[-2] for path in tmp_path.glob("worker*/app-*/*/stderr")}
    assert len(executors) == 2
