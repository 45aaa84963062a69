"""Run verbs of `cxrloc` one after the other, each as a process of its own."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence

from cxrloc.datasets.files.runs.stopping import step_environment

# glibc returns large blocks of memory at once, and asking for them again took a fifth of the time
# of the drawing; other C libraries ignore this
_KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**30)}


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
