from __future__ import annotations

import json
import re
import tracemalloc
from email.utils import parsedate_to_datetime
from itertools import pairwise

from onetribe_bc.sandbox import Sandbox
from onetribe_bc.sandbox.statuses import STATUSES
from tests.sandbox.conftest import NOW


def all_bytes(seed: int, orders: int = 50) -> list[bytes]:
    with Sandbox(orders=orders, seed=seed, now=NOW) as sandbox:
        return [sandbox.store.raw(order_id) for order_id in sandbox.store.ids()]


def test_a_seed_gives_the_same_bytes_again_and_another_seed_gives_others() -> None:
    assert all_bytes(7) == all_bytes(7) != all_bytes(8)


def test_orders_are_as_varied_as_real_ones() -> None:
    raw = all_bytes(7, orders=2_000)
    orders = [json.loads(each) for each in raw]
    text = b"\n".join(raw)
    ids = [order["id"] for order in orders]

    assert ids == sorted(set(ids))
    assert 100 <= ids[0] < 110
    assert max(b - a for a, b in pairwise(ids)) > 1
    assert {order["status_id"] for order in orders} == set(STATUSES)
    assert 0.02 < sum(order["status_id"] == 0 for order in orders) / len(orders) < 0.2
    assert {type(order["billing_address"]["zip"]) for order in orders} == {int, str}
    assert {type(order["billing_address"]["phone"]) for order in orders} == {int, str}
    assert any(order["status"] != order["custom_status"] for order in orders)
    assert any(order["external_id"] is None for order in orders)
    assert any(order["billing_address"]["form_fields"] for order in orders)
    assert any("[/x]" in order["staff_notes"] for order in orders)
    for what in (b"\\u00", "Ł".encode(), b"https:\\/\\/", b"https://api", "🌳".encode()):
        assert what in text
    for what in (b"9007199254740993", b"0.10000000000000000000000001", b'"future_flags"'):
        assert what in text


def test_an_order_has_the_fields_and_forms_of_the_example() -> None:
    with Sandbox(orders=150, seed=7, now=NOW, example=True) as sandbox:
        example = json.loads(sandbox.store.raw(218))
        orders = [json.loads(sandbox.store.raw(each)) for each in sandbox.store.ids()]

    assert example["billing_address"]["first_name"] == "Jane"
    assert len(orders) == 150
    for order in orders:
        assert set(example) <= set(order)
        assert set(example["billing_address"]) == set(order["billing_address"])
        assert re.fullmatch(r"\d+\.\d{4}", order["total_inc_tax"])
        assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d \+0000", order["date_created"])
        assert order["billing_address"]["email"].endswith("@example.com")
        assert order["custom_status"] in (
            STATUSES[order["status_id"]].custom_label,
            order["status"],
        )


def test_dates_lie_in_the_days_before_now_and_mostly_ascend_with_the_id() -> None:
    orders = [json.loads(each) for each in all_bytes(7, orders=500)]
    created = [parsedate_to_datetime(order["date_created"]) for order in orders]
    modified = [parsedate_to_datetime(order["date_modified"]) for order in orders]

    assert all((NOW - at).days <= 30 and at < NOW for at in created + modified)
    assert all(a <= b for a, b in zip(created, modified, strict=True))
    ascending = sum(a <= b for a, b in pairwise(created))
    assert 0.8 * len(orders) < ascending < len(orders) - 1
    assert len(set(modified)) < len(modified)  # bulk changes share a second


def test_fifty_thousand_orders_use_little_memory_until_requested() -> None:
    tracemalloc.start()
    try:
        with Sandbox(orders=50_000, seed=7) as sandbox:
            assert len(sandbox.store) == 50_000
            size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert size < 60_000_000  # the orders themselves would take three times that
