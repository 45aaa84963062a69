"""A second run into what is being written is refused, by the process that holds it."""

from __future__ import annotations

import contextlib
import fcntl
import os
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


def test_a_folder_is_the_same_by_every_path_that_leads_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to("out")
    monkeypatch.chdir(tmp_path)
    with held_elsewhere("writes_folder", tmp_path / "out") as process:
        for way in ("link", "out", "out/../link/.", str(tmp_path / "link")):
            with (
                pytest.raises(BeingWrittenError, match=f"written by process {process.pid} "),
                writes_folder(Path(way)),
            ):
                pass


def test_what_a_lock_says_of_a_process_counts_for_nothing_once_that_has_ended(
    tmp_path: Path,
) -> None:
    """Its number may be another process's by now."""
    (tmp_path / ".cxrloc.lock").write_text(f"process {os.getppid()} on elsewhere (cxrloc)")
    with writes_folder(tmp_path):
        pass


@pytest.mark.parametrize(
    ("lock", "said"),
    [
        (None, r"out cannot be written to .permission denied.; choose another --out"),
        ("process 7 on ward3 (cxrloc)", r"by another user's process 7 on ward3 .* delete .*\.lock"),
    ],
)
def test_a_folder_or_lock_of_another_user_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lock: str | None, said: str
) -> None:
    def denied(*_: object) -> int:  # to root, nothing is
        raise PermissionError(13, "Permission denied")

    out = tmp_path / "out"
    out.mkdir()
    if lock is not None:
        (out / ".cxrloc.lock").write_text(lock)
    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(PermissionError, match=said), writes_folder(out):
        pass


def test_a_folder_without_results_goes_again_and_one_with_stays(tmp_path: Path) -> None:
    with contextlib.suppress(ValueError), writes_folder(tmp_path / "a" / "b"):
        raise ValueError
    with writes_folder(tmp_path / "c"), writes_folder(tmp_path / "c"):  # a run that calls another
        (tmp_path / "c" / "x").touch()
    assert [*tmp_path.rglob("*")] == [tmp_path / "c", tmp_path / "c" / "x"]


@pytest.mark.parametrize("place", ["file/out", "link"])
def test_a_place_that_can_be_no_folder_is_named(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(OSError, match=rf"{place} can be no folder: .*; choose another place"):
        writes_folder(tmp_path / place).__enter__()
    with pytest.raises(OSError, match=rf"{place} can be no folder"):
        writes_file(tmp_path / place / "a.json").__enter__()


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
