"""Age, sex and view beside the image: by hand, in training, in the bundle, and CAMs as before."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from cxrloc.classification.bundle.classifier import (
    ClassifierBundle,
    load_classifier,
    save_classifier,
)
from cxrloc.classification.bundle.preprocessing import Preprocessing
from cxrloc.classification.config import ClassifierConfig, DataConfig, ModelConfig
from cxrloc.classification.inference.gate import Gate
from cxrloc.classification.inference.gate_table import read_gate_table
from cxrloc.classification.network.classifier import ChestClassifier, build_classifier
from cxrloc.classification.network.demographics import encode, unknown, width
from cxrloc.classification.train_config import TrainConfig
from cxrloc.classification.training.batches import ImageBatches
from cxrloc.classification.training.stages import train
from cxrloc.datasets.images.read import read_grey
from cxrloc.datasets.prepared.folder import load_prepared, write_prepared
from cxrloc.datasets.radiograph import LoadedImage, Radiograph
from cxrloc.localization.cam.activation_maps import class_activation_maps
from cxrloc.tools import train_classifier

ALL = ("age", "sex", "view")
PIXELS = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)


def radiograph(n: int, view: str, sex: str, age: float) -> Radiograph:
    labels = {"Mass": float(view == "AP")}  # bedside images have a Mass, and nothing shows it
    return Radiograph(f"i{n}", None, f"p{n}", view, labels, sex=sex, age_years=age)


def test_the_numbers_by_hand_and_in_the_order_asked_for() -> None:
    people = [radiograph(0, "AP", "F", 70), radiograph(1, "Lateral", "M", 50)]
    assert encode(ALL, people).tolist() == [
        [1, 0, 1, 0, 0, 0, 1, 0, 0],
        [0, 0, 0, 1, 0, 0, 0, 1, 0],
    ]
    assert encode(("sex", "age"), people)[0].tolist() == [1, 0, 0, 1, 0]
    assert encode((), people).shape == (2, 0)


@pytest.mark.parametrize(("view", "sex", "age"), [("", "", math.nan), ("Frontal", "X", 411)])
def test_what_is_not_known_has_flags_of_its_own(view: str, sex: str, age: float) -> None:
    (row,) = encode(ALL, [radiograph(0, view, sex, age)])
    assert row.tolist() == [0, 1, 0, 0, 1, 0, 0, 0, 1]
    assert unknown(ALL).tolist() == row.tolist()
    assert width(ALL) == 9


def told(head: str = "linear") -> ChestClassifier:
    """A network whose demographics have a say."""
    model, _ = build_classifier("simple_cnn", 2, head, seed=1, demographics=ALL)
    with torch.no_grad():
        model.demographic_head.weight.copy_(torch.linspace(-1, 1, 18).view(2, 9))
    return model.eval()


def test_a_new_network_begins_as_one_that_is_not_told() -> None:
    plain, _ = build_classifier("simple_cnn", 2, seed=1)
    new, _ = build_classifier("simple_cnn", 2, seed=1, demographics=ALL)
    x, numbers = torch.rand(2, 3, 64, 64), torch.ones(2, 9)
    assert torch.equal(plain.eval()(x).logits, new.eval()(x, numbers).logits)


def test_a_linear_head_is_one_layer_over_map_and_demographics_side_by_side() -> None:
    model, x = told(), torch.rand(2, 3, 64, 64)
    numbers = torch.from_numpy(encode(ALL, [radiograph(0, "AP", "F", 70)] * 2))
    output = model(x, numbers)
    side_by_side = torch.cat([output.features.mean(dim=(2, 3)), numbers], dim=1)
    joint = torch.cat(
        [model.get_parameter("head.weight"), model.get_parameter("demographic_head.weight")], dim=1
    )
    torch.testing.assert_close(
        output.logits, side_by_side @ joint.T + model.get_parameter("head.bias")
    )


@pytest.mark.parametrize("head", ["linear", "two_layer"])
def test_class_activation_maps_stay_exact(head: str) -> None:
    model, x = told(head), torch.rand(2, 3, 96, 96)
    features = model.backbone(x).detach().requires_grad_()
    logits = model.classify(features, torch.rand(2, 9)).logits
    for k in (0, 1):
        (gradient,) = torch.autograd.grad(logits[:, k].sum(), features, retain_graph=True)
        expected = (gradient.mean(dim=(2, 3), keepdim=True) * features).sum(dim=1).relu()
        (found,) = class_activation_maps(model, features, [k]).unbind(dim=1)
        torch.testing.assert_close(found, expected)


def test_the_bundle_keeps_them_and_the_gate_takes_what_is_known(tmp_path: Path) -> None:
    bundle = ClassifierBundle(
        told(), ("Mass", "Nodule"), {"Mass": 0.5, "Nodule": 0.5}, Preprocessing(64), {}, {}, {}
    )
    save_classifier(tmp_path / "c.safetensors", bundle)
    gate = Gate(load_classifier(tmp_path / "c.safetensors"), precision="fp32")
    assert gate.bundle.model.demographics == ALL
    known = radiograph(0, "AP", "F", 70).image(PIXELS)
    nothing = LoadedImage("i1", PIXELS, (64, 64))
    logits = torch.logit(torch.from_numpy(gate([known, nothing]).probabilities))
    weights = bundle.model.demographic_head.weight.double()
    numbers = torch.from_numpy(np.stack([encode(ALL, [known])[0], unknown(ALL)])).double()
    by_hand = ((numbers[0] - numbers[1]) @ weights.T).detach()
    torch.testing.assert_close(logits[0] - logits[1], by_hand, atol=1e-4, rtol=1e-4)
    squares = gate.bundle.preprocessing.squares([nothing])
    assert gate.forward_squares(squares)[0] == pytest.approx(gate([nothing]).probabilities)


@pytest.mark.slow
def test_training_learns_a_shortcut_of_which_the_image_shows_nothing(tmp_path: Path) -> None:
    people = [radiograph(n, ("PA", "AP")[n % 2], "M", 60) for n in range(32)]
    rng = np.random.default_rng(0)
    cache = {r.image_id: rng.integers(0, 255, (64, 64), dtype=np.uint8) for r in people}
    settings = TrainConfig(
        epochs=6,
        batch_size=4,
        lr=0.02,
        optimizer="adam",
        schedule="constant",
        precision="fp32",
        device="cpu",
    )
    # the random backbone is kept, so that the head alone could learn from the noise
    network = ModelConfig("simple_cnn", 64, weights="random.safetensors", frozen_stages=5)
    aucs = {}
    for asked in ((), ("view",)):
        images, validation = (
            ImageBatches(cache, part, ("Mass",), demographics=asked)  # type: ignore[arg-type]
            for part in (people[:16], people[16:])
        )
        config = ClassifierConfig(model=network, train=settings)
        model, _ = build_classifier("simple_cnn", 1, demographics=asked)
        trained = train(model, (images, validation), config, tmp_path / f"run{len(asked)}")
        aucs[asked] = trained.history[-1]["val_auc"]
    assert aucs["view",] == 1
    assert aucs[()] < 0.95


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """12 images of noise, half to train on and to choose by, half to test on."""
    images, rng = [], np.random.default_rng(0)
    for n in range(12):
        path = tmp_path / f"{n}.png"
        cv2.imwrite(str(path), rng.integers(0, 255, (64, 64), dtype=np.uint8))
        person = radiograph(n, ("PA", "AP")[n % 2], ("M", "F")[n // 6], 30.0 + n)
        images.append(replace(person, image_id=path.name, path=path))
    write_prepared(
        tmp_path / "prepared",
        images,
        boxed_diseases=(),
        k=3,
        folds={r.image_id: 0 for r in images},
        official={r.image_id: ("train_val", "test")[n % 4 // 2] for n, r in enumerate(images)},
        summary="",
        manifest={},
    )
    return tmp_path / "prepared"


@pytest.mark.slow
def test_a_run_predicts_its_images_as_the_gate_does_later(
    prepared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = prepared.parent / "run"
    options = {
        "data.prepared": prepared,
        "data.split": "official",
        "data.validation_share": 0.4,
        "data.workers": 1,
        "model.architecture": "simple_cnn",
        "model.size": 64,
        "model.demographics": "[age,sex,view]",
        "train.epochs": 2,
        "train.lr": 0.05,
        "train.batch_size": 2,
        "train.precision": "fp32",
        "train.device": "cpu",
        "train.bootstrap": 2,
        "out": out,
    }
    words = [f"--{key}={value}" for key, value in options.items()]
    assert train_classifier.main(words) == 0
    gate = Gate(load_classifier(out / "classifier.safetensors"), precision="fp32")
    # all that the images had was learned from; nothing was unknown or lateral
    learned = gate.bundle.model.demographic_head.weight[0] != 0
    assert learned.tolist() == [True, False, True, True, False, True, True, False, False]
    images = {r.image_id: r for r in load_prepared(prepared).radiographs}
    rows = read_gate_table(out / "gate.csv")
    assert len(rows) == 6
    for row in rows:
        image = images[row.image_id].image(read_grey(prepared.parent / row.image_id))
        assert gate([image]).probabilities[0, 0] == pytest.approx(row.probability, abs=1e-5)
    assert train_classifier.main(words) == 0
    assert "already finished, skipped" in capsys.readouterr().out
    assert train_classifier.main([*words, "--model.demographics=[age]"]) == 2
    assert "model.demographics was ['age', 'sex', 'view'], now ['age']" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: ModelConfig(demographics=("weight",)),  # type: ignore[arg-type]
            r"model\.demographics: got \('weight',\), expected each of age, sex, view once",
        ),
        (
            lambda: ModelConfig(demographics=("age", "age")),
            r"model\.demographics: .* each of age, sex, view once",
        ),
        (
            lambda: ClassifierConfig(
                data=DataConfig(uncertain="three_class"), model=ModelConfig(demographics=("age",))
            ),
            r"model\.demographics: .* none with data\.uncertain three_class",
        ),
    ],
)
def test_a_bad_value_names_its_key(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()  # type: ignore[operator]
