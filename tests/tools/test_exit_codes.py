"""Every tool ends by one convention: 2 for wrong usage or files, 130 or 143 when it is stopped."""

from __future__ import annotations

import argparse
import importlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import jsonargparse
import pytest

from builders import prepared_images
from cxrloc.configs.command_line import run_tool, started_as
from cxrloc.configs.verbs import VERBS
from cxrloc.datasets.radiograph import Box

TOOLS = Path(__file__).resolve().parents[2] / "tools"
# tool -> arguments that name a missing file (GONE) or impossible settings, and what the message
# must say: the file or setting, and the remedy
MISTAKES: dict[str, tuple[str, tuple[str, ...]]] = {
    "prepare_data": ("--dataset nih --root GONE --out OUT", ("GONE", "expected")),
    "train_classifier": ("--data.prepared GONE --out OUT", ("GONE", "cxrloc prepare")),
    "train_maskrcnn": ("--data.prepared GONE --out OUT", ("GONE", "cxrloc prepare")),
    "localize": (
        "--localizer prior_box --prepared GONE --out OUT.json",
        ("GONE", "cxrloc prepare"),
    ),
    "compare_localizers": ("--ground-truth GONE --out OUT", ("GONE", "cxrloc prepare")),
    "predict": ("--gate GONE IMAGE --out OUT", ("GONE", "train one")),
    "serve": ("--gate GONE", ("GONE", "train one")),
    "benchmark": ("index", ("--root is missing", "expected a folder")),
    "data.audit_leakage": ("--train GONE --evaluate GONE", ("GONE", "expected")),
    "data.build_shards": ("--prepared GONE --out OUT", ("GONE", "cxrloc prepare")),
    "data.convert_chexlocalize": (
        "--prepared GONE --segmentations GONE --out OUT",
        ("GONE", "cxrloc prepare"),
    ),
    "data.find_markers": ("GONE --out OUT", ("GONE", "expected")),
    "data.make_phantom": ("--out OUT --kind limb --patients 0", ("patients", "expected")),
    "data.send_dicom": ("127.0.0.1 1 GONE", ("GONE", "expected DICOM files")),
    "experiments.check_shortcuts": (
        "--prepared GONE --gate GONE --out OUT",
        ("GONE", "cxrloc prepare"),
    ),
    "experiments.compare_networks": ("GONE --out OUT", ("GONE", "cxrloc train-gate")),
    "experiments.compare_runtimes": (
        "--prepared GONE --gate GONE --out OUT",
        ("GONE", "cxrloc prepare"),
    ),
    "experiments.pipelines.demo": ("--nih GONE", ("GONE", "does not exist")),
    "experiments.pipelines.nih_full": ("--nih GONE", ("GONE", "expected")),
    "data.fit_chest_check": ("--prepared GONE", ("GONE", "cxrloc prepare")),
    "experiments.fuse_localizers": (
        "--predictions a=GONE b=GONE --ground-truth GONE --out OUT",
        ("GONE", "cxrloc prepare"),
    ),
    "experiments.models.export_model": ("GONE", ("GONE", "train one")),
    "experiments.models.model_card": ("GONE", ("GONE", "train one")),
    "experiments.models.quantize": ("--gate GONE IMAGE", ("GONE", "train one")),
    "experiments.score_images": (
        "--gate GONE --prepared GONE --out OUT.parquet",
        ("GONE", "train one"),
    ),
    "experiments.train_on_spark": (
        "--processes 3 --train.batch_size 4 --data.prepared GONE",
        ("train.batch_size", "expected"),
    ),
    "server.dicom_node.node": (
        "--gate GONE --send-to ARCHIVE@127.0.0.1:104 --folder OUT",
        ("GONE", "train one"),
    ),
    "experiments.tune_cam": (
        "--maps GONE.maps.safetensors --ground-truth GONE --out OUT",
        ("GONE", "cxrloc localize"),
    ),
}


def test_every_tool_is_here() -> None:
    paths = [
        p
        for folder in (
            "",
            "data",
            "experiments",
            "experiments/models",
            "experiments/pipelines",
            "server/dicom_node",
        )
        for p in (TOOLS / folder).glob("*.py")
        if "\ndef main(" in p.read_text(encoding="utf-8")
    ]
    names = {".".join(p.relative_to(TOOLS).with_suffix("").parts) for p in paths}
    scripts = {verb.script for verb in VERBS}
    assert names == scripts | {"cli"}
    assert scripts == set(MISTAKES)


def tool(name: str) -> ModuleType:
    return importlib.import_module(f"cxrloc.tools.{name}")


def status_of(module: ModuleType, arguments: Sequence[str]) -> object:
    """What the tool ends with; parsers end it themselves."""
    try:
        return module.main(arguments)
    except SystemExit as stop:
        return stop.code


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_of_the_user_is_status_2_and_one_line_with_the_remedy(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line, expected = MISTAKES[name]
    arguments = [word.replace("OUT", str(tmp_path / "OUT")) for word in line.split()]
    arguments = [word.replace("GONE", str(tmp_path / "GONE")) for word in arguments]
    assert status_of(tool(name), arguments) == 2
    printed = capsys.readouterr().err
    assert "Traceback" not in printed
    (error,) = [text for text in printed.splitlines() if ": error: " in text]
    for part in expected:
        assert part in error


@pytest.mark.parametrize("name", MISTAKES)
def test_an_interrupt_is_status_130_and_a_message(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for parser in (argparse.ArgumentParser, jsonargparse.ArgumentParser):
        monkeypatch.setattr(parser, "parse_args", interrupted)
    assert tool(name).main([]) == 130
    assert capsys.readouterr().err.startswith(f"{name.rpartition('.')[2]}: interrupted; ")


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (0, 0), (1, 1)])
def test_a_job_that_ends_says_whether_some_inputs_failed(returned: int | None, status: int) -> None:
    assert run_tool("tool", lambda: returned) == status


def test_a_fault_of_the_program_is_not_taken_for_the_users() -> None:
    def faulty() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        run_tool("tool", faulty)


@pytest.mark.parametrize(
    ("module", "extra"),
    [("torch", "train"), ("lightning.pytorch", "train"), ("onnxruntime", "onnx")],
)
def test_a_missing_optional_library_is_status_2_and_names_its_extra(
    module: str, extra: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def job() -> None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    with started_as("cxrloc verb"):
        assert run_tool("script", job) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"cxrloc verb: error: {module.partition('.')[0]} is not installed")
    assert f'pip install "cxrloc[{extra}]"' in error


HOLD = """
import contextlib, sys
from pathlib import Path
from cxrloc.datasets.files.runs.locks import writes_file, writes_folder
with contextlib.ExitStack() as held:
    held.enter_context(writes_folder(Path("OUT")))
    held.enter_context(writes_file(*map(Path, ("OUT", "OUT.json", "OUT.parquet"))))
    print("held", flush=True)
    input()
"""


@pytest.fixture(scope="module")
def being_written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """A folder in which a process holds OUT and files of that name, and the process."""
    folder, pipe = tmp_path_factory.mktemp("held"), subprocess.PIPE
    command = [sys.executable, "-c", HOLD]
    with subprocess.Popen(command, cwd=folder, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield folder, process.pid
        process.kill()


# of the tools whose lines above name no place to write to, or end before they come to it
SECOND_RUNS = {name: line for name, (line, _) in MISTAKES.items() if "OUT" in line} | {
    "data.audit_leakage": "--train GONE --evaluate GONE --out OUT.json",
    "data.make_phantom": "--out OUT --kind limb --patients 2 --image-size 256",
    "experiments.pipelines.demo": "--out OUT",
    "experiments.pipelines.nih_full": "--nih . --out OUT",
}


@pytest.mark.parametrize("name", SECOND_RUNS)
def test_a_second_run_into_the_same_place_is_refused_before_anything_is_read(
    name: str, being_written: tuple[Path, int], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, process = being_written
    words = [word.replace("OUT", str(folder / "OUT")) for word in SECOND_RUNS[name].split()]
    assert status_of(tool(name), words) == 2
    assert f" is being written by process {process} on " in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "number", "options"),
    [
        (
            "train_classifier",
            signal.SIGTERM,
            ("--model.size=64", "--train.batch_size=4"),
        ),
        (
            "train_maskrcnn",
            signal.SIGINT,
            (
                "--data.predict=all",
                "--size=64",
                "--model.fpn_levels=[3,4]",
                "--model.anchor_sizes=[.2,.4,.6]",
            ),
        ),
    ],
)
def test_an_order_to_stop_ends_a_training_with_its_status_and_one_line(
    name: str, number: signal.Signals, options: tuple[str, ...], tmp_path: Path
) -> None:
    box = Box("Mass", (128, 128, 384, 640))
    images = [
        {
            "labels": {"Mass": float(n % 2)},
            "patient": f"p{n}",
            "fold": n // 2 % 3,
            "block": 100 * (n % 2),
            "boxes": (box,) * (n % 2),
        }
        for n in range(18)
    ]
    prepared = prepared_images(tmp_path, images, boxed_diseases=("Mass",))
    out = tmp_path / "run"
    # Python ignores SIGINT where the shell that started the tests did: in the background
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"from cxrloc.tools.{name} import main; raise SystemExit(main())"
    )
    arguments = [f"--data.prepared={prepared}", f"--out={out}", "--data.workers=1", *options]
    settings = ["--train.epochs=10000", "--train.device=cpu"]
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments, *settings], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            _wait_for_a_checkpoint(out, process)
            process.send_signal(number)
            printed = process.communicate(timeout=60)[1]
        finally:
            process.kill()
    assert process.returncode == 128 + number
    assert "Traceback" not in printed
    how = "interrupted" if number == signal.SIGINT else "ended by SIGTERM"
    assert printed.splitlines()[-1] == f"{name}: {how}; the same command does the rest"
    assert not [path for path in out.rglob(".*") if path.is_file()]  # no lock, nothing temporary


def _wait_for_a_checkpoint(out: Path, process: subprocess.Popen[str], seconds: int = 600) -> None:
    end = time.monotonic() + seconds
    while not list(out.glob("fold0/**/*.ckpt")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.1)
