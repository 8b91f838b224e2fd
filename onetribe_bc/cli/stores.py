"""Run a command for one store, or for all stores in the configuration file."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import click

from onetribe_bc.cli.console import Console
from onetribe_bc.cli.context import Context, working_directory
from onetribe_bc.config import Settings, load, store_names
from onetribe_bc.errors import WORST_FIRST, Bc2otError, ConfigurationError, ExitCode

Work = Callable[[Console, Settings], int]


def for_stores(
    cli: Context,
    work: Work,
    *,
    all_stores: bool,
    as_json: bool,
    unusable: Callable[[Console, ConfigurationError], int] | None = None,
) -> int:
    """Run `work` for the chosen store, or for all stores, and return the worst exit code.

    With all stores, an error in one does not stop the others, their JSON is printed as one list,
    and `unusable` is called for a store whose settings cannot be loaded. For a single store,
    raises what `work` raises.
    """
    console = cli.console(json=as_json)
    if not all_stores:
        return work(console, cli.settings(console))
    if cli.store is not None:
        raise click.UsageError("--store and --all-stores contradict each other.")
    results: list[dict[str, object]] = []
    codes = [ExitCode.DONE]
    for name in _names(cli):
        result = _run_store(replace(cli, store=name), work, console, unusable)
        results.append(result)
        codes.append(ExitCode(result["exit_code"]))
        if codes[-1] is ExitCode.INTERRUPTED:
            break
    if as_json:
        console.json(results)
    return min(codes, key=WORST_FIRST.index)


def _run_store(
    cli: Context,
    work: Work,
    console: Console,
    unusable: Callable[[Console, ConfigurationError], int] | None,
) -> dict[str, Any]:
    title = f"Store {cli.store or '(top of the file)'}"
    console.info(f"{title}:")
    printed: dict[str, Any] = {}
    own = cli.console(json=console.as_json, print_json=printed.update)
    message = settings = None
    try:
        settings = cli.settings(console)
        code = work(own, settings)
    except Bc2otError as error:
        message = str(error)
        if unusable and settings is None and isinstance(error, ConfigurationError):
            code = unusable(own, error)
        else:
            code = console.failure(error, f"{title}: ")
    return {"store": cli.store, "exit_code": code, "error": message, **printed}


def _names(cli: Context) -> list[str | None]:
    """Return the names in `stores`, after None if the top of the file is a store."""
    cwd = working_directory()
    names = store_names(path=cli.config, environ=os.environ, cwd=cwd)
    try:
        top = load(path=cli.config, environ=os.environ, cwd=cwd)
    except ConfigurationError:
        return [None, *names]  # for_stores reports the error
    first: list[str | None] = [None] if top.bigcommerce.store_hash or not names else []
    return [*first, *names]
