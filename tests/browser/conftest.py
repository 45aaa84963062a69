"""A report of a small comparison, opened in a real browser."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from browser.opened import DISEASES, IMAGES, PATIENCE_MS, SCREEN
from builders import coco_ground_truth, evaluated
from cxrloc.localization.analyses.means import accuracy, means, paired
from cxrloc.localization.comparison_report.build import build_report
from cxrloc.localization.comparison_report.files import page_of
from cxrloc.localization.localizer import Localization
from cxrloc.localization.report.page import write_report

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_WEBGL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")  # without a GPU, for OHIF
CHROMIUM = next((path for name in _PROGRAMS if (path := shutil.which(name))), None)


def _coco() -> dict[str, Any]:
    return coco_ground_truth(
        DISEASES,
        [
            (f"{i}.png", disease, (8 * c, 10 + i, 20, 20))
            for i in range(IMAGES)
            for c, disease in enumerate(DISEASES, start=1)
        ],
    )


def _predictions() -> dict[str, list[Localization]]:
    """`near` is off by i pixels on image i, `far` by twice as many and silent on the last image.

    `twin` draws what `near` draws.
    """
    boxes: dict[str, list[Localization]] = {"near": [], "far": [], "twin": []}
    for name, step in (("near", 1), ("far", 2), ("twin", 1)):
        for i in range(IMAGES - (name == "far")):
            for c, disease in enumerate(DISEASES, start=1):
                x, y = 8.0 * c + step * i, 10.0 + i
                box = (x, y, x + 20, y + 20)
                boxes[name].append(Localization(f"{i}.png", disease, box, 1 / (1 + i)))
    return boxes


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of a small but real comparison, with all that a page can hold."""
    folder = tmp_path_factory.mktemp("report")
    images = {f"{i}.png": folder / f"{i}.png" for i in range(IMAGES - 1)}
    for i, path in enumerate(images.values()):
        cv2.imwrite(str(path), np.full((64, 64), 40 + 10 * i, np.uint8))
    compared = evaluated(_coco(), _predictions(), image_paths=images, resamples=60)
    made = build_report(compared.inputs, analyses=(means, accuracy, paired))
    manifest = {"command": ["compare_localizers.py"], "hashes": {"ground_truth": "ab" * 32}}
    page = dataclasses.replace(page_of(made, manifest), stamp="LEAKED: 3 patients")
    write_report(folder / "report.html", page)
    return folder / "report.html"


@pytest.fixture(scope="module")  # open for longer, its event loop would be that of later tests
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is missing (dev)")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", *_WEBGL], timeout=PATIENCE_MS
        )
        yield started
        started.close()


@pytest.fixture
def page(browser: Any, report: Path) -> Iterator[Any]:
    """The report, opened from disk; `heard` collects what a quiet page does not say or ask for."""
    opened = browser.new_page(viewport={"width": SCREEN[0], "height": SCREEN[1]})
    opened.set_default_timeout(PATIENCE_MS)
    opened.heard = []
    opened.on("console", lambda message: opened.heard.append(message.text))
    opened.on("pageerror", lambda error: opened.heard.append(str(error)))
    opened.on("request", lambda request: opened.heard.append(request.url[:60]))
    opened.goto(report.as_uri())
    opened.wait_for_load_state("load")
    yield opened
    opened.close()
