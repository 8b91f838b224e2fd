"""BigCommerce's example order, and orders invented from a seed.

Only the index is made up front (`rows`); the order itself is written when it is requested
(`fields`, `encode`), always to the same bytes. 50,000 orders are thus cheap to have.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from onetribe_bc.sandbox.dates import format_date
from onetribe_bc.sandbox.orders import OrderRow
from onetribe_bc.sandbox.statuses import REFUNDED, STATUSES

FIRST_ID = 100
EXAMPLE_ORDER_ID = 218
_DAY_S = 86_400
_QUIET_S = 60
"""No invented order is younger than this before `now`, so that a change made later is newer."""

_FIRST_NAMES = (
    "Ada", "Björn", "Chloé", "Dmitri", "Esra", "Fatou", "Günther", "Hana", "Íñigo", "João",
    "Kirsi", "Łucja", "Mei", "Nuala", "Øyvind", "Priya", "Quentin", "Renée", "Siân", "Tomáš",
    "Ülle", "Van Anh", "Wanjiru", "Ximena", "Yūki", "Zoë", "小雨", "Мария", "Νίκη", "مريم",
)  # fmt: skip
_LAST_NAMES = (
    "Ashgrove", "Brookmoss", "Cedarline", "D'Alder", "Elmquist", "Fernández-Rowan", "Grünwald",
    "Heatherstone", "Ivyson", "Junipère", "Kelpwood", "Lindenbaum", "Mossø", "Nettlefield",
    "Oakhurst & Sons", "Pinewright", "Quillaja", "Rushmere", "Sorbusová", "Thornæs", "樹林",
)  # fmt: skip
_PLACES = (  # city, state, country, ISO code, zip: a number where the country's are all digits
    ("Fernhollow", "Oregon", "United States", "US", 97001),
    ("Leading Zero", "Maine", "United States", "US", "04001"),
    ("Mossbridge-on-Ash", "", "United Kingdom", "GB", "ZZ1 1ZZ"),
    ("Waldstadt", "Überland", "Germany", "DE", 10999),
    ("Forêt-d'Été", "", "France", "FR", "00100"),
    ("Skógar", "", "Iceland", "IS", 101),
    ("Bosques", "Nariño", "Colombia", "CO", ""),
    ("森町", "東の県", "Japan", "JP", "000-0001"),
)
_STREETS = ("Larch Lane", "Avenue des Érables", "Eichenweg", "Calle del Ceibo", "Birch/Beech Row")
_COMPANIES = ("", "", "", "Treetop Ltd.", 'The "Acorn" Works', "Canopy\\Understorey Partners")
_NOTES = (
    "", "", "", "", "Please leave it with the neighbour.", "[bold]Gift[/bold], no invoice [/x]",
    "Happy birthday! 🎂🌳", "Zweite Zeile folgt:\r\nbitte klingeln", "https://example.com/wishlist/7",
    "50% off? {name} %s $HOME <b>&amp;</b>", "tab\there, \u2028 line separator", "[/x] 👩🏽‍🌾 [red",
)  # fmt: skip
_CHANNELS = (1, 1, 1, 1, 2, 1_000_123)
_STATUS_WEIGHTS = {
    0: 8, 1: 3, 2: 15, 3: 2, 4: 3, 5: 4, 6: 2, 7: 6,
    8: 2, 9: 5, 10: 25, 11: 20, 12: 2, 13: 2, 14: 2,
}  # fmt: skip
_FUTURE_FIELDS = (  # as raw JSON: numbers that a parse and a rewrite would change
    '"carbon_grams":123456789012345678901234567890,"carbon_share":0.10000000000000000000000001',
    '"future_flags":{"beta":true,"ratio":1.0,"scale":1E+2,"nothing":null,"list":[1,[],{}]}',
    '"tree_fund":[{"id":9007199254740993,"part":33.333333333333333333}]',
    '"loyalty_points":-0.0,"tags":["\\u0041cer","caf\\u00e9"]',
)
_EXAMPLE = files("onetribe_bc.sandbox").joinpath("order_218.json").read_text()


@dataclass(frozen=True, slots=True)
class OrderFactory:
    """Invents orders: the same seed, store, `now` and `days` give the same bytes.

    `now` is epoch seconds; `date_created` is spread over the `days` before it.
    """

    seed: int
    store_hash: str
    now: int
    days: float

    def rows(self, count: int) -> Iterator[OrderRow]:
        """`count` orders, ascending by id, which starts near 100, has gaps and at times jumps."""
        rng = random.Random(f"{self.seed}:rows")
        newest = self.now - _QUIET_S
        step_s = self.days * _DAY_S / max(count, 1)
        status_ids = rng.choices(
            list(_STATUS_WEIGHTS), weights=list(_STATUS_WEIGHTS.values()), k=count
        )
        order_id = FIRST_ID
        for index, status_id in enumerate(status_ids):
            # Ids come when checkout starts, dates when it ends: neighbors may change places.
            late_s = step_s * (rng.random() + (3 if rng.random() < 0.1 else 0))
            created = min(newest, int(newest - (count - index) * step_s + late_s))
            yield self.row(
                order_id, status_id, created, _modified(rng, created, newest), rng.getrandbits(32)
            )
            order_id += _gap(rng)

    def row(
        self, order_id: int, status_id: int, created: int, modified: int, dice: int
    ) -> OrderRow:
        """One order's index; `dice` (32 random bits) decides the rest."""
        channel_id = _CHANNELS[dice % len(_CHANNELS)]
        return OrderRow(order_id, created, modified, status_id, channel_id, dice)

    def fields(self, row: OrderRow) -> dict[str, Any]:
        """The order of `row`: BigCommerce's example with other values."""
        rng = self._dice(row.id)
        status = STATUSES[row.status_id]
        items = rng.randint(1, 9)
        shipped = items if row.status_id in (2, 10) else 0
        customer_id = 0 if row.dice & 3 == 0 else 1 + (row.dice >> 2) % 4_000  # 0: a guest
        fields: dict[str, Any] = json.loads(example_order(self.store_hash, row.id))
        return fields | {
            **_amounts((row.dice % 40_000 + 100) * 100, refunded=row.status_id == REFUNDED),
            "id": row.id,
            "customer_id": customer_id,
            "date_created": format_date(row.date_created),
            "date_modified": format_date(row.date_modified),
            "date_shipped": format_date(row.date_modified) if shipped else "",
            "status_id": row.status_id,
            "status": status.name,
            "items_total": items,
            "items_shipped": shipped,
            "staff_notes": rng.choice(_NOTES),
            "customer_message": rng.choice(_NOTES),
            "cart_id": f"{row.dice:08x}-0000-4000-8000-{row.id:012x}",
            "billing_address": _address(rng, customer_id, row.id),
            "channel_id": row.channel_id,
            "external_id": f"X-{row.dice % 90_000}" if row.dice % 7 == 0 else None,
            "custom_status": status.custom_label,
        }

    def encode(self, order_id: int, fields: Mapping[str, object]) -> bytes:
        r"""The bytes of an order, in the style of this order id.

        Some with UTF-8, some with `\uXXXX`; most with `\/` for a slash, as PHP writes it; half
        with fields that the reference does not have yet.
        """
        style = self._dice(order_id).getrandbits(8)
        text = json.dumps(fields, ensure_ascii=style & 1 == 0, separators=(",", ":"))
        if style & 6:
            text = text.replace("/", "\\/")  # JSON has slashes in strings only
        if style & 8:
            text = f"{text[:-1]},{_FUTURE_FIELDS[(style >> 4) % len(_FUTURE_FIELDS)]}}}"
        return text.encode()

    def _dice(self, order_id: int) -> random.Random:
        return random.Random(self.seed * 1_000_003 + order_id)


def example_order(store_hash: str, order_id: int = EXAMPLE_ORDER_ID) -> bytes:
    """Order 218 of BigCommerce's `orders.v2` reference, as One Tribe's page shows it.

    `zip` and `phone` are numbers there and strings in BigCommerce's own copy; both occur in the
    wild. Another `order_id` replaces 218 in the links to what the order consists of.
    """
    text = _EXAMPLE.replace(f"orders/{EXAMPLE_ORDER_ID}/", f"orders/{order_id}/")
    return text.replace("STORE_HASH", store_hash).encode()


def _amounts(total: int, *, refunded: bool) -> dict[str, str]:
    """Amounts that add up, from a total in 1/10,000. Shipping is free."""
    tax = total // 11
    kinds = {"ex_tax": total - tax, "inc_tax": total, "tax": tax}
    shipping = (f"shipping_cost_{kind}" for kind in kinds)
    free = ("base_shipping_cost", *shipping, "discount_amount", "coupon_discount")
    return {
        **{
            f"{part}_{kind}": _money(kinds[kind])
            for part in ("subtotal", "total")
            for kind in kinds
        },
        **dict.fromkeys(free, _money(0)),
        "refunded_amount": _money(total if refunded else 0),
    }


def _money(amount: int) -> str:
    """An amount in 1/10,000 as BigCommerce writes it: `67.8400`."""
    return f"{amount // 10_000}.{amount % 10_000:04d}"


def _gap(rng: random.Random) -> int:
    chance = rng.random()
    if chance < 0.8:
        return 1
    return rng.randint(2, 6) if chance < 0.999 else rng.randint(50, 500)


def _modified(rng: random.Random, created: int, newest: int) -> int:
    if rng.random() < 0.3:
        return created
    modified = created + int(rng.expovariate(1 / _DAY_S))
    if rng.random() < 0.1:  # a bulk change: many orders modified in the very same second
        modified += -modified % 3_600
    return min(modified, newest)


def _address(rng: random.Random, customer_id: int, order_id: int) -> dict[str, object]:
    who = random.Random(customer_id or -order_id)  # a customer keeps name and address
    city, state, country, code, postcode = who.choice(_PLACES)
    number = 1_555_010_000 + who.randrange(10_000)
    form_fields: list[dict[str, object]] = [
        {"name": "Delivery Instructions", "value": rng.choice(_NOTES)},
        {"name": "Borrowing Amount", "value": 12.2},
        {"name": "Acceptable Sizes", "value": ["Small", "Medium"]},
    ]
    return {
        "first_name": who.choice(_FIRST_NAMES),
        "last_name": who.choice(_LAST_NAMES),
        "company": who.choice(_COMPANIES),
        "street_1": f"{who.randint(1, 999)} {who.choice(_STREETS)}",
        "street_2": "",
        "city": city,
        "state": state,
        "zip": postcode,
        "country": country,
        "country_iso2": code,
        "phone": number if who.random() < 0.5 else f"+{number}",
        "email": f"customer{customer_id or order_id}@example.com",
        "form_fields": form_fields[: rng.randint(0, 3)],
    }
