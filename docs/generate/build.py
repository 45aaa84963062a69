"""Build the documentation site: `make docs`.

    PYTHONPATH=docs python -m generate.build

`build/docs/source` receives a copy of the pages in docs/ and the pages made from the code, and
`build/docs/packages` the rooms under their import name. Zensical makes `build/docs/site` of both. A
dead link or anchor, or a name that the API does not have, ends the build with status 1.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")

from generate.api import ROOMS, api_pages
from generate.configuration import configuration_page
from generate.file_formats import file_formats_page
from generate.glossary import glossary_page
from generate.markdown import REPOSITORY, with_tables
from generate.notebook import notebook_page
from generate.sections import sections_page
from generate.verbs import verbs_page

DOCS = REPOSITORY / "docs"
BUILD = REPOSITORY / "build/docs"
_KEEP_OUT = shutil.ignore_patterns("generate", "*.toml", "*.ipynb", "__pycache__")


def main() -> int:
    """Write the sources and build the site; returns an exit status."""
    write_sources(BUILD / "source")
    _link_rooms(BUILD / "packages/cxrloc")
    shutil.copyfile(DOCS / "zensical.toml", BUILD / "zensical.toml")
    built = run_zensical(BUILD / "zensical.toml")
    print(built.stdout)
    if built.returncode == 0:
        print(f"open {os.path.relpath(BUILD / 'site/index.html')}")
    return min(built.returncode, 1)


def run_zensical(config: Path) -> subprocess.CompletedProcess[str]:
    """Build a site, strictly; what Zensical says is in `stdout`."""
    zensical = Path(sys.executable).with_name("zensical")
    return subprocess.run(
        [zensical, "build", "--clean", "--strict", "-f", config],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "NO_COLOR": "1", "PYTHONPATH": str(DOCS)},
        text=True,
        check=False,
    )


def _link_rooms(package: Path) -> None:
    package.mkdir(parents=True, exist_ok=True)
    for room in ROOMS:
        link = package / room
        if not link.is_symlink():
            link.symlink_to(REPOSITORY / room, target_is_directory=True)


def write_sources(source: Path) -> None:
    """All pages as Markdown: the ones of docs/ and the ones made from the code."""
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(DOCS, source, ignore=_KEEP_OUT)
    for name, text in generated_pages().items():
        _write(source / name, text)
    for notebook in DOCS.glob("*/*.ipynb"):
        with tempfile.TemporaryDirectory() as work:
            page = notebook_page(notebook, Path(work), source / "pictures")
        _write(source / notebook.relative_to(DOCS).with_suffix(".md"), page)


def generated_pages() -> dict[str, str]:
    """Path below the site -> text of every page that is made from the code or from a table."""
    protocols = {
        str(page.relative_to(DOCS)): with_tables(page) for page in DOCS.glob("protocols/*.md")
    }
    pages = {
        "reference/glossary.md": glossary_page(),
        "reference/verbs.md": verbs_page(),
        "reference/configuration.md": configuration_page(),
        "reference/sections.md": sections_page(),
        "reference/file_formats.md": file_formats_page(),
    }
    return protocols | pages | {f"reference/api/{name}": text for name, text in api_pages().items()}


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
