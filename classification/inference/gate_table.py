"""Read and write the gate's decisions as CSV, one row per image and disease, without torch."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cxrloc.datasets.files.atomic import whole_file
from cxrloc.datasets.files.manifest import RESEARCH_USE

_COLUMNS = ("image_id", "patient_id", "disease", "probability", "threshold", "present", "fold")


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
    """Read a file written by `write_gate_table`; lines that start with # are skipped.

    Raises:
        FileNotFoundError, ValueError: if the file is missing, or a column or value is wrong.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no gate table at {path}; cxrloc train-gate writes one")
    with path.open(newline="", encoding="utf-8") as handle:
        reader = csv.DictReader(line for line in handle if not line.startswith("#"))
        if tuple(reader.fieldnames or ()) != _COLUMNS:
            raise ValueError(f"{path}: columns {reader.fieldnames}, expected {list(_COLUMNS)}")
        return [_row(path, number, record) for number, record in enumerate(reader, start=1)]


def _cells(row: GateRow) -> list[object]:
    threshold = "" if row.threshold is None else repr(float(row.threshold))
    fold = "" if row.fold is None else row.fold
    head = [row.image_id, row.patient_id, row.disease, repr(float(row.probability))]
    return [*head, threshold, int(row.present), fold]


def _row(path: Path, number: int, record: Mapping[str, str]) -> GateRow:
    try:
        return GateRow(
            image_id=record["image_id"],
            patient_id=record["patient_id"],
            disease=record["disease"],
            probability=float(record["probability"]),
            threshold=float(record["threshold"]) if record["threshold"] else None,
            present=bool(int(record["present"])),
            fold=int(record["fold"]) if record["fold"] else None,
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}, row {number}: {error}; row is {dict(record)}") from error
