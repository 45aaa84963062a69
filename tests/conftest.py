"""Fixtures shared by all tests."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: spinning threads cost 5 x
if "PYTEST_XDIST_WORKER" in os.environ:  # a core each: threads of two workers would take turns
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

import builders

# no deadlines: speed is measured in cxrloc benchmark, the machines of CI are noisy
hypothesis.settings.register_profile("cxrloc", deadline=None)
hypothesis.settings.load_profile("cxrloc")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the real data (`nih/`, `weights/`, `dicom/`); the test is skipped without it."""
    folder = Path(os.environ.get("CXRLOC_TEST_DATA", REPOSITORY.parent / "shared"))
    if not (folder / "nih" / "BBox_List_2017.csv").is_file():
        pytest.skip(f"real NIH files are not in {folder}; set CXRLOC_TEST_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def int8_cpu() -> None:
    """The test is skipped where OpenVINO is missing or wrong in INT8 (see `runtimes`)."""
    from cxrloc.classification.inference.runtimes import require_int8

    try:
        require_int8()
    except (ImportError, ValueError) as error:
        pytest.skip(str(error))


Torchrun = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def torchrun(tmp_path_factory: pytest.TempPathFactory) -> Torchrun:
    """`torchrun(*arguments)`: two processes on this machine, one thread each, at a free port."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command.append(f"--log-dir={tmp_path_factory.mktemp('torchrun')}")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *map(str, arguments)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def prepared_images() -> Callable[..., Path]:
    return builders.prepared_images
