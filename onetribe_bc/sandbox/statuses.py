"""BigCommerce's fifteen order statuses, some of them renamed by this store's merchant."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OrderStatus:
    """One row of `GET v2/order_statuses`; orders carry `custom_label` as `custom_status`."""

    id: int
    name: str
    sort_order: int
    description: str
    custom_label: str

    def as_json(self) -> dict[str, object]:
        """The fields that `v2/order_statuses` and `v2/orders/count` have in common."""
        return {
            "id": self.id,
            "name": self.name,
            "system_label": self.name,
            "custom_label": self.custom_label,
            "system_description": self.description,
        }


INCOMPLETE = 0
REFUNDED = 4
AWAITING_FULFILLMENT = 11

_ROWS: tuple[tuple[str, int, str, str], ...] = (
    ("Incomplete", 0, "Checkout was not completed.", "Incomplete - Testing"),
    ("Pending", 1, "Checkout was started and not completed.", ""),
    ("Shipped", 8, "Shipped; receipt is not confirmed.", ""),
    ("Partially Shipped", 6, "Some of the items were shipped.", ""),
    ("Refunded", 11, "Refunded by the seller.", ""),
    ("Cancelled", 9, "Cancelled by the seller.", ""),
    ("Declined", 10, "Declined by the seller.", ""),
    ("Awaiting Payment", 2, "Checkout is done, payment is not confirmed.", ""),
    ("Awaiting Pickup", 5, "Packed; the customer picks it up.", ""),
    ("Awaiting Shipment", 4, "Packed; waits for the carrier.", "Waiting for courier"),
    ("Completed", 7, "Done; files can be downloaded.", "Completed - thank you! 🌳"),
    ("Awaiting Fulfillment", 3, "Paid; not packed yet.", ""),
    ("Manual Verification Required", 13, "On hold until someone looks at it.", ""),
    ("Disputed", 12, "The customer disputes the payment.", ""),
    ("Partially Refunded", 14, "Some of it was refunded.", ""),
)
"""By id: name, sort order, description and the merchant's name, if another. Names and sort order as
in BigCommerce's `orders.v2` reference."""

STATUSES = {
    status_id: OrderStatus(status_id, name, sort_order, description, custom or name)
    for status_id, (name, sort_order, description, custom) in enumerate(_ROWS)
}
