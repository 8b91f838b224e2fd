"""Order statuses: the fifteen that every BigCommerce store has, by id and by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from onetribe_bc.errors import InputError
from onetribe_bc.text import excerpt

STATUSES: Mapping[int, str] = MappingProxyType(
    {
        0: "Incomplete",
        1: "Pending",
        2: "Shipped",
        3: "Partially Shipped",
        4: "Refunded",
        5: "Cancelled",
        6: "Declined",
        7: "Awaiting Payment",
        8: "Awaiting Pickup",
        9: "Awaiting Shipment",
        10: "Completed",
        11: "Awaiting Fulfillment",
        12: "Manual Verification Required",
        13: "Disputed",
        14: "Partially Refunded",
    }
)
"""BigCommerce's own names by status id. A merchant may rename a status; its id stays."""

_IDS = {name.casefold(): status_id for status_id, name in STATUSES.items()}


def status_name(status_id: int | None) -> str:
    """Return BigCommerce's name of a status."""
    return STATUSES.get(status_id, f"status {status_id}") if status_id is not None else "no status"


def parse_status(text: str) -> int | str:
    """Return a status id, BigCommerce's spelling of a name, or else the merchant's own name.

    Raises InputError for an id that does not exist.
    """
    name = " ".join(text.split())
    if not (name.isascii() and name.isdigit()):
        status_id = _IDS.get(name.casefold())
        return name if status_id is None else STATUSES[status_id]
    if len(name) > 4 or int(name) not in STATUSES:
        raise InputError(
            f"There is no order status {excerpt(name, 20)}.",
            hint=f"Status ids are {min(STATUSES)} to {max(STATUSES)}.",
        )
    return int(name)


def find_status_id(status_id: int | None, name: object) -> int | None:
    """Return an order's status id, by the name if the id is not one of BigCommerce's, or None."""
    if status_id in STATUSES or not isinstance(name, str):
        return status_id
    return _IDS.get(" ".join(name.split()).casefold(), status_id)


def find_status_ids(
    statuses: Iterable[int | str], store_names: Callable[[], Mapping[int, Iterable[str]]]
) -> frozenset[int]:
    """Return the ids of statuses given by id or name.

    `store_names` requests the store's own names by id; it is called only for a name that is not
    BigCommerce's. Raises InputError for a status that the store does not have.
    """
    parsed = [parse_status(str(status)) for status in statuses]
    ids = _IDS
    if any(isinstance(status, str) and status.casefold() not in ids for status in parsed):
        own = {name.casefold(): i for i, names in store_names().items() for name in names}
        ids = {**own, **_IDS}
    return frozenset(_id_of(status, ids) for status in parsed)


def _id_of(status: int | str, ids: Mapping[str, int]) -> int:
    found = status if isinstance(status, int) else ids.get(status.casefold())
    if found is None:
        wanted = str(status).casefold()
        near = difflib.get_close_matches(wanted, ids, n=1)
        meant = f"; did you mean {STATUSES.get(ids[near[0]], near[0])}?" if near else "."
        raise InputError(
            f"The store has no order status {excerpt(str(status), 40)!r}{meant}",
            hint="Use an id, one of the store's own names, or one of: "
            f"{', '.join(STATUSES.values())}.",
        )
    return found
