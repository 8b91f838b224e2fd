"""Telling others of a run: a ping address, a file of Prometheus metrics. Neither can fail it."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from onetribe_bc.api.http import HttpClient, Timeouts
from onetribe_bc.errors import Bc2otError, BusyError
from onetribe_bc.files import write_atomically
from onetribe_bc.ledger.ledger import Status
from onetribe_bc.ledger.states import State
from onetribe_bc.secret import MASK, Secret

_log = logging.getLogger(__name__)

_TIMEOUTS = Timeouts(connect_s=5, read_s=5)
_SAMPLE = re.compile(r'(?P<name>bc2ot_\w+)\{store="(?P<store>[^"]*)"\} (?P<value>\S+)')
_PREFIX = "bc2ot_"
_METRICS = {
    "last_success_timestamp_seconds": "When a sync last ended well.",
    "owed_orders": "Orders that a later run has to do something about.",
    "unknown_orders": "Orders that may or may not have arrived.",
    "failed_orders": "Orders that were refused.",
    "oldest_owed_age_seconds": "How long the oldest owed order has been known.",
}
"""Each metric and what it tells. Times are Unix seconds, ages seconds."""

Sample = tuple[str, str, str]
"""A metric's name, the store, and the value."""


class Watch:
    """How a run goes, as it is told: it has failed unless it says otherwise."""

    def __init__(self) -> None:
        self.event = "fail"

    def succeed(self) -> None:
        """The run did all it had to."""
        self.event = ""


@contextmanager
def watched(url: Secret | None) -> Iterator[Watch]:
    """Call the address before a run and after it."""
    watch = Watch()
    ping(url, "start")
    try:
        yield watch
    except BusyError:
        # The run that holds the store tells how it goes.
        raise
    except BaseException:
        ping(url, "fail")
        raise
    ping(url, watch.event)


def ping(url: Secret | None, event: str = "") -> None:
    """Call the address, with `/start` or `/fail` added where the event says so."""
    if url is None:
        return
    transport = HttpClient(
        url.reveal(), headers={}, timeouts=_TIMEOUTS, connections=1, label=f"/{MASK}"
    )
    try:
        answer = transport.request("GET", f"/{event}" if event else "", keep_bytes=1024)
        if answer.status >= 300:
            _log.warning("The ping address (monitor.url) answered %s.", answer.status)
    except Bc2otError as error:
        _log.warning("The ping address (monitor.url) was not reached: %s", error)
    finally:
        transport.close()


def write_textfile(path: Path, store_hash: str, status: Status, now: datetime) -> None:
    """Replace the metrics of this store in the file; those of other stores stay."""
    try:
        samples = [*_others(path, store_hash), *status_samples(store_hash, status, now)]
        # The collector is another user, and metrics hold no secrets.
        write_atomically(path, metrics(samples).encode(), replace=True, mode=0o644)
    except OSError as error:
        _log.warning("The metrics could not be written to %s: %s.", path, error.strerror)


def metrics(samples: Iterable[Sample]) -> str:
    """Prometheus' text form: all samples of one metric together, below what it tells."""
    known = list(samples)
    lines: list[str] = []
    for name, about in _METRICS.items():
        own = [f'{_PREFIX}{name}{{store="{s}"}} {value}' for n, s, value in known if n == name]
        if own:
            lines += family(f"{_PREFIX}{name}", "gauge", about, own)
    return "\n".join(lines) + "\n"


def family(name: str, kind: str, about: str, samples: Iterable[str]) -> list[str]:
    """The lines of one metric: what it tells, whether it is a gauge, counter or histogram, and
    its samples.
    """
    return [f"# HELP {name} {about}", f"# TYPE {name} {kind}", *samples]


def status_samples(store_hash: str, status: Status, now: datetime) -> list[Sample]:
    """What the ledger says of one store, for `metrics`."""
    oldest, last_sync = status.oldest_owed_at, status.last_sync_at
    values: dict[str, float | None] = {
        "last_success_timestamp_seconds": last_sync.timestamp() if last_sync else None,
        "owed_orders": status.owed,
        "unknown_orders": status.states.get(State.UNKNOWN, 0),
        "failed_orders": status.states.get(State.FAILED, 0),
        "oldest_owed_age_seconds": max(0.0, (now - oldest).total_seconds()) if oldest else 0.0,
    }
    return [
        (name, store_hash, f"{value:.3f}") for name, value in values.items() if value is not None
    ]


def _others(path: Path, store_hash: str) -> list[Sample]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    found = [_SAMPLE.fullmatch(line) for line in text.splitlines()]
    return [
        (one["name"].removeprefix(_PREFIX), one["store"], one["value"])
        for one in found
        if one is not None and one["store"] != store_hash
    ]
