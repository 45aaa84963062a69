"""What the tests in the browser share: the size of the comparison and of the screen."""

from __future__ import annotations

from typing import Any

DISEASES = ("Cardiomegaly", "Mass", "Nodule")
IMAGES = 12
SCREEN = (1280, 900)
PATIENCE_MS = 300_000  # the machines of CI may be busy with something else


def unfold(page: Any) -> None:
    """Open all that is folded."""
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")


def top_of(page: Any, selector: str) -> float:
    """Pixels from the top of the page."""
    place: float = page.locator(selector).first.bounding_box()["y"]
    return place
