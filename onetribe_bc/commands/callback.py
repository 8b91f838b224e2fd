"""One callback: whether it is to be believed, and the order that it names."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from functools import partial

from onetribe_bc.api.bigcommerce import LOOKS
from onetribe_bc.api.webhook import Callback, Verifier, parse_message
from onetribe_bc.commands.inbox import iter_named
from onetribe_bc.config import Settings
from onetribe_bc.delivery.context import Context
from onetribe_bc.delivery.pipeline import run
from onetribe_bc.delivery.report import Report
from onetribe_bc.delivery.selection import resolve_statuses, skip_reason
from onetribe_bc.errors import (
    ConfigurationError,
    InputError,
    RejectedError,
    UnreachableError,
)
from onetribe_bc.ledger.inbox import Named
from onetribe_bc.ledger.states import Disposition, State

CLAIMED_ELSEWHERE = "another run is sending it"
NOT_THERE = "BigCommerce has no such order yet"

HEAD_START = timedelta(minutes=1)
"""How long a receiver on the same ledger leaves an order to whom it was handed in to."""


def make_verifier(settings: Settings) -> Verifier:
    """What tells the store's callbacks from a stranger's."""
    return Verifier(
        client_secret=settings.bigcommerce.client_secret,
        shared_secret=settings.receiver.secret,
    )


def take_callback(
    body: bytes,
    headers: Iterable[tuple[str, str]],
    *,
    verifier: Verifier | None,
    store_hash: str,
) -> Callback:
    """The callback in `body`, be it bare or as a queue wraps it.

    `verifier` is None where the way that it came is proof enough, or nothing can be checked.
    Raises NotAuthenticError; InputError for what is malformed or another store's; and
    ConfigurationError where there are no headers at all: whoever handed it in left them out, and
    the callback may well be good.
    """
    given = list(headers)
    if verifier is not None:
        if not given:
            raise ConfigurationError(
                "The callback is to be checked (bigcommerce.client_secret or receiver.secret is "
                "set), and its headers were not handed in.",
                hint="Give them by --headers-file or --header. Or say --trusted, if nobody but "
                "BigCommerce can write to the queue that it came from.",
            )
        verifier.check(given, body)
    callback = parse_message(body)
    if not callback.is_of(store_hash):
        raise InputError(
            f"The callback is about store {callback.store_hash}, and this is {store_hash}.",
            hint="Choose one of the configuration file's stores by --store NAME.",
        )
    return callback


def deliver_callback(
    context: Context, order_id: int, *, skip_statuses: Sequence[str | int]
) -> Generator[Report]:
    """Deliver the order that a callback names, as `run` does.

    It is in the ledger before BigCommerce is asked for it: whatever goes wrong from then on, the
    next sync has it. What was delivered is not even fetched, unless changes are to be sent.

    An order that another run is sending at this moment counts as owed: whoever handed the
    callback in may do so again, and learns then whether it arrived. Raises what `run` raises,
    but nothing that puts the blame on the callback, which is good: what is wrong is elsewhere.
    """
    entry = context.ledger.entry(order_id)
    delivered = entry is not None and entry.state is State.DELIVERED
    if delivered and not context.ledger.policy.on_change:
        yield Report(order_id, Disposition.ALREADY_DELIVERED)
        return
    context.ledger.inbox.put(order_id, after=HEAD_START).result()
    try:
        yield from _deliver(context, order_id, skip_statuses)
    except InputError as error:
        raise ConfigurationError(str(error), hint=error.hint) from None
    except RejectedError as error:
        raise UnreachableError(str(error), hint=error.hint) from None


def _deliver(
    context: Context, order_id: int, skip_statuses: Sequence[str | int]
) -> Generator[Report]:
    now = context.clock.now()
    # Somebody else may have looked at it already, and whether it arrived is still to be told.
    named = context.ledger.inbox.find(order_id) or Named(order_id, now, 0, now, 0)
    skip = resolve_statuses(context.bigcommerce, skip_statuses)
    reports = run(
        context,
        "handle-callback",
        iter_named(context, [named], looks=LOOKS),
        skip_reason=partial(skip_reason, skip),
        exclusive=False,
    )
    seen = False
    with closing(reports):
        for report in reports:
            seen = True
            if report.disposition is Disposition.CLAIMED:
                yield replace(report, disposition=Disposition.PENDING, reason=CLAIMED_ELSEWHERE)
            else:
                yield report
    if not seen:
        yield Report(order_id, Disposition.MISSING, NOT_THERE)
