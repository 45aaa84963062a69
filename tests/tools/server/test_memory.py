"""The server keeps nothing of the requests that it has answered."""

from __future__ import annotations

import gc
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cxrloc.tools.server.service import Service

WARM_UP, REQUESTS, SIZE = 12, 36, (900, 800)
LARGEST_GROWTH = 0.05


def _resident_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if "VmRSS" in line).split()[1])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_after_many_requests_is_that_after_few(
    services: Callable[..., Service], draw_image: Callable[..., Any]
) -> None:
    from fastapi.testclient import TestClient
    from PIL import Image

    from cxrloc.tools.server.api import create_app

    file = io.BytesIO()
    Image.fromarray(draw_image(3, size_hw=SIZE)).save(file, "PNG")
    upload = {"files": ("a.png", file.getvalue(), "image/png")}
    kinds = ("application/json", "application/json", "image/png", "text/html")
    with TestClient(create_app(services()), base_url="http://127.0.0.1") as client:

        def ask(count: int) -> int:
            for number in range(count):
                headers = {"Accept": kinds[number % len(kinds)]}
                answer = client.post("/v1/predictions", files=upload, headers=headers)
                assert answer.status_code == 200, answer.text
            gc.collect()
            return _resident_bytes()

        before = ask(WARM_UP)
        growth = ask(REQUESTS) - before
    # an image kept, in floating point as the network has it, would be 2.9 MB a request
    assert growth < LARGEST_GROWTH * before, f"{growth / 1e6:.0f} of {before / 1e6:.0f} MB"
