from __future__ import annotations

import gzip
import logging
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from onetribe_bc.api.http import MAX_BODY_BYTES, HttpClient, Timeouts
from onetribe_bc.errors import (
    BadResponseError,
    ConfigurationError,
    NoConnectionError,
    NoResponseError,
)
from tests.wire import (  # noqa: F401
    Serve,
    WireServer,
    answer,
    free_port,
    hang_up,
    read_request,
    reset,
    serve_fixture,
)

KEY = "merchant-key-0123456789"
TOKEN = "token-0123456789"
Connect = Callable[..., HttpClient]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes clients for `/orders/KEY` at a URL."""
    with ExitStack() as stack:

        def connect(url: str, read_s: float = 10.0, **options: Any) -> HttpClient:
            given: dict[str, Any] = {
                "headers": {"X-Auth-Token": TOKEN},
                "timeouts": Timeouts(connect_s=10.0, read_s=read_s),
                "connections": 4,
                "label": "/orders/****",
                **options,
            }
            client = HttpClient(f"{url}/orders/{KEY}", **given)
            stack.callback(client.close)
            return client

        yield connect


def test_a_response_has_status_headers_and_body(serve: Serve, connect: Connect) -> None:
    server = serve([answer(b'{"a":1}', "X-Sent: Yes", status="418 I'm a teapot")])

    got = connect(server.url).request("GET", "/x", query={"min_id": "1", "sort": "id:asc"})

    assert (got.status, got.body) == (418, b'{"a":1}')
    assert "a" not in repr(got).partition("body")[2]
    assert got.headers["x-sent"] == "Yes"
    assert f"User-Agent: bc2ot/{version('onetribe-bc')} ".encode() in server.requests[0]
    assert server.requests[0].startswith(f"GET /orders/{KEY}/x?min_id=1&sort=id%3Aasc ".encode())


def test_a_body_and_its_headers_are_sent_with_their_own_request_only(
    serve: Serve, connect: Connect
) -> None:
    server = serve([answer()])
    client = connect(server.url)

    client.request("POST", body=b'{"id":1}', headers={"Idempotency-Key": "one"})
    client.request("POST", body=b'{"id":10}')
    client.request("POST")

    first, second, third = server.requests
    assert first.endswith(b'\r\n\r\n{"id":1}')
    assert b"Content-Length: 8\r\n" in first
    assert b"Idempotency-Key: one\r\n" in first
    assert second.endswith(b'\r\n\r\n{"id":10}')
    assert b"Idempotency-Key" not in second
    assert b"Content-Length: 9\r\n" in second
    assert b"Content-Length: 0\r\n" in third


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_never_followed(serve: Serve, connect: Connect, status: int) -> None:
    """A followed redirect of a POST is a GET whose 200 delivers nothing."""
    elsewhere = serve([answer()])
    server = serve([answer(b"", f"Location: {elsewhere.url}/", status=f"{status} Moved")])

    assert connect(server.url).request("POST", body=b"{}").status == status
    assert elsewhere.requests == []
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_nothing_is_retried(serve: Serve, connect: Connect, status: int) -> None:
    server = serve([answer(b"", "Retry-After: 0", status=f"{status} No")])
    assert connect(server.url).request("GET").status == status
    assert len(server.requests) == 1


def test_neither_cookies_are_kept_nor_a_netrc_used(serve: Serve, connect: Connect) -> None:
    netrc = Path.home() / ".netrc"
    netrc.write_text("machine 127.0.0.1 login someone password something\n")
    netrc.chmod(0o600)
    server = serve([answer(b"{}", "Set-Cookie: session=1; Path=/")])
    client = connect(server.url)
    for _ in range(2):
        client.request("GET")
    assert not any(b"Authorization" in one or b"Cookie" in one for one in server.requests)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_environment_is_not_used_for_loopback(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    proxy = serve([answer()])
    monkeypatch.setenv(name, proxy.url)
    server = serve([answer()])
    connect(server.url).request("GET")
    assert (len(server.requests), proxy.requests) == (1, [])


def test_a_proxy_of_the_environment_is_used_for_other_hosts(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = serve([answer(b'{"through":"proxy"}')])
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    got = connect("http://api.example.com").request("GET")
    assert got.body == b'{"through":"proxy"}'
    assert proxy.requests[0].startswith(b"GET http://api.example.com/orders/")


@pytest.mark.parametrize(
    "reply",
    [
        answer(b'{"a":1}'),
        answer(b""),
        b"HTTP/1.1 204 No Content\r\n\r\n",
        answer(gzip.compress(b'{"a":1}'), "Content-Encoding: gzip"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n{'a':1}\r\n0\r\n\r\n",
        answer(b"<html>no</html>", status="500 Oops"),
    ],
    ids=["body", "empty", "204", "gzip", "chunked", "error"],
)
def test_a_connection_is_reused(serve: Serve, connect: Connect, reply: bytes) -> None:
    server = serve([reply])
    client = connect(server.url)
    for _ in range(5):
        client.request("POST", body=b"{}", keep_bytes=1_000)
        client.request("GET", "/x")
    assert server.connections == 1


def test_threads_share_the_pool_of_connections(serve: Serve, connect: Connect) -> None:
    server = serve([answer()])
    client = connect(server.url, connections=4)
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda _n: client.request("GET").status, range(100)))
    assert got == [200] * 100
    assert server.connections <= 4


def test_a_gzipped_body_is_unpacked(serve: Serve, connect: Connect) -> None:
    body = b'[{"id":1,"name":"Zo\\u00eb"}]' * 50_000
    server = serve([answer(gzip.compress(body), "Content-Encoding: gzip")])
    assert connect(server.url).request("GET").body == body


@pytest.mark.parametrize("host", ["127.0.0.1", "a..example.com"])
def test_without_a_connection_the_request_never_left(connect: Connect, host: str) -> None:
    with pytest.raises(NoConnectionError, match=f"No connection to {host}") as caught:
        connect(f"http://{host}:{free_port()}").request("POST", body=b"{}")
    assert ("refused." in str(caught.value)) is (host == "127.0.0.1")
    assert "network" in caught.value.hint
    assert KEY not in repr(caught.value)
    assert caught.value.__suppress_context__
    assert caught.value.__cause__ is None


def _reset_in_handshake(connection: socket.socket) -> None:
    connection.recv(65_536)
    reset(connection)


def _close_after_reading(connection: socket.socket) -> None:
    read_request(connection)


def _gibberish(connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(b"220 smtp.example.com ESMTP\r\n\r\n")


@pytest.mark.parametrize("play", [hang_up, _close_after_reading, _gibberish])
def test_after_a_break_before_the_response_the_request_may_have_arrived(
    serve: Serve, connect: Connect, play: Callable[[socket.socket], None]
) -> None:
    with pytest.raises(NoResponseError, match=r"Sent the request to .*:\d+ but got no response"):
        connect(serve(play).url).request("POST", body=b"{}")


def test_after_a_timeout_the_request_may_have_arrived(serve: Serve, connect: Connect) -> None:
    server: WireServer = serve(lambda _connection: server.stopping.wait(10))
    with pytest.raises(NoResponseError):
        connect(server.url, read_s=0.02).request("POST", body=b"{}")


BROKEN = {
    "cut off": (answer(b"[1,2", length=100), "is incomplete"),
    "bad gzip": (answer(b"nonsense", "Content-Encoding: gzip"), "is incomplete"),
    "bad chunk": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "is incomplete",
    ),
    "gzip bomb": (
        answer(
            gzip.compress(bytes(MAX_BODY_BYTES + 1_000_000), compresslevel=1),
            "Content-Encoding: gzip",
        ),
        "is too large",
    ),
}


@pytest.mark.parametrize(("reply", "message"), BROKEN.values(), ids=BROKEN)
def test_an_unreadable_body_is_an_error_unless_the_status_is_enough(
    serve: Serve, connect: Connect, reply: bytes, message: str
) -> None:
    def play(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(reply)

    client = connect(serve(play).url)
    with pytest.raises(BadResponseError, match=message):
        client.request("GET")
    assert client.request("POST", body=b"{}", keep_bytes=10).status == 200


def test_an_error_counts_even_with_an_incomplete_body(serve: Serve, connect: Connect) -> None:
    """A 429 whose body is cut off is still a 429, and its headers are still read."""

    def play(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(answer(b"[{", "X-Retry-After: 3", status="429 Slow down", length=99))

    got = connect(serve(play).url).request("GET")
    assert (got.status, got.headers["X-Retry-After"], got.body) == (429, "3", b"[{")


def test_keep_bytes_limits_the_body(serve: Serve, connect: Connect) -> None:
    server = serve([answer(b"x" * 1_000_000)])
    client = connect(server.url)
    assert client.request("POST", body=b"{}", keep_bytes=10).body == b"x" * 10
    assert client.request("POST", body=b"{}", keep_bytes=10).status == 200


def test_a_slow_body_is_an_error(serve: Serve, connect: Connect) -> None:
    def drip(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(answer(b"", length=1_000_000))
        while not server.stopping.wait(0.002):
            connection.sendall(b".")

    server = serve(drip)
    with pytest.raises(BadResponseError, match="is too slow"):
        connect(server.url, timeouts=Timeouts(0.1, 0.05)).request("GET")


def test_neither_key_nor_token_is_logged_at_any_level(
    serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    odd = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nbroken header\r\n\r\n{}"
    server = serve([answer(), odd, answer()])
    client = connect(server.url)

    for _ in range(3):
        client.request("POST", "/x", body=b"{}")
    client = connect(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(NoConnectionError):
        client.request("POST", body=b"{}")

    assert "POST /orders/****/x 200" in caplog.text
    assert "POST /orders/**** ConnectionError" in caplog.text
    assert KEY not in caplog.text
    assert TOKEN not in caplog.text


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("http://127.0.0.1:1", {"X-Auth-Token": f"{TOKEN}\n"}),
        ("http://127.0.0.1:1", {"X-Auth-Token": f" {TOKEN}"}),
        ("http://127.0.0.1:1", {"X-Auth-Token": f"{TOKEN}\N{EURO SIGN}"}),
        ("http://*.example.com", {}),
        ("127.0.0.1:1", {}),
        ("http://", {}),
    ],
    ids=["line break", "space", "not latin-1", "no host name", "no scheme", "no host"],
)
def test_what_is_not_valid_in_http_is_a_configuration_error_and_not_quoted(
    connect: Connect, url: str, headers: dict[str, str]
) -> None:
    with pytest.raises(ConfigurationError, match="not valid in HTTP") as caught:
        connect(url, headers=headers).request("GET")
    assert TOKEN not in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, and its key, in one file."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    command += " -subj /CN=127.0.0.1 -keyout - -out -"
    made = subprocess.run(
        [*command.split(), "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost.example.com"],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("openssl cannot make a certificate here")
    path.write_bytes(made.stdout)
    return path


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def trusted(
    tls: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> ssl.SSLContext:
    """A TLS context whose certificate the environment trusts."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    return tls


def test_with_an_untrusted_certificate_the_request_never_left(
    serve: Serve, connect: Connect, tls: ssl.SSLContext
) -> None:
    server = serve([answer()], tls)
    with pytest.raises(NoConnectionError, match="No secure connection to") as caught:
        connect(server.url).request("POST", body=b"{}")
    assert "certificate" in caught.value.hint
    assert server.requests == []


def test_ca_certificates_of_the_environment_are_used(
    serve: Serve, connect: Connect, trusted: ssl.SSLContext
) -> None:
    server = serve([answer(b"{}")], trusted)
    assert connect(server.url).request("GET").status == 200


@pytest.mark.parametrize("content", [None, "", "not a certificate"])
@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_ca_bundle_without_a_certificate_is_a_configuration_error_that_names_it(
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    variable: str,
    content: str | None,
) -> None:
    bundle = tmp_path / "ca.pem"
    if content is not None:
        bundle.write_text(content)
    monkeypatch.setenv(variable, str(bundle))
    with pytest.raises(ConfigurationError, match=f"CA certificates in {variable}") as caught:
        connect("https://api.example.com")
    assert str(bundle) in str(caught.value)


@pytest.mark.parametrize("path", ["/nowhere/keys.log", "/"])
def test_a_tls_key_log_that_cannot_be_written_is_a_configuration_error_that_names_it(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", path)
    with pytest.raises(ConfigurationError, match=f"in SSLKEYLOGFILE cannot be used: {path}"):
        connect("https://api.example.com")


@pytest.mark.parametrize(
    "play",
    [
        lambda connection: connection.sendall(answer()),
        lambda _connection: time.sleep(0.3),
        _reset_in_handshake,
    ],
    ids=["http", "silence", "reset"],
)
def test_a_request_whose_handshake_fails_never_left(
    serve: Serve, connect: Connect, play: Callable[[socket.socket], None]
) -> None:
    url = serve(play).url.replace("http:", "https:")
    with pytest.raises(NoConnectionError):
        connect(url, timeouts=Timeouts(0.1, 0.1)).request("POST", body=b"{}")


def test_after_a_reset_following_the_handshake_the_request_may_have_arrived(
    serve: Serve,
    connect: Connect,
    tls: ssl.SSLContext,
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = serve(hang_up, tls)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    monkeypatch.setenv("NO_PROXY", "*")
    host = "localhost.example.com"
    resolve = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda name, *rest: resolve("127.0.0.1", *rest))
    with pytest.raises(NoResponseError):
        connect(f"https://{host}:{server.port}").request("POST", body=b"{}")
