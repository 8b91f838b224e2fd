"""Unusual and malformed responses, and what the client makes of them."""

from __future__ import annotations

import gzip
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onetribe_bc.api.connection import MAX_IDLE_S
from onetribe_bc.api.http import HttpClient, Timeouts
from onetribe_bc.errors import (
    BadResponseError,
    ConfigurationError,
    NoConnectionError,
    NoResponseError,
)
from tests.clocks import FakeClock
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

PASSWORD = "proxy[password"


@pytest.fixture(autouse=True)
def _closing() -> Iterator[None]:
    yield
    while _CLIENTS:
        _CLIENTS.pop().close()


_CLIENTS: list[HttpClient] = []


def connect(url: str, read_s: float = 10.0) -> HttpClient:
    timeouts = Timeouts(connect_s=min(2.0, read_s), read_s=read_s)
    client = HttpClient(url, headers={}, timeouts=timeouts, connections=4, label="/****")
    _CLIENTS.append(client)
    return client


def post(client: HttpClient, number: int = 0) -> int:
    return client.request("POST", f"/{number}", body=b"{}", keep_bytes=1_000).status


def play(*pieces: bytes | float) -> Callable[[socket.socket], None]:
    """Send the pieces after each request; a number is a pause in seconds."""

    def one(connection: socket.socket) -> None:
        while read_request(connection):
            for piece in pieces:
                if isinstance(piece, bytes):
                    connection.sendall(piece)
                else:
                    time.sleep(piece)

    return one


def ends(*pieces: bytes) -> Callable[[socket.socket], None]:
    def one(connection: socket.socket) -> None:
        read_request(connection)
        for piece in pieces:
            connection.sendall(piece)

    return one


# Interim responses


INTERIM = {
    "100": b"HTTP/1.1 100 Continue\r\n\r\n",
    "101": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
    "102": b"HTTP/1.1 102 Processing\r\n\r\n",
    "103": b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n",
    "199 of HTTP/1.0": b"HTTP/1.0 199\r\n\r\n",
    "many headers": b"HTTP/1.1 103 Hints\r\n" + b"Link: </a>\r\n" * 500 + b"\r\n",
    "several": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\n\r\n" * 3,
}


@pytest.mark.parametrize("interim", INTERIM.values(), ids=INTERIM)
@pytest.mark.parametrize("pause_s", [0.0, 0.1])
def test_the_response_after_an_interim_one_counts_for_its_own_request(
    serve: Serve, interim: bytes, pause_s: float
) -> None:
    statuses = iter([b"200 OK", b"422 No", b"201 Made"])

    def one(connection: socket.socket) -> None:
        while read_request(connection):
            connection.sendall(interim)
            time.sleep(pause_s)
            connection.sendall(answer(status=next(statuses).decode()))

    client = connect(serve(one).url)
    assert [post(client, n) for n in range(3)] == [200, 422, 201]


@settings(max_examples=30)
@given(st.lists(st.sampled_from(list(INTERIM.values())), max_size=4), st.integers(200, 599))
def test_any_number_of_interim_responses_is_read_past(interim: list[bytes], status: int) -> None:
    script = [b"".join(interim) + answer(status=f"{status} X")]
    with WireServer(script) as server:
        client = connect(server.url)
        assert [post(client), post(client)] == [status, status]


@pytest.mark.parametrize(
    "reply",
    [
        *(INTERIM[name] for name in ("103", "101", "several")),
        b"HTTP/1.1 103 Hints\r\nLink: <",
        *(b"HTTP/1.1 20", b"HTTP/1.1 200", b"HTTP/1.1 200 OK", b"\r\n"),
    ],
)
def test_an_interim_response_or_half_a_status_line_is_none(serve: Serve, reply: bytes) -> None:
    with pytest.raises(NoResponseError):
        post(connect(serve(ends(reply)).url))


@pytest.mark.parametrize(
    "line",
    [
        b"HTTP/1.1\t103 Hints",
        b"HTTP/1.1\xa0103 Hints",
        b"HTTP/1.10 103 Hints",
        *(b"HTTP/1.1 %b Hints" % status for status in (b"+103", b"0103", b"1_03", b"099", b"1000")),
    ],
)
def test_a_response_after_a_malformed_interim_one_counts_for_no_other_request(
    serve: Serve, line: bytes
) -> None:
    statuses = iter(["201 Made", "422 No"])

    def one(connection: socket.socket) -> None:
        while read_request(connection):
            connection.sendall(line + b"\r\n\r\n" + answer(status=next(statuses)))

    client = connect(serve(one).url)
    for own in (201, 422):
        with suppress(NoResponseError):
            assert post(client) == own


# A connection with something unread


LEFTOVERS = {
    "a second response": answer() + answer(status="500 Other"),
    "a line": answer() + b"\r\n",
    "the body of a 204": b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n{}",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 4\r\n\r\n{}{}",
    "length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a length that is no number": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n{}",
    "a body longer than is kept": answer(b"x" * 5_000_000),
}


@pytest.mark.parametrize("reply", LEFTOVERS.values(), ids=LEFTOVERS)
def test_a_connection_with_anything_unread_is_not_used_again(serve: Serve, reply: bytes) -> None:
    server = serve([reply, answer(status="201 Mine")])
    client = connect(server.url, read_s=1.0)
    assert post(client) in (200, 204)
    assert post(client) == 201
    assert server.connections == 2


def test_a_response_that_comes_late_is_not_taken_for_the_next_requests(serve: Serve) -> None:
    server = serve(play(answer(status="200 OK"), 0.05, answer(status="500 Late")))
    client = connect(server.url)
    for _ in range(3):
        assert post(client) == 200
        time.sleep(0.1)


# Heads of any size


HEADS = {
    "500 headers": [f"X-{n}: y" for n in range(500)],
    "500 equal headers": ["Set-Cookie: a=b"] * 500,
    "a header of 100 KB": ["X-Long: " + "y" * 100_000],
    "a header of 3 MB": ["X-Long: " + "Content-Length: 9 " * 170_000],
    "a line without a colon": ["nonsense"],
    "a header without a name": [": y"],
    "a folded header": ["X-A: b", "  c: d"],
    "bytes outside ASCII": ["X-A: \xff\xfe"],
}


@pytest.mark.parametrize("headers", HEADS.values(), ids=HEADS)
def test_headers_in_any_number_and_length_leave_the_response_as_it_is(
    serve: Serve, headers: list[str]
) -> None:
    head = "\r\n".join(["HTTP/1.1 200 OK", *headers, "Content-Length: 7", "Retry-After: 3"])
    server = serve([head.encode("latin-1") + b"\r\n\r\n" + b'{"a":1}'])
    client = connect(server.url)
    for _ in range(2):
        response = client.request("GET")
        assert (response.status, response.body) == (200, b'{"a":1}')
        assert response.headers["Retry-After"] == "3"
    assert server.connections == 1


@pytest.mark.parametrize("length", [65_530, 65_536, 300_000])
def test_a_status_line_of_any_length_is_a_response(serve: Serve, length: int) -> None:
    client = connect(serve([answer(status="201 " + "x" * length)]).url)
    assert [post(client), post(client)] == [201, 201]


@settings(max_examples=50)
@given(
    st.lists(st.binary(max_size=40).filter(lambda line: b"\n" not in line and line.strip(b"\r")))
)
def test_whatever_the_headers_are_a_status_line_is_a_response(lines: list[bytes]) -> None:
    reply = b"HTTP/1.1 200 OK\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n{}"
    with WireServer(ends(reply)) as server:
        assert post(connect(server.url, read_s=1.0)) == 200


@pytest.mark.parametrize("rest", [b"", b"Content-Le", b"Content-Length: 2\r\n"])
def test_a_post_whose_response_ends_within_its_headers_got_a_response(
    serve: Serve, rest: bytes
) -> None:
    url = serve(ends(b"HTTP/1.1 200 OK\r\n", rest)).url
    assert post(connect(url)) == 200
    with pytest.raises(BadResponseError, match="is incomplete"):
        connect(url).request("GET")


@pytest.mark.parametrize("encoding", ["gzip, gzip", "deflate,gzip", "gzip, identity"])
def test_a_body_that_is_compressed_twice_is_refused(serve: Serve, encoding: str) -> None:
    body = gzip.compress(gzip.compress(b"{}"))
    url = serve([answer(body, f"Content-Encoding: {encoding}")]).url
    with pytest.raises(BadResponseError, match="compressed more than once"):
        connect(url).request("GET")
    assert post(connect(url)) == 200


# Deadlines


def endless(piece: bytes, *, before: bytes = b"", every_s: float = 0.02) -> Any:
    def one(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(before)
        while True:
            connection.sendall(piece)
            time.sleep(every_s)

    return one


@pytest.mark.parametrize(
    "script",
    [
        endless(INTERIM["100"]),
        endless(INTERIM["103"], every_s=0),
        endless(b"H"),
        endless(b"x", before=b"HTTP/1.1 103 Hints\r\nX: "),
    ],
    ids=["100 for ever", "103 at full speed", "a status line", "an interim header"],
)
def test_a_response_that_never_begins_ends_at_the_deadline(serve: Serve, script: Any) -> None:
    started = time.monotonic()
    with pytest.raises(NoResponseError):
        post(connect(serve(script).url, read_s=0.3))
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("piece", [b"x", b"X-A: b\r\n"], ids=["one header", "many headers"])
def test_headers_without_end_end_at_the_deadline(serve: Serve, piece: bytes) -> None:
    url = serve(endless(piece, before=b"HTTP/1.1 200 OK\r\n")).url
    started = time.monotonic()
    assert post(connect(url, read_s=0.3)) == 200
    with pytest.raises(BadResponseError):
        connect(url, read_s=0.3).request("GET")
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("end", [reset, socket.socket.close], ids=["reset", "closed"])
def test_a_response_that_comes_before_all_of_the_body_was_sent_is_a_response(
    serve: Serve, end: Callable[[socket.socket], None]
) -> None:
    """As nginx refuses a large body: it answers after the head, and closes."""

    def refuse(connection: socket.socket) -> None:
        connection.recv(1_000)
        connection.sendall(answer(b"too large", status="413 Content Too Large"))
        time.sleep(0.2)
        end(connection)

    client = connect(serve(refuse).url)
    response = client.request("POST", body=b" " * 8_000_000)
    assert (response.status, response.body) == (413, b"too large")


# Idle connections


def test_a_connection_that_idled_is_not_used_again(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve([answer()])
    client = connect(server.url)
    now = time.monotonic
    for _ in range(3):
        post(client)
    assert server.connections == 1
    monkeypatch.setattr(time, "monotonic", lambda: now() + MAX_IDLE_S + 1)
    post(client)
    assert server.connections == 2


@pytest.mark.parametrize(
    ("announced", "idle_s", "connections"),
    [
        ("timeout=3, max=100", 1.9, 1),
        ("timeout=3, max=100", 2.1, 2),
        ("max=100, Timeout = 1", 0.0, 2),
        ("timeout=0", 0.0, 2),
        ("timeout=75", MAX_IDLE_S - 0.1, 1),
        ("timeout=75", MAX_IDLE_S + 0.1, 2),
        ("timeout=soon", MAX_IDLE_S - 0.1, 1),
    ],
)
def test_a_connection_is_not_used_again_when_the_server_may_be_closing_it(
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    announced: str,
    idle_s: float,
    connections: int,
) -> None:
    others = [f"X-Other-{number}: 1" for number in range(50)]
    server = serve([answer(b"{}", *others, f"Keep-Alive: {announced}")])
    client = connect(server.url)
    clock = FakeClock()
    monkeypatch.setattr(time, "monotonic", clock.monotonic)
    post(client)
    clock.advance(idle_s)
    post(client)
    assert server.connections == connections


@pytest.mark.parametrize("end", [reset, socket.socket.close], ids=["reset", "closed"])
def test_a_post_after_an_idle_disconnect_is_not_unknown(
    serve: Serve, end: Callable[[socket.socket], None]
) -> None:
    def one(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(answer())
        time.sleep(0.02)
        end(connection)

    client = connect(serve(one).url)
    for _ in range(3):
        assert post(client) == 200
        time.sleep(0.1)


def test_connections_are_kept_alive_by_the_system(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    original = socket.socket.connect

    def watch(self: socket.socket, address: Any) -> None:
        seen.append(self.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
        original(self, address)

    monkeypatch.setattr(socket.socket, "connect", watch)
    post(connect(serve([answer()]).url))
    assert seen[0] == 1


# Proxies


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_through_a_proxy_that_is_not_there_the_request_never_left(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    port = free_port()
    monkeypatch.setenv(variable, f"http://user:hunter2@127.0.0.1:{port}")
    with pytest.raises(NoConnectionError) as caught:
        post(connect("https://api.example.com"))
    text = f"{caught.value} {caught.value.hint}"
    assert f"127.0.0.1:{port} ({variable})" in text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    "script",
    [
        [answer(b"no", status="407 Proxy Authentication Required")],
        [answer(b"no", status="403 Forbidden")],
        [INTERIM["100"]],
        hang_up,
        ends(b"HTTP/1.1 200"),
        endless(b"X-A: b\r\n", before=b"HTTP/1.1 200 OK\r\n"),
    ],
    ids=["407", "403", "100", "reset", "half", "endless"],
)
def test_what_a_proxy_refuses_never_left(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, script: Any
) -> None:
    server = serve(script)
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:hunter2@127.0.0.1:{server.port}")
    with pytest.raises(NoConnectionError) as caught:
        post(connect("https://api.example.com", read_s=0.3))
    assert f"127.0.0.1:{server.port} (HTTPS_PROXY)" in str(caught.value)
    assert "hunter2" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    "proxy",
    [
        f"http://user:{PASSWORD}@127.0.0.1:3128",
        "http://",
        "ftp://127.0.0.1:21",
        "http://127.0.0.1:port",
        "socks5://user:hunter2@127.0.0.1:1080",
        "socks4a://127.0.0.1",
    ],
)
def test_a_proxy_that_cannot_be_used_is_a_configuration_error_without_its_password(
    monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(ConfigurationError, match="HTTPS_PROXY") as caught:
        post(connect("https://api.example.com"))
    text = f"{caught.value} {caught.value.hint}"
    assert PASSWORD not in text
    assert "hunter2" not in text
