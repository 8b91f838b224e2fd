"""`bc2ot init`."""

from __future__ import annotations

import os
from typing import Any

import click

from onetribe_bc.cli.answers import ACCESS_TOKEN, ONETRIBE_URL, Answers
from onetribe_bc.cli.context import Context, working_directory
from onetribe_bc.cli.options import command
from onetribe_bc.cli.setup import Setup
from onetribe_bc.cli.signals import ended_by_sigterm
from onetribe_bc.config import UserDirectories


@command(
    "init",
    help="""Ask for the store, its access token and One Tribe's URL, check them, and write the
    configuration file.

    Each question says where to find the answer. The checks send no order. The file is written at
    the end, readable only by you, to --config or BC2OT_CONFIG, or else where you choose.

    With --no-input, options say where the values are. Values without an option come from
    BC2OT_STORE_HASH, BC2OT_ACCESS_TOKEN and BC2OT_ONETRIBE_URL. The file refers to variables and
    secret files, and does not contain the secrets. Without --config, the file is `config.yaml` in
    your configuration directory, or `bc2ot.yaml` in the working directory if that exists.

    \b
    Examples:
      bc2ot init
      bc2ot --config shop.yaml init
      bc2ot --no-input init --store-hash abc123 \\
          --access-token-env BIGCOMMERCE_ACCESS_TOKEN \\
          --onetribe-url-file /run/secrets/onetribe-url --hook
    """,
)
@click.option("--store-hash", metavar="HASH", help="Store hash, or the whole API path.")
@click.option("--access-token-env", metavar="NAME", help="Variable that holds the access token.")
@click.option(
    "--access-token-file", type=click.Path(), metavar="FILE", help="File with the access token."
)
@click.option("--onetribe-url-env", metavar="NAME", help="Variable that holds One Tribe's URL.")
@click.option(
    "--onetribe-url-file", type=click.Path(), metavar="FILE", help="File with One Tribe's URL."
)
@click.option(
    "--hook/--no-hook",
    default=None,
    help="Create a webhook to One Tribe.  [default: ask; no with --no-input]",
)
@click.option(
    "--check/--no-check",
    default=True,
    show_default=True,
    help="Check the answers with both services.",
)
@click.option("--overwrite", is_flag=True, help="Replace the file; keep the old one as .bak.")
def init(
    cli: Context,
    *,
    store_hash: str | None,
    access_token_env: str | None,
    access_token_file: str | None,
    onetribe_url_env: str | None,
    onetribe_url_file: str | None,
    **options: Any,
) -> int:
    if (access_token_env and access_token_file) or (onetribe_url_env and onetribe_url_file):
        raise click.UsageError("Pass the -env or the -file option for a secret, not both.")
    if options["hook"] and not options["check"]:
        raise click.UsageError("--hook and --no-check contradict each other.")
    if cli.store is not None:
        raise click.UsageError(
            "`init` sets up the store at the top of a file; add others by hand, under `stores:`."
        )
    console = cli.console()
    if not (cli.no_input or console.can_ask):
        raise click.UsageError(
            "`init` asks questions and needs a terminal. In scripts, run `bc2ot --no-input init` "
            "with options; see `bc2ot init --help`."
        )
    answers = Answers(console, os.environ, working_directory(), UserDirectories.of_user())
    answers.take_api_url()
    answers.take_store_hash(store_hash)
    answers.take_secret(ACCESS_TOKEN, access_token_env, access_token_file)
    answers.take_secret(ONETRIBE_URL, onetribe_url_env, onetribe_url_file)
    setup = Setup(console, answers, **options)
    run = setup.from_options if cli.no_input else setup.from_questions
    with ended_by_sigterm():
        try:
            return run(cli.config)
        except (click.Abort, KeyboardInterrupt):
            console.error(f"{setup.written or 'Nothing'} was written.")
            raise
