"""Models at addresses: fetched once, checked, resumed, and used without a connection."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import ssl
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cxrloc.classification.run_folder import bundle_at
from cxrloc.datasets.files.addresses import fetched, path_or_address
from datasets.files.model_server import COMMIT, serving
from tools.server.certificates import make_certificate

CONTENT = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FETCH = (
    "import sys; from cxrloc.datasets.files.addresses import fetched; print(fetched(sys.argv[1]))"
)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_file_is_fetched_once_and_then_needs_no_server() -> None:
    with serving({"/models/gate.onnx": CONTENT}) as server:
        address = f"{server.url}/models/gate.onnx#sha256={SHA256}"
        path = bundle_at(address)
        assert path.name == "gate.onnx"
        assert path.read_bytes() == CONTENT
        assert bundle_at(address) == path
        assert server.ranges == [""]
    assert fetched(address) == path


def test_an_interrupted_download_goes_on_where_it_was() -> None:
    with serving({"/gate.onnx": CONTENT}) as server:
        server.breaks_after, server.breaks = 100_000, 1
        address = f"{server.url}/gate.onnx#sha256={SHA256}"
        with pytest.raises(OSError, match="same command goes on with what has arrived"):
            fetched(address)
        assert fetched(address).read_bytes() == CONTENT
        assert server.ranges == ["", "bytes=100000-"]


def test_another_file_than_the_one_asked_for_is_refused_and_not_kept(tmp_path: Path) -> None:
    with serving({"/gate.onnx": CONTENT + b"?"}) as server:
        address = f"{server.url}/gate.onnx#sha256={SHA256}"
        for _ in range(2):  # nor is it taken for the beginning of the right one
            with pytest.raises(ValueError, match=r"not the file that was asked for.*SHA-256"):
                fetched(address)
        assert server.ranges == ["", ""]
        with pytest.raises(OSError, match="404"):
            fetched(f"{server.url}/none.onnx#sha256={SHA256}")
    with pytest.raises(OSError, match=r"cannot be fetched.*give the path of a copy"):
        fetched(address)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.suffix == ".onnx"]


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_https_from_an_own_authority_resumes_through_a_redirect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    certificate, key = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serving({"/store/gate.onnx": CONTENT}, context) as server:
        server.moved["/latest/gate.onnx"] = "/store/gate.onnx"
        server.breaks_after, server.breaks = 100_000, 1
        address = f"{server.url}/latest/gate.onnx#sha256={SHA256}"
        with pytest.raises(OSError, match=r"certificate is not trusted \(.*\); .*SSL_CERT_FILE$"):
            fetched(address)
        monkeypatch.setenv(variable, str(tmp_path / "none.pem"))
        with pytest.raises(OSError, match=rf"{variable}: .*none\.pem cannot be used: No such file"):
            fetched(address)
        monkeypatch.setenv(variable, str(certificate))
        with pytest.raises(OSError, match="same command goes on with what has arrived"):
            fetched(address)
        assert fetched(address).read_bytes() == CONTENT
        assert server.ranges == ["", "bytes=100000-"]
        with pytest.raises(OSError, match="the server answers 404 Not Found"):
            fetched(f"{server.url}/gone.onnx#sha256={'0' * 64}")


def test_a_full_disk_is_not_taken_for_a_missing_connection(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with serving({"/gate.onnx": CONTENT}) as server:
        address = f"{server.url}/gate.onnx#sha256={SHA256}"
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        try:
            with pytest.raises(OSError, match=r"cannot be kept in .*: File too large; make room"):
                fetched(address)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)
        assert fetched(address).read_bytes() == CONTENT
        assert server.ranges == ["", "bytes=100000-"]


@pytest.mark.parametrize(
    "address",
    [
        "https://example.org/gate.onnx",
        "https://example.org/gate.onnx#sha256=12",
        f"http://example.org/gate.onnx#sha256={SHA256}",
        f"ftp://example.org/gate.onnx#sha256={SHA256}",
        f"https://example.org/#sha256={SHA256}",
        "hf://org/name/classifier.safetensors",
        "hf://name@main/classifier.safetensors",
        "hf://org/name@main/",
    ],
)
def test_an_address_of_another_form_is_refused_with_the_right_ones(address: str) -> None:
    word = path_or_address(address)
    assert word == address
    with pytest.raises(ValueError, match="expected hf://ORG/NAME@REVISION/FILE"):
        bundle_at(word)


def test_a_path_stays_a_path() -> None:
    assert path_or_address("runs/gate/fold0") == Path("runs/gate/fold0")


# In processes of their own: huggingface_hub reads its settings when it is imported.
def _fetch(address: str, endpoint: str, folder: Path) -> subprocess.CompletedProcess[str]:
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "hf"), "HF_TOKEN": ""}
    environment = {**os.environ, **settings, "HF_HUB_DISABLE_TELEMETRY": "1"}
    return subprocess.run(
        [sys.executable, "-c", FETCH, address],
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


def test_the_hubs_files_are_fetched_resumed_kept_and_used_offline(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub", reason="pip install -e .[hub]")
    name = f"/org/name/resolve/{COMMIT}/fold0/classifier.safetensors"
    address = f"hf://org/name@{COMMIT}/fold0/classifier.safetensors"
    content = CONTENT * 50  # it writes 10 MB at once
    with serving({name: content}) as server:
        server.breaks_after, server.breaks = 12_000_000, 1
        first = _fetch(address, server.url, tmp_path)
        assert first.returncode == 0, first.stderr
        assert Path(first.stdout.strip()).read_bytes() == content
        assert server.ranges[0] == ""
        assert server.ranges[1].startswith("bytes=10")
        gone = _fetch(f"hf://org/name@{COMMIT}/none.safetensors", server.url, tmp_path)
        assert "the hub does not give this file" in gone.stderr
    offline = _fetch(address, server.url, tmp_path)
    assert offline.stdout == first.stdout, offline.stderr
    other = _fetch(f"hf://org/name@{COMMIT}/other.safetensors", server.url, tmp_path)
    assert other.returncode != 0
    assert "give the path of a copy" in other.stderr.splitlines()[-1]
