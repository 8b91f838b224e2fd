"""BigCommerce's fifteen order statuses, some of them renamed by this store's merchant."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OrderStatus:
    """One row of `GET v2/order_statuses`; orders carry `custom_label` as `custom_status`."""

    id: int
    name: str
    custom_label: str
    description: str
    sort_order: int

    def as_json(self) -> dict[str, object]:
        """The fields that `v2/order_statuses` and `v2/orders/count` have in common."""
        return {
            "id": self.id,
            "name": self.name,
            "system_label": self.name,
            "custom_label": self.custom_label,
            "system_description": self.description,
        }


def _status(
    status_id: int, name: str, sort_order: int, description: str, custom_label: str = ""
) -> OrderStatus:
    return OrderStatus(status_id, name, custom_label or name, description, sort_order)


INCOMPLETE = 0
REFUNDED = 4
AWAITING_FULFILLMENT = 11

STATUSES: dict[int, OrderStatus] = {
    status.id: status
    for status in (
        _status(0, "Incomplete", 0, "Checkout was not completed.", "Incomplete - Testing"),
        _status(1, "Pending", 1, "Checkout was started and not completed."),
        _status(2, "Shipped", 8, "Shipped; receipt is not confirmed."),
        _status(3, "Partially Shipped", 6, "Some of the items were shipped."),
        _status(4, "Refunded", 11, "Refunded by the seller."),
        _status(5, "Cancelled", 9, "Cancelled by the seller."),
        _status(6, "Declined", 10, "Declined by the seller."),
        _status(7, "Awaiting Payment", 2, "Checkout is done, payment is not confirmed."),
        _status(8, "Awaiting Pickup", 5, "Packed; the customer picks it up."),
        _status(9, "Awaiting Shipment", 4, "Packed; waits for the carrier.", "Waiting for courier"),
        _status(10, "Completed", 7, "Done; files can be downloaded.", "Completed - thank you! 🌳"),
        _status(11, "Awaiting Fulfillment", 3, "Paid; not packed yet."),
        _status(12, "Manual Verification Required", 13, "On hold until someone looks at it."),
        _status(13, "Disputed", 12, "The customer disputes the payment."),
        _status(14, "Partially Refunded", 14, "Some of it was refunded."),
    )
}
"""By id. Names and sort order as in BigCommerce's `orders.v2` reference."""
