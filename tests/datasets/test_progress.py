"""Progress where stderr is a file, as it is in tests: a few plain lines."""

from __future__ import annotations

import pytest
from tqdm import tqdm

from cxrloc.datasets.progress import progress


def test_a_quick_step_is_one_line_at_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress(range(500), "reading", 500)) == list(range(500))
    assert capsys.readouterr().err == "reading: 500 of 500 images, 00:00\n"


def test_a_long_step_says_where_it_is_ever_more_rarely(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr("cxrloc.datasets.progress.time.monotonic", lambda: clock[0])
    bar: tqdm[object] = progress(None, "fold0", 1000, unit="step")
    bar.set_postfix_str("loss 0.5", refresh=False)
    for _ in range(1000):  # 1000 steps of a second
        clock[0] += 1.0
        bar.update()
        bar.refresh()
    bar.close()
    lines = [line.partition(",")[0] for line in capsys.readouterr().err.splitlines()]
    steps = [30, 90, 210, 450, 930, 1000]  # after 30 s, then twice as long each time
    assert lines == [f"fold0: {step} of 1000 steps" for step in steps]


def test_a_resumed_step_of_unknown_length_ends_with_its_count(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bar: tqdm[object] = progress(None, "fold0", unit="step", initial=3)
    bar.update(2)
    bar.close()
    bar.close()
    assert capsys.readouterr().err == "fold0: 5 of ? steps, 00:00\n"
