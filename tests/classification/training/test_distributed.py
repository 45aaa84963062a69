"""Two processes of torchrun train, predict and write what one process does."""

from __future__ import annotations

import json
import math
import runpy
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from builders import prepared_images
from cxrloc.classification.bundle.file import read_bundle
from cxrloc.classification.config import ClassifierConfig, DataConfig
from cxrloc.classification.inference.gate_table import read_gate_table
from cxrloc.classification.train_config import TrainConfig
from cxrloc.classification.training.batches import EpochBatches, ImageBatches, augment
from cxrloc.classification.training.distributed import Member
from cxrloc.classification.training.gate_training import GateTraining
from cxrloc.classification.training.samplers import ByRowGroups, Uniform
from cxrloc.datasets.radiograph import Radiograph
from cxrloc.datasets.shards.read import ShardSet, check_complete
from cxrloc.tools.data.build_shards import main as build_shards
from cxrloc.tools.train_classifier import main

REPOSITORY = Path(__file__).resolve().parents[3]
COUNT = 27
# float32 sums in another order; AdamW's and SGD's steps carry the difference on


def drawn_images() -> list[dict[str, Any]]:
    """27 images of 27 patients in 3 folds; a Mass is a bright block, most Hernias are unknown."""
    images = []
    for n in range(COUNT):
        hernia = float(n % 4 < 2) if n % 9 < 4 else math.nan
        labels = {"Mass": float(n % 2), "Hernia": hernia}
        block = 150 * (n % 2)
        images.append({"labels": labels, "patient": f"p{n:02d}", "fold": n % 3, "block": block})
    return images


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared_images(tmp_path_factory.mktemp("images"), drawn_images())


@pytest.fixture(scope="module")
def shards(prepared: Path) -> Path:
    """Shards of 4 images."""
    out = prepared.parent / "shards"
    arguments = f"--prepared {prepared} --out {out} --size 64 --rows 4 --workers 1"
    assert build_shards(arguments.split()) == 0
    return out


Torchrun = Callable[..., subprocess.CompletedProcess[str]]


def near(figures: Any) -> Any:
    """Equal within what the order of sums changes."""
    return pytest.approx(figures, rel=1e-3, abs=1e-4)


@pytest.mark.slow
def test_gradients_statistics_and_a_training_from_shards_are_those_of_one_process(
    shards: Path, torchrun: Torchrun
) -> None:
    script, folder = Path(__file__).with_name("two_processes.py"), shards.parent
    runpy.run_path(str(script))["main"](folder)
    done = torchrun(script, folder)
    assert done.returncode == 0, done.stderr
    assert "I am rank 0" in done.stdout
    assert "I am rank 1" not in done.stdout
    alone, *ranks = (
        json.loads((folder / f"{name}.json").read_text()) for name in ("0-of-1", "0-of-2", "1-of-2")
    )
    assert alone["gathered"] == list(range(10))
    # known: 1 of the first two images, 4 of the others; -log p of each, by hand
    logs = [0.474077, 0.313262, 0.644397, 0.554355, 2.126928]
    assert alone["loss"] == [pytest.approx(sum(logs) / 5, abs=1e-5)]
    assert [figures.pop("failed") for figures in ranks] == [[0.0], [1.0]]
    del alone["failed"]
    assert [name for name in alone if name.startswith("epoch")] == ["epoch 0", "epoch 1"]
    for figures in ranks:
        assert figures.keys() == alone.keys()
        for name, expected in alone.items():
            assert figures[name] == near(expected), name


def arguments(prepared: Path, out: Path, *more: str) -> list[str]:
    options = {
        "data.prepared": prepared,
        "out": out,
        "data.workers": 1,
        "data.fold": 1,
        "model.architecture": "simple_cnn",
        "model.size": 64,
        "train.epochs": 3,
        "train.batch_size": 4,
        "train.precision": "fp32",
        "train.device": "cpu",
        "train.bootstrap": 20,
        "train.loss": "bce_weighted",
        "train.lr": 1e-3,
    }
    return [*(f"--{key}={value}" for key, value in options.items()), *more]


def history(out: Path) -> list[dict[str, float]]:
    epochs: list[dict[str, float]] = json.loads((out / "fold1" / "metrics.json").read_text())
    return epochs["history"]  # type: ignore[call-overload,no-any-return]


@pytest.mark.slow
def test_two_processes_go_on_with_the_run_that_one_began_and_end_as_one_does(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torchrun: Torchrun
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert main(arguments(prepared, one)) == 0
    with monkeypatch.context() as patch:
        patch.setattr(GateTraining, "on_train_epoch_start", killed_at(1))
        with pytest.raises(RuntimeError, match="killed"):
            main(arguments(prepared, two))
    done = torchrun(REPOSITORY / "tools" / "train_classifier.py", *arguments(prepared, two))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("results: ") == done.stdout.count("training 1 of 1") == 1
    assert len(history(one)) == len(history(two)) == 3
    assert history(one)[0] == history(two)[0]  # it went on, it did not start over
    for of_two, of_one in zip(history(two), history(one), strict=True):
        assert of_two == near(of_one)
    rows, expected = (read_gate_table(out / "gate.csv") for out in (two, one))
    # 9 test images: the processes do not share them evenly, each comes once and in order
    assert len(rows) == 9 * 2
    assert [(r.image_id, r.disease) for r in rows] == [(r.image_id, r.disease) for r in expected]
    assert [r.probability for r in rows] == near([r.probability for r in expected])
    files = [sorted(p.name for p in (out / "fold1").iterdir()) for out in (one, two)]
    assert files[0] == files[1]
    names = [read_bundle(out / "fold1" / "classifier.safetensors")[0].keys() for out in (one, two)]
    assert names[0] == names[1]


def killed_at(epoch: int) -> object:
    begin = GateTraining.on_train_epoch_start

    def die(module: GateTraining) -> None:
        if module.current_epoch == epoch:
            raise RuntimeError("killed")
        begin(module)

    return die


@pytest.mark.parametrize("ranks", [2, 4])
def test_the_processes_share_every_step_that_one_would_take(ranks: int) -> None:
    order = Uniform(27, seed=5)
    alone = list(EpochBatches(27, 8, order))
    shared = [list(EpochBatches(27, 8, order, Member(r, ranks))) for r in range(ranks)]
    assert [len(batches) for batches in shared] == [3] * ranks
    together = [[i for part in step for i in part] for step in zip(*shared, strict=True)]
    assert together == alone
    assert {len(part) for batches in shared for part in batches} == {8 // ranks}


@pytest.mark.parametrize("ranks", [1, 2])
def test_an_epoch_of_fewer_steps_begins_like_a_whole_one_and_shows_others_the_next_time(
    ranks: int,
) -> None:
    order = Uniform(27, seed=5)
    for rank in range(ranks):
        member = Member(rank, ranks)
        whole, short = (EpochBatches(27, 8, order, member, most) for most in (0, 2))
        assert (len(whole), len(short)) == (3, 2)
        first = list(short)
        assert first == list(whole)[:2]
        short.set_epoch(1)
        assert list(short) != first
    assert len(EpochBatches(27, 8, order, Member(), 9)) == 3


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
def test_images_without_an_order_come_once_over_all_processes(ranks: int) -> None:
    parts = [list(EpochBatches(11, 30, None, Member(r, ranks))) for r in range(ranks)]
    assert [i for batches in parts for batch in batches for i in batch] == list(range(11))
    assert [len(batches) for batches in parts] == [
        len(EpochBatches(11, 30, None, Member(r, ranks))) for r in range(ranks)
    ]


def test_a_image_is_changed_alike_whichever_process_has_it() -> None:
    grey = torch.rand(8, 16, 16) * 255
    config = TrainConfig(flip=True)
    alone = augment(grey, config, np.random.default_rng(1))
    parts = [
        augment(grey[4 * r : 4 * r + 4], config, np.random.default_rng(1), Member(r, 2))
        for r in (0, 1)
    ]
    torch.testing.assert_close(torch.cat(parts), alone, rtol=0, atol=0)


def test_what_does_not_go_round_is_refused() -> None:
    with pytest.raises(ValueError, match=r"train\.batch_size: got 9, expected a multiple of 2"):
        EpochBatches(27, 9, None, Member(0, 2))
    with pytest.raises(
        ValueError, match=r"3 images, expected at least 8 to train with 2 processes"
    ):
        EpochBatches(3, 8, Uniform(3, 0), Member(0, 2))
    with pytest.raises(ValueError, match="1 images, expected at least 2"):
        EpochBatches(1, 8, None, Member(0, 2))
    with pytest.raises(ValueError, match="rank 2, expected 0 to 1"):
        Member(2, 2)


def images_of(shards: Path, kind: str = "grey") -> ImageBatches:
    shard_set = ShardSet(str(shards), 64)
    images = [Radiograph(i, None, i, "", {}) for i in shard_set.image_ids]
    return ImageBatches(shard_set, images, ("Mass",), 2.0, kind)


def test_each_process_reads_its_own_stretches_of_the_shards(shards: Path) -> None:
    """27 images, steps of 4: 6 steps, and each place of a step has 6 images."""
    groups = images_of(shards).groups
    assert groups is not None
    order = ByRowGroups(groups, 4, seed=2)
    assert len(order) == 24
    epoch = order.positions(0)
    assert len(set(epoch.tolist())) == 24
    assert epoch.tolist() != order.positions(1).tolist()
    assert epoch.tolist() == ByRowGroups(groups, 4, seed=2).positions(0).tolist()
    first, other = (
        {i for batch in EpochBatches(COUNT, 4, order, Member(r, 2)) for i in batch} for r in (0, 1)
    )
    assert not first & other
    assert len(first) == len(other) == 12


def test_few_row_groups_are_in_use_at_a_time() -> None:
    """640 groups of 32 images, 4 places: each shuffles 8 groups at a time, 32 in all."""
    groups = np.repeat(np.arange(640), 32)
    order = ByRowGroups(groups, 4, seed=0)
    epoch = groups[order.positions(0)].reshape(-1, 4)
    assert sorted(groups[order.positions(0)].tolist()) == groups.tolist()
    # 8 groups of 32 images last 256 steps; the stretches of 5,120 steps begin with a turn
    for place in range(4):
        turns = epoch[:, place].reshape(20, 256)
        assert [len(set(turn.tolist())) for turn in turns] == [8] * 20
    # more places than groups at a time: one group each
    assert ByRowGroups(groups, 64, seed=0).together == 1


@pytest.mark.parametrize(("kind", "planes"), [("grey", ()), ("enhanced", (3,))])
def test_shards_feed_the_training_as_the_cache_does_in_the_same_order(
    shards: Path, kind: str, planes: tuple[int, ...]
) -> None:
    images = images_of(shards, kind)
    plain = {i: images.cache[i] for i in images.image_ids}
    radiographs = [Radiograph(i, None, i, "", {}) for i in images.image_ids]
    cached = ImageBatches(plain, radiographs, ("Mass",), 2.0, kind)  # type: ignore[arg-type]
    assert images.groups is not None
    for batch in EpochBatches(COUNT, 4, ByRowGroups(images.groups, 4, 0)):
        np.testing.assert_array_equal(images[batch][0], cached[batch][0])
        assert images[batch][0].shape == (4, *planes, 64, 64)


@pytest.mark.slow
def test_a_run_from_shards_is_another_run_than_one_from_the_cache(
    prepared: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from_shards = arguments(prepared, tmp_path, f"--data.shards={shards}", "--train.epochs=1")
    assert main(from_shards) == 0
    assert main(from_shards) == 0
    assert "already finished, skipped" in capsys.readouterr().out
    assert main(arguments(prepared, tmp_path, "--train.epochs=1")) == 2
    assert "started with other settings (row groups was " in capsys.readouterr().err


def test_shards_of_other_images_or_with_another_sampler_are_refused(
    prepared: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match=r"train\.sampler: got 'capped', expected uniform"):
        ClassifierConfig(data=DataConfig(shards=str(shards)), train=TrainConfig(sampler="capped"))
    assert main(arguments(prepared, tmp_path / "run", f"--data.shards={tmp_path / 'none'}")) == 2
    assert "no finished shards of 64 px in" in capsys.readouterr().err
    lacking = [Radiograph(i, None, i, "", {}) for i in ("00.png", "new.png")]
    with pytest.raises(
        ValueError, match=r"1 of 2 images are not in .*, for example new\.png; make"
    ):
        check_complete(ShardSet(str(shards), 64), lacking, strict=False)
