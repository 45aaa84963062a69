"""Tiny bundles, images, a service, and the real tool in a browser, for the tests of the server."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from ssl import _create_unverified_context
from typing import TYPE_CHECKING, Any

import cv2
import pytest

from builders import chest_pixels, tiny_classifier, write_tiny_detector
from cxrloc.classification.bundle.classifier import save_classifier
from cxrloc.classification.bundle.preprocessing import Preprocessing
from cxrloc.detection.load_diagnoser import load_diagnoser
from cxrloc.localization.diagnosis.diagnoser import Diagnoser
from cxrloc.tools.server.http.limits import Limits
from cxrloc.tools.server.http.schemas import loaded_models
from cxrloc.tools.server.service import Service
from datasets.dicom.builders import write_dicom
from datasets.dicom.web.servers import free_port
from tools.server.certificates import make_certificate

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

pytest.importorskip("fastapi", reason="fastapi is not installed: pip install -e .[serve]")
_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((path for name in _PROGRAMS if (path := shutil.which(name))), None)
SERVE = Path(__file__).resolve().parents[3] / "tools" / "serve.py"
PATIENCE_MS = 300_000  # the machines of CI may be busy with something else
DISEASES = ("Mass", "Effusion", "Pleural_Thickening")
# two diseases pass the gate on every image, the third never does
THRESHOLDS = {"Mass": 0.0, "Effusion": 0.0, "Pleural_Thickening": 1.0}


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An untrained classifier and an untrained Mask R-CNN: real bundles of real networks."""
    folder = tmp_path_factory.mktemp("server_bundles")
    bundle = tiny_classifier(
        DISEASES,
        architecture="resnet18",
        thresholds=THRESHOLDS,
        preprocessing=Preprocessing(96, (0.5,) * 3, (0.25,) * 3),
        mean_box_sizes=dict.fromkeys(DISEASES, (0.3, 0.3)),
    )
    paths = {name: folder / f"{name}.safetensors" for name in ("classifier", "maskrcnn")}
    save_classifier(paths["classifier"], bundle)
    write_tiny_detector(paths["maskrcnn"], DISEASES)
    return paths


@pytest.fixture(scope="session")
def diagnoser(bundles: dict[str, Path]) -> Diagnoser:
    return load_diagnoser(bundles["classifier"], bundles["maskrcnn"], "cpu")


@pytest.fixture(scope="session")
def services(diagnoser: Diagnoser, bundles: dict[str, Path]) -> Iterator[Callable[..., Service]]:
    """`services(files=3)` is a service with that limit."""
    models = loaded_models(diagnoser, [bundles["classifier"], bundles["maskrcnn"]])
    made: list[Service] = []

    def make(engine: Any = diagnoser, **limits: float) -> Service:
        made.append(Service(engine, models, Limits(**limits)))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for service in made:
        service.worker.close()


@pytest.fixture(scope="module")
def client(services: Callable[..., Service]) -> Iterator[TestClient]:
    from fastapi.testclient import TestClient

    from cxrloc.tools.server.api import create_app

    app = create_app(services(files=3, megabytes=0.2, request_megabytes=0.5, megapixels=0.1))
    with TestClient(app, base_url="http://127.0.0.1") as opened:
        yield opened


def image_pixels(seed: int = 4, size_hw: tuple[int, int] = (120, 100)) -> Any:
    return chest_pixels(seed, size_hw)


def encoded(pixels: Any, ending: str = ".png") -> bytes:
    done, data = cv2.imencode(ending, pixels)
    assert done
    return bytes(data.tobytes())


@pytest.fixture(scope="session")
def draw_image() -> Callable[..., Any]:
    """`draw_image(seed, size_hw=...)`: a drawn chest."""
    return image_pixels


@pytest.fixture(scope="session")
def dicom(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The image of `png` as DICOM, of a patient whose name is a canary."""
    path = tmp_path_factory.mktemp("dicom") / "image.dcm"
    return bytes(write_dicom(path, image_pixels()).read_bytes())


@pytest.fixture(scope="session")
def png() -> bytes:
    return encoded(image_pixels())


@pytest.fixture(scope="session")
def jpeg() -> bytes:
    return encoded(image_pixels(5), ".jpg")


@pytest.fixture(scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the server takes for temporary files."""
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="module")
def address(served: Any, temporary: Path) -> Iterator[str]:
    """cxrloc serve in a process of its own; stopped as a system stops it, it leaves no file."""
    with served(temporary, "--megabytes", "1") as address:
        yield address
    assert list(temporary.iterdir()) == []


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is missing (dev)")
    pytest.importorskip("nicegui", reason="nicegui is not installed: pip install -e .[serve]")
    if CHROMIUM is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"], timeout=PATIENCE_MS
        )
        yield started
        started.close()


@pytest.fixture(scope="session")
def patience_ms() -> int:
    """How long a page of a test waits for what it looks for."""
    return PATIENCE_MS


@pytest.fixture(scope="module")
def images(
    png: bytes, jpeg: bytes, dicom: bytes, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("images")
    made = {
        "a <b>.png": png,
        "b.jpg": jpeg,
        "c.dcm": dicom,
        "broken.png": png[:300],
        "large.png": png + bytes(2_000_000),
    }
    for name, data in made.items():
        (folder / name).write_bytes(data)
    return {name: folder / name for name in made}


@pytest.fixture(scope="module")
def page(browser: Any, address: str, images: dict[str, Path]) -> Any:
    """The page after five files: three images, one that is broken, one that is too large.

    It stays open until the server has been stopped.
    """
    opened = browser.new_page(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    opened.set_default_timeout(PATIENCE_MS)
    opened.heard, opened.asked = [], []
    opened.on("console", lambda message: opened.heard.append(message.text))
    opened.on("pageerror", lambda error: opened.heard.append(str(error)))
    opened.on("request", lambda request: opened.asked.append(request.url))
    opened.on("websocket", lambda socket: opened.asked.append(socket.url))
    opened.goto(address)
    opened.locator(".pick").wait_for()
    opened.locator("input[type=file]").set_input_files(list(images.values()))
    opened.locator(".news", has_text="5 of 5 images done, 2 could not be predicted.").wait_for()
    return opened


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost that is its own authority, and its key."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def served(bundles: dict[str, Path]) -> Any:
    """`with served(temporary, *arguments) as address`: the real tool, its files in that folder.

    At the end it is told to stop, while pages may be open.
    """
    return contextlib.contextmanager(functools.partial(_served, bundles))


def _served(bundles: dict[str, Path], temporary: Path, *more: str) -> Iterator[str]:
    port = free_port()
    models = [f"--gate={bundles['classifier']}", f"--maskrcnn={bundles['maskrcnn']}"]
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(
            [sys.executable, SERVE, *models, "--port", str(port), *more],
            env=os.environ | {"TMPDIR": str(temporary)},
            cwd=temporary,
            stderr=log,
        ) as server,
    ):
        try:
            address = f"{'https' if '--certificate' in more else 'http'}://127.0.0.1:{port}"
            _wait_for(f"{address}/healthz", server)
            yield address
            server.send_signal(signal.SIGTERM)
            assert server.wait(PATIENCE_MS / 1000) == 143
            log.seek(0)
            # nothing of connections that had to be cut off
            assert log.read() == "serve: ended by SIGTERM; nothing is served now\n"
        finally:
            server.kill()


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    while server.poll() is None:
        try:
            # that somebody answers is enough: whose certificate it is, is not asked here
            with urllib.request.urlopen(url, timeout=60, context=_create_unverified_context()):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"the server ended with status {server.returncode}")
