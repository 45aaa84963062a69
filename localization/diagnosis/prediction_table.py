"""What was found on each image, as a small table for the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

_MOST_NAMED = 3
MOST_ROWS = 20


def prediction_table(records: Sequence[Mapping[str, Any]]) -> str:
    """One line per image: its name, its findings with their probabilities, and its boxes.

    Args:
        records: of the images, as `to_json` makes them.
    """
    rows = [("image", "findings (probability)", "boxes"), *map(_row, records)]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return "\n".join(
        f"{image:{widths[0]}}  {findings:{widths[1]}}  {boxes}".rstrip()
        for image, findings, boxes in rows
    )


def _row(record: Mapping[str, Any]) -> tuple[str, str, str]:
    present = [finding for finding in record["findings"] if finding["present"]]
    present.sort(key=lambda finding: -finding["probability"])
    named = [f"{each['disease']} {each['probability']:.2f}" for each in present[:_MOST_NAMED]]
    if more := len(present) - len(named):
        named.append(f"{more} more")
    boxes = Counter(box["localizer"] for box in record["annotations"])
    counted = [f"{boxes[name]} by {name}" for name in record["localizers"] if boxes[name]]
    return record["images"][0]["file_name"], ", ".join(named) or "none", ", ".join(counted) or "-"
