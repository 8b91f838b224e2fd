"""Report a sync to a ping URL and a Prometheus text file. Neither can fail the run."""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
from collections.abc import Callable, Iterable
from contextlib import closing
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
_METRIC_LINE = re.compile(r"(# (HELP|TYPE) )?bc2ot_\w+[ {]")
_MAX_TEXTFILE = 1024 * 1024
_PREFIX = "bc2ot_"
_METRICS = {
    "last_success_timestamp_seconds": "When a sync last succeeded.",
    "owed_orders": "Orders that a later run must process.",
    "unknown_orders": "Orders that may or may not have arrived.",
    "failed_orders": "Orders that One Tribe refused.",
    "oldest_owed_age_seconds": "Time since the oldest owed order was first seen.",
}
"""The help text of each metric. Times are Unix seconds."""

Sample = tuple[str, str, str]
"""The name of a metric without its prefix, the store, the value."""


def watch(url: Secret | None, run: Callable[[], tuple[int, bool]]) -> int:
    """Ping the URL before and after a run, which returns its result and whether it succeeded."""
    ping(url, "start")
    try:
        result, succeeded = run()
    except BusyError:
        # The run that holds the store reports its own outcome.
        raise
    except BaseException:
        ping(url, "fail")
        raise
    ping(url, "" if succeeded else "fail")
    return result


def ping(url: Secret | None, event: str = "") -> None:
    """Request the URL, followed by `/` and the event if there is one."""
    if url is None:
        return
    try:
        client = HttpClient(
            url.reveal(), headers={}, timeouts=_TIMEOUTS, connections=1, label=f"/{MASK}"
        )
        with closing(client):
            response = client.request("GET", f"/{event}" if event else "", keep_bytes=1024)
    except Exception as error:  # noqa: BLE001 - no ping ends a sync, and its text may be a secret
        why = error if isinstance(error, Bc2otError) else type(error).__name__
        _log.warning("Could not reach the ping URL (monitor.url): %s", why)
        return
    if response.status >= 300:
        _log.warning("The ping URL (monitor.url) responded with %s.", response.status)


def write_textfile(path: Path, store_hash: str, status: Status, now: datetime) -> None:
    """Replace the metrics of this store in the file; those of other stores stay.

    A file that holds anything else is left alone, as are links, pipes and devices.
    """
    try:
        samples = [*_others(path, store_hash), *status_samples(store_hash, status, now)]
        # The collector runs as another user, and metrics contain no secrets.
        write_atomically(path, metrics(samples).encode(), replace=True, mode=0o644)
    except OSError as error:
        _log.warning("Cannot write the metrics to %s: %s.", path, error.strerror)


def metrics(samples: Iterable[Sample]) -> str:
    """Return samples in Prometheus' text format, which groups them by metric."""
    known = list(samples)
    lines: list[str] = []
    for name, about in _METRICS.items():
        full = f"{_PREFIX}{name}"
        own = [f'{full}{{store="{s}"}} {value}' for n, s, value in known if n == name]
        if own:
            lines += [f"# HELP {full} {about}", f"# TYPE {full} gauge", *own]
    return "\n".join(lines) + "\n"


def status_samples(store_hash: str, status: Status, now: datetime) -> list[Sample]:
    """Return the samples of one store."""
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
    """Return the other stores' samples. Raises OSError if the file is no file of metrics."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return []
    with os.fdopen(descriptor, encoding="utf-8", errors="replace") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        lines = [line for line in file.read(_MAX_TEXTFILE).splitlines() if line.strip()]
    if not all(_METRIC_LINE.match(line) for line in lines):
        raise OSError(errno.EEXIST, "it holds something other than bc2ot's metrics")
    found = [_SAMPLE.fullmatch(line) for line in lines]
    return [
        (one["name"].removeprefix(_PREFIX), one["store"], one["value"])
        for one in found
        if one is not None and one["store"] != store_hash
    ]
