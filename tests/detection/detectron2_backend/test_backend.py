"""The detectron2 backend: what it says when missing and, where importable, a tiny training."""

from __future__ import annotations

import dataclasses
import importlib.util
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from detection.detectron2_backend.rectangles import (
    DISEASES,
    MODEL,
    SIZE,
    config,
    image,
    needs_detectron2,
    rectangles,
)

from cxrloc.detection.config import Init, ModelConfig
from cxrloc.detection.detectron2_backend import backend, network, predictor, trainer
from cxrloc.detection.detectron2_backend.network import resnet_names
from cxrloc.detection.mask_rcnn import load_backend, load_predictor
from cxrloc.localization.boxes import iou


@pytest.fixture
def without_detectron2(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n, *a: None if n == "detectron2" else find(n, *a)
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
        features = built.backbone.bottom_up(images)["res5"]  # type: ignore[operator,union-attr]
        x = ours.maxpool(ours.relu(ours.bn1(ours.conv1(images))))
        expected = ours.layer4(ours.layer3(ours.layer2(ours.layer1(x))))
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)


@needs_detectron2
@pytest.mark.slow
def test_it_learns_exports_and_predicts_the_same_after_loading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks: list[network.Networks] = []
    start = network.start_network

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
    before = predictor.Detectron2Predictor(networks[0].kept, DISEASES, SIZE)
    loaded, metadata = load_predictor(bundle)
    assert metadata["backend"] == "detectron2"
    assert metadata["fold"] == 1
    assert metadata["train_boxes"] == {"Mass": 12, "Nodule": 12}
    after = loaded.predict(images)
    for detected, other in zip(before.predict(images), after, strict=True):
        assert detected.diseases == other.diseases
        np.testing.assert_array_equal(detected.boxes_xyxy, other.boxes_xyxy)
        np.testing.assert_array_equal(detected.scores, other.scores)
    # in the original frame of 96 x 128 although the image's copy is 48 x 64
    for number, detections in zip(range(24, 28), after, strict=True):
        (truth,) = unseen.radiographs[number].boxes
        assert detections.diseases[0] == truth.disease
        assert set(detections.diseases) == set(DISEASES)
        assert iou(detections.boxes_xyxy[:1], np.array([truth.box_xyxy]))[0] > 0.4
        assert detections.boxes_xyxy.min() >= 0
        assert (detections.boxes_xyxy <= [96, 128, 96, 128]).all()
        assert np.isfinite(detections.mask_boxes_xyxy()[0]).all()
        assert detections.pasted_mask(0).shape == (128, 96)


@needs_detectron2
def test_tensors_of_another_network_are_refused() -> None:
    metadata = {"model": dataclasses.asdict(MODEL), "diseases": DISEASES, "size": SIZE}
    with pytest.raises(ValueError, match="do not fit the network described by its metadata"):
        backend.load({"w": torch.zeros(1)}, metadata)
