"""An unknown option, or key of a YAML file, is answered with the nearest one that there is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cxrloc.configs.command_line import load_config, tool_parser


@dataclass(frozen=True)
class Train:
    """
    Attributes:
        epochs: how many.
        lr: learning rate.
    """

    epochs: int = 1
    lr: float = 0.1


@dataclass(frozen=True)
class Config:
    """
    Attributes:
        label_file: a file.
        train: nested.
    """

    label_file: str = ""
    train: Train = field(default_factory=Train)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--train.epoch", "3"], "did you mean --train.epochs?"),
        (["--train.epoch=3"], "did you mean --train.epochs?"),
        (["--trian.epochs", "3"], "did you mean --train.epochs?"),
        (["--label-fil", "x"], "did you mean --label-file?"),
        (["--something-else", "x"], ""),
        (["train.epochs"], ""),
    ],
)
def test_an_unknown_option(capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    with pytest.raises(SystemExit) as end:
        load_config(Config, words)
    message = capsys.readouterr().err
    assert end.value.code == 2
    assert "unrecognized arguments" in message
    assert said in message
    assert ("did you mean" in message) == bool(said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("train:\n  epoch: 3\n", "did you mean train.epochs?"),
        ("trian:\n  epochs: 3\n", "did you mean train.epochs?"),
        ("label_fil: x\n", "did you mean label_file?"),
        ("colour: x\n", ""),
    ],
)
def test_an_unknown_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(SystemExit):
        load_config(Config, ["--config", str(path)])
    message = capsys.readouterr().err
    assert str(path) in message
    assert said in message
    assert ("did you mean" in message) == bool(said)


def test_an_unknown_option_of_a_tool_without_settings(capsys: pytest.CaptureFixture[str]) -> None:
    parser = tool_parser("Do something.")
    parser.add_argument("--maskrcnn")
    with pytest.raises(SystemExit):
        parser.parse_args(["--maskrcn", "a"])
    assert (
        "unrecognized arguments: --maskrcn a; did you mean --maskrcnn?" in capsys.readouterr().err
    )


def test_an_absurdly_long_text_in_a_file_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(f"label_file: {'x' * 1500}\n")
    with pytest.raises(SystemExit):
        load_config(Config, ["--config", str(path)])
    message = capsys.readouterr().err
    assert f"{path}: 'xxx" in message
    assert "more than 1000 characters" in message
