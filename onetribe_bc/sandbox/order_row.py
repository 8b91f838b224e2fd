"""What the store indexes of an order: the fields that BigCommerce filters and sorts by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from onetribe_bc.sandbox.dates import parse_date


@dataclass(frozen=True, slots=True)
class OrderRow:
    """One order's index. Dates are epoch seconds, `total` is total_inc_tax in 1/10,000."""

    id: int
    date_created: int
    date_modified: int
    status_id: int
    channel_id: int
    customer_id: int
    total: int
    payment_method: str
    email: str
    external_id: str | None
    cart_id: str


def money(amount: int) -> str:
    """An amount in 1/10,000 as BigCommerce writes it: `67.8400`."""
    return f"{amount // 10_000}.{amount % 10_000:04d}"


def row_of(fields: Mapping[str, object]) -> OrderRow:
    """The index of an order given as BigCommerce serves it.

    Raises ValueError when the id or a date is missing or malformed; the rest may be absent.
    """
    order_id = fields.get("id")
    if not isinstance(order_id, int) or isinstance(order_id, bool):
        raise ValueError("An order needs an integer id.")
    address = fields.get("billing_address")
    external_id = fields.get("external_id")
    return OrderRow(
        id=order_id,
        date_created=_date(fields, "date_created"),
        date_modified=_date(fields, "date_modified"),
        status_id=int(str(fields.get("status_id", 0))),
        channel_id=int(str(fields.get("channel_id", 1))),
        customer_id=int(str(fields.get("customer_id", 0))),
        total=round(float(str(fields.get("total_inc_tax", "0"))) * 10_000),
        payment_method=str(fields.get("payment_method", "")),
        email=str(address.get("email", "")) if isinstance(address, Mapping) else "",
        external_id=None if external_id is None else str(external_id),
        cart_id=str(fields.get("cart_id", "")),
    )


def _date(fields: Mapping[str, object], name: str) -> int:
    parsed = parse_date(str(fields.get(name, "")))
    if parsed is None:
        raise ValueError(f"Order {fields['id']} needs {name} as RFC 2822, such as "
                         "'Tue, 05 Mar 2019 21:40:11 +0000'.")  # fmt: skip
    return int(parsed)
