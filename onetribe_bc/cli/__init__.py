"""The command line: the only package that knows click, rich, terminals and exit codes."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import IO

from onetribe_bc import NEEDS_POSIX


def main() -> None:
    """Run the `bc2ot` command."""
    if sys.platform == "win32":
        sys.exit(f"bc2ot: {NEEDS_POSIX}")
    try:
        open_missing_streams()
        # Threads that parse orders hold the interpreter for up to this long. The default, 5 ms,
        # is a quarter of what One Tribe takes to respond.
        sys.setswitchinterval(0.0005)
        from onetribe_bc.cli.app import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # during the imports; `run` handles all later ones
        sys.stderr.write("bc2ot: Interrupted.\n")
        code = 130
    sys.exit(code)


def open_missing_streams() -> None:
    """Open the null device for closed streams (`>&-`), and let the others block.

    Otherwise the next file to be opened, such as the ledger, would get the stream's descriptor.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123
        elif mode == "w":
            # Another program that shares it may have made it non-blocking: writes would fail.
            with suppress(OSError, ValueError):
                os.set_blocking(getattr(sys, name).fileno(), True)


def discard(stream: IO[str]) -> None:
    """Send further output to the null device, as nothing reads `stream` or its disk is full."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
