"""`bc2ot init`: ask, check each answer with the live service, write the file."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from onetribe_bc.api.bigcommerce import BigCommerceClient, OrderQuery
from onetribe_bc.api.hooks import ORDER_CREATED, hook_obstacle, host_of, mask_destination
from onetribe_bc.api.onetribe import OneTribeClient, looks_like_onetribe
from onetribe_bc.cli.answers import ACCESS_TOKEN, API_URL, ONETRIBE_URL, STORE_HASH, Answers
from onetribe_bc.cli.console import Console
from onetribe_bc.cli.context import Context, working_directory
from onetribe_bc.cli.options import command
from onetribe_bc.cli.signals import ended_by_signals, signals_wait
from onetribe_bc.clock import Clock, SystemClock
from onetribe_bc.commands.hooks import create_hooks
from onetribe_bc.config import UserDirectories
from onetribe_bc.config.paths import exists, find_file, named_file, usual_files
from onetribe_bc.config.write import check_target, exists_already, free_backup, render, write
from onetribe_bc.delivery.selection import count_if_possible
from onetribe_bc.doctor import ATTEMPTS, Finding, Level
from onetribe_bc.doctor.onetribe import reach_onetribe
from onetribe_bc.doctor.store import check_clock, store_name
from onetribe_bc.errors import (
    Bc2otError,
    ConfigurationError,
    ExitCode,
    InputError,
    UnreachableError,
)
from onetribe_bc.secret import Secret, is_loopback
from onetribe_bc.text import plural

_START = """\
bc2ot needs three values to connect your store. Nothing is written before the end; Ctrl-C leaves \
no trace."""
_STORE = """\
In BigCommerce's control panel, choose Settings > Store-level API accounts > Create API account. \
It needs the scope "Orders: read-only"; with "Information & Settings: read-only", bc2ot can show \
the store's name. The panel then shows the API path: paste it, or the part after stores/."""
_SHOWN_ONCE = "The panel shows it once, together with the API path."
_ONETRIBE = """\
On One Tribe's site, copy "Payload URL" from the BigCommerce integration page. The URL ends in \
your merchant key, so all of it is a secret."""
_OTHER_FORM = """\
the URL does not have the form …/direct/webhook/big-commerce/order/KEY that One Tribe's page \
shows. Compare them."""
_HOOK = """\
With a webhook, BigCommerce notifies One Tribe of each new order by its id; bc2ot sends the order \
itself. The webhook is created after the file is written."""
_LATER = "To create a webhook later, run: bc2ot hooks create"
_BUTTON = 'Finish with the button "Check Integration" on One Tribe\'s BigCommerce page.'
_OPTIONS = {
    STORE_HASH: "--store-hash HASH",
    ACCESS_TOKEN.setting: "--access-token-env NAME or --access-token-file FILE",
    ONETRIBE_URL.setting: "--onetribe-url-env NAME or --onetribe-url-file FILE",
}


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
    with ended_by_signals():
        try:
            return run(cli.config)
        except (click.Abort, KeyboardInterrupt):
            console.error(f"{setup.written or 'Nothing'} was written.")
            raise


@dataclass
class Setup:
    """One run of `init`; the fields from `hook` on are its options.

    `passed` has the secrets that a service accepted, `written` is the file once it exists.
    """

    console: Console
    answers: Answers
    hook: bool | None
    check: bool
    overwrite: bool
    passed: set[str] = field(default_factory=set)
    written: Path | None = None

    def from_options(self, config: Path | None) -> int:
        """Write the file without questions; anything missing or wrong ends it before."""
        missing = [setting for setting in _OPTIONS if setting.name not in self.answers.sources]
        if missing:
            ways = (f"{_OPTIONS[setting]} (or {setting.variable})" for setting in missing)
            raise InputError(
                f"Not set: {', '.join(setting.name for setting in missing)}.",
                hint=f"Pass {'; '.join(ways)}",
            )
        place = self._named(config) or self._places()[0]
        if check_target(place) and not self.overwrite:
            raise exists_already(place)
        self.answers.value(STORE_HASH)
        if self.check:
            try:
                self.answers.value(ACCESS_TOKEN.setting, warn=True)
                self.answers.value(ONETRIBE_URL.setting, warn=True)
                self._check_store()
                self._check_onetribe()
            except (InputError, UnreachableError) as error:
                error.hint = f"{error.hint} To write the file anyway: --no-check".lstrip()
                raise
        hook = bool(self.hook) and self._hook_possible(required=True)
        code = self._finish(place, hook=hook)
        return ExitCode.INCOMPLETE if self.hook and not hook else code

    def from_questions(self, config: Path | None) -> int:
        """Ask for each value, check it, and ask again if it is wrong; then write the file."""
        console, answers = self.console, self.answers
        self._say(_START)
        place = self._named(config) or self._ask_place()
        if check_target(place) and not self.overwrite:
            console.error(f"{place} already exists.", fold=True)
            if not console.confirm(f"Replace it, and keep it as {free_backup(place).name}?"):
                console.info("Nothing was written. To use another file: bc2ot --config FILE init")
                return 0
            self.overwrite = True

        self._say("", "1 of 3: the store", _STORE)
        answers.ask_store_hash()
        self._say("", "2 of 3: the access token", _SHOWN_ONCE)
        answers.ask_secret(ACCESS_TOKEN)
        while not self._passes(ACCESS_TOKEN.setting.name, self._check_store):
            # The hidden question first: a user who expects the token again would paste it here.
            self._say("", "The access token and the store")
            answers.ask_secret(ACCESS_TOKEN)
            answers.ask_store_hash()

        self._say("", "3 of 3: One Tribe's URL", _ONETRIBE)
        answers.ask_secret(ONETRIBE_URL)
        while not self._passes(ONETRIBE_URL.setting.name, self._check_onetribe):
            answers.ask_secret(ONETRIBE_URL)

        return self._finish(place, hook=self._ask_hook())

    def _say(self, *paragraphs: str) -> None:
        for paragraph in paragraphs:
            self.console.info(paragraph, fold=True)

    # The place of the file

    def _named(self, config: Path | None) -> Path | None:
        answers = self.answers
        return named_file(config, answers.environ, answers.cwd, answers.directories)

    def _places(self) -> list[Path]:
        # The user's directory is found from everywhere and is in no repository, but an existing
        # file in the working directory overrides it.
        places = usual_files(self.answers.cwd, self.answers.directories)
        return places if exists(places[0]) else places[::-1]

    def _ask_place(self) -> Path:
        self._say("", "Where should the configuration file be?")
        places = self._places()
        reach = {self.answers.cwd: "this directory only"}
        choices = [f"{p} (found from {reach.get(p.parent, 'everywhere')})" for p in places]
        return places[self.console.choose("Where", choices)]

    # Checks

    def _passes(self, name: str, check: Callable[[], None]) -> bool:
        """Whether the check passed, or the user keeps an unchecked answer."""
        if not self.check or name in self.answers.unchecked:
            return True
        try:
            check()
        except Bc2otError as error:
            self.console.error(f"{error} {error.hint}".rstrip(), fold=True)
            if isinstance(error, UnreachableError) and self.console.confirm("Keep it unchecked?"):
                return True
            self._say("Try again; Enter keeps the previous answer.")
            return False
        self.passed.add(name)
        return True

    def _check_store(self) -> None:
        clock = SystemClock()
        self._say("Checking with BigCommerce ...")
        with closing(self._bigcommerce(clock)) as client:
            name = store_name(client)
            number = count_if_possible(client.count_orders, OrderQuery())
            if number is None:
                client.list_orders(OrderQuery(), limit=1)
            orders = "orders" if number is None else plural(number, "order")
            clock_finding = check_clock(client, clock)
        if name:
            self._say(f'OK: the store is "{name}"; the token reads its {orders}.')
        else:
            unread = " It cannot read the store's name, which is fine." if name is None else ""
            self._say(f"OK: the token reads the store's {orders}.{unread}")
        self._show(clock_finding)

    def _check_onetribe(self) -> None:
        """Check that One Tribe responds; this does not verify the merchant key."""
        url = self._onetribe_url()
        self._say("Checking with One Tribe, without sending an order ...")
        with closing(OneTribeClient(url, clock=SystemClock())) as client:
            self._show(reach_onetribe(client))
        if not looks_like_onetribe(url):
            self.console.warning(_OTHER_FORM)

    def _show(self, finding: Finding) -> None:
        """Show a finding as `doctor` does. It never stops the setup; errors are raised."""
        text = f"{finding.text} {finding.hint}".rstrip()
        if finding.level in (Level.OK, Level.NOTE):
            self._say(f"OK: {text}" if finding.level is Level.OK else text)
        else:
            self.console.warning(text)

    def _bigcommerce(self, clock: Clock) -> BigCommerceClient:
        return BigCommerceClient(
            store_hash=self.answers.value(STORE_HASH),
            access_token=self.answers.value(ACCESS_TOKEN.setting),
            api_url=self.answers.value(API_URL),
            clock=clock,
            attempts=ATTEMPTS,
        )

    def _onetribe_url(self) -> Secret:
        url: Secret = self.answers.value(ONETRIBE_URL.setting)
        return url

    # The webhook

    def _ask_hook(self) -> bool:
        unchecked = ONETRIBE_URL.setting.name in self.answers.unchecked
        if unchecked or ACCESS_TOKEN.setting.name not in self.passed:
            self._say("", _LATER)
            return False
        if self.hook is False or not self._hook_possible(required=False):
            return False
        if self.hook:
            return True
        self._say("", "A webhook", _HOOK)
        return self.console.confirm("Create the webhook?", default=True)

    def _hook_possible(self, *, required: bool) -> bool:
        """Whether a webhook to One Tribe's URL is possible; if not, shows why.

        Raises InputError if it is `required`, except for a sandbox, which never has one.
        """
        url = self._onetribe_url()
        obstacle = hook_obstacle(url)
        if not obstacle:
            return True
        problem = f"A webhook to One Tribe is not possible: {obstacle}"
        if required and not is_loopback(host_of(url.reveal())):
            raise InputError(
                f"{problem} Nothing was written.", hint="Set another URL, or pass --no-hook."
            )
        self._say("", problem)
        return False

    def _create_hook(self) -> int:
        """Create the webhook and return the exit code; errors do not undo the file."""
        url = self._onetribe_url()
        try:
            with closing(self._bigcommerce(SystemClock())) as client:
                (outcome,) = create_hooks(client, (ORDER_CREATED,), url.reveal())
        except Bc2otError as error:
            self.console.error(f"bc2ot: {error}", f"{error.hint} {_LATER}".lstrip())
            return error.exit_code
        self._say(
            f"Webhook {outcome.hook_id} {outcome.change}: {ORDER_CREATED} to "
            f"{mask_destination(url.reveal(), url)}"
        )
        if not outcome.differs:
            return ExitCode.DONE
        self.console.error(
            f"BigCommerce returned a different {', '.join(outcome.differs)} than requested: see "
            "`bc2ot hooks list`."
        )
        return ExitCode.INCOMPLETE

    # The file, and the next steps

    def _finish(self, place: Path, *, hook: bool) -> int:
        text = render(self.answers.sources)
        with signals_wait():
            backup = write(place, text, overwrite=self.overwrite)
            self.written = place
        self._say("", f"Written, readable only by you: {place}")
        if backup is not None:
            self._say(f"Previous file: {backup}")
        code = self._create_hook() if hook else 0
        if variables := self.answers.variables():
            self._say(
                f"Set and export {' and '.join(variables)} wherever bc2ot runs, also for cron: "
                "the file takes the values from there."
            )
        for variable in self.answers.overridden():
            self.console.warning(
                f"the environment sets {variable} to a different value and overrides the file: "
                "unset it."
            )
        self._show_next_steps(place)
        return code

    def _show_next_steps(self, place: Path) -> None:
        answers = self.answers
        config = f"--config {shlex.quote(str(place))} "
        anywhere = "" if place == answers.directories.config_file else config
        here = config
        with suppress(ConfigurationError):  # BC2OT_CONFIG names no file
            if find_file(None, answers.environ, answers.cwd, answers.directories) == place:
                here = ""
        self.console.info(
            "\nNext:\n"
            f"  bc2ot {here}doctor\n"
            f"  bc2ot {here}backfill --since 30d --dry-run\n"
            f"  bc2ot {here}backfill --since 30d\n"
            f"  bc2ot {here}sync --since 30d\n"
            "From then on by cron (docs/scheduling.md):\n"
            f"  */5 * * * *  {_cron_command(f'-q {anywhere}sync')}"
        )
        self._say(_BUTTON)


def _cron_command(arguments: str) -> str:
    """Return a crontab's command for bc2ot with its full path, as cron does not know your PATH."""
    started = Path(sys.argv[0]).name == "bc2ot"
    program = sys.argv[0] if started else shutil.which("bc2ot")
    if program:
        command = shlex.quote(str(Path(program).absolute()))
    else:
        command = f"{shlex.quote(sys.executable)} -m onetribe_bc"
    return f"{command} {arguments}".replace("%", r"\%")  # cron ends a command at a bare %
