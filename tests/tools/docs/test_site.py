"""The site: built strictly, complete, and readable without a network."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from generate import build
from generate.joint_names import split_joint_names

_FETCHED = re.compile(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=\"?(https?:[^\" >]+)")


@pytest.fixture(scope="module")
def site() -> Path:
    """The whole site in build/docs, as `make docs` leaves it."""
    assert build.main() == 0
    return build.BUILD / "site"


def test_a_page_stands_for_every_source(site: Path) -> None:
    sources = {path.relative_to(build.BUILD / "source") for path in _pages(build.BUILD / "source")}
    assert len(sources) > 50
    missing = [name for name in sources if not (site / name.with_suffix(".html")).is_file()]
    assert not missing


def _pages(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.md"))


def test_no_page_fetches_anything_from_a_network(site: Path) -> None:
    fetched = {url for page in site.rglob("*.html") for url in _FETCHED.findall(page.read_text())}
    assert not fetched


@pytest.mark.parametrize("link", ["nowhere.md", "index.md#nowhere"])
def test_a_dead_link_ends_the_build(tmp_path: Path, link: str) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.md").write_text(f"# Start\n[here]({link})\n")
    (tmp_path / "zensical.toml").write_text('[project]\nsite_name = "x"\n')
    built = build.run_zensical(tmp_path / "zensical.toml")
    assert built.returncode != 0
    assert "does not exist" in built.stdout


def test_names_explained_together_are_explained_apart() -> None:
    docstring = "Draw.\n\nArgs:\n    low, high: ends of it,\n        in pixels.\n    text: shown.\n"
    assert split_joint_names(docstring) == (
        "Draw.\n\nArgs:\n    low: ends of it,\n        in pixels.\n    high: ends of it,\n"
        "        in pixels.\n    text: shown.\n"
    )
