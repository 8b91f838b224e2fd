"""Log lines on stderr, as text or as JSON Lines."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import IO

from onetribe_bc.secret import mask_secrets

_OPENS_LEDGER = "onetribe_bc.delivery.context"
_LEVELS = {0: logging.WARNING, 1: logging.INFO}


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return json_line(record.levelname.lower(), record.name, record.getMessage(), record.created)


class _StderrHandler(logging.StreamHandler[IO[str]]):
    """Writes to the current `sys.stderr`: a progress bar replaces it while it is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's
        """Go on without the line: the terminal has gone, or the disk is full."""

    def format(self, record: logging.LogRecord) -> str:
        return mask_secrets(super().format(record))


def json_line(level: str, logger: str, message: str, created: float | None = None) -> str:
    """Return one log line as JSON; in ASCII, so that a terminal interprets nothing in it.

    `created` is its time in seconds since 1970, or None for now.
    """
    at = datetime.now(UTC) if created is None else datetime.fromtimestamp(created, UTC)
    time = at.isoformat(timespec="milliseconds")
    return json.dumps({"time": time, "level": level, "logger": logger, "message": message})


def set_up_logging(verbose: int, log_format: str, *, quiet: bool) -> None:
    """Log to stderr: warnings; with -v requests; with -vv waits; with -q errors only."""
    # No format shows these, and finding them takes time on every line.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = _StderrHandler()
    text = logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S")
    handler.setFormatter(_JsonFormatter() if log_format == "json" else text)
    logger = logging.getLogger("onetribe_bc")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(logging.ERROR if quiet else _LEVELS.get(verbose, logging.DEBUG))
    # Report a new ledger without -v, too.
    logging.getLogger(_OPENS_LEDGER).setLevel(logging.NOTSET if quiet or verbose else logging.INFO)
