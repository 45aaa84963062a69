"""CPUs on which OpenVINO's INT8 is wrong."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest


@pytest.mark.usefixtures("int8_cpu")
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="of x86 CPUs")
def test_a_cpu_whose_8_bit_products_overflow_is_refused() -> None:
    """oneDNN's own switch makes this CPU one of before 2019."""
    script = (
        "from cxrloc.classification.inference.openvino_network import check_vnni\n"
        "try:\n    check_vnni('openvino-int8')\n"
        "except ValueError as error:\n    print(error)\n"
    )
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    command = [sys.executable, "-c", script]
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "8-bit products overflow" in printed.stdout
    assert "use runtime openvino" in printed.stdout
