"""Every filter and sort, against an oracle that reads the orders' own fields."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import pytest

from onetribe_bc.sandbox import Sandbox
from tests.sandbox.client import Client, api
from tests.sandbox.conftest import NOW

Order = dict[str, Any]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with (
        Sandbox(orders=230, seed=3, now=NOW, quota=None) as sandbox,
        api(sandbox) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def orders(client: Client) -> list[Order]:
    return list(client.get("/v2/orders", limit=250).json())


def listed(client: Client, **params: object) -> list[int]:
    answer = client.get("/v2/orders", limit=250, **params)
    return [order["id"] for order in json.loads(answer.body or b"[]")]


def total(order: Order) -> float:
    return float(order["total_inc_tax"])


@pytest.mark.parametrize(
    ("name", "value", "oracle"),
    [
        ("min_id", lambda o: o["id"], lambda o, v: o["id"] >= v),
        ("max_id", lambda o: o["id"], lambda o, v: o["id"] <= v),
        ("status_id", lambda o: o["status_id"], lambda o, v: o["status_id"] == v),
        ("channel_id", lambda o: o["channel_id"], lambda o, v: o["channel_id"] == v),
        ("customer_id", lambda o: o["customer_id"], lambda o, v: o["customer_id"] == v),
        ("cart_id", lambda o: o["cart_id"], lambda o, v: o["cart_id"] == v),
        ("payment_method", lambda o: o["payment_method"], lambda o, v: o["payment_method"] == v),
        (
            "email",
            lambda o: o["billing_address"]["email"],
            lambda o, v: o["billing_address"]["email"] == v,
        ),
        ("min_total", total, lambda o, v: total(o) >= v),
        ("max_total", total, lambda o, v: total(o) <= v),
    ],
)
def test_a_filter_keeps_what_fits_and_includes_its_bound(
    client: Client,
    orders: list[Order],
    name: str,
    value: Callable[[Order], object],
    oracle: Callable[[Order, object], bool],
) -> None:
    bound = value(orders[len(orders) // 2])

    kept = listed(client, **{name: bound})
    assert kept == [order["id"] for order in orders if oracle(order, bound)]
    assert 0 < len(kept) < len(orders)
    assert client.get("/v2/orders/count", **{name: bound}).json()["count"] == len(kept)


@pytest.mark.parametrize("form", ["rfc", "rfc-gmt", "iso", "iso-z", "iso-zone", "iso-fraction"])
@pytest.mark.parametrize("field", ["date_created", "date_modified"])
@pytest.mark.parametrize("bound", ["min", "max"])
def test_a_date_filter_takes_both_forms_and_includes_its_second(
    client: Client, orders: list[Order], bound: str, field: str, form: str
) -> None:
    at = parsedate_to_datetime(orders[len(orders) // 2][field])
    text = {
        "rfc": format_datetime(at.astimezone(timezone(timedelta(hours=-4)))),
        "rfc-gmt": format_datetime(at.astimezone(UTC), usegmt=True),
        "iso": at.isoformat(),
        "iso-z": at.isoformat().replace("+00:00", "Z"),
        "iso-zone": at.astimezone(timezone(timedelta(hours=5, minutes=30))).isoformat(),
        "iso-fraction": at.isoformat(timespec="milliseconds"),
    }[form]

    kept = listed(client, **{f"{bound}_{field}": text})
    expected = [
        order["id"]
        for order in orders
        if (parsedate_to_datetime(order[field]) >= at) == (bound == "min")
        or parsedate_to_datetime(order[field]) == at
    ]
    assert kept == expected
    assert 0 < len(kept) < len(orders)


@pytest.mark.parametrize(
    "date",
    [
        "2026-02-20",
        "2026-02-20T10:00:00",
        "2026-02-20T10:00:00+00:00",  # not encoded: its plus arrives as a space
        quote(quote("2026-02-20T10:00:00+00:00")),
        quote("Fri, 20 Feb 2026 10:00:00"),
        quote("2026-02-31T10:00:00+00:00"),
        quote("Fri, 20 Feb 2026 10:61:00 +0000"),
        "1771581600",
        "yesterday",
        "",
    ],
)
def test_a_malformed_date_is_ignored(client: Client, orders: list[Order], date: str) -> None:
    answer = client.get(f"/v2/orders?limit=250&min_date_modified={date}&max_date_created={date}")

    assert len(answer.json()) == len(orders)


def test_filters_add_up(client: Client, orders: list[Order]) -> None:
    since = datetime(2026, 2, 15, tzinfo=UTC)

    assert listed(client, min_date_created=since.isoformat(), status_id=10, max_total=250) == [
        order["id"]
        for order in orders
        if parsedate_to_datetime(order["date_created"]) >= since
        and order["status_id"] == 10
        and total(order) <= 250
    ]


def key(field: str) -> Callable[[Order], tuple[object, int]]:
    def value(order: Order) -> tuple[object, int]:
        if field.startswith("date"):
            return parsedate_to_datetime(order[field]), order["id"]
        return order[field] or "" if field == "external_id" else order[field], order["id"]

    return value


@pytest.mark.parametrize(
    "field",
    [
        "id",
        "customer_id",
        "date_created",
        "date_modified",
        "status_id",
        "channel_id",
        "external_id",
    ],
)
@pytest.mark.parametrize("direction", ["", ":asc", ":desc"])
def test_a_list_is_sorted_as_asked(
    client: Client, orders: list[Order], field: str, direction: str
) -> None:
    expected = sorted(orders, key=key(field), reverse=direction == ":desc")

    assert listed(client, sort=field + direction) == [order["id"] for order in expected]
