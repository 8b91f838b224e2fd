"""The report that a bug prints: where it happened, and none of the values involved."""

from __future__ import annotations

import platform
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from onetribe_bc.cli.registry import COMMANDS
from onetribe_bc.version import __version__


def crash_report(error: BaseException, arguments: Sequence[str]) -> str:
    """Return the error's type and location.

    The texts of exceptions, causes included, and the values of arguments are left out: any of
    them may hold a secret.
    """
    command = " ".join(word for word in arguments if word in COMMANDS) or "?"
    message = (
        "bc2ot: This is a bug in bc2ot. Nothing is lost: undelivered orders stay owed. Please "
        "report it with these lines:"
    )
    versions = f"  bc2ot {__version__}, Python {platform.python_version()}, {sys.platform}"
    kind = type(error).__name__
    return "\n".join([message, f"{versions}, command {command}, {kind}", *_locations(error)])


def _locations(error: BaseException) -> Iterator[str]:
    """Yield the frames in bc2ot's own modules, and the last one wherever it is."""
    frames = traceback.extract_tb(error.__traceback__)
    for number, frame in enumerate(frames, start=1):
        if "onetribe_bc" in frame.filename or number == len(frames):
            yield f"  {Path(frame.filename).name}:{frame.lineno} {frame.name}"
