"""The API reference: a page for each folder of the rooms, filled by mkdocstrings."""

from __future__ import annotations

import tomllib
from pathlib import Path

from generate.markdown import REPOSITORY, module_docstring, plain, table

# in the order of the floors; tools/ is left out: its scripts are the verbs
ROOMS = ("datasets", "classification", "localization", "detection", "configs")
_START = """# API

Import everything by its full name, `cxrloc.<folder>.<module>`; the folders are namespace packages
and export nothing of their own. These are the places to begin.

"""
_DOORS = (
    ("Read an image, PNG, JPEG or DICOM", "cxrloc.datasets.images.read.read_image"),
    ("Classify and box images", "cxrloc.detection.load_diagnoser.load_diagnoser"),
    ("Read a ground truth", "cxrloc.localization.evaluation.ground_truth.ground_truth_from_coco"),
    ("Compare localizers", "cxrloc.localization.comparison_report.build.build_report"),
    ("Bring heat maps", "cxrloc.localization.cam.heat_maps.write_heat_maps"),
    ("Index a data set", "cxrloc.datasets.readers.nih.index"),
)


def api_pages() -> dict[str, str]:
    """File name below reference/api -> text: an index, and one page for each folder."""
    pages = {f"{_slug(folder)}.md": _page(folder) for folder in folders()}
    return {"index.md": _index(), **pages}


def folders(all_rooms: bool = False) -> list[str]:
    """The folders that hold modules, in the order of the floors; of all rooms, or of `ROOMS`."""
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    packages: list[str] = settings["tool"]["setuptools"]["packages"]
    names = [package.removeprefix("cxrloc.").replace(".", "/") for package in packages]
    if all_rooms:
        return names
    documented = [name for name in names if name.split("/")[0] in ROOMS]
    return sorted(documented, key=lambda name: (ROOMS.index(name.split("/")[0]), name))


def _modules(folder: str) -> list[str]:
    return [
        f"{folder.replace('/', '.')}.{path.stem}"
        for path in sorted((REPOSITORY / folder).glob("*.py"))
    ]


def _slug(folder: str) -> str:
    return folder.replace("/", "_")


def _index() -> str:
    calls = [(title, f"[`{name.removeprefix('cxrloc.')}`][{name}]") for title, name in _DOORS]
    doors = table(("to", "call"), calls)
    rows = [
        (
            f"[`cxrloc.{folder.replace('/', '.')}`]({_slug(folder)}.md)",
            ", ".join(f"`{Path(module.replace('.', '/')).name}`" for module in _modules(folder)),
        )
        for folder in folders()
    ]
    return f"{_START}{doors}\n\n## All folders\n\n{table(('folder', 'modules'), rows)}"


def _page(folder: str) -> str:
    modules = _modules(folder)
    rows = [
        (f"[`{name.rpartition('.')[2]}`][cxrloc.{name}]", plain(_first_line(name)))
        for name in modules
    ]
    parts = [f"# cxrloc.{folder.replace('/', '.')}", table(("module", "for"), rows)]
    return "\n\n".join([*parts, *(f"::: cxrloc.{name}" for name in modules)])


def _first_line(module: str) -> str:
    return module_docstring(module).split("\n\n")[0]
