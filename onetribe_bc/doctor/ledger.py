"""The ledger: whether it is sound, and whether what it holds moves on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

from onetribe_bc.api.onetribe import fingerprint
from onetribe_bc.config import Settings
from onetribe_bc.doctor.files import check_mode
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
from onetribe_bc.errors import Bc2otError, BusyError, ExitCode
from onetribe_bc.ledger.failures import emptied, too_new
from onetribe_bc.ledger.ledger import Ledger, Status
from onetribe_bc.ledger.peek import LOCK_TIMEOUT_S, Peek
from onetribe_bc.ledger.schema import SCHEMA_VERSION
from onetribe_bc.ledger.states import State
from onetribe_bc.ledger.writer import Database, was_emptied
from onetribe_bc.text import plural, span

TOO_OLD = timedelta(days=1)
"""A sync from cron that is older, or an order owed for longer, does not come about by itself."""


def check_ledger(
    settings: Settings, look: Peek | Bc2otError | None, *, now: datetime
) -> Iterator[Finding]:
    """What `look` tells of the file, and what is in it. It is neither made nor changed."""
    path = settings.ledger
    if isinstance(look, BusyError):
        yield skipped(Check.LEDGER, "The ledger", str(look))
        return
    if isinstance(look, Bc2otError):
        yield failed(Check.LEDGER, look)
        return
    if look is None:
        yield _not_yet(path)
        return
    yield check_mode(Check.LEDGER_MODE, path)
    if look.half_written:
        yield note(
            Check.LEDGER,
            f"The ledger {path} has a write that was broken off. The next run takes it back; until "
            "then nothing can be read.",
            "bc2ot status",
        )
        return
    if look.version is None:
        yield _without_tables(settings)
        return
    if look.version != SCHEMA_VERSION:
        yield _other_version(settings, look, look.version)
        return
    yield from _check_contents(settings, look, now)


def _not_yet(path: Path) -> Finding:
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not os.access(folder, os.W_OK | os.X_OK):
        return fail(
            Check.LEDGER,
            f"There is no ledger {path}, and none can be made: this user cannot write to {folder}.",
            "Give the user that runs bc2ot write permission there, or set `ledger` (BC2OT_LEDGER) "
            "to a file elsewhere.",
            exit_code=ExitCode.CONFIGURATION,
        )
    return note(
        Check.LEDGER,
        f"There is no ledger {path} yet: nothing was sent from here. The first run makes it.",
    )


def _without_tables(settings: Settings) -> Finding:
    if was_emptied(settings.ledger):
        return failed(Check.LEDGER, emptied(settings.ledger))
    return warn(
        Check.LEDGER,
        f"The ledger {settings.ledger} is empty: every order counts as new.",
        "If orders were sent before, restore a copy of it.",
    )


def _other_version(settings: Settings, look: Peek, version: int) -> Finding:
    path = settings.ledger
    if version > SCHEMA_VERSION:
        return failed(Check.LEDGER, too_new(path, version))
    return note(
        Check.LEDGER,
        f"The ledger {path} ({_size(look.size)}) has version {version}. The next run brings it to "
        f"version {SCHEMA_VERSION}, and sets a copy aside. What is in it was not looked at.",
    )


def _check_contents(settings: Settings, look: Peek, now: datetime) -> Iterator[Finding]:
    if not settings.bigcommerce.store_hash or settings.onetribe.url is None:
        yield skipped(
            Check.LEDGER, "What is in the ledger", "store or One Tribe's address is not set"
        )
        return
    try:
        with closing(Database(settings.ledger, lock_timeout_s=LOCK_TIMEOUT_S)) as database:
            ledger = Ledger(
                database,
                store_hash=settings.bigcommerce.store_hash,
                destination=fingerprint(settings.onetribe.url),
            )
            status, elsewhere = ledger.status(), ledger.known_elsewhere()
    except BusyError as error:
        yield skipped(Check.LEDGER, "What is in the ledger", str(error))
        return
    except TROUBLE as error:
        yield failed(Check.LEDGER, error)
        return
    number = plural(sum(status.states.values()), "order")
    yield ok(
        Check.LEDGER,
        f"The ledger {settings.ledger} is sound: version {look.version}, {_size(look.size)}, "
        f"{number} of this store.",
    )
    if elsewhere and status.synced_until is None:
        yield warn(
            Check.LEDGER_ADDRESS,
            f"The ledger has {plural(elsewhere, 'order')} of this store for another address of "
            "One Tribe, and no sync has begun with this one. For this one they count as new.",
            "Compare onetribe.url with One Tribe's integration page. If it is right: "
            "bc2ot sync --since 7d",
        )
    if dead := sum(run.outcome == "killed" and run.ended_at is None for run in status.runs):
        yield note(
            Check.RUNS,
            f"{plural(dead, 'run')} ended without a word, as after kill -9 or a power cut. The "
            "next one settles what was under way.",
        )
    yield from _check_sync(status, now)
    yield from _check_orders(status, settings, now)


def _check_sync(status: Status, now: datetime) -> Iterator[Finding]:
    last = status.last_sync_at
    if last is None:
        yield note(
            Check.SYNC,
            "No sync has ended well yet.",
            "bc2ot sync --since 7d; then from cron or a timer (docs/scheduling.md).",
        )
    elif now - last > TOO_OLD:
        yield fail(
            Check.SYNC,
            f"The last sync that ended well was {span(now - last)} ago.",
            "bc2ot status shows how the last runs ended. Does cron or the timer still run it?",
        )
    else:
        yield ok(Check.SYNC, f"The last sync that ended well was {span(now - last)} ago.")


def _check_orders(status: Status, settings: Settings, now: datetime) -> Iterator[Finding]:
    yield _owed(status, now)
    if unknown := status.states.get(State.UNKNOWN):
        verb = "is" if unknown == 1 else "are"
        if settings.delivery.on_unknown == "hold":
            yield fail(
                Check.UNKNOWN,
                f"{plural(unknown, 'order')} {verb} unknown: sent, and no answer was seen; held "
                "until you decide.",
                "Ask One Tribe whether they arrived, or send them again: bc2ot retry --unknown",
            )
        else:
            yield note(
                Check.UNKNOWN,
                f"{plural(unknown, 'order')} {verb} unknown: sent, and no answer was seen. The "
                "next run sends them again and flags them.",
            )
    if refused := status.states.get(State.FAILED):
        yield fail(
            Check.FAILED,
            f"One Tribe refused {plural(refused, 'order')}.",
            "bc2ot history ID tells why (ids: bc2ot export --state failed). When the cause is "
            "gone: bc2ot retry --failed",
        )


def _owed(status: Status, now: datetime) -> Finding:
    """Long owed is trouble where no sync went well lately; after one that did, what is owed waits
    for something, or became due today: the ledger tells since when it is known.
    """
    oldest = status.oldest_owed_at
    if not status.owed or oldest is None:
        return ok(Check.OWED, "No order is owed.")
    text = f"{plural(status.owed, 'order')} owed, the oldest known for {span(now - oldest)}."
    last = status.last_sync_at
    if now - oldest <= TOO_OLD or (last is not None and now - last <= TOO_OLD):
        return note(Check.OWED, text, "The next run sends them: bc2ot sync")
    return fail(Check.OWED, text, "Send them: bc2ot sync")


def _size(size: int) -> str:
    if size < 1_000_000:
        return f"{max(1, size // 1_000)} kB"
    return f"{size / 1_000_000:,.1f} MB"
