"""Check that One Tribe's URL is reachable, without sending an order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from http import HTTPStatus

from onetribe_bc.api.onetribe import OneTribeClient
from onetribe_bc.clock import Clock
from onetribe_bc.config import Settings
from onetribe_bc.delivery.context import connect_onetribe
from onetribe_bc.doctor.finding import CHECK_ERRORS, Finding, failed, note, ok, warn

_CHECK = "onetribe.address"
_REFUSALS = (401, 403, 404, 410)


def check_onetribe(settings: Settings, clock: Clock) -> Iterator[Finding]:
    try:
        with closing(connect_onetribe(settings, clock)) as client:
            yield reach_onetribe(client)
    except CHECK_ERRORS as error:
        yield failed(_CHECK, error)


def reach_onetribe(client: OneTribeClient) -> Finding:
    """Send a HEAD request and return what its status means. Only an order verifies the key.

    Raises OneTribeUrlError for a redirect, and UnreachableError.
    """
    status = client.probe()
    if status in _REFUSALS:
        return note(
            _CHECK,
            f"One Tribe at {client.masked_url} responds to HEAD with {status}. This does not "
            "verify the URL or the merchant key.",
            'Send one order (bc2ot push-order ID), or press "Check Integration" on One Tribe\'s '
            "site.",
        )
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return warn(
            _CHECK,
            f"One Tribe at {client.masked_url} responds with {status}: it may be down.",
            "Check again later. Undelivered orders stay owed.",
        )
    return ok(
        _CHECK,
        f"One Tribe is reachable at {client.masked_url}. No order was sent: the first one "
        "verifies the merchant key.",
    )
