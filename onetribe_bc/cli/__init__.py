"""The command line: the only place that knows click, terminals and exit codes."""

from __future__ import annotations

import sys


def main() -> None:
    """The `bc2ot` command."""
    from onetribe_bc.cli.streams import open_missing

    open_missing()
    # While one thread cuts a page into orders, answers to others wait for the interpreter: by
    # default 5 ms, a quarter of what One Tribe takes.
    sys.setswitchinterval(0.0005)
    from onetribe_bc.cli.app import run

    sys.exit(run(sys.argv[1:]))
