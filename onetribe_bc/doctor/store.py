"""Check that BigCommerce is reachable, accepts the token, and that the clocks agree."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from datetime import timedelta

from onetribe_bc.api.bigcommerce import INFORMATION_SCOPE, BigCommerceClient, OrderQuery
from onetribe_bc.api.webhook import SIGNATURE_TOLERANCE
from onetribe_bc.clock import Clock
from onetribe_bc.config import Settings
from onetribe_bc.delivery.context import skipped_status_ids
from onetribe_bc.doctor.finding import CHECK_ERRORS, Finding, fail, failed, note, ok, skipped, warn
from onetribe_bc.errors import (
    CredentialsError,
    NoConnectionError,
    RefusedError,
    ScopeError,
    UnreachableError,
)
from onetribe_bc.text import excerpt, plural, span

CLOCK_TOLERANCE = timedelta(minutes=1)


def check_store(
    client: BigCommerceClient, clock: Clock
) -> Generator[Finding, None, tuple[str, int | None]]:
    """Yield the findings. Return why no other request to BigCommerce makes sense, or "", and how
    many orders the store has, if known.
    """
    problem, number = "", None
    try:
        number = _count(client)
        known = "BigCommerce does not say how many" if number is None else f"there are {number:,}"
        yield ok("bigcommerce.token", "The access token is accepted.")
        yield ok("bigcommerce.orders", f"It can read orders; {known}.")
    except ScopeError as error:
        yield ok("bigcommerce.token", "The access token is accepted.")
        yield failed("bigcommerce.orders", error)
    except CredentialsError as error:
        yield failed("bigcommerce.token", error)
        problem = "BigCommerce rejects this store or token"
    except UnreachableError as error:
        yield failed("bigcommerce.reach", error)
        problem = "no usable response from BigCommerce"
    except CHECK_ERRORS as error:
        yield failed("bigcommerce.token", error)
        problem = "BigCommerce rejects the request"
    if problem:
        yield skipped("bigcommerce.store", "Store name", problem)
    else:
        yield _check_name(client)
    yield check_clock(client, clock)
    return problem, number


def _count(client: BigCommerceClient) -> int | None:
    """Return the number of orders, or None if orders can be read and only the count fails."""
    try:
        return client.count_orders(OrderQuery())
    except NoConnectionError:
        raise
    except UnreachableError as error:
        try:
            client.list_orders(OrderQuery(), limit=1, attempts=1)
        except UnreachableError:
            raise error from None
        return None


def check_statuses(client: BigCommerceClient, settings: Settings) -> Iterator[Finding]:
    """Check that the store has the statuses of orders.skip_statuses."""
    try:
        skipped_status_ids(client, settings)
    except CHECK_ERRORS as error:
        yield failed("configuration.statuses", error)


def _check_name(client: BigCommerceClient) -> Finding:
    check = "bigcommerce.store"
    try:
        name = store_name(client)
    except CHECK_ERRORS as error:
        return failed(check, error)
    if name is None:
        return note(
            check,
            f"The store's name is unknown: the access token lacks {INFORMATION_SCOPE}.",
            "Nothing else needs that scope.",
        )
    return ok(check, f"The store {client.store_hash} is {name or 'without a name'}.")


def store_name(client: BigCommerceClient) -> str | None:
    """Return the store's name, "" if it has none, or None if the token may not read it.

    Raises RefusedError for a response about another store, CredentialsError for a wrong token or
    store, and UnreachableError.
    """
    try:
        about = client.store()
    except ScopeError:
        return None
    store_hash = about.get("id")
    if isinstance(store_hash, str) and store_hash.lower() != client.store_hash.lower():
        raise RefusedError(
            f"BigCommerce responded for store {excerpt(store_hash)}, not {client.store_hash}.",
            hint="Check store_hash, bigcommerce.api_url, and any proxy in between.",
        )
    return excerpt(str(about.get("name") or ""))


def check_clock(client: BigCommerceClient, clock: Clock) -> Finding:
    """Compare this machine's clock with the Date header of BigCommerce's last response."""
    check = "bigcommerce.clock"
    if client.server_time is None:
        return skipped(check, "Clock", "BigCommerce sent no time")
    ahead = clock.now() - client.server_time
    off = abs(ahead)
    if off <= CLOCK_TOLERANCE:
        return ok(check, "This machine's clock agrees with BigCommerce's.")
    direction = "ahead of" if ahead > timedelta() else "behind"
    text = f"This machine's clock is {span(off)} {direction} BigCommerce's."
    hint = "Synchronize it with NTP: timedatectl set-ntp true"
    if off <= SIGNATURE_TOLERANCE:
        return warn(check, text, hint)
    limit = plural(SIGNATURE_TOLERANCE // timedelta(minutes=1), "minute")
    return fail(check, f"{text} Beyond {limit}, bc2ot rejects signed callbacks.", hint)
