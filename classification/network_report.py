"""The files of a comparison of networks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cxrloc.classification.network_comparison import Comparison
from cxrloc.classification.network_confusion import confusion_records
from cxrloc.classification.network_part_tables import network_part_records, network_part_tables
from cxrloc.classification.network_plot import plot_networks
from cxrloc.classification.network_tables import (
    difference_records,
    network_records,
    text_tables,
)
from cxrloc.classification.text_tables import to_html, to_latex, to_markdown, write_records
from cxrloc.datasets.files import write_text
from cxrloc.datasets.manifest import write_json

_TITLE = "Comparison of networks"


def write_comparison(out: Path, comparison: Comparison, manifest: Mapping[str, Any]) -> str:
    """Write networks.{csv,md,tex,html,png}, confusion.csv, differences.csv and manifest.json.

    Returns the page.

    Of films with studies or body parts also networks_by_part.csv.

    Args:
        out: the folder, made if need be.
        manifest: of the run.
    """
    tables = [*text_tables(comparison), *network_part_tables(comparison)]
    write_records(out / "networks.csv", network_records(comparison))
    if matrices := confusion_records(comparison):
        write_records(out / "confusion.csv", matrices)
    if comparison.pairs:
        write_records(out / "differences.csv", difference_records(comparison))
    if by_part := network_part_records(comparison):
        write_records(out / "networks_by_part.csv", by_part)
    page = to_markdown(_TITLE, tables)
    write_text(out / "networks.md", page)
    write_text(out / "networks.tex", to_latex(_TITLE, tables))
    write_text(out / "networks.html", to_html(_TITLE, tables))
    plot_networks(out / "networks.png", comparison)
    write_json(out / "manifest.json", manifest)
    return page
