"""Log lines on stderr, as text or as JSON Lines."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import IO

_LEVELS = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO}


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        return json_line(record.levelname.lower(), record.name, record.getMessage(), at)


class _StderrHandler(logging.StreamHandler[IO[str]]):
    """Writes to what is stderr at that moment: a progress bar stands in for it while it moves."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def json_line(level: str, logger: str, message: str, at: datetime) -> str:
    """One line of a log for programs; ASCII, so that no terminal acts on what it holds."""
    time = at.isoformat(timespec="milliseconds")
    return json.dumps({"time": time, "level": level, "logger": logger, "message": message})


def set_up_logging(verbosity: int, log_format: str) -> None:
    """Send the package's log to stderr: warnings, with -v requests, with -vv waits."""
    # Nothing that is shown tells them, and to find them out for each line takes its time.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = _StderrHandler()
    text = logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S")
    handler.setFormatter(_JsonFormatter() if log_format == "json" else text)
    logger = logging.getLogger("onetribe_bc")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(_LEVELS.get(verbosity, logging.DEBUG))
