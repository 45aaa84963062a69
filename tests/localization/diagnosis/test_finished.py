"""Which images are done already: those whose JSON says so, and no damaged one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from builders import write_image
from cxrloc.datasets.files.manifest import write_json
from cxrloc.localization.diagnosis.finished import read_done, source_facts

MODELS = {"config": {}, "hashes": {"gate": "ab"}, "write": ["json"]}


@pytest.mark.parametrize(
    ("write", "done"),
    [
        (["json"], True),
        (["json", "pictures"], True),
        (["pictures"], False),
        ([["json"]], False),
        ([{"json": 1}], False),
        (None, False),
        (7, False),
    ],
)
def test_an_image_is_done_if_what_is_asked_for_was_written(
    tmp_path: Path, write: Any, done: bool
) -> None:
    image = write_image(tmp_path / "a.png")
    record = {
        "images": [{"file_name": "a.png", "width": 16, "height": 16}],
        "categories": [{"id": 1, "name": "Mass"}],
        "findings": [{"disease": "Mass", "probability": 0.5, "threshold": 0.4, "present": True}],
        "annotations": [],
        "localizers": ["cam"],
        "warnings": [],
        "manifest": {**MODELS, "write": write, **source_facts(image)},
    }
    write_json(tmp_path / "a.json", record)
    assert (read_done(tmp_path, "a", image, MODELS) is not None) == done
