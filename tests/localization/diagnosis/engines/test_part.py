"""The listing of many images, and what a run keeps of them."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest

from builders import chest_pixels
from cxrloc.datasets.readers.loose_images import ResultNames, images_below
from cxrloc.localization.diagnosis.engines.part import OpenParts, parts_of
from cxrloc.localization.diagnosis.engines.tally import Tally
from cxrloc.localization.diagnosis.engines.work import Outcome, Work

COUNT = 5000
FOUND = {"disease": "Mass", "probability": 0.5, "threshold": 0.4, "present": True}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    first = folder / "0.png"
    first.write_bytes(chest_pixels().tobytes())
    for number in range(1, COUNT):
        (folder / f"{number}.png").hardlink_to(first)
    return folder


def work_through(files: Sequence[str], names: ResultNames, work: Work, tally: Tally) -> None:
    """As an engine does, without predicting."""
    parts = OpenParts(parts_of(files, names, work.out), work, tally.add)
    for task in parts.tasks():
        record = {"images": [{"file_name": task.result}], "findings": [dict(FOUND)]}
        outcome = Outcome(task, {**record, "annotations": [], "localizers": []})
        tally.add(outcome)
        parts.take(outcome)


def test_a_run_holds_the_listing_once_and_nothing_else_that_grows(
    images: Path, tmp_path: Path
) -> None:
    work, tally = Work(str(tmp_path / "out"), ("json",), {}), Tally()
    one = images_below([images]).files[:1]
    work_through(one, ResultNames(one), work, Tally())  # modules are loaded when they are used
    tracemalloc.start()
    try:
        found = images_below([images])
        names = ResultNames(found.files)
        listed, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        work_through(found.files, names, work, tally)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    text = sum(49 + len(file) + 8 for file in found.files)  # a str, and its place in the list
    assert tally.now == len(found.files) == COUNT
    assert listed < 1.3 * text
    assert peak - listed < 300_000  # the tasks of one part: 60 bytes an image would be more


def test_hard_links_and_each_file_of_several_inputs_are_listed_once(images: Path) -> None:
    (images / "link.png").symlink_to(images / "3.png")
    found = images_below([images / "3.png", images])
    assert len(found.files) == COUNT
    assert found.files[:2] == [str(images / "3.png"), str(images / "0.png")]


def test_names_that_are_no_text_are_escaped_in_the_tables(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    name = os.fsdecode(b"bad\xff.png")
    (folder / name).write_bytes(chest_pixels().tobytes())
    found = images_below([folder])
    names = ResultNames(found.files)
    [part] = parts_of(found.files, names, str(tmp_path / "out"))
    [task] = part.tasks
    assert task.source == str(folder / name)  # the file is opened by its own name
    assert (task.result, task.path) == ("bad\\xff", "../images/bad\\xff.png")
