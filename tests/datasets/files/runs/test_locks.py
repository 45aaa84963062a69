"""A second run into what is being written is refused, by the process that holds it."""

from __future__ import annotations

import contextlib
import fcntl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cxrloc.datasets.files.runs import locks
from cxrloc.datasets.files.runs.locks import (
    BeingWrittenError,
    while_holding,
    writes_file,
    writes_folder,
)

HOLD = """
import sys
from pathlib import Path
from cxrloc.datasets.files.runs.locks import writes_file, writes_folder
with {function}(Path(sys.argv[1])):
    (Path(sys.argv[1]) / "x").touch() if {function} is writes_folder else None
    print("held", flush=True)
    input()
"""


@contextlib.contextmanager
def held_elsewhere(function: str, out: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLD.format(function=function), str(out)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("function", ["writes_folder", "writes_file"])
def test_a_second_run_is_refused_and_one_after_a_kill_is_not(function: str, tmp_path: Path) -> None:
    out, hold = tmp_path / "new" / "out", getattr(locks, function)
    with held_elsewhere(function, out) as process:
        with (
            pytest.raises(
                BeingWrittenError, match=f"out is being written by process {process.pid} "
            ),
            hold(out),
        ):
            pass
        with writes_file(tmp_path / "new" / "another"):  # of the same folder
            pass
        process.kill()
        process.wait()
        with hold(out):
            pass
    assert not list(tmp_path.rglob(".*"))  # the lock of the killed one neither


def test_a_folder_without_results_goes_again_and_one_with_stays(tmp_path: Path) -> None:
    with contextlib.suppress(ValueError), writes_folder(tmp_path / "a" / "b"):
        raise ValueError
    with writes_folder(tmp_path / "c"), writes_folder(tmp_path / "c"):  # a run that calls another
        (tmp_path / "c" / "x").touch()
    assert [*tmp_path.rglob("*")] == [tmp_path / "c", tmp_path / "c" / "x"]


def test_the_decorator_holds_what_the_first_argument_names(tmp_path: Path) -> None:
    @while_holding(lambda out: writes_folder(out))
    def run(out: Path, number: int) -> int:
        return number * [path.name for path in out.iterdir()].count(".cxrloc.lock")

    assert run(tmp_path, 3) == 3


def test_a_file_system_without_locks_is_warned_of_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", no_locks)
    with writes_folder(tmp_path):
        pass
    warning = capsys.readouterr().err
    assert "has no locks (No locks available); make sure that no other run writes" in warning
