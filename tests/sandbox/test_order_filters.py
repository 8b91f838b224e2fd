"""Every filter, against an oracle that reads the orders' own fields."""

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


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("min_id", lambda order, bound: order["id"] >= bound["id"]),
        ("max_id", lambda order, bound: order["id"] <= bound["id"]),
        ("status_id", lambda order, bound: order["status_id"] == bound["status_id"]),
        ("channel_id", lambda order, bound: order["channel_id"] == bound["channel_id"]),
    ],
)
def test_a_filter_keeps_what_fits_and_includes_its_bound(
    client: Client, orders: list[Order], name: str, fits: Callable[[Order, Order], bool]
) -> None:
    middle = orders[len(orders) // 2]
    bound = {name: middle[name.removeprefix("min_").removeprefix("max_")]}

    kept = listed(client, **bound)
    assert kept == [order["id"] for order in orders if fits(order, middle)]
    assert 0 < len(kept) < len(orders)
    assert client.get("/v2/orders/count", **bound).json()["count"] == len(kept)


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

    assert listed(client, min_date_created=since.isoformat(), status_id=10) == [
        order["id"]
        for order in orders
        if parsedate_to_datetime(order["date_created"]) >= since and order["status_id"] == 10
    ]
