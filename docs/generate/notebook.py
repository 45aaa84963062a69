"""Run a notebook's cells and render it as a page with what they printed and drew.

The notebooks are kept without output. Their cells are plain Python, so no Jupyter is needed to run
them: nbclient would bring a kernel and thirty packages for what `exec` does.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt


@dataclass(frozen=True)
class Cell:
    """A cell after it was run: `output` is what it printed, `figures` are PNG files."""

    kind: str
    source: str
    output: str = ""
    figures: tuple[bytes, ...] = ()


def run_notebook(path: Path, folder: Path) -> list[Cell]:
    """Run all cells in order, with `folder` as the working directory.

    Raises:
        Exception: whatever a cell raises.
    """
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    names: dict[str, Any] = {"__name__": "__main__"}
    with contextlib.chdir(folder):
        return [_run(cell["cell_type"], "".join(cell["source"]), names) for cell in cells]


def _run(kind: str, source: str, names: dict[str, Any]) -> Cell:
    if kind != "code":
        return Cell(kind, source)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(source, "<cell>", "exec"), names)
    return Cell(kind, source, printed.getvalue(), tuple(_drawn()))


def _drawn() -> Iterator[bytes]:
    for number in plt.get_fignums():
        picture = io.BytesIO()
        plt.figure(number).savefig(picture, format="png", dpi=110, bbox_inches="tight")
        plt.close(number)
        yield picture.getvalue()


def notebook_page(path: Path, work: Path, pictures: Path) -> str:
    """The notebook as Markdown; figures are written to the folder `pictures`."""
    parts = []
    for number, cell in enumerate(run_notebook(path, work)):
        parts.append(cell.source if cell.kind != "code" else f"```python\n{cell.source}\n```")
        if cell.output:
            parts.append(f"```text\n{cell.output.rstrip()}\n```")
        for place, png in enumerate(cell.figures):
            name = f"{path.stem}_{number}_{place}.png"
            (pictures / name).write_bytes(png)
            link = os.path.relpath(pictures / name, pictures.parent / path.parent.name)
            parts.append(f"![What the cell above draws]({link})")
    return "\n\n".join(parts)
