"""Whatever is broken in a results file: it is read, or refused in one sentence with the file."""

from __future__ import annotations

import random
import warnings
from pathlib import Path

from cxrloc.datasets.files.coco.read import our_coco
from cxrloc.localization.predictions.results_file import read_results
from datasets.files.coco.exports import EXPORTS, perfect_results, written
from datasets.files.coco.mutation import mutated


def test_a_broken_results_file_ends_in_one_sentence_or_is_read(tmp_path: Path) -> None:
    rng = random.Random(15)
    painted = EXPORTS["CVAT"]()["annotations"][-1]["segmentation"]
    truths = [(export(), our_coco(export(), "gt.json").coco) for export in EXPORTS.values()]
    said: list[str] = []
    path = tmp_path / "x.json"
    for _ in range(300):
        document, ours = rng.choice(truths)
        entries = perfect_results(document)
        entries[2]["segmentation"], entries[3]["segmentation"] = painted, [[1, 2, 30, 40, 5, 60]]
        whole = {**document, "annotations": entries} if rng.random() < 0.3 else entries
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                read_results(written(path, mutated(whole, rng)), ours)
        except ValueError as error:
            said.append(str(error))
    assert 50 < len(said) < 290
    assert all(text.startswith(str(path)) and "\n" not in text for text in said)
