"""Eight small images."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from builders import write_image
from cxrloc.datasets.radiograph import Radiograph
from datasets.shards.small import COUNT


@pytest.fixture
def images(tmp_path: Path) -> list[Radiograph]:
    """Eight images, not in order, of 20 x 16 pixels; image 3 is wide, its label unknown."""
    paths = [
        write_image(tmp_path / "data" / f"{i}.png", 10 * i, (8, 16) if i == 3 else (20, 16))
        for i in range(COUNT)
    ]
    labels = [{"Mass": math.nan if i == 3 else float(i % 2)} for i in range(COUNT)]
    made = [Radiograph(f"{i}.png", paths[i], f"p{i // 2}", "", labels[i]) for i in range(COUNT)]
    return [made[i] for i in (5, 0, 7, 3, 1, 2, 6, 4)]
