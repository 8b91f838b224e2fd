"""What a shell completes: the values of options."""

from __future__ import annotations

import os
from pathlib import Path

import click

COMPLETION_VARIABLE = "_BC2OT_COMPLETE"
"""Set by a shell that requests completions."""


def complete_scopes(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Complete a webhook scope about orders."""
    from onetribe_bc.api.hooks import ORDER_SCOPES

    return [scope for scope in ORDER_SCOPES if scope.startswith(incomplete)]


def complete_states(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Complete a state of the ledger."""
    from onetribe_bc.ledger.states import State

    return [state for state in State if state.startswith(incomplete.lower())]


def complete_statuses(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Complete an order status by the name that BigCommerce gives it in a new store."""
    from onetribe_bc.statuses import STATUSES

    found = [name for name in STATUSES.values() if name.lower().startswith(incomplete.lower())]
    if os.environ.get(COMPLETION_VARIABLE, "").startswith("bash"):
        # bash inserts completions unquoted.
        return [f'"{name}"' if " " in name else name for name in found]
    return found


def complete_stores(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Complete the name of a store in the configuration file."""
    from onetribe_bc.config import store_names

    path = None if ctx.obj is None else ctx.obj.config
    names = store_names(path=path, environ=os.environ, cwd=Path.cwd())
    return [name for name in names if name.startswith(incomplete)]
