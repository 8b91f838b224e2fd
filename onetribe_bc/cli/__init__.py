"""The command line: the only place that knows click, terminals and exit codes."""

from __future__ import annotations

import sys


def main() -> None:
    """The `bc2ot` command."""
    from onetribe_bc.cli.streams import open_missing

    open_missing()
    from onetribe_bc.cli.app import run

    sys.exit(run(sys.argv[1:]))
