"""Servers for the tests of DICOMweb."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from datasets.dicom.web.servers import Told, told_server


@pytest.fixture
def told() -> Iterator[Told]:
    with told_server() as server:
        yield server
