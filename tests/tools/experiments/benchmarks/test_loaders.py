"""The benchmark of loaders reads shards as a training does, and tells a row a loader."""

from __future__ import annotations

from pathlib import Path

from torch.utils.data import DataLoader

from cxrloc.classification.training.batches import EpochBatches, ImageBatches
from cxrloc.classification.training.samplers import ByRowGroups
from cxrloc.datasets.phantoms.nih import PhantomConfig, make_phantom
from cxrloc.datasets.readers import nih
from cxrloc.tools.experiments.benchmarks.loaders import (
    Rate,
    _loaders,
    hash_table,
    loader_rates,
    rate_table,
)


def test_shards_are_timed_on_the_path_of_a_training(tmp_path: Path) -> None:
    root = make_phantom(PhantomConfig(patients=4), tmp_path / "phantom")
    images = list(nih.index(root).radiographs)
    rates = loader_rates(images, tmp_path / "shards", [32], [0], repeats=1, seconds=0)
    names = [rate.loader for rate in rates]
    assert names[2:] == ["shards, raw", "shards, png"]
    assert rates[0].ratio == 1
    hashes = hash_table(tmp_path / "shards", [32]).splitlines()
    assert [line.split()[:4] for line in hashes[2:]] == [
        ["shards,", "raw", "32", "0"],
        ["shards,", "png", "32", "0"],
    ]
    loaders = _loaders(images, tmp_path / "shards", 32, 0)
    for name in names[2:]:
        loader = loaders[name]
        assert isinstance(loader, DataLoader)
        assert isinstance(loader.dataset, ImageBatches)
        assert isinstance(loader.sampler, EpochBatches)
        assert isinstance(loader.sampler.order, ByRowGroups)
        assert sum(len(labels) for _, labels in loader) == len(images)


def test_the_table_has_a_line_a_loader_and_columns_for_the_workers() -> None:
    table = rate_table([Rate("PNG", 256, 0, 50.0, 1.0), Rate("shards", 256, 0, 1234.0, 24.7)])
    assert [line.split() for line in table.splitlines()] == [
        ["Images", "a", "second"],
        ["loader", "size", "0", "workers", "ratio,", "0", "workers"],
        ["PNG", "256", "50", "1.0"],
        ["shards", "256", "1,234", "24.7"],
    ]
