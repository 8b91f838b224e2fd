"""One store, or all of the file's, one after the other."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onetribe_bc.cli.invocation import Invocation
from onetribe_bc.errors import WORST_FIRST, Bc2otError, ConfigurationError, ExitCode

if TYPE_CHECKING:
    from onetribe_bc.cli.console import Console
    from onetribe_bc.config import Settings

all_stores_option = click.option(
    "--all-stores", is_flag=True, help="Do it for each store of the file, one after the other."
)


def for_stores(
    invocation: Invocation,
    work: Callable[[Console, Settings], int],
    *,
    all_stores: bool,
    as_json: bool,
    unusable: Callable[[Console, ConfigurationError], int] | None = None,
) -> int:
    """Do `work` for the chosen store, or for all: one store's trouble does not stop the others.

    What it prints as JSON of each store comes as one list then. `unusable` is done in its place
    for one of all whose settings cannot be loaded. Returns the worst exit code. Raises what
    `work` raises for a single store.
    """
    console = invocation.console(json=as_json)
    if not all_stores:
        return work(console, invocation.settings(console))
    if invocation.store is not None:
        raise click.UsageError("--store and --all-stores contradict each other.")
    codes = [ExitCode.DONE]
    told: list[Mapping[str, object]] = []
    for name in _names(invocation):
        title = f"Store {name or '(top of the file)'}"
        console.say(f"{title}:")
        own, printed = _own_console(invocation, as_json=as_json)
        error_text = settings = None
        try:
            settings = invocation.for_store(name).settings(console)
            code = ExitCode(work(own, settings))
        except Bc2otError as error:
            error_text = str(error)
            if unusable and settings is None and isinstance(error, ConfigurationError):
                code = ExitCode(unusable(own, error))
            else:
                console.fail(f"{title}: {error}", error.hint)
                code = error.exit_code
        told.append({"store": name, "exit_code": code, "error": error_text, **printed})
        codes.append(code)
        if code is ExitCode.INTERRUPTED:
            break
    if as_json:
        console.json(told)
    return min(codes, key=WORST_FIRST.index)


def _own_console(invocation: Invocation, *, as_json: bool) -> tuple[Console, dict[str, object]]:
    """A console for one store of several, and what will have been printed there as JSON."""
    from onetribe_bc.cli.console import Console

    printed: dict[str, object] = {}

    class Own(Console):
        def json(self, value: object) -> None:
            assert isinstance(value, dict)  # noqa: S101 - what a command prints of one store
            printed.update(value)

    return Own(quiet=invocation.quiet, json=as_json, log_format=invocation.log_format), printed


def _names(invocation: Invocation) -> list[str | None]:
    """The store at the top of the file, if there is one, and all of its `stores`."""
    from onetribe_bc.config import load, store_names

    cwd = Path.cwd()
    names = store_names(path=invocation.config, environ=os.environ, cwd=cwd)
    try:
        top = load(path=invocation.config, environ=os.environ, cwd=cwd)
    except ConfigurationError:
        return [None, *names]  # it is told when its turn comes
    first: list[str | None] = [None] if top.bigcommerce.store_hash or not names else []
    return [*first, *names]
