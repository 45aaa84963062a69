"""The notebook runs, and prints what can be worked out by hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from generate.markdown import REPOSITORY
from generate.notebook import Cell, run_notebook


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[Cell]:
    notebook = REPOSITORY / "docs/tutorials/two_models.ipynb"
    return run_notebook(notebook, tmp_path_factory.mktemp("notebook"))


def test_the_means_are_those_of_the_boxes(cells: list[Cell]) -> None:
    [table] = [cell.output for cell in cells if "constant_box  control" in cell.output]
    means = {line.split()[0]: float(line.split()[2]) for line in table.splitlines()}
    # far's box holds the finding, so IoU = area of the finding / area of far's box
    sizes = [(200, 180), (180, 180), (160, 160), (180, 170), (200, 220)]
    sizes += [(120, 120), (120, 110), (240, 200)]
    by_hand = sum(w * h / ((w + 120) * (h + 120)) for w, h in sizes) / len(sizes)
    assert means["far"] == pytest.approx(by_hand, abs=6e-4)
    assert means["near"] > means["far"]


def test_two_pictures_are_drawn_and_three_files_written(cells: list[Cell]) -> None:
    assert [len(cell.figures) for cell in cells if cell.figures] == [1, 1]
    assert cells[-1].output == "far.json ground_truth.json near.json\n"


def test_the_notebook_needs_no_torch(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from generate.notebook import run_notebook\n"
        f"run_notebook(Path({str(REPOSITORY)!r}) / 'docs/tutorials/two_models.ipynb', Path('.'))\n"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(REPOSITORY / "docs")},
        check=True,
    )
