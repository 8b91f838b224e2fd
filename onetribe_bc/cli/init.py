"""`bc2ot init`."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onetribe_bc.cli.invocation import (
    Invocation,
    ended_by_sigterm,
    line_for_cron,
    pass_invocation,
    signals_wait,
    working_folder,
)

if TYPE_CHECKING:
    from onetribe_bc.cli.answers import Answers
    from onetribe_bc.cli.console import Console
    from onetribe_bc.cli.services import Services
    from onetribe_bc.config.keys import Key
    from onetribe_bc.errors import Bc2otError

_STORE = """\
BigCommerce's control panel, Settings > Store-level API accounts > Create API account. It needs \
the scope "Orders: read-only"; with "Information & Settings: read-only" the store's name can be \
shown. When the account is made, the panel shows its API path: paste all of it, or the part \
behind stores/."""
_SHOWN_ONCE = "The panel shows it together with the API path, once only."
_ONETRIBE = """\
One Tribe's site, the BigCommerce integration page: "Payload URL". It ends in your merchant key, \
so all of it is a secret."""
_HOOK = """\
A hook has BigCommerce tell One Tribe of each new order, by its id; the order itself is sent by \
bc2ot. If you want it, it is made when the file is written."""
_BUTTON = 'Finish with the button "Check Integration" on One Tribe\'s BigCommerce page.'


@dataclass(frozen=True)
class _Options:
    """The command's own options."""

    store_hash: str | None
    access_token_env: str | None
    access_token_file: str | None
    onetribe_url_env: str | None
    onetribe_url_file: str | None
    hook: bool | None
    check: bool
    overwrite: bool

    def refuse_contradictions(self) -> None:
        if self.access_token_env and self.access_token_file:
            raise click.UsageError("Give --access-token-env or --access-token-file, not both.")
        if self.onetribe_url_env and self.onetribe_url_file:
            raise click.UsageError("Give --onetribe-url-env or --onetribe-url-file, not both.")
        if self.hook and not self.check:
            raise click.UsageError("--hook and --no-check contradict each other.")


@click.command
@click.option("--store-hash", metavar="HASH", help="The store's hash, or its whole API path.")
@click.option("--access-token-env", metavar="NAME", help="The variable with the access token.")
@click.option("--access-token-file", metavar="FILE", help="The file with the access token.")
@click.option("--onetribe-url-env", metavar="NAME", help="The variable with One Tribe's URL.")
@click.option("--onetribe-url-file", metavar="FILE", help="The file with One Tribe's URL.")
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
def init(
    invocation: Invocation,
    store_hash: str | None,
    access_token_env: str | None,
    access_token_file: str | None,
    onetribe_url_env: str | None,
    onetribe_url_file: str | None,
    hook: bool | None,
    check: bool,
    overwrite: bool,
) -> int:
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
    from onetribe_bc.cli.services import Services

    options = _Options(
        store_hash,
        access_token_env,
        access_token_file,
        onetribe_url_env,
        onetribe_url_file,
        hook,
        check,
        overwrite,
    )
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
    setup = _Setup(console, answers, options, Services(console, answers))
    with ended_by_sigterm():
        try:
            if invocation.no_input:
                return setup.from_options(invocation.config)
            return setup.from_person(invocation.config)
        except (click.Abort, KeyboardInterrupt):
            console.urgent(f"{setup.written or 'Nothing'} was written.")
            raise


def _prefilled(options: _Options) -> Answers:
    """What options and the environment tell. Raises InputError and ConfigurationError."""
    from onetribe_bc.cli.answers import ACCESS_TOKEN, ONETRIBE_URL, Answers
    from onetribe_bc.config import Homes

    answers = Answers(os.environ, working_folder(), Homes.of_user())
    answers.take_api_url()
    answers.take_store_hash(options.store_hash)
    answers.take_secret(ACCESS_TOKEN, options.access_token_env, options.access_token_file)
    answers.take_secret(ONETRIBE_URL, options.onetribe_url_env, options.onetribe_url_file)
    return answers


@dataclass
class _Setup:
    """One set-up on its way from answers to a file and a hook."""

    console: Console
    answers: Answers
    options: _Options
    services: Services
    passed: set[str] = field(default_factory=set)
    """Names of the keys that the services were asked about, and that are right."""
    written: Path | None = None

    # Two ways to the same file

    def from_options(self, config: Path | None) -> int:
        """Nobody is asked: what is missing or wrong ends it, and nothing is written."""
        from onetribe_bc.config import keys
        from onetribe_bc.config.finding import places_for_new
        from onetribe_bc.config.writing import check_target, exists_already
        from onetribe_bc.errors import InputError, UnreachableError

        self._refuse_gaps()
        answers = self.answers
        place = self._asked_for(config) or places_for_new(answers.cwd, answers.homes)[0]
        if check_target(place) and not self.options.overwrite:
            raise exists_already(place)
        answers.value(keys.STORE_HASH)
        if self.options.check:
            self._check_forms()
            try:
                self.services.check_store()
                self.services.check_onetribe()
            except UnreachableError as error:
                error.hint = f"{error.hint} --no-check writes the file all the same.".lstrip()
                raise
        hook = bool(self.options.hook) and self.services.hook_can_be()
        if self.options.hook and not hook and not self.services.is_sandbox():
            raise InputError("Nothing was written.", hint="Give another address, or --no-hook.")
        return self._finish(place, overwrite=self.options.overwrite, hook=hook)

    def from_person(self, config: Path | None) -> int:
        """Each answer is checked at once and asked for again when it is wrong."""
        from onetribe_bc.cli.answers import ACCESS_TOKEN, ONETRIBE_URL
        from onetribe_bc.config.writing import check_target, free_backup

        console, answers = self.console, self.answers
        console.explain(
            "Three values, and bc2ot knows your store. Nothing is written before the end; "
            "Ctrl-C leaves no trace."
        )
        place = self._asked_for(config) or self._ask_place()
        overwrite = self.options.overwrite
        if check_target(place) and not overwrite:
            console.complain(f"There is a file {place} already.")
            overwrite = console.confirm(f"Replace it, and keep it as {free_backup(place).name}?")
            if not overwrite:
                console.say("Nothing was written. Another place: bc2ot --config FILE init")
                return 0

        console.say("\n1 of 3: the store")
        console.explain(_STORE)
        answers.ask_store_hash(console)
        console.say("\n2 of 3: its access token")
        console.explain(_SHOWN_ONCE)
        answers.ask_secret(ACCESS_TOKEN, console)
        while not self._passes(ACCESS_TOKEN.key.name, self.services.check_store):
            # The token first: who thinks that it is asked for again would paste it for all to see.
            console.say("\nIts access token, and the store")
            answers.ask_secret(ACCESS_TOKEN, console)
            answers.ask_store_hash(console)

        console.say("\n3 of 3: One Tribe's URL")
        console.explain(_ONETRIBE)
        answers.ask_secret(ONETRIBE_URL, console)
        while not self._passes(ONETRIBE_URL.key.name, self.services.check_onetribe):
            answers.ask_secret(ONETRIBE_URL, console)

        return self._finish(place, overwrite=overwrite, hook=self._ask_hook())

    def _refuse_gaps(self) -> None:
        from onetribe_bc.cli.answers import ACCESS_TOKEN, ONETRIBE_URL
        from onetribe_bc.config import keys
        from onetribe_bc.errors import InputError

        ways: dict[Key[Any], str] = {keys.STORE_HASH: "--store-hash HASH"}
        for secret in (ACCESS_TOKEN, ONETRIBE_URL):
            ways[secret.key] = f"{secret.option}-env NAME or {secret.option}-file FILE"
        missing = [key for key in ways if key.name not in self.answers.given]
        if missing:
            raise InputError(
                f"Not given: {', '.join(key.name for key in missing)}.",
                hint="Give " + "; ".join(f"{ways[key]} (or {key.variable})" for key in missing),
            )

    def _check_forms(self) -> None:
        from onetribe_bc.cli.answers import ACCESS_TOKEN, ONETRIBE_URL

        for secret in (ACCESS_TOKEN, ONETRIBE_URL):
            self.answers.check_variable(secret)
            self.answers.value(secret.key, self.console)

    def _asked_for(self, config: Path | None) -> Path | None:
        from onetribe_bc.config.finding import file_asked_for

        answers = self.answers
        return file_asked_for(config, answers.environ, answers.cwd, answers.homes)

    def _ask_place(self) -> Path:
        from onetribe_bc.config.finding import places_for_new

        places = places_for_new(self.answers.cwd, self.answers.homes)
        self.console.say("")
        self.console.explain("Where is the configuration to be?")
        local = self.answers.cwd
        choices = [
            f"{place} (found from {'this folder only' if place.parent == local else 'everywhere'})"
            for place in places
        ]
        return places[self.console.choose("Where", choices)]

    # The checks

    def _passes(self, name: str, check: Callable[[], None]) -> bool:
        """Whether to go on: nothing is wrong, or nobody can tell and it is kept all the same."""
        from onetribe_bc.errors import Bc2otError, UnreachableError

        if not self.options.check or name in self.answers.unknown:
            return True
        try:
            check()
        except UnreachableError as error:
            self._complain(error)
            if self.console.confirm("Keep it unchecked?"):
                return True
        except Bc2otError as error:
            self._complain(error)
        else:
            self.passed.add(name)
            return True
        self.console.explain("Once more; Enter takes what you gave before.")
        return False

    def _complain(self, error: Bc2otError) -> None:
        self.console.complain(f"{error} {error.hint}".rstrip())

    def _ask_hook(self) -> bool:
        from onetribe_bc.config import keys

        known = keys.ONETRIBE_URL.name not in self.answers.unknown
        if keys.ACCESS_TOKEN.name not in self.passed or not known:
            self.console.say("")
            self.console.explain("A hook can be made later, by: bc2ot hooks create")
            return False
        if self.options.hook is False or not self.services.hook_can_be():
            return False
        if self.options.hook is None:
            self.console.say("\nA hook")
            self.console.explain(_HOOK)
        return self.options.hook or self.console.confirm("Create the hook?", default=True)

    # The file, and what comes after

    def _finish(self, place: Path, *, overwrite: bool, hook: bool) -> int:
        from onetribe_bc.config.writing import render, write

        text = render(self.answers.given)
        with signals_wait():
            backup = write(place, text, overwrite=overwrite)
            self.written = place
        self.console.say("")
        self.console.explain(f"Written, readable by you alone: {place}")
        if backup is not None:
            self.console.explain(f"The old one is kept: {backup}")
        code = self.services.create_hook() if hook else 0
        self._say_what_counts()
        self._say_what_comes_next(place)
        return code

    def _say_what_counts(self) -> None:
        """Variables that have to be set, and those that had better not be."""
        if variables := self.answers.variables():
            self.console.explain(
                f"Set and export {' and '.join(variables)} wherever bc2ot runs, cron included: "
                "the file takes the value from there."
            )
        for variable in self.answers.overruled():
            self.console.warn(
                f"{variable} is set in the environment to something else, and comes before the "
                "file: unset it."
            )

    def _say_what_comes_next(self, place: Path) -> None:
        from onetribe_bc.config.finding import is_found, user_file

        answers = self.answers
        config = f"--config {shlex.quote(str(place))} "
        here = "" if is_found(place, answers.environ, answers.cwd, answers.homes) else config
        anywhere = "" if place == user_file(answers.homes) else config
        self.console.say(
            "\nNext:\n"
            f"  bc2ot {here}doctor\n"
            f"  bc2ot {here}backfill --since 30d --dry-run\n"
            f"  bc2ot {here}backfill --since 30d\n"
            f"  bc2ot {here}sync --since 30d\n"
            "From then on by cron (docs/scheduling.md):\n"
            f"  */5 * * * *  {line_for_cron(f'-q {anywhere}sync')}"
        )
        self.console.explain(_BUTTON)
