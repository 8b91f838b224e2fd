"""`bc2ot init`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from onetribe_bc.cli.invocation import (
    Invocation,
    ended_by_sigterm,
    pass_invocation,
    working_folder,
)

if TYPE_CHECKING:
    from onetribe_bc.cli.answers import Answers
    from onetribe_bc.cli.setup import Options


@click.command
@click.option("--store-hash", metavar="HASH", help="The store's hash, or its whole API path.")
@click.option("--access-token-env", metavar="NAME", help="The variable with the access token.")
@click.option(
    "--access-token-file", type=click.Path(), metavar="FILE", help="The file with the access token."
)
@click.option("--onetribe-url-env", metavar="NAME", help="The variable with One Tribe's URL.")
@click.option(
    "--onetribe-url-file", type=click.Path(), metavar="FILE", help="The file with One Tribe's URL."
)
@click.option(
    "--hook/--no-hook",
    default=None,
    help="Have BigCommerce tell One Tribe of new orders.  [default: ask; with --no-input no]",
)
@click.option(
    "--check/--no-check",
    default=True,
    show_default=True,
    help="Ask both services whether the answers are right.",
)
@click.option("--overwrite", is_flag=True, help="Replace the file; the old one is kept as .bak.")
@pass_invocation
def init(invocation: Invocation, **given: Any) -> int:
    """Ask for the store, its access token and One Tribe's URL; check them; write the file.

    Each question says where the answer is found. Checking files no order. The file is written at
    the end, readable by you alone: where --config or BC2OT_CONFIG say, else where you choose.

    With --no-input, options say where the values are. For those not given, BC2OT_STORE_HASH,
    BC2OT_ACCESS_TOKEN and BC2OT_ONETRIBE_URL count; the file then names the variable and does
    not hold the secret. Without --config it is `config.yaml` in your configuration folder, or
    `bc2ot.yaml` in the working folder where there is one.

    \b
    Examples:
      bc2ot init
      bc2ot --config shop.yaml init
      bc2ot --no-input init --store-hash abc123 \\
          --access-token-env BIGCOMMERCE_ACCESS_TOKEN \\
          --onetribe-url-file /run/secrets/onetribe-url --hook
    """
    from onetribe_bc.cli.live_checks import LiveChecks
    from onetribe_bc.cli.setup import Options, Setup

    options = Options(**given)
    options.refuse_contradictions()
    if invocation.store is not None:
        raise click.UsageError(
            "`init` is for the store at the top of a file; add others by hand, under `stores:`."
        )
    console = invocation.console()
    if not (invocation.no_input or console.can_ask):
        raise click.UsageError(
            "`init` asks, and nobody can be asked here: this is no terminal. For scripts: "
            "`bc2ot --no-input init` with options; `bc2ot init --help` shows them."
        )
    answers = _prefilled(options)
    setup = Setup(console, answers, options, LiveChecks(console, answers))
    with ended_by_sigterm():
        try:
            if invocation.no_input:
                return setup.from_options(invocation.config)
            return setup.from_person(invocation.config)
        except (click.Abort, KeyboardInterrupt):
            console.urgent(f"{setup.written or 'Nothing'} was written.")
            raise


def _prefilled(options: Options) -> Answers:
    """What options and the environment tell. Raises InputError and ConfigurationError."""
    from onetribe_bc.cli.answers import ACCESS_TOKEN, ONETRIBE_URL, Answers
    from onetribe_bc.config import Homes

    answers = Answers(os.environ, working_folder(), Homes.of_user())
    answers.take_api_url()
    answers.take_store_hash(options.store_hash)
    answers.take_secret(ACCESS_TOKEN, options.access_token_env, options.access_token_file)
    answers.take_secret(ONETRIBE_URL, options.onetribe_url_env, options.onetribe_url_file)
    return answers
