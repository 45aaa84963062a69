"""The wheel's base compares two files in an empty environment without torch, and every library that
the product imports is named in pyproject.
"""

from __future__ import annotations

import ast
import csv
import functools
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml

from builders import coco_ground_truth
from cxrloc.configs.command_line import load_config
from cxrloc.configs.extras import EXTRA_OF

REPOSITORY = Path(__file__).resolve().parent.parent
ROOMS = ("classification", "configs", "datasets", "detection", "localization", "tools")
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
# imported for their own sake, but always there with the library that is named
BROUGHT_BY = {"markupsafe": "jinja2", "starlette": "fastapi", "py4j": "pyspark"}
BROUGHT_BY |= {"typing_extensions": "pydantic", "pydantic_core": "pydantic"}
BUILT_BY_THE_USER = {"detectron2"}  # no package index has it: see DETECTRON2_HELP


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
        for suffix in ("*.py", "*.yaml", "*.csv", "*.csv.gz", "*.css", "*.html", "*.j2", "*.js")
        for path in (REPOSITORY / room).rglob(suffix)
    ]
    assert sorted(set(expected) - set(names)) == []
    assert {name.split("/")[0].split("-")[0] for name in names} == {"cxrloc"}


@pytest.fixture(scope="module")
def base_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that holds the wheel and what its base needs."""
    python = tmp_path_factory.mktemp("base") / "environment" / "bin" / "python"
    assert run(sys.executable, "-m", "venv", python.parents[1]).returncode == 0
    installed = install(python, wheel)
    if "(from versions: none)" in installed.stderr:
        pytest.skip("no package index can be reached, so the wheel's base cannot be installed")
    assert installed.returncode == 0, installed.stderr
    return python


def install(python: Path, *what: str | Path) -> subprocess.CompletedProcess[str]:
    pinned = ("-c", REPOSITORY / "constraints.txt")
    return run(python, "-m", "pip", "install", "-q", "--no-compile", *pinned, *what)


@pytest.mark.slow
def test_the_base_of_the_wheel_compares_two_results_files_without_torch(
    base_python: Path, tmp_path: Path
) -> None:
    boxes = [(f"{i}.png", "Mass", (8, 8, 16, 16)) for i in range(3)]
    (tmp_path / "truth.json").write_text(json.dumps(coco_ground_truth(["Mass"], boxes)))
    for name, left in (("exact", 8), ("shifted", 16)):  # half of a box over: IoU 1/3
        results = [
            {"image_id": i, "category_id": 1, "bbox": [left, 8, 16, 16], "score": 0.5}
            for i in range(3)
        ]
        (tmp_path / f"{name}.json").write_text(json.dumps(results))
    words = ["--ground-truth", "truth.json", "--out", "out", "--resamples", "100"]
    words += ["--predictions", "exact=exact.json", "shifted=shifted.json"]
    compared = run(base_python.parent / "cxrloc", "compare", *words, cwd=tmp_path)
    assert compared.returncode == 0, compared.stderr
    with (tmp_path / "out" / "mean_iou.csv").open(newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if row["measure"] == "mean_iou"]
    means = {row["localizer"]: float(row["macro mean"]) for row in rows}
    assert means["exact"] == 1
    assert means["shifted"] == pytest.approx(1 / 3, abs=1e-5)
    assert ".333" in (tmp_path / "out" / "report.html").read_text()
    torch = run(base_python, "-c", "import torch")
    assert "No module named 'torch'" in torch.stderr


@pytest.mark.slow
def test_the_wheel_and_hugging_face_datasets_import_side_by_side(
    base_python: Path, tmp_path: Path
) -> None:
    installed = install(base_python, "datasets")
    assert installed.returncode == 0, installed.stderr
    code = (
        "import datasets, importlib.util as u; assert hasattr(datasets, 'load_dataset'), datasets\n"
        "import cxrloc.datasets.readers.nih, cxrloc.configs.command_line\n"
        "assert u.find_spec('tools') is None and u.find_spec('classification') is None\n"
        "assert all(u.find_spec('cxrloc.' + room) for room in "
        f"{ROOMS!r})\nprint('side by side')"
    )
    done = run(base_python, "-c", code, cwd=tmp_path)
    assert done.stdout.strip() == "side by side", done.stderr


def test_every_library_that_the_product_imports_is_named_in_pyproject() -> None:
    named = names(PROJECT["dependencies"])
    for extra in PROJECT["optional-dependencies"].values():
        named |= names(extra)
    assert sorted(imported_libraries() - named) == []


def test_a_library_that_is_missing_is_named_with_the_extra_that_brings_it() -> None:
    extras = PROJECT["optional-dependencies"]
    beyond_base = {
        m: d for m, d in imported_modules().items() if d not in names(PROJECT["dependencies"])
    }
    said = {
        module: EXTRA_OF.get(module, "none") for module in beyond_base.keys() - BROUGHT_BY.keys()
    }
    wrong = {
        m: extra for m, extra in said.items() if beyond_base[m] not in names(extras.get(extra, ()))
    }
    assert wrong == {}


def test_the_base_names_only_libraries_that_the_product_imports_and_not_those_of_train() -> None:
    base = names(PROJECT["dependencies"])
    assert sorted(base - imported_libraries()) == []
    assert base & names(PROJECT["optional-dependencies"]["train"]) == set()


def test_dev_installs_every_extra() -> None:
    extras = PROJECT["optional-dependencies"]
    match = next(m for r in extras["dev"] if (m := re.fullmatch(r"cxrloc\[(.*)\]", r)))
    assert extras.keys() - {"dev"} <= set(match[1].split(","))


def names(requirements: Iterable[str]) -> set[str]:
    """Normalised names of the libraries, without those of cxrloc's own extras."""
    return {normal(re.split(r"[\[<>=;\s]", text)[0]) for text in requirements} - {"cxrloc"}


def normal(name: str) -> str:
    return name.lower().replace("_", "-")


def imported_libraries() -> set[str]:
    return set(imported_modules().values())


@functools.cache
def imported_modules() -> dict[str, str]:
    """Third-party modules that the rooms import, lazily too: the library that brings each."""
    distributions = packages_distributions()
    modules = {
        module.split(".")[0]
        for room in ROOMS
        for path in (REPOSITORY / room).rglob("*.py")
        for module in modules_imported(ast.parse(path.read_text()))
    }
    third_party = modules - set(sys.stdlib_module_names) - {"cxrloc"} - BUILT_BY_THE_USER
    missing = sorted(third_party - set(BROUGHT_BY) - set(distributions))
    assert missing == [], "imported, but not installed here: make test installs all"
    return {m: BROUGHT_BY.get(m) or normal(distributions[m][0]) for m in third_party}


def modules_imported(tree: ast.AST) -> Iterable[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


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
