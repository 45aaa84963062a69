"""Every command line in README.md and docs/ is one that the real parsers take."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from cxrloc.configs.verbs import VERBS
from generate.markdown import REPOSITORY
from generate.parsers import parser_of, verb_named

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`cxrloc ([a-z][^`]*)`")
_SCRIPTS = {verb.path: verb.name for verb in VERBS}


def fenced_commands(page: Path) -> Iterator[list[str]]:
    """The words after `cxrloc`, or after a script as if its verb had been typed."""
    for language, block in _FENCE.findall(page.read_text(encoding="utf-8")):
        for line in block.replace("\\\n", " ").splitlines() if not language else ():
            words = shlex.split(line, comments=True)
            for place, word in enumerate(words):
                if word == "cxrloc" and words[place + 1 :]:
                    yield words[place + 1 :]
                elif word in _SCRIPTS:
                    yield [_SCRIPTS[word], *words[place + 1 :]]


COMMANDS = [(page, words) for page in PAGES for words in fenced_commands(page)]


@pytest.mark.parametrize(
    ("page", "words"), COMMANDS, ids=[f"{page.stem}: {' '.join(words)}" for page, words in COMMANDS]
)
def test_command_is_taken_by_its_parser(
    page: Path,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(REPOSITORY)  # configs/... is read
    parser = parser_of(verb_named(words[0]))
    arguments = parser.with_lists(words[1:]) if hasattr(parser, "with_lists") else words[1:]
    try:
        parser.parse_args(arguments)
    except SystemExit:
        pytest.fail(f"{page.name}: cxrloc {' '.join(words)}\n{capsys.readouterr().err}")


def test_there_are_commands_to_check() -> None:
    assert len(COMMANDS) > 40
    assert {"demo", "benchmark"} >= {v.name for v in VERBS} - {words[0] for _, words in COMMANDS}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_within_a_sentence_name_verbs_and_options_that_exist(page: Path) -> None:
    for command in _INLINE.findall(page.read_text(encoding="utf-8")):
        name, *words = command.split()
        known = option_strings(parser_of(verb_named(name)))
        unknown = [word for word in words if word.startswith("--") and word not in known]
        assert not unknown, f"{page.name}: `cxrloc {command}`: {unknown}, expected one of {known}"


def option_strings(parser: argparse.ArgumentParser) -> set[str]:
    return {word for action in parser._actions for word in action.option_strings}
