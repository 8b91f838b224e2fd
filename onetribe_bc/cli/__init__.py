"""The command line: the only place that knows click, terminals and exit codes."""

from __future__ import annotations

import sys


def main() -> None:
    """The `bc2ot` command."""
    try:
        code = _run()
    except KeyboardInterrupt:  # while modules were imported: from there on, `run` sees to it
        from onetribe_bc.errors import ExitCode

        sys.stderr.write("bc2ot: Interrupted.\n")
        code = ExitCode.INTERRUPTED
    sys.exit(code)


def _run() -> int:
    from onetribe_bc.cli.streams import open_missing

    open_missing()
    # While one thread cuts a page into orders, answers to others wait for the interpreter: by
    # default 5 ms, a quarter of what One Tribe takes.
    sys.setswitchinterval(0.0005)
    from onetribe_bc.cli.app import run

    return run(sys.argv[1:])
