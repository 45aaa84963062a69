"""Run verbs of `cxrloc` one after the other, each as a process of its own.

What is finished is not done again: a step whose result is newer than all that it is made of is
left out, and trainings know by themselves what is left.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cxrloc.datasets.files.runs.stopping import step_environment
from cxrloc.datasets.prepared.folder import PreparedFolder, images_root_of

# glibc returns large blocks of memory at once, and asking for them again took a fifth of the time
# of the drawing; other C libraries ignore this
_KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**30)}


@dataclass(frozen=True)
class Step:
    """One verb. With a `result` newer than what it is made `of`, it is not run again."""

    title: str
    arguments: list[str]
    result: Path | None = None
    of: tuple[Path, ...] = field(default=())
    processes: int = 1

    @property
    def is_done(self) -> bool:
        """Whether the result is there and nothing that it was made of is newer or missing."""
        if self.result is None or not self.result.is_file():
            return False
        made = self.result.stat().st_mtime
        return all(path.is_file() and path.stat().st_mtime <= made for path in self.of)


def prepare_step(nih: Path, prepared: PreparedFolder) -> Step:
    """Prepare NIH's images; done again if the lists are newer or the images were others."""
    arguments = ["prepare", "--dataset", "nih", "--root", str(nih), "--out", str(prepared.path)]
    title = "Prepare the images: check every one, split by patient"
    manifest = prepared.manifest
    if manifest.is_file():
        made_of = images_root_of(json.loads(manifest.read_text()), manifest.parent)
        if made_of != Path(os.path.abspath(nih)):
            return Step(title, arguments)
    lists = tuple(sorted(p for p in nih.glob("*") if p.suffix in (".csv", ".txt")))
    return Step(title, arguments, manifest, lists)


def run_steps(steps: Sequence[Step], last: Callable[[], Step]) -> None:
    """Run what is not done of the steps, then the last, which needs what they made.

    Raises:
        OSError: if one failed.
    """
    count = len(steps) + 1
    for number in range(1, count + 1):
        step = last() if number == count else steps[number - 1]
        title = f"{number}/{count}  {step.title}"
        if step.is_done:
            print(f"\n=== {title}\nfinished before: {step.result} (delete it to do this again)")
        else:
            run_step(title, step.arguments, step.processes)


def run_step(title: str, arguments: Sequence[str], processes: int = 1) -> None:
    """Run one verb, its output shown; then say how long it took and its most memory.

    Args:
        title: what it is for.
        arguments: the verb and its arguments.
        processes: more than 1 starts so many of it by torchrun.

    Raises:
        OSError: if it failed.
    """
    print(f"\n=== {title}\n$ {shlex.join(['cxrloc', *arguments])}", flush=True)
    began = time.monotonic()
    torchrun = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    launcher = torchrun if processes > 1 else []
    command = [sys.executable, "-m", *launcher, "cxrloc.tools.cli", *arguments]
    status, peak = _run(command)
    if status != 0:
        raise OSError(f"the step above ended with status {status}; see its message")
    memory = f", at most {peak / 1e6:,.0f} MB of memory" if peak else ""
    print(f"--- {time.monotonic() - began:.0f} s{memory}", flush=True)


def _run(command: Sequence[str]) -> tuple[int, int]:
    """Exit status, and bytes of the largest resident memory of a process of it; 0 if not known."""
    process = subprocess.Popen(command, env={**_KEEP_MEMORY, **step_environment()})
    try:
        if not hasattr(os, "wait4"):  # Windows
            return process.wait(), 0
        _, status, usage = os.wait4(process.pid, 0)
    except KeyboardInterrupt:
        process.terminate()  # it tidies up, or is ended with this process
        process.wait()
        raise
    process.returncode = os.waitstatus_to_exitcode(status)
    unit = 1 if sys.platform == "darwin" else 1024
    return process.returncode, usage.ru_maxrss * unit
