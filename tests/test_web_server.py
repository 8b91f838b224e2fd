"""The web server in front of the application, over real sockets."""

from __future__ import annotations

import errno
import logging
import random
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
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
        listen(host, 0) as bound,
        Server(service.application, bound, **options) as server,
    ):
        yield service, server


def test_callbacks_over_one_connection_are_answered_one_by_one(site: Site) -> None:
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


def test_an_address_in_use_is_an_error_at_once() -> None:
    with listen("127.0.0.1", 0) as first:
        first.listen()
        with pytest.raises(OSError, match="in use") as caught:
            listen("127.0.0.1", first.getsockname()[1])
    assert caught.value.errno == errno.EADDRINUSE


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost\r\n\r\n", 400),
        (b"POST\r\n\r\n", 400),
        (b"POST http://[a-strangers-words]/ HTTP/1.1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: " + b"1" * 5000 + b"\r\n\r\n", 400),
        (b"POST /%2e%2e/x HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 404),
        (b"POST http://hooks.example.com/ HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 415),
        (b"POST / HTTP/1.1\r\n\r\n", 415),
    ],
)
def test_what_is_no_proper_request_is_refused(
    site: Site, caplog: pytest.LogCaptureFixture, sent: bytes, status: int
) -> None:
    caplog.set_level(logging.INFO, "onetribe_bc.web")
    with up(site) as (_, server), Client(server.port) as client:
        client.socket.sendall(sent)
        reply = client.answer()
    assert (reply.status, reply.body) == (status, b"")
    assert set(reply.headers) <= {"Content-Length", "Connection", "Date", "Server", "Allow"}
    assert "waitress" not in str(reply.headers)
    assert re.fullmatch(r"Refused a request with \d{3}: [a-z ]+\.", caplog.messages[0])
    assert "strangers" not in caplog.text


def test_chunks_are_put_together_up_to_the_limit(site: Site) -> None:
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


def test_a_header_given_twice_lets_nobody_in(site: Site) -> None:
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


def test_a_proxy_on_this_machine_does_not_open_the_metrics(site: Site) -> None:
    with up(site) as (_, server), Client(server.port) as client:
        assert client.post(b"", {}, method="GET", path="/metrics").status == 200
        given = {"X-Forwarded-For": "203.0.113.9"}
        assert client.post(b"", given, method="GET", path="/metrics").status == 404


# Slow and greedy clients


def test_clients_that_drip_keep_nobody_waiting(site: Site) -> None:
    with up(site) as (_, server), ExitStack() as stack:
        sent = request(callback(218))
        slow = [stack.enter_context(Client(server.port)) for _ in range(50)]
        for number, client in enumerate(slow):
            client.socket.sendall(sent[: 1 + 5 * number])
        with Client(server.port) as quick:
            assert quick.post(callback(218)).status == 200
        for number, client in enumerate(slow):
            client.socket.sendall(sent[1 + 5 * number :])
            assert client.answer().status == 200


def test_a_request_that_takes_too_long_to_arrive_is_cut_off_with_408(site: Site) -> None:
    with up(site, request_timeout_s=0.2) as (_, server), ExitStack() as stack:
        begun = [stack.enter_context(Client(server.port)) for _ in range(3)]
        pieces = (b"P", b"POST / HTTP/1.1\r\nHost:", request(callback(218))[:-1])
        for client, piece in zip(begun, pieces, strict=True):
            client.socket.sendall(piece)
        idle = stack.enter_context(Client(server.port))
        for client in begun:
            assert client.answer().status == 408
            assert client.is_closed()
        assert idle.post(callback(218)).status == 200


def test_a_body_of_the_largest_size_is_looked_at(site: Site) -> None:
    largest = b" " * MAX_CALLBACK_BYTES
    with up(site) as (_, server):
        for body, status in ((largest, 400), (largest + b" ", 413)):
            with Client(server.port) as client:
                assert client.post(body).status == status


def test_whoever_drips_nothing_but_line_ends_is_cut_off(site: Site) -> None:
    with up(site, idle_timeout_s=1, request_timeout_s=1) as (_, server):
        with Client(server.port) as client, suppress(ConnectionError):
            for _ in range(500):
                client.socket.sendall(b"\r\n")
                time.sleep(0.02)
            pytest.fail("it was never cut off")
        with Client(server.port) as client:
            assert client.post(callback(218)).status == 200


@pytest.mark.parametrize("started", [b"", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n{"])
def test_in_a_crowd_whoever_asks_for_nothing_has_to_go(site: Site, started: bytes) -> None:
    with up(site, connections=20) as (_, server), ExitStack() as stack:
        for _ in range(30):
            client = stack.enter_context(Client(server.port))
            client.socket.sendall(started)
        with Client(server.port, timeout_s=10) as client:
            assert client.post(callback(218)).status == 200


def test_closing_connections_that_ask_for_nothing_cuts_off_nobody_else(site: Site) -> None:
    """A new connection may well get the number of one that was closed."""
    over = threading.Event()

    def loiter(port: int) -> None:
        with ExitStack() as stack:
            while not over.wait(0.004):
                stack.enter_context(Client(port))

    with up(site, idle_timeout_s=1, request_timeout_s=5) as (_, server):
        stranger = threading.Thread(target=loiter, args=(server.port,))
        stranger.start()
        try:
            ends_at = time.monotonic() + 4
            while time.monotonic() < ends_at:
                with Client(server.port) as client:
                    assert client.post(b"", {}, method="GET", path="/healthz").status == 200
        finally:
            over.set()
            stranger.join()


def test_a_request_has_its_time_however_long_its_connection_was_idle(site: Site) -> None:
    sent = request(callback(218))
    with (
        up(site, idle_timeout_s=2, request_timeout_s=20) as (_, server),
        Client(server.port) as client,
    ):
        time.sleep(1)
        client.socket.sendall(sent[:40])
        time.sleep(2)
        client.socket.sendall(sent[40:])
        assert client.answer().status == 200


def test_each_callback_is_waited_for_as_long_as_the_first(site: Site) -> None:
    with up(site, take_in_s=3) as (_, server), ExitStack() as stack:
        first, second = (stack.enter_context(Client(server.port)) for _ in range(2))
        other = site.connect()
        other.execute("BEGIN IMMEDIATE")
        first.socket.sendall(request(callback(218)))
        time.sleep(2)
        second.socket.sendall(request(callback(219)))
        assert first.answer().status == 503
        other.execute("ROLLBACK")
        assert second.answer().status == 200


def test_a_client_that_reads_no_answer_is_parted_from(site: Site) -> None:
    asked = b"GET /healthz HTTP/1.1\r\n\r\n" * 500
    with up(site, idle_timeout_s=0.3) as (_, server), socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", server.port))
        deaf.settimeout(0.5)
        with suppress(OSError):  # nobody reads on: neither we nor, for that, the server
            while True:
                deaf.sendall(asked)
        until(lambda: not server._server.active_channels)


def test_requests_that_came_together_on_a_connection_are_answered_without_a_pause(
    site: Site,
) -> None:
    with up(site) as (_, server), Client(server.port) as client:
        started = time.monotonic()
        client.socket.sendall(request(callback(218)) * 20)
        for _ in range(20):
            assert client.answer().status == 200
        assert time.monotonic() - started < 5  # a pause would be half a second each


def test_an_answer_that_comes_when_the_server_has_ended_goes_nowhere(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    other = site.connect()
    with site.serving() as service:
        with (
            listen("127.0.0.1", 0) as bound,
            Server(service.application, bound, take_in_s=0.2) as server,
        ):
            other.execute("BEGIN IMMEDIATE")
            with Client(server.port) as client:
                assert client.post(callback(218)).status == 503
        other.execute("ROLLBACK")
        until(lambda: site.inbox() or site.states())
    assert "Traceback" not in caplog.text
    assert "Bad file descriptor" not in caplog.text


def test_what_the_web_server_itself_refuses_is_counted(site: Site) -> None:
    with up(site, request_timeout_s=0.2) as (_, server):
        for sent in (
            b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n",
            b"nonsense\r\n\r\n",
            b"P",
        ):
            with Client(server.port) as client:
                client.socket.sendall(sent)
                assert client.answer().status in (400, 408, 413)
        with Client(server.port) as client:
            told = client.post(b"", {}, method="GET", path="/metrics").body.decode()
    for reason in ("too large", "malformed", "too slow"):
        assert f'reason="{reason}"}} 1' in told


def test_many_connections_at_once_are_answered(site: Site) -> None:
    ids = list(range(70_000, 70_200))
    with up(site) as (_, server), ExitStack() as stack:
        clients = [stack.enter_context(Client(server.port)) for _ in ids]
        for client, order_id in zip(clients, ids, strict=True):
            client.socket.sendall(request(callback(order_id)))
        assert [client.answer().status for client in clients] == [200] * len(ids)
    assert set(site.inbox()) == set(ids)


def web_threads() -> set[str]:
    return {t.name for t in threading.enumerate() if t.name.startswith(("waitress", "bc2ot-web"))}


def test_clients_that_leave_leave_nothing_behind(site: Site) -> None:
    with up(site) as (_, server):
        before = web_threads()
        for number in range(200):
            with Client(server.port) as client:
                client.socket.sendall(request(callback(218))[: number * 3])
        until(lambda: not server._server.active_channels)
        assert web_threads() == before
        with Client(server.port) as client:
            assert client.post(callback(218)).status == 200


def test_a_callback_is_put_off_when_the_ledger_stays_locked_and_health_is_told_meanwhile(
    site: Site,
) -> None:
    with up(site, take_in_s=0.3) as (_, server), ExitStack() as stack:
        other = site.connect()
        other.execute("BEGIN IMMEDIATE")
        waiting, healthy = (stack.enter_context(Client(server.port)) for _ in range(2))
        waiting.socket.sendall(request(callback(218)))
        assert healthy.post(b"", {}, method="GET", path="/healthz").status == 200
        assert waiting.answer().status == 503
        other.execute("ROLLBACK")
        assert waiting.post(callback(218)).status == 200


def test_how_it_is_is_told_in_time_while_the_ledger_stays_locked(site: Site) -> None:
    with up(site, take_in_s=0.3) as (_, server), ExitStack() as stack:
        other = site.connect()
        other.execute("BEGIN EXCLUSIVE")
        asking = [stack.enter_context(Client(server.port, timeout_s=10)) for _ in range(5)]
        for client in asking[:4]:
            client.socket.sendall(request(b"", {}, method="GET", path="/readyz"))
        asking[4].socket.sendall(request(b"", {}, method="GET", path="/metrics"))
        told = [client.answer() for client in asking]
        other.execute("ROLLBACK")
    assert {(reply.status, reply.body) for reply in told[:4]} == {
        (503, b"the ledger cannot be written\n")
    }
    assert b"bc2ot_callbacks_accepted_total" in told[4].body
    assert b"bc2ot_owed_orders" not in told[4].body


# The end


def test_draining_answers_what_is_under_way_and_puts_off_the_rest(site: Site) -> None:
    with up(site) as (service, server), ExitStack() as stack:
        kept, begun = (stack.enter_context(Client(server.port)) for _ in range(2))
        assert kept.post(callback(218)).status == 200
        sent = request(callback(218))
        begun.socket.sendall(sent[:20])
        until(lambda: len(server._server.active_channels) == 2)
        service.application.draining = True
        server.drain()

        def refused() -> bool:
            try:
                Client(server.port).socket.close()
            except ConnectionRefusedError:
                return True
            return False

        until(refused)
        for client, rest in ((kept, sent), (begun, sent[20:])):
            client.socket.sendall(rest)
            reply = client.answer()
            assert (reply.status, reply.headers["Connection"]) == (503, "close")
            assert client.is_closed()
    assert not server.is_alive


def test_what_waitress_warns_of_is_passed_on_without_a_strangers_words(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("waitress")
    before = logger.handlers[:], logger.propagate
    with up(site), caplog.at_level(logging.WARNING, "onetribe_bc.web"):
        logger.warning("Exception while serving /evil")
        logger.warning("total open connections reached the connection limit")
    assert "/evil" not in caplog.text
    first, second = caplog.messages
    assert first.startswith("The web server met with trouble (waitress/test_web_server.py, line ")
    assert second == "The web server says: total open connections reached the connection limit."
    assert (logger.handlers, logger.propagate) == before


# Odd bytes


def test_hundreds_of_odd_byte_streams_break_nothing(
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
            assert not answer or 400 <= int(answer.split()[1]) < 500, bytes(stream)
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
