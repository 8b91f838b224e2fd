"""Telling others of a run: a ping address, a file of Prometheus metrics. Neither can fail it."""

from __future__ import annotations

import logging
import os
import tempfile
from datetime import datetime
from pathlib import Path

from onetribe_bc.api.transport import Timeouts, Transport
from onetribe_bc.errors import Bc2otError
from onetribe_bc.ledger.entry import State
from onetribe_bc.ledger.inventory import Status
from onetribe_bc.secret import MASK, Secret

_log = logging.getLogger(__name__)

_TIMEOUTS = Timeouts(connect_s=5, read_s=5)


def ping(url: Secret | None, event: str = "") -> None:
    """Call the address, with `/start` or `/fail` added where the event says so."""
    if url is None:
        return
    transport = Transport(
        url.reveal(), headers={}, timeouts=_TIMEOUTS, connections=1, label=f"/{MASK}"
    )
    try:
        answer = transport.exchange("GET", f"/{event}" if event else "", keep_bytes=1024)
        if answer.status >= 300:
            _log.warning("The ping address (monitor.url) answered %s.", answer.status)
    except Bc2otError as error:
        _log.warning("The ping address (monitor.url) was not reached: %s", error)
    finally:
        transport.close()


def write_textfile(path: Path | None, store_hash: str, status: Status, now: datetime) -> None:
    """Write the metrics beside the file and rename them into place."""
    if path is None:
        return
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(metrics(store_hash, status, now))
            # Whoever collects the metrics is another user; there is no secret in them.
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        _log.warning("The metrics could not be written to %s: %s.", path, error.strerror)


def metrics(store_hash: str, status: Status, now: datetime) -> str:
    """Prometheus' text form. Times are Unix seconds, ages seconds."""
    oldest, last_sync = status.oldest_owed_at, status.last_sync_at
    values: dict[str, tuple[str, float | None]] = {
        "last_success_timestamp_seconds": (
            "When a sync last ended well.",
            last_sync.timestamp() if last_sync else None,
        ),
        "owed_orders": ("Orders that a later run has to do something about.", status.owed),
        "unknown_orders": (
            "Orders that may or may not have arrived.",
            status.states.get(State.UNKNOWN, 0),
        ),
        "failed_orders": ("Orders that were refused.", status.states.get(State.FAILED, 0)),
        "oldest_owed_age_seconds": (
            "How long the oldest of them has been owed.",
            (now - oldest).total_seconds() if oldest else 0.0,
        ),
    }
    lines: list[str] = []
    for name, (about, value) in values.items():
        if value is not None:
            lines += [f"# HELP bc2ot_{name} {about}", f"# TYPE bc2ot_{name} gauge"]
            lines.append(f'bc2ot_{name}{{store="{store_hash}"}} {value:.3f}')
    return "\n".join(lines) + "\n"
