from __future__ import annotations

import hashlib

import pytest

from onetribe_bc.sandbox import Sandbox
from tests.sandbox.client import Client


def test_filed_orders_are_listed_with_their_hashes(
    sandbox: Sandbox, tribe: Client, remote: Client
) -> None:
    raw = sandbox.store.raw(218)
    for body in (raw, raw, b"{}"):
        tribe.send("POST", "", body)
    digest = hashlib.sha256(raw).hexdigest()

    assert remote.get("/received").json() == {
        "received": 3,
        "filed": 2,
        "orders": {"218": {"filed": 2, "sha256": [digest, digest]}},
    }


def test_faults_are_replaced(sandbox: Sandbox, remote: Client) -> None:
    specs = ["onetribe:5xx=0.1", "bigcommerce:reset=0.05"]
    sandbox.faults.add("onetribe:5xx")

    assert remote.send("PUT", "/faults", {"faults": specs}).json() == {"faults": specs}
    assert [fault.rate for fault in sandbox.faults.active()] == [0.1, 0.05]
    assert remote.send("PUT", "/faults", {"faults": []}).json() == {"faults": []}
    assert sandbox.faults.active() == ()


@pytest.mark.parametrize("body", [{}, {"faults": "x"}, {"faults": [1]}, {"faults": ["x"]}, []])
def test_malformed_faults_are_a_400_and_change_nothing(
    sandbox: Sandbox, remote: Client, body: object
) -> None:
    sandbox.faults.add("onetribe:5xx=0.1")
    answer = remote.send("PUT", "/faults", body)

    assert answer.status == 400
    assert answer.json()["error"]
    assert len(sandbox.faults.active()) == 1


def test_orders_are_added_and_changed(sandbox: Sandbox, remote: Client) -> None:
    order_id = remote.send("POST", "/orders", {"status_id": 0}).json()["id"]
    assert sandbox.store.ids()[-1] == order_id
    changed = remote.send("PUT", f"/orders/{order_id}", {"status_id": 11})

    assert changed.json()["status"] == "Awaiting Fulfillment"
    assert changed.body == sandbox.store.raw(order_id)


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("PUT", "/orders/abc", {}, 400),
        ("PUT", "/orders/1", {}, 404),
        ("GET", "/orders", {}, 404),
        ("GET", "/received", {"Origin": "https://example.com"}, 403),
        ("GET", "/received", {"Host": "rebound.example"}, 403),
        ("PUT", "/faults", {"Host": "127.0.0.1.rebound.example:80"}, 403),
    ],
)
def test_other_control_requests_are_refused(
    remote: Client, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    response = remote.send(method, path, headers=headers)

    assert response.status == status
    assert response.json()["error"]


def test_a_reset_keeps_only_orders_and_hooks(
    sandbox: Sandbox, bigcommerce: Client, tribe: Client
) -> None:
    sandbox.hooks.add("store/order/*", "https://shop.example.com/")
    tribe.send("POST", "", {"id": 1})
    bigcommerce.get("/v2/time")
    sandbox.faults.add("onetribe:5xx")
    sandbox.reset()

    assert sandbox.faults.active() == ()
    assert sandbox.requests == ()
    assert sandbox.onetribe.requests == ()
    assert sandbox.onetribe.received == ()
    assert sandbox.onetribe.counts() == {}
    assert len(sandbox.store) == 41
    assert len(sandbox.hooks.all()) == 1
