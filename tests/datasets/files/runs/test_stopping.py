"""Ctrl+C and SIGTERM end a tool in one sentence, in time, with all that it has started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cxrloc.datasets.files.runs.stopping import stopping
from cxrloc.datasets.files.runs.temporaries import is_alive

TOOL = """
import os, signal, subprocess, sys, tempfile, threading, time
sys.argv[0] = "{program}"
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell starts with &
from cxrloc.configs.command_line import run_tool
from cxrloc.datasets.files.runs.stopping import step_environment
from cxrloc.datasets.files.runs.workers import worker_pool

def say(*numbers):
    print(tempfile.gettempdir(), *numbers, flush=True)

def sleeps():
    child = subprocess.Popen(["sleep", "100"])
    say(child.pid)
    time.sleep(100)

def drops_it():  # as a library may: in a finalizer, and by catching all
    class Slow:
        def __del__(self):
            say()
            time.sleep(1)
    slow = Slow()
    del slow
    while True:
        try:
            time.sleep(100)
        except KeyboardInterrupt:
            pass

def turns_it():
    try:
        sleeps()
    except KeyboardInterrupt:
        raise RuntimeError("a worker has died")

def waits_for_processes():
    with worker_pool(2) as pool:
        work = [pool.submit(time.sleep, 100) for _ in range(4)]
        say(*pool._processes)
        work[0].result()

def waits_for_a_step():  # as the demo does
    code = "import time; from cxrloc.configs.command_line import run_tool as run;"
    code += "run('step', lambda: [print(flush=True), time.sleep(100)])"
    command = [sys.executable, "-c", code]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=step_environment(), stdout=pipe) as step:
        step.stdout.readline()
        say(step.pid)
        try:
            step.wait()
        except KeyboardInterrupt:
            step.terminate()
            raise

def has_a_grandchild():  # which ignores SIGTERM, and whose own parent does not
    stubborn = "trap '' TERM; echo $$; exec sleep 100"
    command = ["sh", "-c", 'sh -c "$0" & wait', stubborn]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        say(child.pid, child.stdout.readline().strip())
        time.sleep(100)

def waits_for_a_thread():  # which no exception reaches
    thread = threading.Thread(target=time.sleep, args=(100,))
    thread.start()
    say()
    thread.join()

status = run_tool("tool", {job}, "the rest is not done")
"""


@contextlib.contextmanager
def started(job: str) -> Iterator[tuple[subprocess.Popen[str], Path, list[int]]]:
    """The process, its temporary folder, and its children, once it is at work."""
    command = [
        sys.executable,
        "-c",
        TOOL.format(job=job, program="tool") + "raise SystemExit(status)",
    ]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            folder, *children = process.stdout.readline().split()
            yield process, Path(folder), [int(number) for number in children]
        finally:
            process.kill()


STARTERS = ("waits_for_processes", "waits_for_a_step")
JOBS = (
    *("sleeps", "drops_it", "turns_it", "has_a_grandchild", "waits_for_a_thread"),
    *STARTERS,
)


def _alive_after(children: list[int], seconds: float) -> list[int]:
    until = time.monotonic() + seconds
    while any(map(is_alive, children)) and time.monotonic() < until:
        time.sleep(0.05)
    return [child for child in children if is_alive(child)]


@pytest.mark.parametrize(
    ("job", "number"),
    [*((job, signal.SIGTERM) for job in JOBS), *((job, signal.SIGINT) for job in JOBS[:2])],
)
def test_a_tool_ends_in_time_in_one_sentence_and_leaves_nothing(job: str, number: int) -> None:
    with started(job) as (process, folder, children):
        assert folder.is_dir()
        began = time.monotonic()
        process.send_signal(number)
        _, printed = process.communicate(timeout=60)
        took = time.monotonic() - began

    how = "interrupted" if number == signal.SIGINT else "ended by SIGTERM"
    assert printed == f"tool: {how}; the rest is not done\n"
    assert process.returncode == 128 + number
    assert took < 3 + 7  # 3 s on a machine that does nothing else
    assert not folder.exists()
    assert not _alive_after(children, seconds=20)  # until the system has cleared ended ones away


@pytest.mark.parametrize(
    ("number", "how"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "ended by SIGTERM")]
)
def test_an_order_to_stop_while_libraries_load_is_one_sentence(number: int, how: str) -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from cxrloc.datasets.files.runs.early import may_be_ended\n"
        "may_be_ended(); print(flush=True); time.sleep(100)"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=pipe, stderr=pipe, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)
        assert process.communicate(timeout=60) == ("", f"cxrloc: {how}; nothing was done\n")
    assert process.returncode == 128 + number


@pytest.mark.parametrize("job", STARTERS)
def test_workers_and_steps_end_with_a_killed_tool(job: str) -> None:
    with started(job) as (process, _, children):
        assert children
        process.kill()
        process.wait()
        assert not _alive_after(children, seconds=60)


def test_a_caller_that_goes_on_after_the_tool_keeps_its_process() -> None:
    """A notebook, say: the work is stopped, and signals are the caller's again."""
    code = TOOL.format(job="sleeps", program="notebook") + "print(status, 'goes on')"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        _, child = process.stdout.readline().split()
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == "143 goes on\n"
        os.kill(int(child), signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_interpreter_ends_leaves_the_status_of_the_work(number: int) -> None:
    code = f"""
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from cxrloc.datasets.files.runs.early import may_be_ended
may_be_ended()
class FreedLast:
    def __del__(self, kill=os.kill, pid=os.getpid()):
        kill(pid, {int(number)})
held = FreedLast()
sys.exit(3)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (ended.returncode, ended.stderr) == (3, b"")


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts files in /proc")
def test_a_program_that_calls_tools_again_and_again_keeps_no_pipe_open() -> None:
    def call() -> None:
        with stopping("tool: {}", owns_process=False):
            pass

    def opened() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = opened()
    for _ in range(20):
        call()
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
    until = time.monotonic() + 30
    while opened() > before and time.monotonic() < until:  # the watching threads close their ends
        time.sleep(0.02)
    assert opened() <= before
