"""The benchmark prints every side and its ratio to the first one."""

from __future__ import annotations

import itertools
import re

import pytest

from cxrloc.tools import benchmark
from cxrloc.tools.benchmark import main, report
from cxrloc.tools.experiments.benchmarks.timing import Part


def test_the_sides_run_in_turn_and_the_first_is_the_unit(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ran: list[str] = []
    report({"a": lambda: ran.append("a"), "b": lambda: ran.append("b")}, repeats=2)
    assert ran == ["a", "b", "a", "b", "a", "b"]
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("a ")
    assert first.endswith("ratio   1.00")
    assert re.search(r"ratio +[\d.]+$", second)


def test_of_a_side_that_runs_in_part_the_seconds_are_multiplied(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count()  # a second passes whenever somebody looks
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    report({"whole": list, "part": Part(list, 500)}, repeats=3)
    whole, part = capsys.readouterr().out.splitlines()
    assert whole.split()[1:] == ["1.0000", "s", "ratio", "1.00"]
    assert part.split()[1:] == ["500.0000", "s", "ratio", "500.00"]


def test_the_maps_are_measured_against_a_forward_and_backward_passes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["cam", "--size", "64", "--repeats", "1"]) == 0
    assert [line[:44].strip() for line in capsys.readouterr().out.splitlines()] == [
        "one forward pass",
        "forward and 14 maps in closed form",
        "forward and 14 backward passes",
    ]


def test_the_index_needs_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index"]) == 2
    assert "--root is missing" in capsys.readouterr().err


@pytest.mark.slow
def test_shards_are_measured_against_textbook_and_opencv_pngs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "DATA_SIZES", (32,))
    monkeypatch.setattr(benchmark, "DATA_WORKERS", (0, 1))
    monkeypatch.setattr(benchmark, "DATA_IMAGES", 4)
    assert main(["data", "--repeats", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith("loader"))
    header, *rows = [re.split(r" {2,}", line.strip()) for line in lines[first : first + 5]]
    workers = ["0 workers", "ratio, 0 workers", "1 workers", "ratio, 1 workers"]
    assert header == ["loader", "size", *workers]
    assert [row[0] for row in rows] == [
        "PNG, textbook (PIL, RGB, normalised)",
        "PNG, OpenCV grey",
        "shards, raw",
        "shards, png",
    ]
    assert rows[0][3::2] == ["1.0", "1.0"]
    assert float(rows[2][3]) > 1
