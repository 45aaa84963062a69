"""What each of several ways to do one thing costs, side by side in one run.

The sides run in turn, each repeat all of them once; ratios are medians over repeats, so that what
else the machine does falls on all sides equally. CPU time counts all threads.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cxrloc.classification.report.tables import ResultTable, TableRow, Value, to_text

Sides = Mapping[str, Callable[[], object]]


@dataclass(frozen=True)
class Part:
    """A side that would take too long: a part of it is run, its seconds are multiplied."""

    run: Callable[[], object]
    times: int

    def __call__(self) -> object:
        return self.run()


@dataclass(frozen=True)
class Cost:
    """Median seconds of a side, its median ratio to the first side, and its peak memory."""

    name: str
    wall: float
    cpu: float
    ratio: float
    cpu_ratio: float
    peak_mb: float | None


def compare(sides: Sides, repeats: int) -> list[Cost]:
    """Run the sides in turn, once unmeasured but for memory, then `repeats` times."""
    peaks = {name: _peak_mb(run) for name, run in sides.items()}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, run in sides.items():
            factor = run.times if isinstance(run, Part) else 1
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            spent = time.perf_counter() - wall, time.process_time() - cpu
            times[name].append((factor * spent[0], factor * spent[1]))
    first = next(iter(times.values()))
    return [_cost(name, pairs, first, peaks[name]) for name, pairs in times.items()]


def _cost(
    name: str,
    pairs: Sequence[tuple[float, float]],
    first: Sequence[tuple[float, float]],
    peak: float | None,
) -> Cost:
    wall, cpu = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio, cpu_ratio = (
        statistics.median(a[k] / max(b[k], 1e-9) for a, b in zip(pairs, first, strict=True))
        for k in (0, 1)
    )
    return Cost(name, wall, cpu, ratio, cpu_ratio, peak)


def cost_table(title: str, costs: Sequence[Cost]) -> str:
    """The costs, one a line."""
    rows = [TableRow("", {"side": cost.name}, _cells(cost)) for cost in costs]
    return to_text(ResultTable("costs", title, tuple(rows), ()))


def _cells(cost: Cost) -> dict[str, Value]:
    return {
        "wall ms": f"{1000 * cost.wall:.1f}",
        "CPU ms": f"{1000 * cost.cpu:.1f}",
        "ratio": cost.ratio,
        "CPU ratio": cost.cpu_ratio,
        "peak MB": "-" if cost.peak_mb is None else round(cost.peak_mb),
    }


def _peak_mb(run: Callable[[], object]) -> float | None:
    """Largest resident memory while it runs, including what is loaded already; Linux only."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
        run()
        status = Path("/proc/self/status").read_text()
    except OSError:
        run()
        return None
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
