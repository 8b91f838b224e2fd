from __future__ import annotations

import json

import pytest

from onetribe_bc.sandbox import INFORMATION_SCOPE, ORDERS_SCOPE, Sandbox
from onetribe_bc.sandbox.statuses import STATUSES
from tests.sandbox.client import Client, api
from tests.sandbox.conftest import NOW


def ids_of(body: bytes) -> list[int]:
    return [order["id"] for order in json.loads(body)] if body else []


def test_pages_by_min_id_cover_every_order_once(sandbox: Sandbox, bigcommerce: Client) -> None:
    seen: list[int] = []
    while True:
        answer = bigcommerce.get(
            "/v2/orders", min_id=seen[-1] + 1 if seen else 0, limit=7, sort="id:asc"
        )
        if answer.status == 204:
            break
        seen += ids_of(answer.body)

    assert tuple(seen) == sandbox.store.ids()


def test_a_list_holds_fifty_orders_by_default_and_250_at_most() -> None:
    with Sandbox(orders=260, seed=1) as sandbox, api(sandbox) as client:
        assert len(client.get("/v2/orders").json()) == 50
        assert len(client.get("/v2/orders", limit=1000).json()) == 250


def test_an_empty_page_is_204_without_a_body(bigcommerce: Client) -> None:
    answer = bigcommerce.get("/v2/orders", page=99)

    assert (answer.status, answer.body) == (204, b"")
    assert "Content-Length" not in answer.headers


def test_an_orders_bytes_are_the_same_in_a_list_and_alone(
    sandbox: Sandbox, bigcommerce: Client
) -> None:
    listed = bigcommerce.get("/v2/orders", limit=250).body

    single = [bigcommerce.get(f"/v2/orders/{each}").body for each in sandbox.store.ids()]
    assert listed == b"[" + b",".join(single) + b"]"
    assert single == [sandbox.store.raw(each) for each in sandbox.store.ids()]


@pytest.mark.parametrize("order_id", ["1", "abc", "99999999"])
def test_an_unknown_order_is_a_404_in_v2_form(bigcommerce: Client, order_id: str) -> None:
    answer = bigcommerce.get(f"/v2/orders/{order_id}")

    assert answer.status == 404
    assert answer.json() == [{"status": 404, "message": "The requested resource was not found."}]


def test_the_count_lists_all_fifteen_statuses_and_the_sum(
    sandbox: Sandbox, bigcommerce: Client
) -> None:
    answer = bigcommerce.get("/v2/orders/count").json()

    assert answer["count"] == len(sandbox.store.ids())
    assert sum(status["count"] for status in answer["statuses"]) == answer["count"]
    assert [status["sort_order"] for status in answer["statuses"]] == list(range(15))
    assert set(answer["statuses"][0]) == {
        "id", "name", "system_label", "custom_label", "system_description", "count", "sort_order",
    }  # fmt: skip


def test_statuses_are_listed_with_the_merchants_names(bigcommerce: Client) -> None:
    rows = bigcommerce.get("/v2/order_statuses").json()

    assert [row["id"] for row in rows] == list(range(15))
    assert rows[0]["name"] == "Incomplete"
    assert rows[0]["custom_label"] == STATUSES[0].custom_label != "Incomplete"
    assert bigcommerce.get("/v2/order_statuses/11").json() == rows[11]
    assert bigcommerce.get("/v2/order_statuses/99").status == 404


def test_the_store_has_a_name_and_a_time(bigcommerce: Client) -> None:
    assert bigcommerce.get("/v2/store").json()["name"] == "Sandbox Store"
    assert 0 <= bigcommerce.get("/v2/time").json()["time"] - NOW.timestamp() < 60


def test_a_wrong_clock_shows_in_the_date_header_and_in_v2_time(
    sandbox: Sandbox, bigcommerce: Client
) -> None:
    sandbox.clock.offset_s = 86_400
    answer = bigcommerce.get("/v2/time")

    assert sandbox.clock.offset_s == 86_400
    assert answer.headers["Date"].startswith("Mon, 02 Mar 2026 12:0")
    assert answer.headers["Date"].endswith(" GMT")
    assert 0 <= answer.json()["time"] - NOW.timestamp() - 86_400 < 60


@pytest.mark.parametrize(
    "query", ["sort=name", "sort=id:up", "min_id=abc", "status_id=x", "limit=x", "max_id=inf"]
)
@pytest.mark.parametrize("path", ["/v2/orders", "/v2/orders/count"])
def test_an_invalid_number_or_sort_is_a_400(bigcommerce: Client, path: str, query: str) -> None:
    answer = bigcommerce.get(f"{path}?{query}")

    assert answer.status == 400
    assert answer.json()[0]["message"] == f"The field '{query.partition('=')[0]}' is invalid."


@pytest.mark.parametrize("token", ["", "wrong", "ünïcode"])
def test_a_missing_or_wrong_token_is_a_401_in_the_form_of_its_version(
    sandbox: Sandbox, token: str
) -> None:
    with api(sandbox, token=token) as client:
        v2, v3 = client.get("/v2/orders"), client.get("/v3/hooks")

    assert (v2.status, v3.status) == (401, 401)
    assert v2.json()[0]["status"] == 401
    assert set(v3.json()) == {"status", "title", "type", "errors"}


def test_an_unknown_store_is_a_401(sandbox: Sandbox) -> None:
    with api(sandbox, store_hash="stores-abc") as client:
        assert client.get("/v2/orders").status == 401
        assert client.send("GET", "").status == 401


@pytest.mark.parametrize(
    ("scope", "refused"),
    [
        (ORDERS_SCOPE, ["/v2/orders", "/v2/orders/218", "/v2/orders/count", "/v2/order_statuses"]),
        (INFORMATION_SCOPE, ["/v2/store"]),
    ],
)
def test_a_missing_scope_is_a_403_and_the_rest_still_works(
    sandbox: Sandbox, bigcommerce: Client, scope: str, refused: list[str]
) -> None:
    sandbox.scopes.discard(scope)

    assert [bigcommerce.get(path).status for path in refused] == [403] * len(refused)
    assert bigcommerce.get("/v2/time").status == 200
    assert bigcommerce.get("/v2/hooks").status == 200


def test_the_token_cannot_write_orders(bigcommerce: Client) -> None:
    assert bigcommerce.send("PUT", "/v2/orders/218", {"status_id": 2}).status == 403
    assert bigcommerce.send("POST", "/v2/time").status == 405


@pytest.mark.parametrize("path", ["/v2/nothing", "/v2/time/more", "/v3/orders", "/v4/orders"])
def test_an_unknown_path_is_a_404(bigcommerce: Client, path: str) -> None:
    assert bigcommerce.get(path).status == 404


def test_every_request_is_recorded_with_its_status(sandbox: Sandbox, bigcommerce: Client) -> None:
    bigcommerce.get("/v2/orders", limit=1)
    bigcommerce.get("/v2/orders/1")

    first, second = sandbox.requests
    assert (first.method, first.query, first.status) == ("GET", "limit=1", 200)
    assert first.headers["x-auth-token"] == sandbox.access_token
    assert second.path == f"/stores/{sandbox.store_hash}/v2/orders/1"
    assert second.status == 404
