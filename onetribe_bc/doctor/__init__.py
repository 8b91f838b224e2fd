"""Is all well? Settings, BigCommerce, hooks, One Tribe and the ledger, with what mends each.

No order is sent and no hook deleted; what is mended, on request, is what can do no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import replace

from onetribe_bc.api.bigcommerce import BigCommerceClient
from onetribe_bc.api.http import Timeouts
from onetribe_bc.clock import Clock
from onetribe_bc.config import Settings
from onetribe_bc.delivery.context import connect_bigcommerce, connect_onetribe
from onetribe_bc.doctor.files import check_files
from onetribe_bc.doctor.finding import (
    TROUBLE,
    Check,
    Finding,
    Level,
    failed,
    ok,
    skipped,
    warn,
    worst,
)
from onetribe_bc.doctor.hooks import check_hooks
from onetribe_bc.doctor.ledger import check_ledger
from onetribe_bc.doctor.onetribe import check_onetribe
from onetribe_bc.doctor.outside import Outside
from onetribe_bc.doctor.store import check_store
from onetribe_bc.errors import Bc2otError, ConfigurationError
from onetribe_bc.ledger.peek import Peek, peek

__all__ = ["Check", "Finding", "Level", "Outside", "examine", "failed", "worst"]

ATTEMPTS = 2
"""Somebody waits: who does not answer gets a second chance, and no more."""


def examine(
    settings: Settings, clock: Clock, *, fix: bool = False, outside: Outside | None = None
) -> Generator[Finding]:
    """What each check finds, as it becomes known. One that fails does not stop the others.

    With `fix`, what can be mended safely is: each such finding is told as mended, or why it
    could not be, and its group is checked again. Raises InterruptedRunError.
    """
    delivery = settings.delivery
    timeouts = Timeouts(delivery.connect_timeout_s, delivery.read_timeout_s)
    with closing(_Case(settings, clock, outside or Outside.of_machine(timeouts))) as case:
        for check in (case.files, case.store, case.hooks, case.onetribe, case.ledger):
            yield from _mending(check) if fix else check()


def _mending(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    findings = list(check())
    if not any(finding.fix for finding in findings):
        yield from findings
        return
    for finding in findings:
        if finding.fix is not None:
            yield _mend(finding.check, finding.fix)
    yield from check()


def _mend(check: Check, fix: Callable[[], str]) -> Finding:
    try:
        return replace(ok(check, f"mended: {fix()}"), mended=True)
    except TROUBLE as error:
        return warn(check, f"could not be mended: {error}", error.hint)
    except OSError as error:
        return warn(check, f"could not be mended: {error.strerror}.")


class _Case:
    """One store's checks, in groups. What one learns, later ones build on."""

    def __init__(self, settings: Settings, clock: Clock, outside: Outside) -> None:
        self._settings = settings
        self._clock = clock
        self._outside = outside
        self._client: BigCommerceClient | None = None
        self._left_out = ""
        """Why nothing more can be asked of BigCommerce, if so."""
        self._look = _look(settings)

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()

    def files(self) -> Iterator[Finding]:
        return check_files(self._settings)

    def store(self) -> Iterator[Finding]:
        try:
            self._client = connect_bigcommerce(self._settings, self._clock, attempts=ATTEMPTS)
        except ConfigurationError as error:
            yield failed(Check.TOKEN, error)
            has_store = self._settings.bigcommerce.store_hash
            self._left_out = "no token" if has_store else "no store hash"
            yield skipped(Check.ORDERS, "The scope for orders", self._left_out)
            yield skipped(Check.STORE, "The store", self._left_out)
            yield skipped(Check.CLOCK, "The clock", self._left_out)
            return
        self._left_out = yield from check_store(self._client, self._clock)

    def hooks(self) -> Iterator[Finding]:
        if self._client is None or self._left_out:
            return iter([skipped(Check.HOOKS, "The hooks", self._left_out)])
        return check_hooks(
            self._client,
            self._settings,
            now=self._clock.now(),
            newest_order_at=self._look.newest_order_at if isinstance(self._look, Peek) else None,
            outside=self._outside,
        )

    def onetribe(self) -> Iterator[Finding]:
        try:
            client = connect_onetribe(self._settings, self._clock)
        except ConfigurationError as error:
            yield failed(Check.ADDRESS, error)
            return
        with closing(client):
            yield from check_onetribe(client)

    def ledger(self) -> Iterator[Finding]:
        return check_ledger(self._settings, self._look, now=self._clock.now())


def _look(settings: Settings) -> Peek | Bc2otError | None:
    try:
        return peek(settings.ledger, settings.bigcommerce.store_hash)
    except TROUBLE as error:
        return error
