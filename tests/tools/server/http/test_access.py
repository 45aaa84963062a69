"""Who is let in: loopback alone without a token, the token's owner with one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from cxrloc.tools import serve
from cxrloc.tools.server.api import create_app
from cxrloc.tools.server.http.access import check_host, read_token
from cxrloc.tools.server.service import Service

TOKEN = "a-token-of-some-length-0123456789"


@pytest.fixture(scope="module")
def guarded(services: Callable[..., Service]) -> TestClient:
    return TestClient(create_app(services(), TOKEN), base_url="http://images.example")


@pytest.fixture(scope="module")
def local(services: Callable[..., Service]) -> TestClient:
    return TestClient(create_app(services()), base_url="http://127.0.0.1:8080")


@pytest.mark.parametrize("path", ["/v1/models", "/metrics", "/openapi.json", "/", "/nothing"])
def test_nothing_but_healthz_is_shown_without_the_token(guarded: TestClient, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic !!"}):
        response = guarded.get(path, headers=headers)
        assert response.status_code == 401
        assert response.headers["content-type"] == "application/problem+json"
        assert "Bearer" in response.headers["www-authenticate"]
    assert guarded.get("/healthz").status_code == 200


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}])
def test_no_websocket_is_opened_without_the_token(
    guarded: TestClient, headers: dict[str, str]
) -> None:
    with (
        pytest.raises(WebSocketDisconnect) as closed,
        guarded.websocket_connect("/page/_nicegui_ws/socket.io/", headers=headers),
    ):
        pass
    assert closed.value.code == 1008


@pytest.mark.parametrize("name", ["X-Forwarded-For", "X-Forwarded-Host", "Host", "X-Original-URL"])
def test_no_header_of_a_proxy_stands_for_the_token(guarded: TestClient, name: str) -> None:
    assert guarded.get("/v1/models", headers={name: "127.0.0.1"}).status_code == 401


def test_the_token_is_taken_as_bearer_and_as_a_browser_s_password(guarded: TestClient) -> None:
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert guarded.get("/v1/models", headers=bearer).status_code == 200
    assert guarded.get("/v1/models", auth=("anybody", TOKEN)).status_code == 200
    assert guarded.get("/v1/models", auth=(TOKEN, "anything")).status_code == 401


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "Localhost", "[::1]:8080", "[::1]"])
def test_without_a_token_requests_to_loopback_are_served(local: TestClient, host: str) -> None:
    assert local.get("/v1/models", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[::2]"])
def test_without_a_token_a_name_that_was_pointed_here_is_refused(
    local: TestClient, host: str
) -> None:
    assert local.get("/v1/models", headers={"Host": host}).status_code == 421


def test_what_a_page_of_another_origin_sends_is_refused(local: TestClient) -> None:
    same_origin, other = {"Origin": "http://127.0.0.1:8080"}, {"Origin": "https://evil.example"}
    assert local.get("/v1/models", headers=same_origin).status_code == 200
    for headers in (other, {"Origin": "http://127.0.0.1:9090"}, {"Origin": "null"}):
        assert local.get("/v1/models", headers=headers).status_code == 403


@pytest.mark.parametrize("origin", ["http://[::1", "http://[", "[", "http://a]:1", "://", "\xff"])
def test_a_malformed_origin_is_refused_and_never_before_the_token(
    local: TestClient, guarded: TestClient, origin: str
) -> None:
    headers = {b"Origin": origin.encode("latin-1")}
    assert local.get("/v1/models", headers=headers).status_code == 403
    assert guarded.get("/v1/models", headers=headers).status_code == 401
    bearer = {b"Authorization": f"Bearer {TOKEN}".encode()}
    assert guarded.get("/v1/models", headers=headers | bearer).status_code == 403


@pytest.mark.parametrize(
    "host",
    ["[::1", "a]b", "name:port", "name:99999", "user@name", "a/b", "a b", "b\xfccher", ":80", "[]"],
)
@pytest.mark.parametrize("path", ["/v1/models", "/nothing/"])
def test_a_malformed_host_is_refused_after_the_token(
    guarded: TestClient, host: str, path: str
) -> None:
    headers = {b"Host": host.encode("latin-1")}
    bearer = {b"Authorization": f"Bearer {TOKEN}".encode()}
    assert guarded.get(path, headers=headers).status_code == 401
    assert guarded.get(path, headers=headers | bearer).status_code == 400


FOREIGN = [
    *("http://127.0.0.1:8080@evil.example", "http://evil@127.0.0.1:8080", "//127.0.0.1:8080"),
    *("://127.0.0.1:8080", "file://127.0.0.1:8080", "http://127.0.0.1:99999", "http://b\xfccher"),
    *("http://127.0.0.1:8080/", "http://127.0.0.1", "NULL", "http://127.0.0.1:8080, http://a", " "),
]


@pytest.mark.parametrize("origin", FOREIGN)
def test_no_odd_form_of_an_origin_passes_for_this_server(local: TestClient, origin: str) -> None:
    headers = {b"Origin": origin.encode("latin-1")}
    assert local.get("/v1/models", headers=headers).status_code == 403
    with (
        pytest.raises(WebSocketDisconnect) as closed,
        local.websocket_connect("/page/_nicegui_ws/socket.io/", headers=headers),
    ):
        pass
    assert closed.value.code == 1008


def test_of_two_origins_or_hosts_the_first_does_not_hide_the_second(
    local: TestClient, guarded: TestClient
) -> None:
    own = ("Origin", "http://127.0.0.1:8080")
    for other in (("Origin", "http://evil.example"), ("Origin", "null")):
        for both in ([own, other], [other, own]):
            assert local.get("/v1/models", headers=both).status_code == 403
    hosts = [("Host", "127.0.0.1:8080"), ("Host", "evil.example")]
    assert local.get("/v1/models", headers=hosts).status_code == 421
    bearer = ("Authorization", f"Bearer {TOKEN}")
    assert guarded.get("/v1/models", headers=[*hosts, bearer]).status_code == 400


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("images.example", "https://images.example"),
        ("images.example:443", "https://images.example"),  # by some proxies
        ("IMAGES.example:8443", "https://images.example:8443"),
        ("[2001:db8::1]:8080", "http://[2001:db8::1]:8080"),
    ],
)
def test_a_page_of_this_server_is_known_however_its_port_is_given(
    guarded: TestClient, host: str, origin: str
) -> None:
    headers = {"Host": host, "Origin": origin, "Authorization": f"BEARER  {TOKEN}"}
    assert guarded.get("/v1/models", headers=headers).status_code == 200
    wrong = headers | {"Authorization": f"Bearer {TOKEN.upper()}"}
    assert guarded.get("/v1/models", headers=wrong).status_code == 401


def test_answers_tell_a_browser_to_ask_no_other_server(local: TestClient) -> None:
    policy = local.get("/healthz").headers["content-security-policy"]
    assert policy.startswith("default-src 'self';")
    assert "http" not in policy


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "images.example", "::"])
def test_another_host_needs_a_token(host: str) -> None:
    with pytest.raises(ValueError, match="--token-file"):
        check_host(host, None)
    check_host(host, TOKEN)


def test_a_token_file_is_one_long_line(tmp_path: Path) -> None:
    path = tmp_path / "token"
    with pytest.raises(FileNotFoundError, match="openssl rand"):
        read_token(path)
    for bad in ("", "short", "two words that are long enough", "line one of it\nline two of it"):
        path.write_text(bad)
        with pytest.raises(ValueError, match="at least 16"):
            read_token(path)
    path.write_bytes(b"\xe4" * 20)
    with pytest.raises(ValueError, match="token is not a text file in UTF-8"):
        read_token(path)
    for whole in (f"{TOKEN}\n", f"\ufeff{TOKEN}\r\n"):
        path.write_text(whole, encoding="utf-8")
        assert read_token(path) == TOKEN


def test_the_tool_refuses_to_start_for_others_without_a_token(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--gate", str(tmp_path / "none.safetensors")]
    assert serve.main([*arguments, "--host", "0.0.0.0"]) == 2
    assert "--token-file" in capsys.readouterr().err
    assert serve.main(arguments) == 2
    assert "none.safetensors" in capsys.readouterr().err
    assert serve.main([*arguments, "--queue", "0"]) == 2
    assert "limit queue is 0" in capsys.readouterr().err
