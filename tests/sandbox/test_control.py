from __future__ import annotations

import hashlib
import json
import threading

import pytest

from onetribe_bc.sandbox import Sandbox
from tests.sandbox.client import Client


def test_what_was_filed_is_told_with_its_hashes(
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


def test_faults_are_put_in_force_and_read(sandbox: Sandbox, remote: Client) -> None:
    specs = ["onetribe:5xx=0.1", "bigcommerce:reset=0.05"]

    assert remote.send("PUT", "/faults", {"faults": specs}).json() == {"faults": specs}
    assert remote.get("/faults").json() == {"faults": specs}
    assert len(sandbox.faults.active()) == 2
    assert remote.send("PUT", "/faults", {"faults": []}).json() == {"faults": []}


@pytest.mark.parametrize("body", [{}, {"faults": "x"}, {"faults": [1]}, {"faults": ["x"]}, []])
def test_malformed_faults_are_a_400_and_change_nothing(
    sandbox: Sandbox, remote: Client, body: object
) -> None:
    sandbox.faults.add("onetribe:5xx=0.1")
    answer = remote.send("PUT", "/faults", body)

    assert answer.status == 400
    assert answer.json()["error"]
    assert len(sandbox.faults.active()) == 1


def test_orders_are_added_changed_and_removed(sandbox: Sandbox, remote: Client) -> None:
    order_id = remote.send("POST", "/orders", {"status_id": 0}).json()["id"]
    assert remote.get("/orders").json()["ids"][-1] == order_id
    changed = remote.send("PUT", f"/orders/{order_id}", {"status_id": 11})
    assert changed.json()["status"] == "Awaiting Fulfillment"
    assert remote.get(f"/orders/{order_id}").body == sandbox.store.raw(order_id)

    assert remote.send("DELETE", f"/orders/{order_id}").status == 204
    assert order_id not in sandbox.store
    assert remote.send("DELETE", f"/orders/{order_id}").status == 404
    assert remote.send("POST", "/orders").json()["id"] == order_id + 1


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/orders/abc", 400),
        ("PATCH", "/orders/218", 405),
        ("GET", "/reset", 404),
        ("GET", "/nothing/at/all", 404),
    ],
)
def test_what_the_control_path_does_not_have_is_refused(
    remote: Client, method: str, path: str, status: int
) -> None:
    answer = remote.send(method, path)

    assert answer.status == status
    assert answer.json()["error"]


def test_requests_are_told_without_their_headers(
    sandbox: Sandbox, bigcommerce: Client, remote: Client
) -> None:
    bigcommerce.get("/v2/orders", limit=1)
    (record,) = remote.get("/requests").json()

    assert (record["method"], record["query"], record["status"]) == ("GET", "limit=1", 200)
    assert sandbox.access_token not in json.dumps(record)


def test_a_reset_forgets_all_but_orders_and_hooks(
    sandbox: Sandbox, bigcommerce: Client, tribe: Client, remote: Client
) -> None:
    sandbox.hooks.add("store/order/*", "https://shop.example.com/")
    tribe.send("POST", "", {"id": 1})
    bigcommerce.get("/v2/time")
    sandbox.faults.add("onetribe:5xx")
    assert remote.send("POST", "/reset").status == 204

    assert sandbox.faults.active() == ()
    assert sandbox.requests == ()
    assert sandbox.onetribe.requests == ()
    assert sandbox.onetribe.received == ()
    assert sandbox.onetribe.counts() == {}
    assert len(sandbox.store) == 41
    assert len(sandbox.hooks.all()) == 1


@pytest.mark.parametrize("after", [False, True])
def test_what_is_in_flight_is_forgotten_too(
    sandbox: Sandbox, tribe: Client, *, after: bool
) -> None:
    gate = sandbox.faults.hold("onetribe", after=after)
    sender = threading.Thread(target=lambda: tribe.send("POST", "", {"id": 1}))
    sender.start()
    gate.wait_arrival()
    sandbox.onetribe.clear()
    sandbox.reset()  # which also lets go what is held
    sender.join()

    assert sandbox.onetribe.received == ()
    assert sandbox.onetribe.counts() == {}


def test_the_root_tells_where_everything_is(sandbox: Sandbox, remote: Client) -> None:
    assert remote.get("").json() == {
        "store_hash": sandbox.store_hash,
        "api_url": sandbox.api_url,
        "onetribe_url": sandbox.onetribe_url,
        "orders": 41,
    }
