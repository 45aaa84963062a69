"""The wheel installs into an empty environment beside Hugging Face `datasets`, and both import."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from cxrloc.configs.command_line import load_config

REPOSITORY = Path(__file__).resolve().parent.parent
ROOMS = ("classification", "configs", "datasets", "detection", "localization", "tools")
# What floor 1 needs; torch is left out: it is 3 GB and has no part in who is called `datasets`.
FLOOR_ONE_NEEDS = (
    "pillow",
    "numpy",
    "pandas",
    "pyarrow",
    "opencv-python-headless",
    "PyYAML",
    "tqdm",
    "jsonargparse",
)


def run(*words: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "MAKEFLAGS"}}
    return subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        cwd=cwd,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the tracked files, so that nothing untracked slips in."""
    out = tmp_path_factory.mktemp("wheel")
    listed = run("git", "-C", REPOSITORY, "ls-files", "-co", "--exclude-standard")
    assert listed.returncode == 0, listed.stderr
    for name in listed.stdout.splitlines():
        if (REPOSITORY / name).is_file():
            (out / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            (out / "source" / name).write_bytes((REPOSITORY / name).read_bytes())
    built = run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        out,
        out / "source",
    )
    assert built.returncode == 0, built.stderr
    return next(out.glob("cxrloc-*.whl"))


@pytest.mark.slow
def test_the_wheel_holds_every_module_and_config_under_the_import_name_only(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    expected = [
        f"cxrloc/{path.relative_to(REPOSITORY).as_posix()}"
        for room in ROOMS
        for suffix in ("*.py", "*.yaml", "*.csv", "*.css", "*.html", "*.j2", "*.js")
        for path in (REPOSITORY / room).rglob(suffix)
    ]
    assert sorted(set(expected) - set(names)) == []
    assert {name.split("/")[0].split("-")[0] for name in names} == {"cxrloc"}


@pytest.mark.slow
def test_the_wheel_and_hugging_face_datasets_import_side_by_side(
    wheel: Path, tmp_path: Path
) -> None:
    python = tmp_path / "environment" / "bin" / "python"
    assert run(sys.executable, "-m", "venv", tmp_path / "environment").returncode == 0
    installed = run(
        python,
        "-m",
        "pip",
        "install",
        "-q",
        "-c",
        REPOSITORY / "constraints.txt",
        "datasets",
        *FLOOR_ONE_NEEDS,
    )
    if installed.returncode != 0 and "No matching distribution" in installed.stderr:
        pytest.skip("no package index can be reached, so Hugging Face datasets cannot be installed")
    assert installed.returncode == 0, installed.stderr
    assert run(python, "-m", "pip", "install", "-q", "--no-deps", wheel).returncode == 0
    code = (
        "import datasets, importlib.util as u; assert hasattr(datasets, 'load_dataset'), datasets\n"
        "import cxrloc.datasets.readers.nih, cxrloc.configs.command_line\n"
        "assert u.find_spec('tools') is None and u.find_spec('classification') is None\n"
        "assert all(u.find_spec('cxrloc.' + room) for room in "
        f"{ROOMS!r})\nprint('side by side')"
    )
    done = run(python, "-c", code, cwd=tmp_path)
    assert done.stdout.strip() == "side by side", done.stderr


def test_every_config_file_says_its_command_cost_and_score_first() -> None:
    for path in sorted((REPOSITORY / "configs").rglob("*.yaml")):
        header = path.read_text().split("\n\n")[0].split("\n")
        comment = " ".join(line.lstrip("# ") for line in header if line.startswith("#"))
        assert f"--config {path.relative_to(REPOSITORY).as_posix()}" in comment, path
        for word in ("Cost:", "Score:"):
            assert word in comment, f"{path}: the first comment must state {word}"
        assert "@@" not in comment, f"{path}: a figure is still open"
        assert isinstance(yaml.safe_load(path.read_text()), dict), path


def test_nothing_in_the_project_names_a_path_of_one_machine() -> None:
    listed = run(
        "git", "-C", REPOSITORY, "ls-files", "-co", "--exclude-standard"
    ).stdout.splitlines()
    for name in listed:
        path = REPOSITORY / name
        if path.suffix in {".py", ".md", ".yaml", ".toml", ".txt"} and path.is_file():
            assert "/work" + "/" not in path.read_text(), name


def test_the_config_loader_names_the_unknown_key_and_ends_with_status_two(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from cxrloc.datasets.phantoms.nih import PhantomConfig

    with pytest.raises(SystemExit) as stopped:
        load_config(PhantomConfig, ["--patients", "3", "--no_such_key", "1"])
    assert stopped.value.code == 2
    assert "no_such_key" in capsys.readouterr().err
