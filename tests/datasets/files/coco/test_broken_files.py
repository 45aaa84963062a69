"""Whatever is broken in a ground truth: it is read, or refused in one sentence with the file."""

from __future__ import annotations

import random
from pathlib import Path

from cxrloc.datasets.files.coco.read import our_coco
from datasets.files.coco.exports import EXPORTS, written
from datasets.files.coco.mutation import mutated


def test_a_broken_file_ends_in_one_sentence_or_is_read(tmp_path: Path) -> None:
    rng = random.Random(15)
    documents = [export() for export in EXPORTS.values()]
    said: list[str] = []
    for _ in range(400):
        document = mutated(rng.choice(documents), rng)
        try:
            coco = our_coco(document, "gt.json").coco
        except ValueError as error:
            said.append(str(error))
        else:
            written(tmp_path / "ours.json", coco)  # what was read can be written, and read again
            assert our_coco(coco, "ours.json").coco["annotations"] == coco["annotations"]
    assert 100 < len(said) < 350
    assert all(text.startswith("gt.json") and "\n" not in text for text in said)
