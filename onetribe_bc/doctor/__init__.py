"""Check the settings, BigCommerce, webhooks, One Tribe and the ledger, and apply safe fixes.

No check sends an order or deletes a webhook. To add a check, yield its findings in its group's
module.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial

from onetribe_bc.api.bigcommerce import BigCommerceClient
from onetribe_bc.api.http import Timeouts
from onetribe_bc.clock import Clock
from onetribe_bc.config import Settings
from onetribe_bc.delivery.context import connect_bigcommerce
from onetribe_bc.doctor.configuration import check_configuration
from onetribe_bc.doctor.finding import (
    CHECK_ERRORS,
    Finding,
    Level,
    failed,
    ok,
    skipped,
    warn,
    worst,
)
from onetribe_bc.doctor.hooks import check_hooks
from onetribe_bc.doctor.ledger import check_ledger, inspect_file, last_activity
from onetribe_bc.doctor.onetribe import check_onetribe
from onetribe_bc.doctor.store import check_statuses, check_store
from onetribe_bc.errors import ConfigurationError

__all__ = ["Finding", "Level", "examine", "failed", "worst"]

ATTEMPTS = 2
"""Attempts for each request: a user is waiting."""


def examine(settings: Settings, clock: Clock, *, fix: bool = False) -> Generator[Finding]:
    """Yield the findings of each check as they occur. A failing check does not stop the others.

    With `fix`, apply each safe fix, yield its result, and check that group again.
    Raises InterruptedRunError.
    """
    with closing(_Examination(settings, clock)) as examination:
        for group in examination.groups:
            yield from _with_fixes(group) if fix else group()


def _with_fixes(group: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    findings = list(group())
    if not any(finding.fix for finding in findings):
        yield from findings
        return
    for finding in findings:
        if finding.fix is not None:
            yield _apply(finding.check, finding.fix)
    yield from group()


def _apply(check: str, fix: Callable[[], str]) -> Finding:
    try:
        return replace(ok(check, f"fixed: {fix()}"), fixed=True)
    except CHECK_ERRORS as error:
        return warn(check, f"could not be fixed: {error}", error.hint)
    except OSError as error:
        return warn(check, f"could not be fixed: {error.strerror}.")


class _Examination:
    """The checks of one store, in groups. Later groups use what earlier ones found."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._client: BigCommerceClient | None = None
        self._store_problem = ""
        self._in_store: int | None = None
        self._ledger = inspect_file(settings)
        self.groups: tuple[Callable[[], Iterator[Finding]], ...] = (
            partial(check_configuration, settings),
            self._check_store,
            self._check_hooks,
            partial(check_onetribe, settings, clock),
            self._check_ledger,
        )

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _check_store(self) -> Iterator[Finding]:
        try:
            self._client = connect_bigcommerce(self._settings, self._clock, attempts=ATTEMPTS)
        except ConfigurationError as error:
            yield failed("bigcommerce.token", error)
            has_store = self._settings.bigcommerce.store_hash
            self._store_problem = "no token" if has_store else "no store hash"
            for name, subject in (
                ("orders", "Order scope"),
                ("store", "Store name"),
                ("clock", "Clock"),
            ):
                yield skipped(f"bigcommerce.{name}", subject, self._store_problem)
            return
        self._store_problem, self._in_store = yield from check_store(self._client, self._clock)
        if not self._store_problem:
            yield from check_statuses(self._client, self._settings)

    def _check_hooks(self) -> Iterator[Finding]:
        if self._client is None or self._store_problem:
            return iter([skipped("hooks.list", "Webhooks", self._store_problem)])
        delivery = self._settings.delivery
        return check_hooks(
            self._client,
            self._settings,
            now=self._clock.now(),
            newest_order_at=last_activity(self._settings, self._ledger),
            timeouts=Timeouts(delivery.connect_timeout_s, delivery.read_timeout_s),
        )

    def _check_ledger(self) -> Iterator[Finding]:
        return check_ledger(self._settings, self._ledger, self._clock, in_store=self._in_store)
