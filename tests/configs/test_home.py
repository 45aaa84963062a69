"""A path with `~` means the home folder, on every command line and in every config."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cxrloc.configs.command_line import load_config, named_files, tool_parser, with_home


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@dataclass(frozen=True)
class Inner:
    prepared: str = ""


@dataclass(frozen=True)
class Outer:
    out: str
    gate: Path | None = None
    files: list[str] | None = None
    data: Inner = field(default_factory=Inner)


@pytest.mark.parametrize(
    ("written", "means"),
    [
        ("~", "{home}"),
        ("~/a/b~c", "{home}/a/b~c"),
        ("--out=~/a", "--out={home}/a"),
        ("rsna=~/a,x=~/b,~/c", "rsna={home}/a,x={home}/b,{home}/c"),
        ("a~/b", "a~/b"),
        ("~nobody-of-this-name/x", "~nobody-of-this-name/x"),
        ("file~", "file~"),
        ("./~/x", "./~/x"),
    ],
)
def test_only_a_tilde_that_begins_a_path_is_the_home_folder(
    home: Path, written: str, means: str
) -> None:
    assert with_home(written) == means.format(home=home)
    assert with_home({"a": [written, 3]}) == {"a": [means.format(home=home), 3]}


def test_options_of_tools(home: Path) -> None:
    parser = tool_parser("A tool.")
    parser.add_argument("inputs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--predictions", nargs="+")
    words = ["~/x.png", "y.png", "--out=~/out", "--predictions", "a=~/a.json"]
    read = parser.parse_args(words)
    assert read.inputs == [home / "x.png", Path("y.png")]
    assert read.out == home / "out"
    assert named_files(read.predictions) == {"a": home / "a.json"}


def test_configs_and_their_options(home: Path) -> None:
    lines = ["out: ~/runs", "gate: ~/gate", "files: [~/a, b]", "data:", "  prepared: ~/data"]
    (home / "config.yaml").write_text("\n".join(lines))
    expected = Outer(f"{home}/runs", home / "gate", [f"{home}/a", "b"], Inner(f"{home}/data"))
    assert load_config(Outer, ["--config", "~/config.yaml"]) == expected
    given = ["--out", "~/runs", "--gate=~/gate", "--files", "~/a", "b", "--data.prepared", "~/data"]
    assert load_config(Outer, given) == expected
