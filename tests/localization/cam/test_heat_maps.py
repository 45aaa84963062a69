"""Heat maps on disk: round trip, the frame, and files that are something else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from cxrloc.localization.cam.boxes import map_to_frame
from cxrloc.localization.cam.heat_maps import HeatMaps, read_heat_maps, write_heat_maps

PAIRS = (("a.png", "Mass"), ("b.png", "Mass"), ("a.png", "Nodule"))


def some_maps(**changes: Any) -> HeatMaps:
    maps = np.random.default_rng(0).random((3, 4, 4)).astype(np.float32)
    maps[2] = 0.5
    return replace(HeatMaps(PAIRS, maps, True, "grad_cam", {"a.png": 0, "b.png": 1}), **changes)


BARE = {"maps_without_markers": np.zeros((3, 4, 4), np.float32), "removal": "inpaint"}


@pytest.mark.parametrize("changes", [{}, {"folds": None, "aligned": False}, BARE])
def test_what_is_written_is_read(tmp_path: Path, changes: dict[str, Any]) -> None:
    written = some_maps(**changes)
    write_heat_maps(tmp_path / "x.maps.safetensors", written)

    read = read_heat_maps(tmp_path / "x.maps.safetensors")

    np.testing.assert_array_equal(read.maps, written.maps)
    assert (read.pairs, read.aligned, read.name) == (PAIRS, written.aligned, "grad_cam")
    assert read.folds == written.folds
    assert (read.without_markers is None) == (written.without_markers is None)
    if read.without_markers is not None:
        assert read.without_markers.name == "grad_cam, markers inpainted"
        assert (read.without_markers.maps == 0).all()
        assert read.without_markers.pairs == PAIRS


def test_every_flipped_bit_of_a_file_of_ours_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "x.maps.safetensors"
    write_heat_maps(path, some_maps(**BARE))
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(
            whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :]
        )
        with pytest.raises(ValueError, match=r"x\.maps\.safetensors"):
            read_heat_maps(path)


def test_a_file_without_any_map_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.maps.safetensors"
    write_heat_maps(path, HeatMaps((), np.zeros((0, 4, 4), np.float32), False, "none"))
    assert read_heat_maps(path).cells("a.png", "Mass") is None


def test_maps_are_found_by_image_and_disease_and_lie_in_the_frame() -> None:
    maps = some_maps()
    cells = maps.cells("b.png", "Mass")
    assert cells is not None
    np.testing.assert_array_equal(cells, maps.maps[1])
    frame = maps.in_frame("b.png", "Mass", (64, 48))
    assert frame is not None
    scaled = map_to_frame(cells, (64, 48), aligned=True)
    expected = (scaled - scaled.min()) / (scaled.max() - scaled.min())
    np.testing.assert_allclose(frame, expected, atol=1e-6)
    assert (frame.min(), frame.max()) == (0, 1)


def test_a_pair_without_a_map_is_none_and_a_map_that_shows_nothing_is_zero() -> None:
    assert some_maps().cells("b.png", "Nodule") is None
    assert some_maps().in_frame("b.png", "Nodule", (8, 8)) is None
    frame = some_maps().in_frame("a.png", "Nodule", (8, 8))
    assert frame is not None
    assert not frame.any()


def test_another_models_maps_need_safetensors_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.maps.safetensors"
    facts = {"kind": "heat_maps", "format": 1, "name": "other", "pairs": [["a.png", "Mass"]]}
    save_file({"maps": np.ones((1, 2, 3), np.float32)}, path, {"cxrloc": json.dumps(facts)})

    read = read_heat_maps(path)

    assert (read.name, read.aligned, read.folds) == ("other", False, None)
    assert read.maps.shape == (1, 2, 3)


GOOD = {"kind": "heat_maps", "format": 1, "name": "n", "pairs": [["a.png", "Mass"]]}
ONE = np.ones((1, 2, 2), np.float32)


@pytest.mark.parametrize(
    ("tensors", "facts", "message"),
    [
        ({"maps": ONE}, None, "expected kind 'heat_maps' in the metadata 'cxrloc', got None"),
        ({"maps": ONE}, {**GOOD, "kind": "classifier"}, "got 'classifier'"),
        ({"maps": ONE}, {**GOOD, "format": 2}, "format 2; this version reads 1"),
        ({"heat": ONE}, GOOD, r"expected a tensor 'maps', got \['heat'\]"),
        ({"maps": np.ones((2, 2, 2), np.float32)}, GOOD, "each of the 1 pairs .*, got 2"),
        ({"maps": ONE[0]}, GOOD, r"expected float32 of shape \(M, h, w\)"),
        ({"maps": ONE.astype(np.float16)}, GOOD, "got float16"),
        (
            {"maps": ONE},
            {**GOOD, "pairs": ["a.png"]},
            r"pairs\.0: got 'a\.png', expected a valid tuple",
        ),
        ({"maps": np.vstack([ONE, ONE])}, {**GOOD, "pairs": GOOD["pairs"] * 2}, "has two maps"),  # type: ignore[operator]
        (
            {"maps": ONE, "maps_without_markers": np.ones((1, 2, 3), np.float32)},
            {**GOOD, "removal": "mask"},
            r"maps_without_markers: expected float32 of shape \(1, 2, 2\), like the maps",
        ),
        ({"maps": ONE, "maps_without_markers": ONE}, GOOD, "removal '': expected mask or inpaint"),
        ({"maps": ONE}, {**GOOD, "removal": "mask"}, "removal 'mask': expected mask or inpaint"),
        (
            {"maps": ONE},
            {k: v for k, v in GOOD.items() if k != "name"},
            "the key 'name' is missing",
        ),
    ],
)
def test_a_file_of_something_else_is_refused_by_name(
    tmp_path: Path, tensors: dict[str, Any], facts: dict[str, Any] | None, message: str
) -> None:
    path = tmp_path / "x.maps.safetensors"
    save_file(tensors, path, None if facts is None else {"cxrloc": json.dumps(facts)})
    with pytest.raises(ValueError, match=message) as caught:
        read_heat_maps(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_maps_that_are_no_numbers_are_left_out_and_counted(tmp_path: Path, value: float) -> None:
    path = tmp_path / "x.maps.safetensors"
    maps = ONE.copy()
    maps[0, 0, 0] = value
    save_file({"maps": maps}, path, {"cxrloc": json.dumps(GOOD)})
    with pytest.warns(UserWarning, match="1 of 1 maps hold values that are not finite"):
        read_heat_maps(path)


def test_a_missing_file_a_broken_file_and_a_wrong_ending_are_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"cxrloc localize writes them with --maps"):
        read_heat_maps(tmp_path / "none.maps.safetensors")
    (tmp_path / "x.maps.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ValueError, match=r"not a valid \.safetensors file"):
        read_heat_maps(tmp_path / "x.maps.safetensors")
    with pytest.raises(ValueError, match=r"whose name ends in \.maps\.safetensors"):
        write_heat_maps(tmp_path / "x.json", some_maps())
