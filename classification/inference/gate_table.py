"""Read and write the gate's decisions as CSV, one row per image and disease, without torch."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NotRequired

from typing_extensions import TypedDict

from cxrloc.datasets.files.atomic import whole_file
from cxrloc.datasets.files.checked import FoldNumber, Name, Share, Text, checked_text
from cxrloc.datasets.files.manifest import RESEARCH_USE
from cxrloc.datasets.files.parse import csv_table, read_text

_COLUMNS = ("image_id", "patient_id", "disease", "probability", "threshold", "present", "fold")


_MAY_BE_EMPTY = ("threshold", "fold")
_WRITE_AGAIN = "let cxrloc train-gate or cxrloc localize write it again"


@dataclass(frozen=True)
class GateRow:
    """The gate's decision on one image and disease. `fold` is None outside cross-validation."""

    image_id: str
    patient_id: str
    disease: str
    probability: float
    threshold: float | None
    present: bool
    fold: int | None = None


def write_gate_table(path: Path, rows: Iterable[GateRow]) -> None:
    """Write one decision per line below a line that states the research use (atomic)."""
    with (
        whole_file(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as handle,
    ):
        handle.write(f"# {RESEARCH_USE}. An empty threshold means undecidable, never present.\n")
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for row in rows:
            writer.writerow(_cells(row))


def read_gate_table(path: Path) -> list[GateRow]:
    """Read a file written by `write_gate_table`; lines above the header may start with #.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if a column or value is wrong, a decision is not that of its probability and
            threshold, or an image and disease has two rows.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no gate table at {path}; cxrloc train-gate writes one")
    # only above the header: a name may begin with #
    lines = itertools.dropwhile(lambda line: line.startswith("#"), io.StringIO(read_text(path)))
    return list(_checked_rows(csv_table(lines, _COLUMNS, str(path)), path))


def _cells(row: GateRow) -> list[object]:
    threshold = "" if row.threshold is None else repr(float(row.threshold))
    fold = "" if row.fold is None else row.fold
    head = [row.image_id, row.patient_id, row.disease, repr(float(row.probability))]
    return [*head, threshold, int(row.present), fold]


class _Cells(TypedDict):
    image_id: Name
    patient_id: Text
    disease: Name
    probability: Share
    threshold: NotRequired[Share]
    present: Literal["0", "1"]
    fold: NotRequired[FoldNumber]


def _checked_rows(table: Iterable[dict[str, str]], path: Path) -> Iterator[GateRow]:
    row_of: dict[tuple[str, str], int] = {}
    for number, record in enumerate(table, start=1):
        row = _row(record, f"{path}, row {number}")
        first = row_of.setdefault((row.image_id, row.disease), number)
        if first != number:
            raise ValueError(
                f"{path}, row {number}: {row.disease} on {row.image_id} has a row already, "
                f"{first}; expected one per image and disease: {_WRITE_AGAIN}"
            )
        yield row


def _row(record: dict[str, str], where: str) -> GateRow:
    known = {name: cell for name, cell in record.items() if cell or name not in _MAY_BE_EMPTY}
    cells: _Cells = checked_text(known, _Cells, where, _WRITE_AGAIN)
    threshold, present = cells.get("threshold"), cells["present"] == "1"
    if present != (threshold is not None and cells["probability"] >= threshold):
        raise ValueError(
            f"{where}: {cells['disease']} on {cells['image_id']} is marked "
            f"{'present' if present else 'absent'} with a probability of {cells['probability']} "
            f"and a threshold of {threshold}: present means the threshold or more; {_WRITE_AGAIN}"
        )
    return GateRow(
        cells["image_id"],
        cells["patient_id"],
        cells["disease"],
        cells["probability"],
        threshold,
        present,
        cells.get("fold"),
    )
