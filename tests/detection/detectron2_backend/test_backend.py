"""The detectron2 backend: what it says when missing and, where importable, a tiny training."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from cxrloc.classification.bundle.file import read_bundle, write_bundle
from cxrloc.classification.training.distributed import Member
from cxrloc.classification.training.optimization import warmed_up_cosine
from cxrloc.datasets.images.transforms import fit_square
from cxrloc.datasets.radiograph import Box, LoadedImage, Radiograph
from cxrloc.detection.config import AugmentConfig, DetectorConfig, Init, ModelConfig, TrainConfig
from cxrloc.detection.data import DetectionSet
from cxrloc.detection.detectron2_backend import backend, network, predictor, trainer
from cxrloc.detection.detectron2_backend.network import resnet_names
from cxrloc.detection.mask_rcnn import load_backend, load_predictor
from cxrloc.localization.boxes import iou

installed = importlib.util.find_spec("detectron2") is not None
needs_detectron2 = pytest.mark.skipif(
    not installed, reason="detectron2 is not installed (optional; README says how)"
)
DISEASES = ("Mass", "Nodule")
SIZE = 64
MODEL = ModelConfig(
    fpn_levels=(2, 3, 4),
    fpn_channels=32,
    anchor_sizes=(0.15, 0.3, 0.45, 0.6),
    box_hidden=64,
    mask_channels=16,
    mask_layers=1,
    norm="batch",
)


@pytest.fixture
def without_detectron2(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n, *a: None if n == "detectron2" else find(n, *a)
    )


def config(epochs: int = 2, **train: object) -> DetectorConfig:
    still = AugmentConfig(scale=0, translate=0, brightness=0, contrast=0)
    settings = {"lr": 3e-3, "warmup_steps": 4, "precision": "fp32", "augment": still, **train}
    schedule = TrainConfig(epochs=epochs, batch_size=4, device="cpu", **settings)  # type: ignore[arg-type]
    return DetectorConfig("detectron2", SIZE, DISEASES, seed=3, model=MODEL, train=schedule)


def rectangles(
    count: int, negatives: int = 0, frame_hw: tuple[int, int] = (128, 96)
) -> DetectionSet:
    """Images with a wide bright rectangle (Mass) left or a tall one (Nodule) right."""
    rng = np.random.default_rng(5)
    radiographs, squares = [], {}
    for number in range(count + negatives):
        pixels = rng.integers(10, 40, frame_hw, dtype=np.uint8)
        x, y = rng.integers(4, 16, 2)
        disease, box = ("Mass", (x, y, x + 56, y + 30)), (x + 40, y + 30, x + 66, y + 90)
        name, corners = disease if number % 2 else ("Nodule", box)
        boxes: tuple[Box, ...] = ()
        if number < count:
            x1, y1, x2, y2 = (int(v) for v in corners)
            pixels[y1:y2, x1:x2] = 220 if name == "Mass" else 140
            boxes = (Box(name, (x1, y1, x2, y2)),)
        image_id = f"{number:04d}.png"
        radiographs.append(
            Radiograph(image_id, None, str(number), "PA", {}, boxes, size_hw=frame_hw)
        )
        squares[image_id] = fit_square(pixels, SIZE)
    return DetectionSet(tuple(radiographs), squares, SIZE, DISEASES)


def image(data: DetectionSet, index: int) -> LoadedImage:
    one = data.radiographs[index]
    return LoadedImage(
        one.image_id, data.squares[one.image_id][:, :48], one.size_hw, one.patient_id
    )


def test_the_missing_package_is_named_with_the_way_to_install_it(without_detectron2: None) -> None:
    for ask in (
        lambda: load_backend("detectron2"),
        lambda: backend.load({}, {}),
        lambda: backend.train_detector(config(), rectangles(1), None, Path("nowhere"), Init(), {}),
        lambda: network.detectron2_config(MODEL, 2, SIZE, "cpu"),
    ):
        with pytest.raises(ImportError, match="detectron2 is not installed") as error:
            ask()
        assert "--no-build-isolation" in str(error.value)
        assert "FORCE_CUDA=0" in str(error.value)
        assert "--model.backend torchvision" in str(error.value) or "torchvision" in str(
            error.value
        )


def test_the_module_is_imported_without_detectron2() -> None:
    code = """
        import sys
        import cxrloc.detection.detectron2_backend.backend
        import cxrloc.detection.detectron2_backend.trainer
        print("detectron2" in sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_torchvisions_resnet_names_become_detectron2s() -> None:
    names = {
        "conv1.weight": "bottom_up.stem.conv1.weight",
        "bn1.running_mean": "bottom_up.stem.conv1.norm.running_mean",
        "layer1.0.conv2.weight": "bottom_up.res2.0.conv2.weight",
        "layer2.1.bn2.bias": "bottom_up.res3.1.conv2.norm.bias",
        "layer4.0.downsample.0.weight": "bottom_up.res5.0.shortcut.weight",
        "layer4.0.downsample.1.weight": "bottom_up.res5.0.shortcut.norm.weight",
        "fc.weight": "fc.weight",
        "proposal_generator.rpn_head.conv.bias": "proposal_generator.rpn_head.conv.bias",
    }
    assert list(resnet_names(dict.fromkeys(names, torch.zeros(1)))) == list(names.values())


def test_coco_weights_by_name_are_refused_with_the_alternatives() -> None:
    with pytest.raises(ValueError, match=r"no COCO weights by name.*torchvision"):
        network.load_start(torch.nn.Linear(1, 1), Init("coco"), "resnet50")


def test_several_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "member", lambda: Member(0, 2))
    with pytest.raises(ValueError, match="trains in one process: start it without torchrun"):
        trainer.train(config(), rectangles(1), None, Path("nowhere"), Init(), {})


@needs_detectron2
def test_the_settings_arrive_in_detectron2s_config() -> None:
    cfg = network.detectron2_config(ModelConfig(), 8, 320, "cpu")
    assert cfg.MODEL.ROI_HEADS.NUM_CLASSES == 8
    assert cfg.MODEL.ANCHOR_GENERATOR.SIZES == [[13], [26], [51], [102], [192]]
    assert cfg.MODEL.RPN.IN_FEATURES == ["p2", "p3", "p4", "p5", "p6"]
    assert (cfg.MODEL.RESNETS.DEPTH, cfg.MODEL.RESNETS.RES2_OUT_CHANNELS) == (18, 64)
    assert (cfg.MODEL.RESNETS.NORM, cfg.MODEL.BACKBONE.FREEZE_AT, cfg.MODEL.WEIGHTS) == (
        "BN",
        0,
        "",
    )
    assert cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS is False
    assert cfg.INPUT.RANDOM_FLIP == "none"
    wide = network.detectron2_config(ModelConfig("resnet50"), 8, 320, "cpu")
    assert wide.MODEL.RESNETS.RES2_OUT_CHANNELS == 256


@needs_detectron2
@pytest.mark.parametrize("architecture", ["resnet18", "resnet50"])
def test_a_torchvision_resnet_gives_the_same_features(architecture: str, tmp_path: Path) -> None:
    import torchvision.models

    torch.manual_seed(0)
    ours = getattr(torchvision.models, architecture)(weights=None).eval()
    torch.save(ours.state_dict(), tmp_path / "resnet.pth")
    model = ModelConfig(architecture, weights="file", norm="frozen")  # type: ignore[arg-type]
    built = network.build_network(model, 2, SIZE, "cpu")
    report = network.load_start(built, Init("file", tmp_path / "resnet.pth"), architecture)
    body = [n for n in built.state_dict() if ".bottom_up." in n]
    assert set(body) == set(report.loaded)
    assert set(report.unexpected) >= {"fc.weight", "fc.bias"}
    images = torch.randn(1, 3, SIZE, SIZE)
    with torch.no_grad():
        theirs = built.backbone.bottom_up(images)["res5"]  # type: ignore[operator,union-attr]
        x = ours.maxpool(ours.relu(ours.bn1(ours.conv1(images))))
        expected = ours.layer4(ours.layer3(ours.layer2(ours.layer1(x))))
    torch.testing.assert_close(theirs, expected, rtol=1e-4, atol=1e-4)


@needs_detectron2
def test_the_samples_are_boxes_classes_and_negatives_of_the_set(tmp_path: Path) -> None:
    from cxrloc.detection.detectron2_backend.data import Draws, coco_records

    data = rectangles(2, negatives=1)
    records = coco_records(data, tmp_path / "train_coco.json", "cxrloc_test")
    assert [record["image_id"] for record in records] == [1, 2, 3]
    draws = Draws(records, data, dataclasses.replace(config(epochs=2), seed=0))
    # one batch of all three images an epoch
    assert (draws.steps, len(draws)) == (2, 6)
    for epoch in (0, 1):
        seen = {s["image_id"]: s for s in (draws[i] for i in range(3 * epoch, 3 * epoch + 3))}
        assert sorted(seen) == [1, 2, 3]
        assert len(seen[3]["instances"]) == 0
        assert seen[1]["instances"].gt_classes.tolist() == [DISEASES.index("Nodule")]
        assert seen[2]["instances"].gt_classes.tolist() == [DISEASES.index("Mass")]
        # the image is 128 high, the square 64: half of the box
        half = np.array(data.radiographs[0].boxes[0].box_xyxy) / 2
        assert seen[1]["instances"].gt_boxes.tensor.tolist() == [half.tolist()]
        polygon = seen[1]["instances"].gt_masks.polygons[0][0]
        assert polygon.tolist() == half[[0, 1, 2, 1, 2, 3, 0, 3]].tolist()
        assert torch.equal(seen[1]["image"][0], seen[1]["image"][2])
    resumed = Draws(records, data, draws.config, first_step=1)
    assert [resumed[i]["image_id"] for i in range(3)] == [draws[i]["image_id"] for i in range(3, 6)]
    assert len(resumed) == 3


@needs_detectron2
@pytest.mark.slow
def test_it_learns_exports_and_predicts_the_same_after_loading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = []
    start = trainer.start_network

    def remember(*arguments: object) -> object:
        networks.append(start(*arguments)[0])  # type: ignore[arg-type]
        return networks[0], "weights: none"

    monkeypatch.setattr(trainer, "start_network", remember)
    data, unseen = rectangles(24, negatives=4), rectangles(28)
    settings = config(epochs=12)
    bundle = backend.train_detector(settings, data, None, tmp_path / "run", Init(), {"fold": 1})
    assert bundle == tmp_path / "run" / "maskrcnn.safetensors"
    assert not list((tmp_path / "run").glob("*.pth"))
    images = [image(unseen, i) for i in range(24, 28)]
    before = predictor.Detectron2Predictor(networks[0], DISEASES, SIZE)
    loaded, metadata = load_predictor(bundle)
    assert metadata["backend"] == "detectron2"
    assert metadata["fold"] == 1
    assert metadata["train_boxes"] == {"Mass": 12, "Nodule": 12}
    after = loaded.predict(images)
    for one, other in zip(before.predict(images), after, strict=True):
        assert one.diseases == other.diseases
        np.testing.assert_array_equal(one.boxes_xyxy, other.boxes_xyxy)
        np.testing.assert_array_equal(one.scores, other.scores)
    # in the original frame of 96 x 128 although the image's copy is 48 x 64
    for number, found in zip(range(24, 28), after, strict=True):
        (truth,) = unseen.radiographs[number].boxes
        assert found.diseases[0] == truth.disease
        assert set(found.diseases) == set(DISEASES)
        assert iou(found.boxes_xyxy[:1], np.array([truth.box_xyxy]))[0] > 0.4
        assert found.boxes_xyxy.min() >= 0
        assert (found.boxes_xyxy <= [96, 128, 96, 128]).all()
        assert np.isfinite(found.mask_boxes_xyxy()[0]).all()
        assert found.pasted_mask(0).shape == (128, 96)


@needs_detectron2
@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    data = rectangles(8)
    settings = config(epochs=3, checkpoint_every=2, validate_every=1)
    whole = backend.train_detector(settings, data, rectangles(2), tmp_path / "whole", Init(), {})
    killed = tmp_path / "killed"
    code = f"""
        from pathlib import Path
        import time
        from tests_d2 import *
        from cxrloc.detection.detectron2_backend import data
        class Slow(data.Draws):
            def __getitem__(self, number):
                if number >= 4 * 4:
                    time.sleep(120)
                return super().__getitem__(number)
        from cxrloc.detection.detectron2_backend import trainer
        trainer.Draws = Slow
        settings = config(epochs=3, checkpoint_every=2, validate_every=1)
        backend.train_detector(
            settings, rectangles(8), rectangles(2), Path({str(killed)!r}), Init(), {{}})
    """
    (tmp_path / "tests_d2.py").write_text(Path(__file__).read_text())
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    waited_until = time.time() + 90
    while not (killed / "model_0000003.pth").exists() and time.time() < waited_until:
        assert process.poll() is None
        time.sleep(0.1)
    while "0000003" not in (killed / "last_checkpoint").read_text() and time.time() < waited_until:
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "maskrcnn.safetensors").exists()
    resumed = backend.train_detector(settings, data, rectangles(2), killed, Init(), {})
    expected, metadata = read_bundle(whole)
    tensors, resumed_metadata = read_bundle(resumed)
    assert metadata["kept"] == resumed_metadata["kept"]
    assert metadata["validation_mean_iou"] == resumed_metadata["validation_mean_iou"]
    for name, tensor in expected.items():
        torch.testing.assert_close(tensors[name], tensor, rtol=0, atol=0, msg=name)
    rows = [line.split('"iteration": ')[1] for line in (killed / "loss.jsonl").open()]
    assert len(rows) == len(set(rows))


@needs_detectron2
def test_a_checkpoint_or_bundle_of_another_run_is_refused(tmp_path: Path) -> None:
    from cxrloc.detection.detectron2_backend.trainer import RunState, tensors_only_checkpointer

    layer = torch.nn.Linear(1, 1)
    tensors_only_checkpointer(layer, tmp_path, run=RunState("one", 0.5, 7)).save("model_0000001")
    same = RunState("one")
    tensors_only_checkpointer(layer, tmp_path, run=same).resume_or_load("")
    assert (same.best_score, same.best_step) == (0.5, 7)
    other = tensors_only_checkpointer(layer, tmp_path, run=RunState("two"))
    with pytest.raises(ValueError, match="another config or other images; choose another out"):
        other.resume_or_load("")
    write_bundle(
        tmp_path / "maskrcnn.safetensors",
        {"w": torch.zeros(1)},
        {"kind": "maskrcnn", "fingerprint": "x"},
    )
    with pytest.raises(ValueError, match="trained with another config"):
        backend.train_detector(config(), rectangles(1), None, tmp_path, Init(), {})


@needs_detectron2
def test_a_checkpoint_that_wants_to_run_code_is_not_read(tmp_path: Path) -> None:
    from cxrloc.detection.detectron2_backend.trainer import tensors_only_checkpointer

    layer = torch.nn.Linear(1, 1)
    torch.save({"model": layer.state_dict(), "trap": print}, tmp_path / "model_0000001.pth")
    (tmp_path / "last_checkpoint").write_text("model_0000001.pth")
    with pytest.raises(Exception, match=r"[Ww]eights.only"):
        tensors_only_checkpointer(layer, tmp_path).resume_or_load("")


@needs_detectron2
def test_no_training_image_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no training image"):
        backend.train_detector(config(), rectangles(0), None, tmp_path, Init(), {})


@needs_detectron2
def test_tensors_of_another_network_are_refused() -> None:
    metadata = {"model": dataclasses.asdict(MODEL), "diseases": DISEASES, "size": SIZE}
    with pytest.raises(ValueError, match="do not fit the network that its metadata describes"):
        backend.load({"w": torch.zeros(1)}, metadata)


@needs_detectron2
def test_the_learning_rate_is_the_one_of_the_other_backend(tmp_path: Path) -> None:
    settings = config(epochs=5)
    backend.train_detector(settings, rectangles(8), None, tmp_path, Init(), {})
    rows = [json.loads(line) for line in (tmp_path / "loss.jsonl").open()]
    last = [row for row in rows if "lr" in row][-1]
    # ten steps, warmed up over four: the last step is number 9 of the cosine
    assert last["iteration"] == 9
    assert math.isclose(last["lr"], 3e-3 * warmed_up_cosine(9, 10, 4), rel_tol=1e-5)
