"""The rules of the house: who may import whom, and how large files and folders may become."""

from __future__ import annotations

import ast
import functools
import graphlib
import itertools
import subprocess
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
ROOMS = ("classification", "configs", "datasets", "detection", "localization", "tools")
MOST_ENTRIES = 12
MOST_LINES = 300
MOST_FUNCTION_LINES = 60

# Folders of tests that mirror no folder of the product: what runs in a browser, whole tools.
TESTS_OF_THEIR_OWN = {
    "browser",
    "tools/docs",
    "tools/prediction",
    "tools/prediction/many",
    "tools/training",
}
HOUSE = tomllib.loads((REPOSITORY / "tests/house.toml").read_text())
MAY_IMPORT: dict[str, list[str]] = HOUSE["may_import"]


@dataclass(frozen=True)
class Import:
    """An import of one product module by another; both are paths below the repository."""

    importer: str
    line: int
    imported: str

    def folders(self) -> tuple[str, str]:
        return folder_of(self.importer), folder_of(self.imported)

    def __str__(self) -> str:
        return f"{self.importer}:{self.line}: imports {self.imported}"


def folder_of(path: str) -> str:
    return str(PurePosixPath(path).parent)


@functools.cache
def repository_files() -> tuple[str, ...]:
    """All files that git tracks or would track."""
    listed = subprocess.run(
        ["git", "-C", REPOSITORY, "ls-files", "-co", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    )
    return tuple(name for name in listed.stdout.splitlines() if (REPOSITORY / name).is_file())


def modules(*top_folders: str) -> list[str]:
    files = [name for name in repository_files() if name.endswith(".py")]
    return [name for name in files if name.split("/")[0] in top_folders]


@functools.cache
def parsed(name: str) -> ast.Module:
    return ast.parse((REPOSITORY / name).read_text(), name)


@functools.cache
def product_imports() -> tuple[Import, ...]:
    """Every import of cxrloc in the rooms, wherever in the module it stands."""
    known = set(modules(*ROOMS))
    return tuple(
        Import(name, node.lineno, path)
        for name in sorted(known)
        for node in ast.walk(parsed(name))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for path in _imported_paths(node, known)
    )


def _imported_paths(node: ast.Import | ast.ImportFrom, known: Set[str]) -> set[str]:
    names = [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        # of `from a.b import c` both a/b.py and a/b/c.py may be the module
        names = [f"{node.module}", *(f"{node.module}.{name}" for name in names)]
    return {path for name in names if (path := _path_of_module(name)) in known}


def _path_of_module(name: str) -> str:
    return name.removeprefix("cxrloc.").replace(".", "/") + ".py" if "cxrloc." in name else ""


def matches(folder: str, pattern: str) -> bool:
    return (
        f"{folder}/".startswith(pattern.removesuffix("*")) if "*" in pattern else folder == pattern
    )


def key_of(folder: str) -> str | None:
    """The most exact line of the table that is for this folder."""
    return max((key for key in MAY_IMPORT if matches(folder, key)), key=len, default=None)


def circle(edges: Mapping[str, Set[str]]) -> list[tuple[str, str]]:
    """The edges of a circle, or none; an edge leads from the importer to what it imports."""
    try:
        graphlib.TopologicalSorter(edges).prepare()
    except graphlib.CycleError as error:
        nodes = error.args[1]  # each is imported by the next
        return [(importer, imported) for imported, importer in itertools.pairwise(nodes)]
    return []


def assert_none(violations: list[str], rule: str) -> None:
    assert not violations, "\n".join(["", *violations, f"=> {rule}"])


def test_every_folder_of_the_product_has_its_line_in_the_table() -> None:
    keys = {folder: key_of(folder) for name in modules(*ROOMS) for folder in [folder_of(name)]}
    violations = [f"{folder}: is not in the table" for folder, key in keys.items() if not key]
    violations += [
        f"tests/house.toml: {key!r} is the line of no folder with modules"
        for key in sorted(set(MAY_IMPORT) - set(keys.values()))
    ]
    assert_none(violations, "keep the table in tests/house.toml in step with the folders")


def test_folders_import_only_what_the_table_allows() -> None:
    violations = []
    for each in product_imports():
        importer, imported = each.folders()
        allowed = MAY_IMPORT.get(key_of(importer) or "", [])
        if importer != imported and not any(matches(imported, pattern) for pattern in allowed):
            violations.append(f"{each}, but {importer} may import only {allowed}")
    assert_none(
        violations,
        "move the definition down to a folder that both may import; widen tests/house.toml only "
        "for an import that points down",
    )


@pytest.mark.parametrize("unit", ["module", "folder"])
def test_no_circle_among(unit: str) -> None:
    origins: dict[tuple[str, str], Import] = {}
    edges: dict[str, set[str]] = {}
    for each in product_imports():
        importer, imported = (each.importer, each.imported) if unit == "module" else each.folders()
        if importer != imported:
            origins.setdefault((importer, imported), each)
            edges.setdefault(importer, set()).add(imported)
    assert_none(
        [str(origins[edge]) for edge in circle(edges)],
        f"these imports form a circle of {unit}s: move what both sides need below them",
    )


def test_folders_hold_at_most_twelve_entries() -> None:
    entries: dict[str, set[str]] = {}
    for name in repository_files():
        if name.split("/")[0] in (*ROOMS, "tests", "docs"):
            for path in (PurePosixPath(name), *PurePosixPath(name).parents):
                entries.setdefault(str(path.parent), set()).add(path.name)
    violations = [
        f"{folder}: holds {len(names)} entries, expected at most {MOST_ENTRIES}: {sorted(names)}"
        for folder, names in sorted(entries.items())
        if folder != "." and len(names) > MOST_ENTRIES
    ]
    assert_none(violations, "group what belongs together in a folder with a name of its own")


def test_modules_are_short() -> None:
    lengths = {name: len((REPOSITORY / name).read_text().splitlines()) for name in _all_modules()}
    violations = [
        f"{name}:{lines}: has {lines} lines, expected at most {MOST_LINES}"
        for name, lines in lengths.items()
        if lines > MOST_LINES
    ]
    assert_none(violations, "split it by topic")


def _all_modules() -> list[str]:
    return modules(*ROOMS, "tests")


def test_functions_are_short() -> None:
    violations = [
        f"{name}:{node.lineno}: {node.name} has {lines} lines, expected at most "
        f"{MOST_FUNCTION_LINES}"
        for name in _all_modules()
        for node in ast.walk(parsed(name))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > MOST_FUNCTION_LINES
    ]
    assert_none(violations, "split it into functions of one step each")


def test_no_folder_is_a_package_by_an_init_file() -> None:
    violations = [
        f"{name}:1: expected no __init__.py: the folders are namespace packages"
        for name in repository_files()
        if PurePosixPath(name).name == "__init__.py"
    ]
    assert_none(violations, "delete it, and import what it exported from where it is defined")


def test_tests_mirror_the_product() -> None:
    product = {folder_of(name) for name in modules(*ROOMS)} | {"."} | TESTS_OF_THEIR_OWN
    folders = {folder_of(name.removeprefix("tests/")) for name in modules("tests")}
    violations = [f"tests/{folder}: tests no folder" for folder in sorted(folders - product)]
    assert_none(violations, "tests of room/folder/module.py are in tests/room/folder")


def test_pyproject_lists_every_package_once() -> None:
    listed = Counter(_setuptools()["packages"])
    expected = {f"cxrloc.{folder_of(name).replace('/', '.')}" for name in modules(*ROOMS)}
    violations = [f"{name}: is missing from packages" for name in sorted(expected - set(listed))]
    violations += [f"{name}: has no module" for name in sorted(set(listed) - expected)]
    violations += [
        f"{name}: is listed {count} times" for name, count in listed.items() if count > 1
    ]
    rooms = {f"cxrloc.{room}": room for room in ROOMS}
    if _setuptools()["package-dir"] != rooms:
        violations.append(f"package-dir: expected {rooms}")
    assert_none(violations, "mend [tool.setuptools] in pyproject.toml")


def test_pyproject_lists_every_data_file_and_no_other() -> None:
    data = {
        name
        for name in repository_files()
        if name.split("/")[0] in ROOMS and not name.endswith(".py")
    }
    matched: set[str] = set()
    violations = []
    for package, pattern in _data_patterns():
        folder = REPOSITORY / package.removeprefix("cxrloc.").replace(".", "/")
        paths = {path.relative_to(REPOSITORY).as_posix() for path in folder.glob(pattern)} & data
        matched |= paths
        if not paths:
            violations.append(f"{package}: {pattern!r} matches no file")
    violations += [f"{name}: is matched by no pattern" for name in sorted(data - matched)]
    assert_none(violations, "mend [tool.setuptools.package-data] in pyproject.toml")


def _data_patterns() -> Iterator[tuple[str, str]]:
    for package, patterns in _setuptools()["package-data"].items():
        for pattern in patterns:
            yield package, pattern


def _setuptools() -> dict[str, Any]:
    text = (REPOSITORY / "pyproject.toml").read_text()
    settings: dict[str, Any] = tomllib.loads(text)["tool"]["setuptools"]
    return settings
