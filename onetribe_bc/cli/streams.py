"""The process's three streams, which may be closed, full, or read by someone who has left."""

from __future__ import annotations

import os
import sys
from typing import IO


def open_missing() -> None:
    """Put the null device where a stream is closed (`>&-`): Python has None there, and the next
    file that is opened, the ledger say, would become our output.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123


def drop(stream: IO[str]) -> None:
    """Nobody reads this stream any more, or it is full: let Python's last flush go nowhere."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
