"""Check that the ledger is sound and that its orders make progress."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

from onetribe_bc.api.onetribe import fingerprint
from onetribe_bc.clock import Clock
from onetribe_bc.config import Settings
from onetribe_bc.delivery.context import policy_of
from onetribe_bc.doctor.configuration import check_mode
from onetribe_bc.doctor.finding import CHECK_ERRORS, Finding, fail, failed, note, ok, skipped, warn
from onetribe_bc.doctor.postgres import check_server
from onetribe_bc.errors import Bc2otError, BusyError, ExitCode, LedgerError
from onetribe_bc.ledger import server
from onetribe_bc.ledger.ledger import Ledger, Status
from onetribe_bc.ledger.schema import SCHEMA_VERSION
from onetribe_bc.ledger.sqlite import SILENT_S, Inspection, check_access, inspect
from onetribe_bc.ledger.states import State
from onetribe_bc.ledger.writer import Database
from onetribe_bc.text import plural, span

STALE = timedelta(days=1)
"""If the last sync is older, or an order owed for longer, the schedule may be broken: a failure."""


def inspect_file(settings: Settings) -> Inspection | Bc2otError | None:
    """Inspect the ledger's file. Return the error if that fails, and None if there is no file."""
    if not isinstance(settings.ledger, Path):
        return None
    try:
        return inspect(settings.ledger, settings.bigcommerce.store_hash)
    except CHECK_ERRORS as error:
        return error


def last_activity(settings: Settings, found: Inspection | Bc2otError | None) -> datetime | None:
    """Return when the ledger last recorded an order of the store, if known."""
    if isinstance(found, Inspection):
        return found.newest_order_at
    if isinstance(settings.ledger, Path):
        return None
    try:
        return server.last_activity(settings.ledger, settings.bigcommerce.store_hash)
    except CHECK_ERRORS:  # reported by the ledger's own checks
        return None


def check_ledger(
    settings: Settings,
    found: Inspection | Bc2otError | None,
    clock: Clock,
    *,
    in_store: int | None = None,
) -> Iterator[Finding]:
    """Check the ledger, its file as `found` by `inspect_file`, without changing anything.

    `in_store` is how many orders the store has, if known.
    """
    location, described = settings.ledger, ""
    if isinstance(location, Path):
        described = yield from _check_file(location, found)
        if found is None:
            yield from _compare(0, in_store)
    elif (yield from check_server(location, clock)):
        described = f"version {SCHEMA_VERSION}"
    if described:
        yield from _check_contents(settings, described, clock.now(), in_store)


def _check_file(path: Path, found: Inspection | Bc2otError | None) -> Generator[Finding, None, str]:
    """Yield the findings. Return version and size, or "" if the contents cannot be read."""
    if found is None:
        yield _not_yet(path)
        return ""
    if isinstance(found, Bc2otError):
        yield _unreadable(found)
        return ""
    yield check_mode("ledger.mode", path)
    try:
        check_access(path)
    except LedgerError as error:
        yield failed("ledger.locks", error)
    if found.interrupted:
        yield note(
            "ledger.file",
            f"The ledger {path} has an interrupted write. The next run rolls it back; until "
            "then the ledger cannot be read.",
            "bc2ot status",
        )
    elif found.version is None:
        yield warn(
            "ledger.file",
            f"The ledger {path} is empty: every order counts as new.",
            "If orders were sent before, restore a backup.",
        )
    elif found.version < SCHEMA_VERSION:
        yield note(
            "ledger.file",
            f"The ledger {path} ({_size(found.size)}) has version {found.version}. The next run "
            f"backs it up and upgrades it to version {SCHEMA_VERSION}. Its contents were not "
            "checked.",
        )
    else:
        return f"version {found.version}, {_size(found.size)}"
    return ""


def _unreadable(error: Bc2otError) -> Finding:
    if isinstance(error, BusyError):
        return skipped("ledger.file", "Ledger", str(error))
    return failed("ledger.file", error)


def _not_yet(path: Path) -> Finding:
    directory = next(parent for parent in path.absolute().parents if parent.exists())
    if not os.access(directory, os.W_OK | os.X_OK):
        return fail(
            "ledger.file",
            f"There is no ledger {path}, and this user cannot create it: {directory} is not "
            "writable.",
            "Make the directory writable for the user that runs bc2ot, or set `ledger` "
            "(BC2OT_LEDGER) to a file elsewhere.",
            exit_code=ExitCode.CONFIGURATION,
        )
    return note(
        "ledger.file",
        f"There is no ledger {path} yet: nothing was sent from here. The first run creates it.",
    )


def _check_contents(
    settings: Settings, described: str, now: datetime, in_store: int | None
) -> Iterator[Finding]:
    if not settings.bigcommerce.store_hash or settings.onetribe.url is None:
        yield skipped("ledger.file", "Ledger", "the store or One Tribe's URL is not set")
        return
    try:
        with closing(Database(settings.ledger, lock_timeout_s=SILENT_S, retry_for_s=0)) as database:
            ledger = Ledger(
                database,
                store_hash=settings.bigcommerce.store_hash,
                destination=fingerprint(settings.onetribe.url),
                policy=policy_of(settings),
            )
            ledger.check_newest()
            status, elsewhere, held = ledger.status(), ledger.known_elsewhere(), ledger.held()
    except CHECK_ERRORS as error:
        yield _unreadable(error)
        return
    known = sum(status.states.values())
    number = plural(known, "order")
    text = f"The ledger {settings.ledger} is sound: {described}, {number} of this store."
    yield ok("ledger.file", text)
    if elsewhere and status.synced_until is None:
        yield warn(
            "ledger.address",
            f"The ledger has {plural(elsewhere, 'order')} of this store for another One Tribe URL, "
            "and no sync with this one. Here they count as new.",
            "Compare onetribe.url with One Tribe's integration page. If it is right: "
            "bc2ot sync --since 7d",
        )
    if dead := sum(run.outcome == "killed" and run.ended_at is None for run in status.runs):
        yield note(
            "ledger.runs",
            f"{plural(dead, 'run')} ended unexpectedly (kill -9, power loss). The next run "
            "settles what was in flight.",
        )
    yield from _compare(known, in_store)
    yield from _check_sync(status, now)
    yield from _check_orders(status, held, now)


def _compare(known: int, in_store: int | None) -> Iterator[Finding]:
    """Compare how many orders the ledger knows with how many the store has."""
    if not in_store or known >= in_store:
        return
    text = f"The store has {plural(in_store, 'order')}, and the ledger knows {known:,}."
    if known == 0:
        yield warn(
            "ledger.coverage",
            f"{text} If orders were sent before, this is not the ledger they were sent with.",
            "Check `ledger` (BC2OT_LEDGER). To send earlier orders: bc2ot sync --since 30d",
        )
    else:
        hint = "See which ones it does not know: bc2ot reconcile"
        yield note("ledger.coverage", text, hint)


def _check_sync(status: Status, now: datetime) -> Iterator[Finding]:
    last = status.last_sync_at
    if last is None:
        yield note(
            "ledger.sync",
            "No sync has succeeded yet.",
            "bc2ot sync --since 7d; then from cron or a timer (docs/scheduling.md).",
        )
    elif now - last > STALE:
        yield fail(
            "ledger.sync",
            f"The last successful sync was {span(now - last)} ago.",
            "Check the last runs (bc2ot status), and that cron or the timer still runs sync.",
        )
    else:
        yield ok("ledger.sync", f"The last successful sync was {span(now - last)} ago.")


def _check_orders(status: Status, held: int, now: datetime) -> Iterator[Finding]:
    yield _owed(status, now)
    if unknown := status.states.get(State.UNKNOWN):
        text = f"{plural(unknown, 'order')} {'is' if unknown == 1 else 'are'} unknown: sent, but "
        text += "no response arrived"
        if held:
            yield fail(
                "ledger.unknown",
                f"{text}; {held:,} held until you decide (delivery.on_unknown, "
                "delivery.max_copies).",
                "Ask One Tribe whether they arrived, or send them again: bc2ot retry --unknown",
            )
        else:
            yield note(
                "ledger.unknown",
                f"{text}. Later runs send them again, at growing intervals, and flag them.",
            )
    if refused := status.states.get(State.FAILED):
        yield fail(
            "ledger.failed",
            f"One Tribe refused {plural(refused, 'order')}.",
            "See why with `bc2ot history ID` (IDs: bc2ot orders --state failed). Once the cause is "
            "gone: bc2ot retry --failed",
        )


def _owed(status: Status, now: datetime) -> Finding:
    """Fail if an order has been owed for long and no sync succeeded lately.

    After a recent successful sync, an old order that is still owed waits for its next attempt.
    """
    oldest = status.oldest_owed_at
    if not status.owed or oldest is None:
        return ok("ledger.owed", "No order is owed.")
    text = f"{plural(status.owed, 'order')} owed, the oldest known for {span(now - oldest)}."
    last = status.last_sync_at
    if now - oldest <= STALE or (last is not None and now - last <= STALE):
        return note("ledger.owed", text, "The next run sends them: bc2ot sync")
    return fail("ledger.owed", text, "Send them: bc2ot sync")


def _size(size: int) -> str:
    if size < 1_000_000:
        return f"{max(1, size // 1_000)} kB"
    return f"{size / 1_000_000:,.1f} MB"
