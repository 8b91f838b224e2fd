"""One store, or all of the file's, one after the other."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onetribe_bc.cli.invocation import Invocation
from onetribe_bc.errors import Bc2otError, ExitCode

if TYPE_CHECKING:
    from onetribe_bc.cli.console import Console
    from onetribe_bc.config import Settings

_WORST_FIRST = (
    ExitCode.INTERRUPTED,
    ExitCode.CONFIGURATION,
    ExitCode.REFUSED,
    ExitCode.UNREACHABLE,
    ExitCode.BUSY,
    ExitCode.INCOMPLETE,
    ExitCode.DONE,
)

all_stores_option = click.option(
    "--all-stores", is_flag=True, help="Do it for each store of the file, one after the other."
)


def for_stores(
    invocation: Invocation,
    console: Console,
    work: Callable[[Settings], int],
    *,
    all_stores: bool,
) -> int:
    """Do `work` for the chosen store, or for all: one store's trouble does not stop the others.

    Returns the worst exit code. Raises what `work` raises for a single store.
    """
    if not all_stores:
        return work(invocation.settings(console))
    if invocation.store is not None:
        raise click.UsageError("--store and --all-stores contradict each other.")
    codes = [ExitCode.DONE]
    for name in _names(invocation):
        console.say(f"Store {name or '(top of the file)'}:")
        try:
            codes.append(ExitCode(work(invocation.for_store(name).settings(console))))
        except Bc2otError as error:
            console.urgent(f"Store {name or '(top of the file)'}: {error} {error.hint}".rstrip())
            codes.append(error.exit_code)
            if error.exit_code is ExitCode.INTERRUPTED:
                break
    return min(codes, key=_WORST_FIRST.index)


def _names(invocation: Invocation) -> list[str | None]:
    """The store at the top of the file, if there is one, and all of its `stores`."""
    from onetribe_bc.config import load, store_names

    cwd = Path.cwd()
    names = store_names(path=invocation.config, environ=os.environ, cwd=cwd)
    top = load(path=invocation.config, environ=os.environ, cwd=cwd)
    first: list[str | None] = [None] if top.bigcommerce.store_hash else []
    return [*first, *names]
