"""Temporary files of killed runs are swept; those of runs that go on, and everything else, stay."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from cxrloc.datasets.files.atomic import write_text
from cxrloc.datasets.files.runs import temporaries
from cxrloc.datasets.files.runs.temporaries import (
    left_behind,
    sweep,
    temporary_beside,
    temporary_folder,
    temporary_tag,
)
from cxrloc.datasets.files.storage import Storage

DAY = 24 * 3600


@pytest.fixture(scope="module")
def dead() -> int:
    """A process that has ended."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def tag(process: int, machine: str = "") -> str:
    with temporary_tag() as mine:
        here = mine.split("-")[1]
    return f"cxr-{machine or here}-{process}-{process}000001.tmp"


def test_the_next_write_to_a_folder_sweeps_what_a_dead_process_left(
    tmp_path: Path, dead: int
) -> None:
    (tmp_path / f".a.{tag(dead)}.csv").write_text("half")
    write_text(tmp_path / "b.csv", "whole")
    assert [path.name for path in tmp_path.iterdir()] == ["b.csv"]


def test_a_sweep_keeps_what_others_write_and_whatever_is_not_temporary(
    tmp_path: Path, dead: int
) -> None:
    below = tmp_path / "fold0"
    below.mkdir()
    with temporary_beside(tmp_path / "mine.csv") as mine:
        kept = [mine, tmp_path / f".a.{tag(os.getppid())}.csv", below / "x.tmp", below / ".y.json"]
        kept += [below / f".foreign.{tag(dead, '000000')}"]
        gone = [below / f"_part.parquet.{tag(dead)}", below / f".b.{tag(os.getpid())}.png"]
        gone += [below / f".old.{tag(os.getppid(), '000000')}"]
        folder = below / f".phantom.{tag(dead)}"
        (folder / "images").mkdir(parents=True)
        for path in (*kept, *gone, folder / "images/a.png"):
            path.write_text("")
        os.utime(gone[-1], (time.time() - DAY - 60,) * 2)  # of another machine, a day ago
        sweep(tmp_path, below=True)
        assert {path for path in tmp_path.rglob("*") if path.is_file()} == set(kept)


@pytest.mark.parametrize(("age", "left"), [(None, False), (DAY - 60, False), (DAY + 60, True)])
def test_a_process_that_cannot_be_seen_is_given_a_day(age: float | None, left: bool) -> None:
    written = None if age is None else time.time() - age
    assert left_behind(f".a.{tag(1, 'ffffff')}.json", written) is left


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="reads /proc")
def test_a_process_that_began_after_a_file_was_written_has_not_written_it() -> None:
    """It has the number of one that has ended."""
    name = f".a.{tag(os.getppid())}.json"
    assert left_behind(name, time.time() - 30 * 365 * DAY)
    assert not left_behind(name, time.time() - 60)  # clocks may differ by so much
    assert not left_behind(name, None)


def test_a_name_of_the_longest_kind_leaves_room_for_the_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / f"{'1.2.840.' * 31}.json"
    write_text(path, "whole")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_unfinished_shards_of_dead_processes_go_and_nothing_else(tmp_path: Path, dead: int) -> None:
    storage = Storage.at(tmp_path)
    for name in (f"_a.parquet.{tag(dead)}", f"_b.parquet.{tag(os.getppid())}", "_settings.json"):
        (tmp_path / "size=8").mkdir(exist_ok=True)
        (tmp_path / "size=8" / name).write_text("")
    storage.remove_temporaries("size=8")
    storage.remove_temporaries("size=9")  # is not there
    names = {p.name.partition(".")[0] for p in (tmp_path / "size=8").iterdir()}
    assert names == {"_b", "_settings"}


def test_what_libraries_write_to_the_systems_folder_goes_with_the_run(
    tmp_path: Path, dead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / f"{tag(dead)}-x1").mkdir()
    with temporary_folder() as folder:
        assert [*tmp_path.iterdir()] == [folder]
        _, name = tempfile.mkstemp()
        assert Path(name).parent == folder == Path(os.environ["TMPDIR"])
    assert not [*tmp_path.iterdir()]
    assert os.environ["TMPDIR"] == tempfile.gettempdir() == str(tmp_path)


def test_a_step_opens_sockets_in_a_folder_beside_that_of_its_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A socket's path may have 107 bytes; the loaders of a training share memory through some."""
    share = (
        "from cxrloc.datasets.files.runs.temporaries import temporary_folder as own\n"
        "from multiprocessing.connection import Listener\n"
        "with own() as folder, Listener(family='AF_UNIX'):\n"
        "    print(folder.parent)"
    )
    monkeypatch.setattr(tempfile, "tempdir", None)
    with temporary_folder() as folder:
        step = subprocess.run([sys.executable, "-c", share], capture_output=True, text=True)
        assert step.stdout == f"{folder.parent}\n", step.stderr
        assert not [*folder.iterdir()]


def test_a_folder_is_scanned_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scanned: list[Path] = []
    monkeypatch.setattr(temporaries, "sweep", scanned.append)
    for name in ("a", "b", "c"):
        write_text(tmp_path / name, "")
    assert scanned == [tmp_path]
