"""The table of runtimes: counted on answers that are known, kept in a file and read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cxrloc.classification.report.tables import Cell
from cxrloc.localization.analyses.runtimes.agreement import RuntimePrediction
from cxrloc.localization.analyses.runtimes.runtime_table import (
    ImageInRuntimes,
    read_images,
    runtime_table,
    settings_of,
    write_images,
)

DISEASES = ("Mass", "Effusion")
WHOLE, NEAR, FAR = (0.0, 0.0, 10.0, 10.0), (0.0, 0.0, 10.0, 9.0), (20.0, 0.0, 30.0, 9.0)


def _image(
    number: int, labels: tuple[float, float], *answers: RuntimePrediction
) -> ImageInRuntimes:
    by_runtime = dict(zip(("exact", "fast"), answers, strict=True))
    return ImageInRuntimes(f"{number}.png", f"p{number // 2}", 1, np.array(labels), by_runtime)


def _says(
    mass: float, effusion: float, **boxes: tuple[float, float, float, float]
) -> RuntimePrediction:
    """Present is what has 0.5 or more; the boxes are of these."""
    probabilities = np.array([mass, effusion])
    present = frozenset(d for d, p in zip(DISEASES, probabilities, strict=True) if p >= 0.5)
    return RuntimePrediction(probabilities, present, boxes)


IMAGES = [
    _image(0, (1, 0), _says(0.8, 0.1, Mass=WHOLE), _says(0.7, 0.1, Mass=NEAR)),
    _image(1, (0, 1), _says(0.6, 0.9, Mass=WHOLE, Effusion=WHOLE), _says(0.6, 0.4, Mass=FAR)),
    _image(2, (1, np.nan), _says(0.5, 0.3, Mass=WHOLE), _says(0.7, 0.3)),
    _image(3, (0, 0), _says(0.1, 0.2), _says(0.1, 0.2)),
]


def test_a_runtimes_changes_are_counted() -> None:
    table = runtime_table(IMAGES, DISEASES, ("a note",))

    reference, fast = table.rows
    assert reference.lead == {"runtime": "exact (reference)"}
    assert list(reference.cells) == ["macro AUC"]
    figures = {
        name: cell.estimate.value if isinstance(cell, Cell) else cell
        for name, cell in fast.cells.items()
    }
    assert figures == {
        "probabilities, mean x 1000": pytest.approx(1000 * (0.1 + 0.5 + 0.2) / 8),
        "probabilities, largest": pytest.approx(0.5),
        "turned": 1,
        "turned per thousand": pytest.approx(125),
        "boxes": 3,
        "median IoU": 0.0,
        "same box": pytest.approx(1 / 3),
        "other region": pytest.approx(2 / 3),
        "macro AUC": 1.0,  # in float32 Mass is right in 3 of 4 pairs
        "AUC minus reference": pytest.approx(0.125),
    }
    assert "4 images of 2 patients, 2 diseases" in table.notes[0]
    assert table.notes[-1] == "a note"


def test_a_runtime_like_the_reference_changes_nothing() -> None:
    same = [
        _image(n, (n % 2, 1), f.answers["exact"], f.answers["exact"]) for n, f in enumerate(IMAGES)
    ]
    cells = runtime_table(same, DISEASES).rows[1].cells
    for name, value in (
        ("probabilities, mean x 1000", 0),
        ("turned per thousand", 0),
        ("same box", 1),
    ):
        cell = cells[name]
        assert isinstance(cell, Cell)
        assert (cell.estimate.value, cell.estimate.low, cell.estimate.high) == (value,) * 3


def test_without_boxes_their_figures_are_undefined() -> None:
    images = [_image(n, (n % 2, 1), _says(0.1 * n, 0), _says(0.1, 0)) for n in range(3)]
    cells = runtime_table(images, DISEASES).rows[1].cells
    assert cells["boxes"] == 0
    assert np.isnan(cells["median IoU"])  # type: ignore[arg-type]
    assert isinstance(cells["same box"], Cell)
    assert np.isnan(cells["same box"].estimate.value)


def test_a_file_gives_back_the_images(tmp_path: Path) -> None:
    path = tmp_path / "judged.parquet"
    assert settings_of(path) == {}

    write_images(path, IMAGES, DISEASES, {"seed": 3})

    assert settings_of(path) == {"seed": 3}
    assert [p.name for p in tmp_path.iterdir()] == ["judged.parquet"]
    for read, image in zip(read_images(path), IMAGES, strict=True):
        assert (read.image_id, read.patient_id, read.fold) == (
            image.image_id,
            image.patient_id,
            image.fold,
        )
        np.testing.assert_array_equal(read.labels, image.labels)
        assert list(read.answers) == ["exact", "fast"]
        for name, answer in image.answers.items():
            np.testing.assert_array_equal(read.answers[name].probabilities, answer.probabilities)
            assert read.answers[name].present == answer.present
            assert read.answers[name].boxes == answer.boxes


def test_patients_are_resampled_not_images() -> None:
    """Of two patients with two images each either may be drawn alone: the whole range is there."""
    calm, turned = _says(0.9, 0.1), _says(0.1, 0.1)
    images = [_image(n, (n % 2, 1), calm, calm if n < 2 else turned) for n in range(4)]
    cell = runtime_table(images, DISEASES).rows[1].cells["turned per thousand"]
    assert isinstance(cell, Cell)
    assert (cell.estimate.low, cell.estimate.value, cell.estimate.high) == (0, 250, 500)


def test_the_difference_of_aucs_is_paired() -> None:
    """Answers of the same order have no difference, in no resample."""
    rng = np.random.default_rng(0)
    images = [
        _image(n, (n % 2, n % 3 == 0), _says(p, q), _says(p / 2, q / 3))
        for n, (p, q) in enumerate(rng.random((20, 2)))
    ]
    cells = runtime_table(images, DISEASES).rows[1].cells
    whole, difference = cells["macro AUC"], cells["AUC minus reference"]
    assert isinstance(whole, Cell)
    assert isinstance(difference, Cell)
    assert whole.estimate.low < whole.estimate.high
    assert (difference.estimate.low, difference.estimate.high) == (0, 0)


def test_the_macro_auc_names_what_it_leaves_out() -> None:
    images = [_image(n, (n % 2, np.nan), _says(0.1 * n, 0), _says(0.1, 0)) for n in range(3)]
    assert (
        "macro over 1 of 2 diseases; undefined: Effusion"
        in runtime_table(images, DISEASES).notes[3]
    )
