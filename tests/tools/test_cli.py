"""The `cxrloc` command: its table, its dispatch, and the help page of every verb."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from cxrloc.configs.verbs import VERBS, Verb
from cxrloc.tools import cli

WIDTH = 80
# Of every verb, in one process: the exit status and the page, and which one loaded torch.
ALL_PAGES = """
import contextlib, io, json, sys
from cxrloc.configs.verbs import VERBS
from cxrloc.tools.cli import main
pages, torch = {}, None
for verb in VERBS:
    with contextlib.redirect_stdout(io.StringIO()) as page:
        try:
            main([verb.name, "--help"])
        except SystemExit as stop:
            pages[verb.name] = [stop.code, page.getvalue()]
    if "torch" in sys.modules and not torch:
        torch = verb.name
print(json.dumps({"pages": pages, "torch": torch}))
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": str(WIDTH)}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )


@pytest.fixture(scope="module")
def helped() -> dict[str, object]:
    done = python(ALL_PAGES)
    assert done.returncode == 0, done.stderr
    result: dict[str, object] = json.loads(done.stdout)
    return result


def page_of(verb: Verb, helped: dict[str, object]) -> str:
    pages = helped["pages"]
    assert isinstance(pages, dict)
    status, page = pages[verb.name]
    assert status == 0
    return str(page)


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_the_help_of_a_verb_has_examples_first_and_one_style_of_options(
    verb: Verb, helped: dict[str, object]
) -> None:
    page = page_of(verb, helped)
    assert page.startswith(f"usage: cxrloc {verb.name} ")
    above, _, _ = page.partition("\noptions:")
    assert f"\n  cxrloc {verb.name} " in above
    assert [line for line in page.splitlines() if len(line) > WIDTH] == []
    options = re.findall(r"--[a-z][\w.-]*", page)
    assert [word for word in options if "_" in word and "." not in word] == []


def test_no_help_page_waits_for_torch(helped: dict[str, object]) -> None:
    assert helped["torch"] is None


@pytest.mark.parametrize("name", ["predict", "compare", "train-gate", "train-maskrcnn", "serve"])
def test_the_verbs_of_most_users_show_three_examples(name: str, helped: dict[str, object]) -> None:
    (verb,) = [verb for verb in VERBS if verb.name == name]
    assert page_of(verb, helped).count(f"\n  cxrloc {name} ") == 3


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_a_verb_calls_the_main_of_its_script_under_its_own_name(
    verb: Verb, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = importlib.import_module(verb.module)
    assert Path(str(module.__file__)).as_posix().endswith(verb.path)
    with pytest.raises(SystemExit, match="2"):
        cli.main([verb.name, "--no-such-option"])
    assert f"cxrloc {verb.name}: error: " in capsys.readouterr().err
    monkeypatch.setattr(module, "main", lambda words: 7 if words == ["a", "--b"] else 0)
    assert cli.main([verb.name, "a", "--b"]) == 7


def test_the_table_names_every_verb_without_loading_what_they_need() -> None:
    heavy = ("torch", "numpy", "pandas", "matplotlib", "yaml", "jsonargparse", "tqdm")
    done = python(
        "import sys; from cxrloc.tools.cli import main; status = main([])\n"
        f"print(status, [name for name in {heavy} if name in sys.modules])"
    )
    *table, last = done.stdout.splitlines()
    assert last == "0 []", done.stderr
    assert max(map(len, table)) <= WIDTH
    for verb in VERBS:
        assert any(line.endswith(f"-> cxrloc {verb.name}") and verb.wish in line for line in table)


def test_the_version_is_that_of_the_installation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"cxrloc {metadata.version('cxrloc')}\n"

    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert cli.main(["--version"]) == 0
    assert "a checkout that is not installed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("word", "said"),
    [("locaize", "did you mean `cxrloc localize`?"), ("xyzzy", "`cxrloc` alone lists all verbs")],
)
def test_an_unknown_verb_is_status_2_with_the_nearest_one(
    word: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([word]) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.out == ""
