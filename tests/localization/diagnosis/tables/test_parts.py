"""Parts of the tables: what is written is read, and damage means that a part is done again."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxrloc.datasets.files.storage import Storage
from cxrloc.localization.diagnosis.tables.coco_results import write_coco_results
from cxrloc.localization.diagnosis.tables.parts import (
    BOXES_TABLE,
    FINDINGS_TABLE,
    part_name,
    read_part,
    write_part,
)
from cxrloc.localization.diagnosis.tables.rows import rows_of

RECORD = {
    "images": [{"file_name": "ä.png", "width": 64, "height": 32}],
    "categories": [{"id": 1, "name": "Mass"}],
    "findings": [{"disease": "Mass", "probability": 0.1, "threshold": None, "present": False}],
    "annotations": [
        {"category_id": 1, "localizer": "cam", "rank": 1, "score": 1 / 3, "bbox": [8, 8, 32, 24]}
    ],
    "warnings": ["dark"],
}


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    names = ({"image": name, "result": name, "path": f"../{name}"} for name in ("ä.png", "b.png"))
    first, second = names
    written = [rows_of(first, RECORD, ""), rows_of(second, None, "it is empty")]
    made = Storage.at(tmp_path)
    write_part(made, 0, "key", {"seed": 1}, written)
    return made


def test_what_is_written_is_read_under_its_key_alone(storage: Storage) -> None:
    first, second = read_part(storage, 0, "key") or []
    assert first.findings[0]["probability"] == 0.1
    assert first.findings[0]["warnings"] == ["dark"]
    assert first.boxes[0]["score"] == 1 / 3
    assert (second.findings[0]["failure"], second.boxes) == ("it is empty", [])
    assert read_part(storage, 0, "other") is None
    assert read_part(storage, 1) is None


@pytest.mark.parametrize("table", [FINDINGS_TABLE, BOXES_TABLE])
def test_no_flipped_bit_changes_a_row_without_a_word(
    storage: Storage, tmp_path: Path, table: str
) -> None:
    before = read_part(storage, 0)
    path = tmp_path / part_name(table, 0)
    whole = path.read_bytes()
    refused = 0
    for place in range(0, len(whole), 5):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        read = read_part(storage, 0)
        assert read is None or read == before, place
        refused += read is None
    assert refused > 100
    path.write_bytes(whole[:-9])
    with pytest.raises(OSError, match="part 0 of the tables is gone or damaged; start again"):
        write_coco_results(storage, 1, ["cam"], {})
