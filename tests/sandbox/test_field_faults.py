"""Faults that services had in the field, as they go over the wire."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import pytest

from onetribe_bc.sandbox import Sandbox
from tests.sandbox.client import Client

OK = b"HTTP/1.1 200 OK\r\n"


class Wire:
    """A bare connection to the simulated One Tribe."""

    def __init__(self, sandbox: Sandbox) -> None:
        parts = urlsplit(sandbox.onetribe_url)
        assert parts.port is not None
        self.socket = socket.create_connection(("127.0.0.1", parts.port), timeout=10)
        self._head = f"POST {parts.path} HTTP/1.1\r\nContent-Type: application/json\r\n"

    def post(self, body: bytes = b'{"id":218}') -> None:
        self.socket.sendall(f"{self._head}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    def read(self, end: bytes = b"}") -> bytes:
        data = b""
        while not data.endswith(end):
            part = self.socket.recv(65_536)
            if not part:
                break
            data += part
        return data


@pytest.fixture
def wire(sandbox: Sandbox) -> Iterator[Wire]:
    wire = Wire(sandbox)
    with wire.socket:
        yield wire


def test_interim_responses_come_first_and_the_response_later(sandbox: Sandbox, wire: Wire) -> None:
    sandbox.faults.add("onetribe:interim@0.05")
    wire.post()
    interim = wire.read(b"\r\n\r\n")
    while b" 103 " not in interim:
        interim += wire.read(b"\r\n\r\n")
    assert [line.split()[1] for line in interim.split(b"\r\n\r\n") if line] == [
        b"100", b"102", b"103",
    ]  # fmt: skip

    assert wire.read().startswith(OK)
    assert sandbox.onetribe.counts() == {218: 1}


def test_interim_responses_may_never_end(sandbox: Sandbox, wire: Wire) -> None:
    sandbox.faults.add("onetribe:continue_forever")
    wire.post()
    data = b""
    while data.count(b"100 Continue") < 5:
        data += wire.socket.recv(65_536)

    assert b" 200 " not in data
    assert sandbox.onetribe.counts() == {}
    assert sandbox.onetribe.requests[0].status is None


@pytest.mark.parametrize("kind", ["idle_reset", "idle_silence"])
def test_a_connection_dies_while_idle_and_takes_the_next_request_along(
    sandbox: Sandbox, wire: Wire, kind: str
) -> None:
    sandbox.faults.add(f"onetribe:{kind}*1")
    wire.post()
    assert wire.read().startswith(OK)
    wire.post(b'{"id":219}')
    wire.socket.settimeout(0.1 if kind == "idle_silence" else 10)
    with pytest.raises(TimeoutError if kind == "idle_silence" else ConnectionResetError):
        wire.socket.recv(1)

    assert sandbox.onetribe.counts() == {218: 1}


def test_a_connection_lives_until_its_idle_time_is_over(sandbox: Sandbox, wire: Wire) -> None:
    sandbox.faults.add("onetribe:idle_reset@60")
    for _ in range(2):
        wire.post()
        assert wire.read().startswith(OK)


def test_a_late_response_comes_after_the_order_was_filed(sandbox: Sandbox, wire: Wire) -> None:
    sandbox.faults.add("onetribe:late@3600")
    wire.post()
    deadline = time.monotonic() + 10
    while not sandbox.onetribe.counts() and time.monotonic() < deadline:
        threading.Event().wait(0.002)
    wire.socket.settimeout(0.05)
    with pytest.raises(TimeoutError):
        wire.socket.recv(1)

    assert sandbox.onetribe.counts() == {218: 1}


def test_headers_may_drip(sandbox: Sandbox, wire: Wire) -> None:
    sandbox.faults.add("onetribe:drip_head@0.001")
    wire.post()

    first = wire.socket.recv(65_536)
    assert len(first) < len(OK)
    assert (first + wire.read()).startswith(OK)


@pytest.mark.parametrize(
    ("spec", "headers", "length"),
    [("many_headers", 204, 3_000), ("many_headers@500", 504, 7_000), ("long_header", 5, 100_000)],
)
def test_headers_may_be_many_or_long(
    sandbox: Sandbox, wire: Wire, spec: str, headers: int, length: int
) -> None:
    sandbox.faults.add(f"onetribe:{spec}")
    wire.post()
    head = wire.read().partition(b"\r\n\r\n")[0]

    assert head.count(b"\r\n") + 1 == headers
    assert len(head) > length


def test_retry_after_may_be_a_date_just_past(sandbox: Sandbox, tribe: Client) -> None:
    sandbox.faults.add("onetribe:retry_after@-2")
    date = tribe.send("POST", "", {"id": 218}).headers["Retry-After"]

    assert 1 < time.time() - parsedate_to_datetime(date).timestamp() < 60


def test_a_quota_may_never_be_renewed(sandbox: Sandbox, bigcommerce: Client) -> None:
    sandbox.faults.add("bigcommerce:endless_quota")
    answer = bigcommerce.get("/v2/orders/218")

    assert answer.status == 200
    assert answer.headers["X-Rate-Limit-Time-Reset-Ms"] == f"{10**15}"
    assert answer.headers["X-Rate-Limit-Requests-Left"] == "0"


def test_a_second_copy_is_refused_after_a_lost_reply(sandbox: Sandbox, tribe: Client) -> None:
    sandbox.faults.replace(["onetribe:lost_reply*1", "onetribe:refuse_copy"])
    with pytest.raises(ConnectionResetError):
        tribe.send("POST", "", {"id": 218})

    assert [tribe.send("POST", "", {"id": each}).status for each in (218, 219, 219)] == [
        409, 200, 409,
    ]  # fmt: skip
    assert sandbox.onetribe.counts() == {218: 1, 219: 1}


def test_an_order_may_fail_alone_and_in_every_list(sandbox: Sandbox, bigcommerce: Client) -> None:
    first, bad, last, *_ = sandbox.store.ids()
    sandbox.faults.add(f"bigcommerce:unfetchable#{bad}")

    assert bigcommerce.get(f"/v2/orders/{bad}").status == 500
    assert bigcommerce.get("/v2/orders", limit=250).status == 500
    assert bigcommerce.get("/v2/orders", min_id=bad, max_id=bad).status == 500
    for good in (first, last):
        assert bigcommerce.get(f"/v2/orders/{good}").status == 200
        assert bigcommerce.get("/v2/orders", min_id=good, max_id=good).status == 200


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        ("row_not_utf8", b'"first_name":"\xff\xfe'),
        ("row_broken_json", b'"status"="'),
        ("row_without_id", b'{"customer_id":'),
        ("row_quoted_id", b'"id":"%d"'),
        ("row_quoted_status", b'"status_id":"'),
        ("row_null_status", b'"status_id":null'),
    ],
)
def test_an_order_may_be_spoiled_alone_and_in_lists(
    sandbox: Sandbox, bigcommerce: Client, kind: str, part: bytes
) -> None:
    good, bad, *_ = sandbox.store.ids()
    sandbox.faults.add(f"bigcommerce:{kind}#{bad}")
    part = part.replace(b"%d", str(bad).encode())
    alone = bigcommerce.get(f"/v2/orders/{bad}").body
    listed = bigcommerce.get("/v2/orders", limit=2).body

    assert part in alone
    assert listed == b"[%s,%s]" % (sandbox.store.raw(good), alone)
    assert bigcommerce.get(f"/v2/orders/{good}").body == sandbox.store.raw(good)


def test_several_orders_of_a_list_may_be_spoiled_in_several_ways(
    sandbox: Sandbox, bigcommerce: Client
) -> None:
    one, two, three, *_ = sandbox.store.ids()
    sandbox.faults.replace(
        [f"bigcommerce:row_quoted_id#{one},{three}", f"bigcommerce:row_null_status#{two}"]
    )
    rows = json.loads(bigcommerce.get("/v2/orders", limit=3).body)

    assert [row["id"] for row in rows] == [str(one), two, str(three)]
    assert [row["status_id"] is None for row in rows] == [False, True, False]


def test_a_list_may_fail_above_a_size(sandbox: Sandbox, bigcommerce: Client) -> None:
    sandbox.faults.add("bigcommerce:long_list@10")

    assert [bigcommerce.get("/v2/orders", limit=n).status for n in (10, 11)] == [200, 500]


def test_an_order_with_its_id_in_quotes_is_filed(sandbox: Sandbox, tribe: Client) -> None:
    tribe.send("POST", "", b'{"id": "218"}')

    assert sandbox.onetribe.counts() == {218: 1}
