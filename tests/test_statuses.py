from __future__ import annotations

from collections.abc import Mapping

import pytest

from onetribe_bc.errors import InputError
from onetribe_bc.statuses import STATUSES, find_status_ids, parse_status


def _not_asked() -> Mapping[int, tuple[str, ...]]:
    raise AssertionError("the store was asked")


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("5", 5),
        (" 0 ", 0),
        ("awaiting  PAYMENT", "Awaiting Payment"),
        ("AWAITING  payment", "Awaiting Payment"),
        ("My Own", "My Own"),
    ],
)
def test_a_status_is_an_id_or_a_name(text: str, status: int | str) -> None:
    assert parse_status(text) == status


@pytest.mark.parametrize("text", ["15", "9" * 5_000])
def test_an_id_that_does_not_exist_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="no order status") as caught:
        parse_status(text)
    assert "0 to 14" in caught.value.hint


def test_the_store_is_not_asked_for_ids_and_bigcommerces_names() -> None:
    assert find_status_ids([*STATUSES, *STATUSES.values()], _not_asked) == set(STATUSES)


def test_the_merchants_own_names_are_resolved_and_bigcommerces_names_win() -> None:
    own = {3: ("Partially Shipped", "Half Way"), 9: ("Awaiting Shipment", "Shipped")}
    assert find_status_ids(["half way", "shipped"], lambda: own) == {2, 3}
    with pytest.raises(InputError, match="The store has no order status 'Sold'"):
        find_status_ids(["Sold"], lambda: own)
