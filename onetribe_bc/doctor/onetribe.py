"""One Tribe's address: whether someone is there, without filing an order."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus

from onetribe_bc.api.onetribe import OneTribeClient
from onetribe_bc.doctor.finding import TROUBLE, Check, Finding, failed, note, ok, warn

_REFUSALS = (401, 403, 404, 410)


def check_onetribe(client: OneTribeClient) -> Iterator[Finding]:
    """By HEAD, which files nothing."""
    try:
        yield reach_onetribe(client)
    except TROUBLE as error:
        yield failed(Check.ADDRESS, error)


def reach_onetribe(client: OneTribeClient) -> Finding:
    """What the answer to HEAD tells. Whether the merchant key is right, only an order does.

    Raises OneTribeUrlError for a redirect, and UnreachableError.
    """
    status = client.probe()
    if status in _REFUSALS:
        return note(
            Check.ADDRESS,
            f"One Tribe is reached at {client.masked_url} and answers {status} to a mere look "
            "(HEAD). Whether address and merchant key are right cannot be told from here.",
            'Send one order (bc2ot push-order ID), or press "Check Integration" on One Tribe\'s '
            "site.",
        )
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return warn(
            Check.ADDRESS,
            f"One Tribe is reached at {client.masked_url} and answers {status}: it may be down.",
            "Look again later. What is not delivered stays owed.",
        )
    return ok(
        Check.ADDRESS,
        f"One Tribe is reached at {client.masked_url}. No order was filed. Whether the key is "
        "right shows with the first one.",
    )
