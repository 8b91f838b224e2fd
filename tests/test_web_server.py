"""The web server and the application, over real sockets."""

from __future__ import annotations

import logging
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from onetribe_bc.api.webhook import MAX_CALLBACK_BYTES
from onetribe_bc.sandbox import Sandbox
from onetribe_bc.web.server import Server, listen
from onetribe_bc.web.service import Service
from tests.callbacks import Client, Site, callback, request, signed, until, with_secret


@pytest.fixture
def site(sandbox: Sandbox, tmp_path: Path) -> Site:
    return Site(sandbox, tmp_path / "ledger.db")


@contextmanager
def up(site: Site, host: str = "127.0.0.1", **options: Any) -> Iterator[tuple[Service, Server]]:
    """A receiver that listens on loopback."""
    with (
        site.serving() as service,
        listen(host, 0) as listener,
        Server(service.application, listener, **options) as server,
    ):
        yield service, server


def test_one_connection_carries_many_callbacks(site: Site) -> None:
    real = [i for i in site.sandbox.store.ids() if site.sandbox.store.row(i).status_id]
    with up(site) as (_, server):
        assert server.is_alive
        with Client(server.port) as client:
            for order_id in real:
                reply = client.post(callback(order_id))
                assert (reply.status, reply.body) == (200, b"")
                assert set(reply.headers) == {"Content-Length", "Date"}
            body = callback(218)
            assert client.post(body, signed(body)).status == 200
        until(lambda: set(site.sandbox.onetribe.counts()) == {218, *real})


def test_it_listens_on_ipv6_too(site: Site) -> None:
    with up(site, "::1") as (_, server):
        assert server.url == f"http://[::1]:{server.port}"
        with socket.create_connection(("::1", server.port), timeout=10) as connection:
            connection.sendall(request(callback(218)))
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost\r\n\r\n", 400),
        (b"POST\r\n\r\n", 400),
        (b"POST /%2e%2e/x HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 404),
        (b"POST http://hooks.example.com/ HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 415),
        (b"POST / HTTP/1.1\r\n\r\n", 415),
    ],
)
def test_a_malformed_request_is_refused(site: Site, sent: bytes, status: int) -> None:
    with up(site) as (_, server), Client(server.port) as client:
        client.socket.sendall(sent)
        reply = client.answer()
    assert reply.status == status
    assert "waitress" not in f"{reply.headers}{reply.body!r}"


@pytest.mark.parametrize(
    "sent",
    [
        b"POST http://[text-of-a-client]/ HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: " + b"1" * 5000 + b"\r\n\r\n",
    ],
)
def test_a_request_that_waitress_cannot_parse_closes_its_connection_and_is_not_logged(
    site: Site, caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    logger = logging.getLogger("waitress")
    before = logger.handlers[:], logger.propagate
    with up(site) as (_, server):
        with Client(server.port) as client:
            client.socket.sendall(sent)
            assert client.is_closed()
        with Client(server.port) as client:
            assert client.post(callback(218)).status == 200
    assert not [each for each in caplog.records if each.name.startswith("waitress")]
    assert (logger.handlers, logger.propagate) == before


def test_a_chunked_body_may_have_the_largest_size(site: Site) -> None:
    head = request(b"", with_secret()).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")

    def chunked(body: bytes) -> bytes:
        half = len(body) // 2
        parts = [b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:half], body[half:])]
        return head + b"".join(parts) + b"0\r\n\r\n"

    with up(site) as (_, server):
        with Client(server.port) as client:
            client.socket.sendall(chunked(callback(218)))
            assert client.answer().status == 200
        with Client(server.port) as client:
            client.socket.sendall(chunked(b" " * (MAX_CALLBACK_BYTES + 2)))
            assert client.answer().status == 413
    assert sum(site.states().values()) == 1


def test_a_repeated_header_never_authenticates(site: Site) -> None:
    body = callback(218)
    good = request(body, signed(body))
    for name in (b"webhook-id", b"webhook-timestamp"):
        (line,) = [each for each in good.split(b"\r\n") if each.startswith(name)]
        with up(site) as (_, server), Client(server.port) as client:
            client.socket.sendall(good.replace(line, line + b"\r\n" + line))
            assert client.answer().status == 401
            client.socket.sendall(
                request(body, {"X_Bc2ot_Secret": with_secret()["X-Bc2ot-Secret"]})
            )
            assert client.answer().status == 401


def test_metrics_are_closed_to_requests_through_a_proxy(site: Site) -> None:
    with up(site) as (_, server), Client(server.port) as client:
        assert client.post(b"", {}, method="GET", path="/metrics").status == 200
        given = {"X-Forwarded-For": "203.0.113.9"}
        assert client.post(b"", given, method="GET", path="/metrics").status == 404


# Slow clients


def test_callbacks_are_answered_while_200_clients_drip_their_requests(site: Site) -> None:
    """The promise of docs/serve.md for a receiver without a proxy."""
    sent, over = request(callback(218)), threading.Event()
    with up(site) as (_, server), ExitStack() as stack:
        slow = [stack.enter_context(Client(server.port)) for _ in range(200)]

        def drip() -> None:
            for at in range(len(sent) - 1):
                for number, client in enumerate(slow):
                    client.socket.sendall(sent[at : at + 1] if number % 2 else b"\r\n")
                if over.wait(0.02):
                    return

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            with Client(server.port, timeout_s=5) as kept:
                for _ in range(20):
                    assert kept.post(callback(218)).status == 200
                    with Client(server.port, timeout_s=5) as new:
                        assert new.post(callback(218)).status == 200
            assert dripping.is_alive()
        finally:
            over.set()
            dripping.join()


def test_a_body_of_the_largest_size_is_read(site: Site) -> None:
    largest = b" " * MAX_CALLBACK_BYTES
    with up(site) as (_, server):
        for body, status in ((largest, 400), (largest + b" ", 413)):
            with Client(server.port) as client:
                assert client.post(body).status == status


@pytest.mark.parametrize("started", [b"", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n{"])
def test_silent_connections_are_closed_and_make_room(site: Site, started: bytes) -> None:
    with up(site, connections=20, idle_timeout_s=1) as (_, server), ExitStack() as stack:
        silent = [stack.enter_context(Client(server.port)) for _ in range(30)]
        for client in silent:
            client.socket.sendall(started)
        with Client(server.port) as client:
            assert client.post(callback(218)).status == 200
        assert silent[0].is_closed()


def test_a_flood_of_connections_makes_one_log_line_a_second(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    with up(site, connections=5) as (_, server):

        def lines_after_one_more() -> list[str]:
            with Client(server.port):
                time.sleep(0.01)
            lines = [m for m in caplog.messages if "total open connections" in m]
            return lines if "similar lines dropped" in "".join(lines) else []

        began_at = time.monotonic()
        with ExitStack() as stack:
            for _ in range(5):
                stack.enter_context(Client(server.port))
            lines = until(lines_after_one_more)
        assert 2 <= len(lines) <= time.monotonic() - began_at + 1


def test_two_hundred_simultaneous_callbacks_are_recorded(site: Site) -> None:
    ids = list(range(70_000, 70_200))
    with up(site) as (_, server), ExitStack() as stack:
        clients = [stack.enter_context(Client(server.port)) for _ in ids]
        for client, order_id in zip(clients, ids, strict=True):
            client.socket.sendall(request(callback(order_id)))
        assert [client.answer().status for client in clients] == [200] * len(ids)
    assert set(site.inbox()) == set(ids)


def test_connections_closed_by_clients_are_released(site: Site) -> None:
    with up(site, connections=50) as (_, server):
        for number in range(200):
            with Client(server.port) as client:
                client.socket.sendall(request(callback(218))[: number * 3])
        with Client(server.port) as client:
            assert client.post(callback(218)).status == 200


def test_health_is_reported_while_callbacks_wait_for_a_locked_ledger(site: Site) -> None:
    with up(site) as (service, server), ExitStack() as stack:
        service.application.ledger_timeout_s = 0.3
        other = site.connect()
        other.execute("BEGIN EXCLUSIVE")
        waiting, healthy, ready, metrics = (
            stack.enter_context(Client(server.port)) for _ in range(4)
        )
        waiting.socket.sendall(request(callback(218)))
        ready.socket.sendall(request(b"", {}, method="GET", path="/readyz"))
        metrics.socket.sendall(request(b"", {}, method="GET", path="/metrics"))
        assert healthy.post(b"", {}, method="GET", path="/healthz").status == 200
        assert waiting.answer().status == 503
        not_ready = ready.answer()
        assert (not_ready.status, not_ready.body) == (503, b"the ledger cannot be written\n")
        counters = metrics.answer().body
        assert b"bc2ot_callbacks_accepted_total" in counters
        assert b"bc2ot_owed_orders" not in counters
        other.execute("ROLLBACK")
        service.application.ledger_timeout_s = 30
        assert waiting.post(callback(218)).status == 200


# Shutdown


def test_a_stopping_server_answers_requests_in_flight_and_closes_all_connections(
    site: Site,
) -> None:
    other = site.connect()
    with ExitStack() as clients:
        with up(site) as (service, server):
            idle, kept, in_flight = (clients.enter_context(Client(server.port)) for _ in range(3))
            assert kept.post(callback(218)).status == 200
            other.execute("BEGIN IMMEDIATE")
            in_flight.socket.sendall(request(callback(219)))
            time.sleep(0.2)
            service.application.draining = True
            assert kept.post(callback(220)).status == 503
            threading.Timer(0.3, other.execute, ("ROLLBACK",)).start()
        assert in_flight.answer().status == 200
        assert all(client.is_closed() for client in (idle, kept, in_flight))
        assert not server.is_alive
        with pytest.raises(ConnectionRefusedError):
            Client(server.port)
    other.close()
    assert sum(site.states().values()) == 2


# Random bytes


def test_random_byte_streams_get_no_2xx_and_stop_nothing(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    dice = random.Random(5)
    good = request(callback(218), {})
    with up(site) as (_, server), caplog.at_level(logging.WARNING):
        for _ in range(400):
            stream = bytearray(good)
            for _ in range(dice.randrange(1, 8)):
                at = dice.randrange(len(stream))
                stream[at : at + dice.randrange(3)] = dice.randbytes(dice.randrange(4))
            with Client(server.port, timeout_s=5) as client:
                client.socket.sendall(bytes(stream))
                client.socket.shutdown(socket.SHUT_WR)
                answer = b""
                while piece := _piece(client):
                    answer += piece
            assert not answer or 400 <= int(answer.split()[1]) <= 501, bytes(stream)
            assert b"Traceback" not in answer
        with Client(server.port) as client:
            assert client.post(callback(218)).status == 200
    assert "Traceback" not in caplog.text
    assert site.states() in ({"pending": 1}, {"delivered": 1})


def _piece(client: Client) -> bytes:
    try:
        return client.socket.recv(65_536)
    except ConnectionError:
        return b""
