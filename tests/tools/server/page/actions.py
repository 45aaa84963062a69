"""What a reader does on the page."""

from __future__ import annotations

from typing import Any

# class and name of what has the focus
FOCUSED = """() => { const e = document.activeElement;
    return e.className + ' ' + (e.ariaLabel || e.innerText || e.closest('label')?.innerText); }"""


def open_image(page: Any, name: str) -> None:
    page.locator(".entry", has_text=name).click()
    page.locator(".look h2", has_text=name).wait_for()


def drawn_boxes(page: Any) -> set[tuple[str, str]]:
    """Localizer and disease of the boxes on the image."""
    boxes = page.locator(".stage .box")
    pairs = boxes.evaluate_all("g => g.map(b => [b.dataset.localizer, b.dataset.disease])")
    return {(name, disease) for name, disease in pairs}
