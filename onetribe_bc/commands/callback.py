"""Verify one callback and deliver the order that it names."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

from onetribe_bc.api.bigcommerce import LOOKUPS
from onetribe_bc.api.webhook import Callback, Verifier, parse_message
from onetribe_bc.commands.inbox import iter_named
from onetribe_bc.config import Settings
from onetribe_bc.delivery.context import Context
from onetribe_bc.delivery.pipeline import run
from onetribe_bc.delivery.report import Report
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
"""How long a receiver on the same ledger leaves an order to the caller of `deliver_callback`."""


def make_verifier(settings: Settings) -> Verifier:
    """Return the verifier for the configured store's callbacks.

    Raises ConfigurationError if a secret cannot be read: without it, forged callbacks could pass.
    """
    if settings.secret_problem is not None:
        problem = settings.secret_problem
        raise ConfigurationError(f"{problem.text}.", hint=problem.sentence)
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
    """Verify and parse a callback, either bare or as a queue wraps it.

    `verifier` is None if the source of the callback is trusted. Raises NotAuthenticError;
    InputError if the callback is malformed or from another store; and ConfigurationError if it has
    no headers to verify, since it may still be valid.
    """
    given = list(headers)
    if verifier is not None:
        if not given:
            raise ConfigurationError(
                "The callback cannot be verified without its headers "
                "(bigcommerce.client_secret or receiver.secret is set).",
                hint="Pass them with --headers-file or --header. Or use --trusted, if only "
                "BigCommerce can write to the queue that it came from.",
            )
        verifier.check(given, body)
    callback = parse_message(body)
    if not callback.is_of(store_hash):
        raise InputError(
            f"The callback is about store {callback.store_hash}, not {store_hash}.",
            hint="Choose a store of the configuration file with --store NAME.",
        )
    return callback


def deliver_callback(context: Context, order_id: int) -> Generator[Report]:
    """Deliver the order that a callback names, as `run` does.

    The order is in the ledger before it is fetched, so the next sync sends it if this fails. A
    delivered order is not even fetched, unless the policy sends changes. An order that another
    run is sending is reported as owed, so that the caller retries and learns its outcome.

    Raises what `run` raises, but no error means that the callback is invalid.
    """
    ledger = context.ledger
    entry = ledger.entry(order_id)
    delivered = entry is not None and entry.state is State.DELIVERED
    if delivered and not ledger.policy.on_change:
        yield Report(order_id, Disposition.ALREADY_DELIVERED)
        return
    ledger.inbox.put(order_id, after=HEAD_START).result()
    try:
        yield from _deliver(context, order_id)
    except InputError as error:
        raise ConfigurationError(str(error), hint=error.hint) from None
    except RejectedError as error:
        raise UnreachableError(str(error), hint=error.hint) from None


def _deliver(context: Context, order_id: int) -> Generator[Report]:
    now = context.clock.now()
    # Another run may have processed it already; its outcome must still be reported.
    named = context.ledger.inbox.find(order_id) or Named(order_id, now, 0, now, 0)
    reports = run(
        context,
        "handle-callback",
        iter_named(context, [named], lookups=LOOKUPS),
        skip_reason=context.skip_rule(),
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
