"""`bc2ot completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from onetribe_bc.cli.context import Context
from onetribe_bc.cli.options import COMPLETION_VARIABLE, command


@command(
    "completion",
    help="""Print the script that completes commands, options and values in bash (4.4 or newer),
    zsh or fish.

    \b
    To enable completion in every new shell, run the line for yours once:
      echo 'eval "$(bc2ot completion bash)"' >> ~/.bashrc
      echo 'eval "$(bc2ot completion zsh)"' >> ~/.zshrc
      mkdir -p ~/.config/fish/completions
      bc2ot completion fish > ~/.config/fish/completions/bc2ot.fish

    zsh needs its own completion enabled above that line: autoload -Uz compinit && compinit
    """,
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(_context: Context, shell: str) -> int:
    found = get_completion_class(shell)
    assert found is not None  # noqa: S101 - click knows all three
    root = click.get_current_context().find_root().command
    click.echo(found(root, {}, "bc2ot", COMPLETION_VARIABLE).source(), nl=False)
    return 0
