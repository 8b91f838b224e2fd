"""`bc2ot completion`: the script that makes a shell ask us, and some of the answers."""

from __future__ import annotations

import click

COMPLETION_VARIABLE = "_BC2OT_COMPLETE"
"""What a shell sets when it asks for completions."""


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> int:
    """Print the script that completes commands, options and values in bash (4.4 or newer), zsh
    or fish.

    \b
    To have it in every new shell, run the line of yours once:
      echo 'eval "$(bc2ot completion bash)"' >> ~/.bashrc
      echo 'eval "$(bc2ot completion zsh)"' >> ~/.zshrc
      mkdir -p ~/.config/fish/completions
      bc2ot completion fish > ~/.config/fish/completions/bc2ot.fish

    zsh needs its own completion switched on above that line: autoload -Uz compinit && compinit
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None  # noqa: S101 - click knows all three
    script = found(ctx.find_root().command, {}, "bc2ot", COMPLETION_VARIABLE).source()
    click.echo(script, nl=False)
    return 0


def complete_scopes(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """The scopes of orders that begin so."""
    from onetribe_bc.api.hooks import ORDER_SCOPES

    return [scope for scope in ORDER_SCOPES if scope.startswith(incomplete)]


def complete_states(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """The states that begin so."""
    from onetribe_bc.ledger.states import State

    return [state for state in State if state.startswith(incomplete.lower())]


def complete_statuses(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """The statuses of orders that begin so, as every store has them at first."""
    import os

    from onetribe_bc.statuses import STATUSES

    found = [name for name in STATUSES.values() if name.lower().startswith(incomplete.lower())]
    if os.environ.get(COMPLETION_VARIABLE, "").startswith("bash"):
        # bash takes what it is told as it is, and a space for the end of a word.
        return [f'"{name}"' if " " in name else name for name in found]
    return found


def complete_stores(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """The stores of the configuration file that begin so."""
    import os
    from pathlib import Path

    from onetribe_bc.config import store_names

    config = ctx.find_root().params.get("config")
    path = Path(config) if config else None
    names = store_names(path=path, environ=os.environ, cwd=Path.cwd())
    return [name for name in names if name.startswith(incomplete)]
