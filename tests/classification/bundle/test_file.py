"""Bundles: round trip, and the errors of files that are none."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from cxrloc.classification.bundle.classifier import (
    ClassifierBundle,
    inherited_supervision,
    load_classifier,
    save_classifier,
)
from cxrloc.classification.bundle.file import read_bundle, read_metadata, write_bundle
from cxrloc.classification.bundle.preprocessing import Preprocessing, stored
from cxrloc.classification.network.classifier import build_classifier
from cxrloc.classification.network.weights import read_weights
from cxrloc.datasets.files.manifest import RESEARCH_USE

INPUT = stored(Preprocessing(64))[0]


def test_tensors_and_metadata_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.safetensors"
    tensors = {"w": torch.tensor([[1.5, -2.0]]), "n": torch.tensor(7)}
    write_bundle(path, tensors, {"kind": "classifier", "thresholds": {"Mass": None, "Edema": 0.25}})
    back, metadata = read_bundle(path)
    assert torch.equal(back["w"], tensors["w"])
    assert back["n"].item() == 7
    assert metadata["thresholds"] == {"Mass": None, "Edema": 0.25}
    assert metadata["notice"] == f"{RESEARCH_USE}."
    assert [p.name for p in path.parent.iterdir()] == ["a.safetensors"]


def test_channels_last_and_shared_tensors_are_written_too(tmp_path: Path) -> None:
    x = torch.arange(24.0).reshape(1, 2, 3, 4).to(memory_format=torch.channels_last)
    write_bundle(tmp_path / "a", {"x": x, "again": x}, {"kind": "maskrcnn"})
    back, _ = read_bundle(tmp_path / "a", "maskrcnn")
    assert torch.equal(back["x"], x)
    assert torch.equal(back["again"], x)


def test_the_metadata_stands_under_one_key_as_json_beside_the_hash(tmp_path: Path) -> None:
    write_bundle(tmp_path / "a", {"x": torch.zeros(1)}, {"kind": "classifier", "fold": 3})
    with safe_open(str(tmp_path / "a"), framework="pt") as handle:
        stored = handle.metadata()
    assert sorted(stored) == ["cxrloc", "cxrloc_sha256"]
    assert json.loads(stored["cxrloc"])["fold"] == 3


def test_a_missing_file_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no model bundle at .*nothing\.safetensors"):
        read_bundle(tmp_path / "nothing.safetensors")


def test_plain_weights_are_told_apart_from_a_bundle(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "plain.safetensors")
    with pytest.raises(ValueError, match="no cxrloc metadata: it is plain weights"):
        read_bundle(tmp_path / "plain.safetensors")


def test_a_file_that_is_cut_short_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    write_bundle(path, {"x": torch.zeros(100)}, {"kind": "classifier"})
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ValueError, match=r"cut\.safetensors is not a readable"):
        read_bundle(path)


def test_the_wrong_kind_is_refused_on_reading_and_on_writing(tmp_path: Path) -> None:
    write_bundle(tmp_path / "a", {"x": torch.zeros(1)}, {"kind": "maskrcnn"})
    with pytest.raises(ValueError, match="is a maskrcnn bundle, expected a classifier bundle"):
        read_bundle(tmp_path / "a", "classifier")
    with pytest.raises(ValueError, match="kind 'poem', expected one of classifier, maskrcnn"):
        write_bundle(tmp_path / "b", {}, {"kind": "poem"})


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_bundle(path, {"x": torch.ones(1)}, {"kind": "classifier"})
    with pytest.raises(ValueError, match="JSON"):
        write_bundle(path, {"x": torch.zeros(1)}, {"kind": "classifier", "bad": float("nan")})
    assert read_bundle(path)[0]["x"].item() == 1
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize("key", ["architecture", "preprocessing", "demographics", "thresholds"])
def test_a_classifier_of_another_version_is_named_with_what_to_do(tmp_path: Path, key: str) -> None:
    path = tmp_path / "classifier.safetensors"
    model, _ = build_classifier("simple_cnn", 1)
    bundle = ClassifierBundle(model, ("Mass",), {"Mass": 0.5}, Preprocessing(64), {}, {}, {})
    save_classifier(path, bundle)
    tensors, metadata = read_bundle(path, "classifier")
    del metadata[key]
    write_bundle(path, tensors, metadata)
    with pytest.raises(ValueError, match="train it again with cxrloc train-gate") as error:
        load_classifier(path)
    assert str(path) in str(error.value)
    assert f"KeyError: '{key}'" in str(error.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_weight_that_is_no_number_is_refused_with_its_tensor(
    tmp_path: Path, value: float
) -> None:
    path = tmp_path / "classifier.safetensors"
    write_bundle(path, {"a": torch.ones(3), "b": torch.tensor([1, value])}, {"kind": "classifier"})
    with pytest.raises(ValueError, match="the weights 'b' are NaN or infinite; copy it again"):
        read_bundle(path)


@pytest.mark.parametrize("name", ["a.bn1.running_var", "preprocessing.deviation_image"])
def test_a_variance_below_zero_is_refused_with_its_tensor(tmp_path: Path, name: str) -> None:
    path = tmp_path / "classifier.safetensors"
    write_bundle(path, {name: torch.tensor([1.0, -1e-3]), "a": -torch.ones(1)}, {"kind": "stage"})
    with pytest.raises(ValueError, match=f"the weights '{name}' are below 0; copy it again"):
        read_bundle(path)
    write_bundle(path, {name: torch.tensor([1.0, -0.0])}, {"kind": "stage"})
    assert read_bundle(path)[0][name][1] == 0


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"thresholds": {"Edema": 0.5}}, r"thresholds for .*Edema.*expected exactly"),
        ({"study_thresholds": {"Edema": 0.5}}, r"study thresholds for .*Edema"),
        ({"head": "poem"}, "unknown head .*'poem'; expected one of linear, two_layer"),
        ({"preprocessing": {**INPUT, "size": 100}}, "input size 100, expected a multiple of 32"),
    ],
)
def test_what_no_gate_has_is_refused_with_the_files_name(
    tmp_path: Path, facts: dict[str, Any], message: str
) -> None:
    path = tmp_path / "classifier.safetensors"
    model, _ = build_classifier("simple_cnn", 1)
    bundle = ClassifierBundle(model, ("Mass",), {"Mass": 0.5}, Preprocessing(64), {}, {}, {})
    save_classifier(path, bundle)
    tensors, metadata = read_bundle(path, "classifier")
    write_bundle(path, tensors, {**metadata, **facts})
    with pytest.raises(ValueError, match=message) as error:
        load_classifier(path)
    assert str(path) in str(error.value)


def test_another_weight_or_word_than_was_written_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "classifier.safetensors"
    write_bundle(path, {"a": torch.ones(64)}, {"kind": "classifier", "diseases": ["Mass"]})
    whole = path.read_bytes()
    for old, new in ((b"Mass", b"Mess"), (torch.ones(1).numpy().tobytes() * 9, b"\x01" * 36)):
        path.write_bytes(whole.replace(old, new, 1))
        with pytest.raises(ValueError, match=r"is damaged or was changed: .*train it again"):
            read_bundle(path)


def test_a_bundle_without_a_hash_is_refused_by_every_way_to_read_it(tmp_path: Path) -> None:
    path = tmp_path / "classifier.safetensors"
    metadata = {"cxrloc": json.dumps({"kind": "classifier", "diseases": ["Mass"]})}
    save_file({"a": torch.ones(3)}, path, metadata)
    for read in (read_bundle, read_metadata, read_weights, inherited_supervision):
        with pytest.raises(ValueError, match=r"no hash of its content .*again with") as error:
            read(path)
        assert str(path) in str(error.value)


def test_a_changed_bundle_is_refused_as_initial_weights_too(tmp_path: Path) -> None:
    path = tmp_path / "classifier.safetensors"
    write_bundle(path, {"model.a": torch.ones(64)}, {"kind": "classifier"})
    assert list(read_weights(path)) == ["a"]
    whole = path.read_bytes()
    path.write_bytes(whole[:-4] + torch.zeros(1).numpy().tobytes())
    with pytest.raises(ValueError, match="is damaged or was changed"):
        read_weights(path)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"thresholds": {"Mass": -1}}, "thresholds.Mass: got -1, expected a number greater"),
        ({"mean_box_sizes": {"Mass": [0.1, 1e308]}}, "mean_box_sizes.Mass.1: got 1e[+]308"),
        ({"mean_box_sizes": {"Mass": [0.1]}}, "mean_box_sizes.Mass.1' is missing"),
        ({"diseases": "Mass"}, "diseases: got 'Mass', expected a valid list"),
        ({"diseases": ["Mass", "Mass"]}, "diseases: got .*, expected every name once; train"),
        ({"thresholds": {"Mass": True}}, "thresholds.Mass: got True"),
        ({"thresholds": {"Mass": "0.5"}}, "thresholds.Mass: got '0.5'"),
        ({"mean_box_sizes": {"Mass": [0, 0.5]}}, "mean_box_sizes.Mass.0: got 0"),
        ({"lse_r": 1e300}, "lse_r: got 1e[+]300"),
        ({"preprocessing": {**INPUT, "std": [5e-324, 1, 1]}}, "preprocessing.std.0: got 5e-324"),
        ({"preprocessing": {**INPUT, "mean": [0, 0, 1e308]}}, "preprocessing.mean.2: got 1e[+]308"),
        ({"fold": -1}, "fold: got -1"),
        ({"manifest": []}, r"manifest: got \[\], expected a valid dictionary"),
    ],
)
def test_absurd_metadata_is_refused_with_its_key(
    tmp_path: Path, facts: dict[str, Any], message: str
) -> None:
    path = tmp_path / "classifier.safetensors"
    write_bundle(path, {"a": torch.ones(3)}, {"kind": "classifier", **facts})
    for read in (read_bundle, read_metadata):
        with pytest.raises(ValueError, match=message) as error:
            read(path)
        assert str(path) in str(error.value)
