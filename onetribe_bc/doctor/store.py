"""BigCommerce: whether it is reached, takes the token, and has the same time."""

from __future__ import annotations

from collections.abc import Generator
from datetime import timedelta

from onetribe_bc.api.bigcommerce import INFORMATION_SCOPE, BigCommerceClient, OrderQuery
from onetribe_bc.api.webhook import SIGNATURE_TOLERANCE
from onetribe_bc.clock import Clock
from onetribe_bc.doctor.finding import (
    TROUBLE,
    Check,
    Finding,
    fail,
    failed,
    note,
    ok,
    skipped,
    warn,
)
from onetribe_bc.errors import (
    CredentialsError,
    RefusedError,
    ScopeError,
    UnreachableError,
)
from onetribe_bc.text import excerpt, plural, span

CLOCK_OFF = timedelta(minutes=1)
"""More than this and the clock is said to be wrong."""


def check_store(client: BigCommerceClient, clock: Clock) -> Generator[Finding, None, str]:
    """Returns why nothing else can be asked of BigCommerce; empty if it can."""
    problem = ""
    try:
        number = client.count_orders(OrderQuery())
        yield ok(Check.TOKEN, "The access token is accepted.")
        yield ok(Check.ORDERS, f"It may read orders; there are {number:,}.")
    except ScopeError as error:
        yield ok(Check.TOKEN, "The access token is accepted.")
        yield failed(Check.ORDERS, error)
    except CredentialsError as error:
        yield failed(Check.TOKEN, error)
        problem = "BigCommerce does not take this store and token"
    except UnreachableError as error:
        yield failed(Check.REACH, error)
        problem = "BigCommerce gave no usable answer"
    except TROUBLE as error:
        yield failed(Check.TOKEN, error)
        problem = "BigCommerce cannot be asked"
    if problem:
        yield skipped(Check.STORE, "The store", problem)
    else:
        yield _name(client)
    yield check_clock(client, clock)
    return problem


def _name(client: BigCommerceClient) -> Finding:
    try:
        name = store_name(client)
    except TROUBLE as error:
        return failed(Check.STORE, error)
    if name is None:
        return note(
            Check.STORE,
            f"The store's name is not known: the access token lacks {INFORMATION_SCOPE}.",
            "Nothing else needs that scope.",
        )
    return ok(Check.STORE, f"The store {client.store_hash} is {name or 'without a name'}.")


def store_name(client: BigCommerceClient) -> str | None:
    """The store's name, empty if it has none; None where the token may not read it, which nothing
    else needs.

    Raises RefusedError for an answer about another store, CredentialsError for a wrong token or
    store, and UnreachableError.
    """
    try:
        about = client.store()
    except ScopeError:
        return None
    store_hash = about.get("id")
    if isinstance(store_hash, str) and store_hash.lower() != client.store_hash.lower():
        raise RefusedError(
            f"BigCommerce answers for the store {excerpt(store_hash)}, not {client.store_hash}.",
            hint="Check store_hash, and what stands between bigcommerce.api_url and this machine.",
        )
    return excerpt(str(about.get("name") or ""))


def check_clock(client: BigCommerceClient, clock: Clock) -> Finding:
    """By the Date of BigCommerce's last answer, an error's included."""
    if client.server_time is None:
        return skipped(Check.CLOCK, "The clock", "BigCommerce gave no time")
    ahead = clock.now() - client.server_time
    off = abs(ahead)
    if off <= CLOCK_OFF:
        return ok(Check.CLOCK, "This machine's clock agrees with BigCommerce's.")
    direction = "ahead of" if ahead > timedelta() else "behind"
    text = f"This machine's clock is {span(off)} {direction} BigCommerce's."
    mend = "Set it right, and keep it so by NTP: timedatectl set-ntp true"
    if off <= SIGNATURE_TOLERANCE:
        return warn(Check.CLOCK, text, mend)
    limit = plural(SIGNATURE_TOLERANCE // timedelta(minutes=1), "minute")
    return fail(Check.CLOCK, f"{text} Beyond {limit} signed callbacks are refused.", mend)
