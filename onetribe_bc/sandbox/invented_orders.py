"""BigCommerce's example order, and orders invented from a seed.

Only the index is made up front (`rows`); the order itself is written when it is requested
(`fields`, `encode`), always to the same bytes. 50,000 orders are thus cheap to have.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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
_PAYMENT_METHODS = ("Credit Card", "Cash", "Manual", "PayPal", "Test Payment Gateway", "")
_PAYMENT_STATUSES = ("authorized", "captured", "", "paid", "refunded")
_SOURCES = ("www", "iphone", "android", "manual", "external", "checkout_api")
_LOCALES = ("en", "en-US", "de", "fr", "es-419", "ja")
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
_EXAMPLE = """
"id":218,"customer_id":11,"date_created":"Tue, 05 Mar 2019 21:40:11 +0000",
"date_modified":"Mon, 11 Mar 2019 15:17:25 +0000","date_shipped":"","status_id":7,
"status":"Awaiting Payment","subtotal_ex_tax":"62.6793","subtotal_inc_tax":"67.8400",
"subtotal_tax":"4.4000","base_shipping_cost":"12.0000","shipping_cost_ex_tax":"11.0900",
"shipping_cost_inc_tax":"12.0000","shipping_cost_tax":"0.9100","shipping_cost_tax_class_id":0,
"base_handling_cost":"0.0000","handling_cost_ex_tax":"0.0000","handling_cost_inc_tax":"0.0000",
"handling_cost_tax":"0.0000","handling_cost_tax_class_id":0,"base_wrapping_cost":"0.0000",
"wrapping_cost_ex_tax":"0.0000","wrapping_cost_inc_tax":"0.0000","wrapping_cost_tax":"0.0000",
"wrapping_cost_tax_class_id":0,"total_ex_tax":"64.5300","total_inc_tax":"69.8400",
"total_tax":"5.3100","items_total":4,"items_shipped":0,"payment_method":"Cash",
"payment_provider_id":"","payment_status":"authorized","refunded_amount":"0.0000",
"order_is_digital":false,"store_credit_amount":"0.0000","gift_certificate_amount":"0.0000",
"ip_address":"","ip_address_v6":"","geoip_country":"","geoip_country_iso2":"","currency_id":1,
"currency_code":"USD","currency_exchange_rate":"1.0000000000","default_currency_id":1,
"default_currency_code":"USD","staff_notes":"","customer_message":"","discount_amount":"5.0000",
"coupon_discount":"5.0000","shipping_address_count":1,"is_deleted":false,"ebay_order_id":"0",
"cart_id":"7e48f7ef-2e88-4817-aea4-b0ed01490114","billing_address":{"first_name":"Jane",
"last_name":"Doe","company":"","street_1":"555 East Street","street_2":"","city":"Austin",
"state":"Texas","zip":78108,"country":"United States","country_iso2":"US","phone":1234567890,
"email":"janedoe@example.com","form_fields":[{"name":"Delivery Instructions",
"value":"Leave in backyard"}]},"is_email_opt_in":false,"credit_card_type":null,
"order_source":"external","channel_id":1,"external_source":null,
"products":{"url":"https://api.bigcommerce.com/stores/STORE_HASH/v2/orders/218/products",
"resource":"/orders/218/products"},
"shipping_addresses":{"url":"https://api.bigcommerce.com/stores/STORE_HASH/v2/orders/218/shippingaddresses",
"resource":"/orders/218/shippingaddresses"},
"coupons":{"url":"https://api.bigcommerce.com/stores/STORE_HASH/v2/orders/218/coupons",
"resource":"/orders/218/coupons"},"external_id":null,"external_merchant_id":null,
"tax_provider_id":"BasicTaxProvider","store_default_currency_code":"",
"store_default_to_transactional_exchange_rate":"1.0000000000","custom_status":"Awaiting Payment",
"customer_locale":"en"
"""
"""Order 218 of BigCommerce's `orders.v2` reference, as One Tribe's page shows it.

`zip` and `phone` are numbers there and strings in BigCommerce's own copy; both occur in the wild.
"""


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
            # Ids come when checkout starts, dates when it ends: neighbours may change places.
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
        customer_id = 0 if dice & 3 == 0 else 1 + (dice >> 2) % 4_000  # 0: a guest
        return OrderRow(
            id=order_id,
            date_created=created,
            date_modified=modified,
            status_id=status_id,
            channel_id=_CHANNELS[dice % len(_CHANNELS)],
            customer_id=customer_id,
            total=(dice % 40_000 + 100) * 100,
            payment_method=_PAYMENT_METHODS[(dice >> 5) % len(_PAYMENT_METHODS)],
            email=f"customer{customer_id or order_id}@example.com",
            external_id=f"X-{dice % 90_000}" if dice % 7 == 0 else "",
            cart_id=f"{dice:08x}-0000-4000-8000-{order_id:012x}",
        )

    def fields(self, row: OrderRow) -> dict[str, Any]:
        """The order of `row`: BigCommerce's example with other values."""
        rng = self._dice(row.id)
        status = STATUSES[row.status_id]
        items = rng.randint(1, 9)
        shipped = items if row.status_id in (2, 10) else 0
        fields: dict[str, Any] = json.loads(example_order(self.store_hash))
        fields |= _amounts(row) | {
            "id": row.id,
            "customer_id": row.customer_id,
            "date_created": format_date(row.date_created),
            "date_modified": format_date(row.date_modified),
            "date_shipped": format_date(row.date_modified) if shipped else "",
            "status_id": row.status_id,
            "status": status.name,
            "items_total": items,
            "items_shipped": shipped,
            "payment_method": row.payment_method,
            "payment_provider_id": rng.choice(("", None, 4_711_000_000_000_000_000, "ch_0_fake")),
            "payment_status": rng.choice(_PAYMENT_STATUSES),
            "order_is_digital": row.status_id == 10,
            "ip_address": rng.choice(("", "192.0.2.17", "198.51.100.4")),
            "staff_notes": rng.choice(_NOTES),
            "customer_message": rng.choice(_NOTES),
            "cart_id": row.cart_id,
            "billing_address": _address(rng, row),
            "is_email_opt_in": rng.random() < 0.5,
            "order_source": rng.choice(_SOURCES),
            "channel_id": row.channel_id,
            "external_id": row.external_id or None,
            "custom_status": status.custom_label,
            "customer_locale": rng.choice(_LOCALES),
        }
        for name in ("products", "shipping_addresses", "coupons"):
            links = fields[name]
            fields[name] = {
                key: link.replace(f"/{EXAMPLE_ORDER_ID}/", f"/{row.id}/")
                for key, link in links.items()
            }
        return fields

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


def example_order(store_hash: str) -> bytes:
    """The bytes of order 218 as this store serves them."""
    return ("{" + _EXAMPLE.replace("\n", "") + "}").replace("STORE_HASH", store_hash).encode()


def _amounts(row: OrderRow) -> dict[str, str]:
    tax = row.total // 11
    shipping = min(row.total - tax, 79_900)
    return {
        "subtotal_ex_tax": _money(row.total - shipping - tax),
        "subtotal_inc_tax": _money(row.total - shipping),
        "subtotal_tax": _money(tax),
        "base_shipping_cost": _money(shipping),
        "shipping_cost_ex_tax": _money(shipping),
        "shipping_cost_inc_tax": _money(shipping),
        "shipping_cost_tax": _money(0),
        "total_ex_tax": _money(row.total - tax),
        "total_inc_tax": _money(row.total),
        "total_tax": _money(tax),
        "refunded_amount": _money(row.total if row.status_id == REFUNDED else 0),
        "discount_amount": _money(0),
        "coupon_discount": _money(0),
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


def _address(rng: random.Random, row: OrderRow) -> dict[str, object]:
    who = random.Random(row.customer_id or -row.id)  # a customer keeps name and address
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
        "email": row.email,
        "form_fields": form_fields[: rng.randint(0, 3)],
    }
