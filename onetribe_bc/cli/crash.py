"""What a bug leaves behind: a short report to paste, and nothing of what it was busy with."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from onetribe_bc.cli.catalogue import COMMANDS
from onetribe_bc.version import __version__


def report(error: BaseException, arguments: Sequence[str]) -> str:
    """Where it happened, and of what kind it is. No value and no text of an exception is in it,
    neither its own nor that of one behind it: any of them may hold a secret.
    """
    import platform

    commands = [word for word in arguments if word in COMMANDS]
    lines = [
        (
            f"  bc2ot {__version__}, Python {platform.python_version()}, {sys.platform}, "
            f"command {' '.join(commands) or '?'}, {type(error).__name__}"
        ),
        *_places(error),
    ]
    return (
        "bc2ot: This is a bug in bc2ot. Nothing is lost: what was not delivered stays owed. "
        "Please report it with these lines:\n" + "\n".join(lines)
    )


def _places(error: BaseException) -> list[str]:
    """The way to it through our own modules, and where it ended, be that in a dependency."""
    import traceback

    frames = list(traceback.extract_tb(error.__traceback__))
    return [
        f"  {os.path.basename(frame.filename)}:{frame.lineno} {frame.name}"  # noqa: PTH119
        for number, frame in enumerate(frames, start=1)
        if "onetribe_bc" in frame.filename or number == len(frames)
    ]
