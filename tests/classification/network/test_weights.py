"""Start weights: files whole and partial, foreign and hostile, and torchvision's own by HTTP."""

from __future__ import annotations

import hashlib
import pickle
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from torchvision.models import ResNet18_Weights

from cxrloc.classification.network.classifier import build_classifier
from cxrloc.classification.network.weights import (
    LoadReport,
    load_partial,
    random_and_frozen,
    read_weights,
)
from cxrloc.classification.report.stages import random_notes


def small_network() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))


def test_the_report_tells_loaded_missing_unexpected_and_mismatched_apart() -> None:
    network = small_network()
    tensors = {
        "0.weight": torch.full((3, 2), 5.0),
        "0.bias": torch.zeros(4),
        "extra": torch.zeros(1),
    }
    report = load_partial(network, tensors, "file.pth")
    assert report == LoadReport(
        source="file.pth",
        loaded=("0.weight",),
        missing=("1.weight", "1.bias"),
        unexpected=("extra",),
        mismatched=("0.bias",),
    )
    assert network.state_dict()["0.weight"].eq(5).all()
    assert str(report).splitlines() == [
        "weights: file.pth: loaded 1 of 4 tensors",
        "  missing (2): 1.weight, 1.bias",
        "  unexpected (1): extra",
        "  mismatched (1): 0.bias",
    ]


def test_frozen_layers_that_the_weights_lack_are_named_and_others_are_not() -> None:
    report = LoadReport(
        source="part.safetensors",
        missing=("backbone.layer4.0.conv1.weight", "head.weight"),
        mismatched=("backbone.conv1.weight",),
    )
    frozen = ("conv1", "bn1", "layer1", "layer4")
    assert random_and_frozen(report, frozen) == ("conv1", "layer4")
    assert random_and_frozen(report, frozen[:3]) == ("conv1",)
    assert random_and_frozen(report, ()) == ()
    assert "conv1, layer4" in random_notes(("conv1", "layer4"))[0]
    assert random_notes(()) == ()


def test_a_file_from_which_nothing_loads_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"nothing in poem\.pth fits .*it has verse.*0\.weight"):
        load_partial(small_network(), {"verse": torch.zeros(1)}, "poem.pth")


def test_a_training_checkpoint_is_unwrapped_and_prefixes_come_off(tmp_path: Path) -> None:
    state = {"module.conv1.weight": torch.ones(1), "model.backbone.fc.bias": torch.zeros(2)}
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "foreign.pth")
    tensors = read_weights(tmp_path / "foreign.pth")
    assert sorted(tensors) == ["conv1.weight", "fc.bias"]


class _Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("code of a stranger ran",))


def test_a_pth_that_would_run_code_is_refused_and_runs_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"weight": _Hostile()}, tmp_path / "hostile.pth", pickle_module=pickle)
    with pytest.raises(
        ValueError, match=r"hostile\.pth .*more than tensors, and is refused"
    ) as error:
        read_weights(tmp_path / "hostile.pth")
    assert "stranger" not in capsys.readouterr().out
    assert "weights_only" not in str(error.value)  # torch's advice to run the code all the same
    assert "\n" not in str(error.value)


def test_a_changed_value_in_a_pth_is_told_by_its_checksum(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"a": torch.full((64,), 1.5)}, path)
    whole = path.read_bytes()
    middle = whole.index(torch.full((9,), 1.5).numpy().tobytes())
    path.write_bytes(whole[:middle] + b"\1" + whole[middle + 1 :])
    with pytest.raises(ValueError, match=r"a\.pth .*another checksum"):
        read_weights(path)


@pytest.mark.parametrize("name", ["broken.pth", "broken.safetensors"])
def test_a_file_of_rubbish_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"not weights at all")
    with pytest.raises(ValueError, match=name):
        read_weights(tmp_path / name)


def test_a_text_by_the_name_of_weights_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "table.pth"
    path.write_text(",".join(f"c{number}" for number in range(5_000)))  # torch reads opcodes
    with pytest.raises(ValueError, match=r"table\.pth as weights: it is no file of PyTorch"):
        read_weights(path)


def test_a_missing_weights_file_never_becomes_a_random_start(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no weights file at .*gone\.pth"):
        build_classifier("resnet18", 2, weights=tmp_path / "gone.pth")


def test_the_real_partial_imagenet_weights_load_up_to_layer3(shared_data: Path) -> None:
    path = shared_data / "weights" / "resnet18_imagenet_conv1_to_layer3.safetensors"
    model, report = build_classifier("resnet18", 8, weights=path)
    assert len(report.loaded) == 96
    assert report.unexpected == report.mismatched == ()
    assert all(n.startswith(("backbone.layer4.", "head.")) for n in report.missing)
    stored = read_weights(path)["layer3.1.conv2.weight"]
    assert torch.equal(model.backbone.state_dict()["layer3.1.conv2.weight"], stored)


@pytest.fixture
def imagenet_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A local site with `resnet18-HASH.pth`, to which torchvision's own loader is directed."""
    site = tmp_path / "site"
    site.mkdir()
    model, _ = build_classifier("resnet18", 1, seed=5)
    state = {**model.backbone.state_dict(), "fc.weight": torch.zeros(1000, 512)}
    torch.save(state, site / "weights.pth")
    digest = hashlib.sha256((site / "weights.pth").read_bytes()).hexdigest()[:8]
    (site / "weights.pth").rename(site / f"resnet18-{digest}.pth")
    handler = partial(SimpleHTTPRequestHandler, directory=str(site))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch_home"))
    url = f"http://127.0.0.1:{server.server_address[1]}/resnet18-{digest}.pth"
    monkeypatch.setattr(ResNet18_Weights.IMAGENET1K_V1.value, "url", url)
    yield url
    server.shutdown()
    server.server_close()


def test_imagenet_weights_come_by_name_without_their_head(imagenet_server: str) -> None:
    model, report = build_classifier("resnet18", 3, weights="imagenet", seed=0)
    same, _ = build_classifier("resnet18", 1, seed=5)
    assert report.unexpected == ("backbone.fc.weight",)
    assert report.missing == ("head.weight", "head.bias")
    assert torch.equal(
        model.backbone.state_dict()["layer4.1.conv2.weight"],
        same.backbone.state_dict()["layer4.1.conv2.weight"],
    )


def test_without_a_network_the_error_names_the_site_and_the_way_out(
    imagenet_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = imagenet_server.replace("resnet18-", "absent-")
    monkeypatch.setattr(ResNet18_Weights.IMAGENET1K_V1.value, "url", nowhere)
    with pytest.raises(ValueError, match=r"could not download .* from .*set model\.weights to"):
        build_classifier("resnet18", 3, weights="imagenet")
