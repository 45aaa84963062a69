"""The registry of data sets."""

from __future__ import annotations

import pytest

from cxrloc.datasets.readers.registry.datasets import DATASETS, find_dataset


def test_the_boxed_diseases_of_a_data_set_are_among_its_diseases() -> None:
    for dataset in DATASETS.values():
        assert set(dataset.boxed_diseases) <= set(dataset.diseases)
    assert (len(DATASETS["nih"].diseases), len(DATASETS["nih"].boxed_diseases)) == (14, 8)


def test_an_unknown_data_set_lists_the_known_ones() -> None:
    with pytest.raises(
        ValueError,
        match="unknown data set 'mimic'; expected one of nih, chexpert, mura, coco, yolo",
    ):
        find_dataset("mimic")
