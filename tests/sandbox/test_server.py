"""What goes over the wire, and that nothing is left behind."""

from __future__ import annotations

import errno
import logging
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from onetribe_bc.sandbox import Sandbox
from tests.sandbox.client import Client, api


@pytest.fixture
def wire(sandbox: Sandbox) -> Iterator[socket.socket]:
    port = urlsplit(sandbox.api_url).port
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        yield connection


def read_all(connection: socket.socket) -> bytes:
    parts = []
    while part := connection.recv(65_536):
        parts.append(part)
    return b"".join(parts)


def test_a_connection_carries_many_requests(sandbox: Sandbox, wire: socket.socket) -> None:
    path = f"/stores/{sandbox.store_hash}/v2/time"
    request = f"GET {path} HTTP/1.1\r\nX-Auth-Token: {sandbox.access_token}\r\n"
    wire.sendall(f"{request}\r\n{request}Connection: close\r\n\r\n".encode())

    assert read_all(wire).count(b"HTTP/1.1 200 OK\r\n") == 2


def test_head_has_no_body(wire: socket.socket) -> None:
    wire.sendall(b"HEAD /_sandbox/received HTTP/1.1\r\nConnection: close\r\n\r\n")

    assert read_all(wire).endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("request_bytes", "message"),
    [
        (b"HELLO\r\n\r\n", b"request line"),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"A header is malformed"),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"not a number"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"Chunked"),
        (b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nshort", b"shorter"),
    ],
)
def test_a_malformed_request_is_a_400_and_closes_the_connection(
    wire: socket.socket, request_bytes: bytes, message: bytes
) -> None:
    wire.sendall(request_bytes)
    wire.shutdown(socket.SHUT_WR)
    answer = read_all(wire)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert message in answer


def test_an_unknown_status_can_be_sent(sandbox: Sandbox, tribe: Client) -> None:
    sandbox.faults.add("onetribe:html@599")

    assert tribe.send("POST", "", {"id": 1}).status == 599


def test_a_client_that_disconnects_does_not_disturb_others(
    sandbox: Sandbox, bigcommerce: Client, wire: socket.socket
) -> None:
    gate = sandbox.faults.hold("bigcommerce")
    wire.sendall(b"GET / HTTP/1.1\r\n\r\n")
    gate.wait_arrival()
    wire.close()
    gate.open()

    assert bigcommerce.get("/v2/time").status == 200


def test_a_bug_in_a_callback_is_logged_and_ends_the_connection(
    sandbox: Sandbox, bigcommerce: Client, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(request: object) -> None:
        raise RuntimeError("a bug in the test")

    sandbox.on_request = fail
    with caplog.at_level(logging.ERROR), pytest.raises(ConnectionError):
        bigcommerce.get("/v2/time")

    assert "a bug in the test" in caplog.text


def test_stopping_closes_every_socket_and_ends_every_thread() -> None:
    before = set(threading.enumerate())
    sandbox = Sandbox(orders=1)
    client = api(sandbox)
    assert client.get("/v2/time").status == 200
    port = urlsplit(sandbox.api_url).port
    sandbox.stop()
    sandbox.stop()

    assert set(threading.enumerate()) == before
    with pytest.raises(ConnectionError):
        client.get("/v2/time")
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


def test_stopping_does_not_wait_for_what_is_slow() -> None:
    sandbox = Sandbox(orders=1, quota=None, faults=["bigcommerce:drip@3600"])
    failures: list[Exception] = []

    def read() -> None:
        with api(sandbox) as client:
            try:
                client.get("/v2/time")
            except Exception as error:  # noqa: BLE001 - whatever it is, it ended
                failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    while not sandbox.requests:
        threading.Event().wait(0.001)
    sandbox.stop()
    reader.join()

    assert len(failures) == 1


def test_ports_may_be_chosen_and_one_in_use_is_an_error() -> None:
    with Sandbox(orders=0) as first:
        port, onetribe_port = (urlsplit(url).port for url in (first.api_url, first.onetribe_url))
        assert port is not None
        assert onetribe_port is not None
        with pytest.raises(OSError, match="in use"):
            Sandbox(orders=0, port=port)
        with pytest.raises(OSError, match="in use"):
            Sandbox(orders=0, onetribe_port=onetribe_port)
    with Sandbox(orders=0, port=port, onetribe_port=onetribe_port) as second:
        assert second.api_url == f"http://127.0.0.1:{port}"


def test_the_environment_points_a_bc2ot_process_at_the_sandbox(sandbox: Sandbox) -> None:
    assert sandbox.environment() == {
        "BC2OT_STORE_HASH": sandbox.store_hash,
        "BC2OT_ACCESS_TOKEN": sandbox.access_token,
        "BC2OT_API_URL": sandbox.api_url,
        "BC2OT_ONETRIBE_URL": sandbox.onetribe_url,
        "BC2OT_CLIENT_SECRET": sandbox.client_secret,
    }
    assert sandbox.onetribe_url.endswith(
        f"/direct/webhook/big-commerce/order/{sandbox.merchant_key}"
    )
