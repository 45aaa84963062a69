"""TLS of page and API, from the files that an administrator has."""

from __future__ import annotations

import ssl
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from cxrloc.tools.server.http.tls import check_pair, client_context, server_context
from tools.server.certificates import make_certificate

Pair = tuple[Path, Path]


@pytest.mark.slow
def test_page_and_api_speak_tls_and_nothing_else(
    served: Any, certificate: Pair, tmp_path: Path
) -> None:
    words = ["--certificate", str(certificate[0]), "--key", str(certificate[1])]
    with served(tmp_path, *words) as address:
        trust = ssl.create_default_context(cafile=certificate[0])
        for path, expected in (("/v1/models", b"classifier"), ("/", b"<html")):
            with urllib.request.urlopen(address + path, timeout=60, context=trust) as answer:
                assert expected in answer.read()
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            urllib.request.urlopen(address, timeout=60)
        with pytest.raises(OSError):
            urllib.request.urlopen(address.replace("https", "http"), timeout=60)


def test_files_that_cannot_be_used_are_named(certificate: Pair, tmp_path: Path) -> None:
    pem, key = certificate
    check_pair(None, None)
    check_pair(pem, key)
    with pytest.raises(ValueError, match="belong together: give both"):
        check_pair(pem, None)
    with pytest.raises(FileNotFoundError, match=r"--key .*absent"):
        check_pair(pem, tmp_path / "absent")
    (tmp_path / "notes.txt").write_text("no certificate")
    with pytest.raises(ValueError, match=r"notes\.txt and --key .* cannot be used"):
        check_pair(tmp_path / "notes.txt", key)
    other = make_certificate(tmp_path)[1]
    with pytest.raises(ValueError, match="key values mismatch"):
        check_pair(pem, other)
    locked = tmp_path / "locked.pem"
    command = ["openssl", "rsa", "-aes256", "-passout", "pass:secret", "-in", str(key)]
    subprocess.run([*command, "-out", str(locked)], check=True, capture_output=True, timeout=60)
    with pytest.raises(ValueError, match="without a passphrase"):
        check_pair(pem, locked)
    with pytest.raises(ValueError, match=r"--trusted .* expected PEM"):
        client_context(None, None, tmp_path / "notes.txt")


def test_callers_need_a_certificate_where_authorities_are_named(certificate: Pair) -> None:
    assert server_context(*certificate).verify_mode == ssl.CERT_NONE
    assert server_context(*certificate, trusted=certificate[0]).verify_mode == ssl.CERT_REQUIRED
