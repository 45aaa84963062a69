"""Sides are measured in turn, and as ratios of the first."""

from __future__ import annotations

import itertools

import pytest

from cxrloc.tools.experiments.benchmarks.timing import compare


def test_sides_take_turns_and_are_ratios_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count()
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    monkeypatch.setattr("time.process_time", lambda: 2 * now[0])
    ran = []

    def side(name: str, seconds: float) -> None:
        ran.append((next(clock), name))
        now[0] += seconds

    costs = compare({"a": lambda: side("a", 0.5), "b": lambda: side("b", 2.0)}, repeats=3)

    assert [name for _, name in ran] == ["a", "b"] * 4
    assert [(c.wall, c.cpu, c.ratio, c.cpu_ratio) for c in costs] == [
        (0.5, 1.0, 1.0, 1.0),
        (2.0, 4.0, 4.0, 4.0),
    ]
