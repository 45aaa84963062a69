"""The README: short, with no dead link, and its table of verbs is the one of the code."""

from __future__ import annotations

import re

import pytest

from generate.api import folders
from generate.markdown import REPOSITORY
from generate.verbs import verbs_table

TEXT = (REPOSITORY / "README.md").read_text(encoding="utf-8")
MOST_LINES = 170
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(markdown: str) -> set[str]:
    """The anchors that headings get on a page."""
    titles = re.findall(r"^#+ (.+)$", markdown, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def test_the_readme_is_short() -> None:
    assert len(TEXT.splitlines()) <= MOST_LINES


def test_the_table_of_verbs_is_that_of_the_command() -> None:
    marked = re.search(r"<!-- verbs:.*-->\n(.*?)\n<!-- end of verbs -->", TEXT, re.DOTALL)
    assert marked is not None
    assert marked[1] == verbs_table()


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_links_lead_to_files_and_headings(name: str) -> None:
    links = [
        link
        for link in _LINK.findall((REPOSITORY / name).read_text(encoding="utf-8"))
        if not link.startswith("http")
    ]
    assert links
    for link in links:
        file, _, anchor = link.partition("#")
        target = REPOSITORY / (file or name)
        assert target.exists(), f"{name}: {link} leads nowhere"
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{name}: {link}"


def test_the_tree_of_the_architecture_names_every_folder() -> None:
    page = (REPOSITORY / "docs/explanation/architecture.md").read_text(encoding="utf-8")
    tree = re.search(r"^```text\n(datasets/.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert tree is not None
    listed: list[str] = []
    for line in tree[1].splitlines():
        folder = re.match(r"( *)(\w+)/", line)
        if folder:
            depth = len(folder[1]) // 2
            listed = [*listed, "/".join([*_parents(listed, depth), folder[2]])]
    assert set(folders(all_rooms=True)) <= set(listed)


def _parents(listed: list[str], depth: int) -> list[str]:
    return listed[-1].split("/")[:depth] if depth else []
