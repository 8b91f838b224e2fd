from __future__ import annotations

import hashlib

import pytest

from onetribe_bc.sandbox import Sandbox
from tests.sandbox.client import Client, onetribe
from tests.sandbox.conftest import NOW


def test_an_order_is_filed_byte_for_byte(sandbox: Sandbox, tribe: Client) -> None:
    raw = sandbox.store.raw(218)
    answer = tribe.send("POST", "", raw, {"Idempotency-Key": "k-1"})

    assert (answer.status, answer.json()) == (200, {"success": True, "order_id": 218})
    (received,) = sandbox.onetribe.received
    assert received.body == raw
    assert received.order_id == 218
    assert received.filed
    assert received.answered == 200
    assert received.sha256 == hashlib.sha256(raw).hexdigest()
    assert received.headers["idempotency-key"] == "k-1"
    assert received.at.utcoffset() is not None
    assert sandbox.onetribe.counts() == {218: 1}
    assert sandbox.onetribe.bodies(218) == (raw,)


def test_a_second_copy_is_filed_again(sandbox: Sandbox, tribe: Client) -> None:
    for _ in range(2):
        tribe.send("POST", "", {"id": 5}, {"Idempotency-Key": "same"})

    assert sandbox.onetribe.counts() == {5: 2}


def test_a_second_copy_can_be_recognized_by_its_idempotency_key(
    sandbox: Sandbox, tribe: Client
) -> None:
    sandbox.onetribe.deduplicate = True
    for key in ("a", "a", "b"):
        answer = tribe.send("POST", "", {"id": 5}, {"Idempotency-Key": key})
        assert answer.status == 200
    tribe.send("POST", "", {"id": 6})
    tribe.send("POST", "", {"id": 6})

    assert sandbox.onetribe.counts() == {5: 2, 6: 2}
    assert [received.filed for received in sandbox.onetribe.received] == [
        True, False, True, True, True,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[1]",
        b'{"id": "x"}',
        b'{"id": true}',
        b'{"id": 1, "x": "\xff"}',
        b"[" * 200_000,
    ],
)
def test_anything_but_an_order_is_a_422_and_not_filed(
    sandbox: Sandbox, tribe: Client, body: bytes
) -> None:
    assert tribe.send("POST", "", body).status == 422
    assert sandbox.onetribe.counts() == {}
    (received,) = sandbox.onetribe.received
    assert (received.order_id, received.filed, received.answered) == (None, False, 422)


def test_other_requests_are_refused_and_recorded(sandbox: Sandbox) -> None:
    with onetribe(sandbox) as tribe:
        assert tribe.get("").status == 405
        assert tribe.get("").headers["Allow"] == "POST"
        assert tribe.send("POST", "x", {"id": 1}).status == 401
        assert tribe.send("POST", "/../../x", {"id": 1}).status == 401
        assert tribe.send("POST", "", {"id": 1}, {"Content-Type": "text/plain"}).status == 415
        assert tribe.send("POST", "", {"id": 1, "note": "x" * 1_100_000}).status == 413
    with Client(sandbox.onetribe_url, root="/direct/webhook/shopify/order/") as other:
        assert other.send("POST", sandbox.merchant_key, {"id": 1}).status == 404
    with onetribe(sandbox) as tribe:
        tribe.send("POST", "", {"id": 2}, {"Content-Type": "Application/JSON; charset=utf-8"})

    assert sandbox.onetribe.counts() == {2: 1}
    assert [r.status for r in sandbox.onetribe.requests] == [405, 405, 401, 401, 415, 413, 404, 200]


def test_bodies_are_kept_up_to_a_limit_and_hashes_always() -> None:
    with Sandbox(orders=0, now=NOW, keep_bodies=2) as sandbox, onetribe(sandbox) as tribe:
        for order_id in (1, 2, 3):
            tribe.send("POST", "", {"id": order_id})

        third = sandbox.onetribe.received[2]
        assert [len(received.body) > 0 for received in sandbox.onetribe.received] == [
            True, True, False,
        ]  # fmt: skip
        assert dict(third.headers) == {}
        assert third.sha256 == hashlib.sha256(b'{"id": 3}').hexdigest()
        assert sandbox.onetribe.counts() == {1: 1, 2: 1, 3: 1}
