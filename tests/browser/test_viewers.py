"""Our DICOM results in viewers that hospitals have: what `docs/how-to/dicom.md` says they show."""

from __future__ import annotations

import json
import mimetypes
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browser.opened import PATIENCE_MS
from builders import chest_pixels
from datasets.dicom.builders import write_dicom
from datasets.dicom.web.servers import (
    DICOMWEB,
    WEB_VIEWER,
    Answer,
    Orthanc,
    Told,
    running_orthanc,
    told_server,
)
from localization.dicom_output.written import written

STUDY = "1.2.826.0.1.3680043.8.498.77"

OHIF = os.environ.get("CXRLOC_OHIF", "")
CONFIG = """window.config = {routerBasename: '/', extensions: [], modes: [], showStudyList: false,
  defaultDataSourceName: 'orthanc', dataSources: [{
    namespace: '@ohif/extension-default.dataSourcesModule.dicomweb', sourceName: 'orthanc',
    configuration: {friendlyName: 'orthanc', qidoRoot: '/dicom-web', wadoRoot: '/dicom-web',
      wadoUriRoot: '/wado', imageRendering: 'wadors', thumbnailRendering: 'wadors',
      qidoSupportsIncludeField: false, omitQuotationForMultipartRequest: true}}]};"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """Orthanc with an image and its results."""
    folder = tmp_path_factory.mktemp("study")
    image = write_dicom(folder / "image.dcm", chest_pixels(0, (240, 200)), StudyInstanceUID=STUDY)
    made = written(image)
    plugins = [DICOMWEB, *([WEB_VIEWER] if WEB_VIEWER.is_file() else [])]
    with running_orthanc(tmp_path_factory.mktemp("orthanc"), plugins) as server:
        server.put(image, *(made.path(kind) for kind in ("sr", "pr", "sc")))
        yield server


def series_of(server: Orthanc, modality: str) -> str:
    """Orthanc's name of the series."""
    found = json.loads(server.ask("/series?expand"))
    [name] = [s["ID"] for s in found if s["MainDicomTags"]["Modality"] == modality]
    return str(name)


def coloured(page: Any) -> int:
    """Pixels of the picture on the page that are not grey."""
    return int(
        page.evaluate(
            """() => { const c = document.querySelector('canvas');
            const p = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let n = 0;
            for (let i = 0; i < p.length; i += 4) n += Math.abs(p[i] - p[i + 2]) > 60; return n }"""
        )
    )


@pytest.mark.slow
def test_orthancs_web_viewer_shows_the_secondary_capture_in_colour(
    archive: Orthanc, browser: Any
) -> None:
    if not WEB_VIEWER.is_file():
        pytest.skip("Orthanc's web viewer is missing (Debian: apt-get install orthanc-webviewer)")
    page = browser.new_page()
    page.goto(f"{archive.url}/web-viewer/app/viewer.html?series={series_of(archive, 'OT')}")
    page.get_by_text("WW/WL:256/128").wait_for(timeout=PATIENCE_MS)
    began = time.monotonic()  # it writes its text before it draws
    while coloured(page) <= 200 and time.monotonic() - began < PATIENCE_MS / 1000:
        page.wait_for_timeout(200)
    assert coloured(page) > 200  # the outlines of the boxes
    page.close()


@pytest.fixture
def ohif(archive: Orthanc) -> Iterator[Told]:
    """OHIF's built viewer, with Orthanc's DICOMweb at the same address."""
    if not (Path(OHIF) / "index.html").is_file() or not OHIF:
        pytest.skip("CXRLOC_OHIF names no built OHIF (npm pack @ohif/app; its folder dist)")
    with told_server() as server:
        server.answer = lambda method, path: _page_or_object(archive, path)
        server.url = server.url.removesuffix("/dicom-web")
        yield server


def _page_or_object(archive: Orthanc, path: str) -> Answer:
    if path.startswith("/dicom-web"):
        try:
            with urllib.request.urlopen(f"{archive.url}{path}") as answer:
                return Answer(200, answer.headers["Content-Type"], answer.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, "text/plain")
    if path == "/app-config.js":
        return Answer(200, "text/javascript", CONFIG.encode())
    file = Path(OHIF) / path.partition("?")[0].lstrip("/")
    file = file if file.is_file() else Path(OHIF) / "index.html"
    kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    return Answer(200, kind, file.read_bytes())


@pytest.mark.slow
def test_ohif_opens_the_report_and_draws_its_boxes(ohif: Told, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.add_init_script("localStorage.setItem('shownTours', '[\"basicViewerTour\"]')")
    page.goto(f"{ohif.url}/viewer?StudyInstanceUIDs={STUDY}", wait_until="commit")
    report = page.get_by_text("cxrloc findings and boxes: research use only")
    report.dblclick(timeout=PATIENCE_MS)
    for score in ("0.75", "0.50", "0.90"):  # of the boxes, in the order of the report
        page.get_by_text(f"Localizer score: {score}").first.wait_for(
            timeout=PATIENCE_MS, state="attached"
        )
    page.close()
