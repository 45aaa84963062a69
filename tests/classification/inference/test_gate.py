"""The gate: decisions at thresholds, maps of the same pass, and its table on disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from builders import tiny_classifier
from cxrloc.classification.inference.gate import Gate
from cxrloc.classification.inference.gate_output import decide
from cxrloc.classification.inference.gate_table import GateRow, read_gate_table, write_gate_table
from cxrloc.datasets.radiograph import LoadedImage


def make_gate(thresholds: dict[str, float | None], precision: str = "fp32") -> Gate:
    bundle = tiny_classifier(tuple(thresholds), architecture="resnet18", thresholds=thresholds)
    return Gate(bundle, precision=precision, batch_size=2)


def make_images(count: int) -> list[LoadedImage]:
    rng = np.random.default_rng(0)
    return [
        LoadedImage(f"image{i}", rng.integers(0, 256, (80, 64), dtype=np.uint8), (800, 640))
        for i in range(count)
    ]


def test_probabilities_are_the_sigmoid_of_the_logits_whatever_the_batches() -> None:
    gate, images = make_gate({"Mass": 0.5, "Nodule": 0.5}), make_images(3)
    output = gate(images)
    x = gate.bundle.preprocessing.from_images(images)
    with torch.inference_mode():
        logits, features = gate.bundle.model(x)
    np.testing.assert_allclose(output.probabilities, torch.sigmoid(logits).numpy(), atol=1e-6)
    torch.testing.assert_close(output.features, features, atol=1e-4, rtol=1e-4)
    assert output.image_ids == ("image0", "image1", "image2")


def test_the_stored_map_gives_the_stored_probability_without_another_pass() -> None:
    gate = make_gate({"Mass": 0.5})
    output = gate(make_images(2))
    assert output.features is not None
    with torch.inference_mode():
        again = torch.sigmoid(gate.bundle.model.head(output.features.mean((2, 3)))).numpy()
    np.testing.assert_allclose(output.probabilities, again, atol=1e-6)


def test_a_probability_on_the_threshold_is_present_and_no_threshold_is_never_present() -> None:
    probabilities = np.array([[0.5, 1.0, 0.0], [0.4999, 1.0, 0.0]])
    present = decide(probabilities, ("A", "B", "C"), {"A": 0.5, "B": None, "C": 0.0})
    assert present.tolist() == [[True, False, True], [False, False, True]]


def test_finite_weights_that_give_nan_are_an_error_and_no_answer() -> None:
    gate = make_gate({"Mass": 0.5})
    with torch.no_grad():
        for weights in gate.bundle.model.parameters():
            weights.fill_(3e38)
    with pytest.raises(ValueError, match=r"computes NaN or infinite numbers: .* Train it again"):
        gate(make_images(1))


def test_the_output_names_what_is_present_and_nothing_that_cannot_be_decided() -> None:
    output = make_gate({"Mass": 0.0, "Nodule": None, "Edema": 1.0})(make_images(1))
    assert output.present_diseases(0) == ("Mass",)


def test_no_finding_is_decided_on_but_never_examined() -> None:
    output = make_gate({"No Finding": 0.0, "Mass": 0.0})(make_images(1))
    assert output.present.tolist() == [[True, True]]
    assert output.present_diseases(0) == ("Mass",)


def test_no_images_give_empty_matrices() -> None:
    output = make_gate({"Mass": 0.5, "Nodule": 0.5})([])
    assert output.probabilities.shape == (0, 2)
    assert output.features is not None
    assert output.features.shape == (0, 512, 2, 2)
    assert not output.present.any()


def test_bf16_stays_close_to_fp32() -> None:
    images = make_images(2)
    exact = make_gate({"Mass": 0.5})(images).probabilities
    fast = make_gate({"Mass": 0.5}, "bf16")(images)
    np.testing.assert_allclose(fast.probabilities, exact, atol=0.01)
    assert fast.features is not None
    assert fast.features.dtype == torch.float32


ROWS = [
    GateRow("a.png", "1", "Mass", 0.1 + 0.2, 1 / 3, False, 4),
    GateRow("a.png", "1", "Nodule", 0.9, None, False, None),
    GateRow("b, c.png", "2", "Mass", 0.5, 0.25, True, 0),
]


def test_the_table_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    write_gate_table(tmp_path / "gate.csv", ROWS)
    assert read_gate_table(tmp_path / "gate.csv") == ROWS
    lines = (tmp_path / "gate.csv").read_text().splitlines()
    assert lines[0].startswith("# Research use only, never a diagnosis.")
    assert lines[1] == "image_id,patient_id,disease,probability,threshold,present,fold"
    assert lines[3] == "a.png,1,Nodule,0.9,,0,"


def test_names_that_begin_as_a_comment_are_rows(tmp_path: Path) -> None:
    rows = [GateRow("#1.png", "#1", "Mass", 0.5, 0.25, True, 0), *ROWS]
    write_gate_table(tmp_path / "gate.csv", rows)
    assert read_gate_table(tmp_path / "gate.csv") == rows


@pytest.mark.parametrize("cell", ["nan", "inf", "-0.1", "1e400", "", "0x1", "0,5"])
def test_a_cell_that_is_no_probability_is_named(tmp_path: Path, cell: str) -> None:
    write_gate_table(tmp_path / "gate.csv", ROWS[:1])
    text = (tmp_path / "gate.csv").read_text()
    (tmp_path / "gate.csv").write_text("\ufeff" + text.replace(repr(0.1 + 0.2), f'"{cell}"'))
    with pytest.raises(ValueError, match=r"gate\.csv, row 1: probability: got "):
        read_gate_table(tmp_path / "gate.csv")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.png,1,Mass,7.5,,0,", "probability: got '7.5', expected a number less than or equal"),
        ("a.png,1,Mass,0.9,0.5,0,", "marked absent with a probability of 0.9 and a threshold of"),
        ("a.png,1,Mass,0.4,0.5,1,", "marked present with a probability of 0.4"),
        ("a.png,1,Mass,0.4,,1,", "marked present .* a threshold of None"),
        ("a.png,1,Mass,0.4,-1,1,", "threshold: got '-1'"),
        ("a.png,1,Mass,0.4,0.5,0,-1", "fold: got '-1'"),
        ("a.png,1,Mass,0.4,0.5,0,2147483648", "fold: got '2147483648'"),
        ("a.png,1,Mass,0.4,0.5,no,0", "present: got 'no'"),
        ("b.png,1,Mass,0.4,0.5,0,0", "Mass on b.png has a row already, 1; expected one per image"),
    ],
)
def test_an_absurd_row_is_refused_by_its_number(tmp_path: Path, row: str, message: str) -> None:
    path = tmp_path / "gate.csv"
    write_gate_table(path, [GateRow("b.png", "1", "Mass", 0.4, 0.5, False, 0)])
    path.write_text(f"{path.read_text()}{row}\n")
    with pytest.raises(ValueError, match=f"row 2: .*{message}.*write it again") as error:
        read_gate_table(path)
    assert str(path) in str(error.value)


def test_an_empty_table_is_a_table(tmp_path: Path) -> None:
    write_gate_table(tmp_path / "gate.csv", [])
    assert read_gate_table(tmp_path / "gate.csv") == []


def test_a_table_with_other_columns_or_values_says_which(tmp_path: Path) -> None:
    path = tmp_path / "gate.csv"
    with pytest.raises(FileNotFoundError, match="no gate table at"):
        read_gate_table(path)
    path.write_text("image_id,disease\na,Mass\n")
    with pytest.raises(ValueError, match=r"columns \['image_id', 'disease'\], expected"):
        read_gate_table(path)
    write_gate_table(path, ROWS)
    path.write_text(path.read_text().replace("0.5,0.25", "much,0.25"))
    with pytest.raises(
        ValueError, match=r"gate\.csv, row 3: probability: got 'much', expected a valid number"
    ):
        read_gate_table(path)


def test_a_gate_needs_nothing_of_training() -> None:
    code = (
        "import sys, cxrloc.classification.inference.gate\n"
        "rooms = ('cxrloc.classification.training', 'cxrloc.classification.runs', 'lightning')\n"
        "print([name for name in sys.modules if name.startswith(rooms)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr
