"""TLS from the files that an administrator has: a certificate, its key, whose callers to trust."""

from __future__ import annotations

import ssl
from pathlib import Path


def check_pair(certificate: Path | None, key: Path | None) -> None:
    """Raise ValueError or FileNotFoundError unless both are given and belong together, or none."""
    if (certificate is None) != (key is None):
        raise ValueError("--certificate and --key belong together: give both for TLS, or neither")
    if certificate is not None and key is not None:
        _load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), certificate, key)


def server_context(certificate: Path, key: Path, trusted: Path | None = None) -> ssl.SSLContext:
    """TLS 1.2 or later for those who call.

    Args:
        certificate: PEM, with the chain below it.
        key: PEM, without a passphrase.
        trusted: PEM with certificates of authorities; callers must have one of theirs.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load_pair(context, certificate, key)
    if trusted is not None:
        _load_trusted(context, trusted)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(
    certificate: Path | None, key: Path | None, trusted: Path | None
) -> ssl.SSLContext:
    """TLS for calling others: they must have a certificate of the system's or `trusted`
    authorities for the name that they are called by; ours is shown to those who ask for it."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if trusted is not None:
        _load_trusted(context, trusted)
    if certificate is not None and key is not None:
        _load_pair(context, certificate, key)
    return context


def _load_pair(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    for option, path in (("--certificate", certificate), ("--key", key)):
        _check_file(option, path)
    try:
        # a passphrase would be asked for on a terminal that a service does not have
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except (ssl.SSLError, ValueError) as error:
        raise ValueError(
            f"--certificate {certificate} and --key {key} cannot be used ({_short(error)}); "
            "expected PEM files that belong together, the key without a passphrase"
        ) from None


def _load_trusted(context: ssl.SSLContext, trusted: Path) -> None:
    _check_file("--trusted", trusted)
    try:
        context.load_verify_locations(trusted)
    except ssl.SSLError as error:
        raise ValueError(
            f"--trusted {trusted}: {_short(error)}; expected PEM certificates of authorities"
        ) from None


def _check_file(option: str, path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        raise FileNotFoundError(f"{option} {path}: {error.strerror}") from None


def _short(error: Exception) -> str:
    return str(getattr(error, "reason", None) or "not PEM").replace("_", " ").lower()
