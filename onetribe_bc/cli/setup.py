"""`init` at work: from what it was told to a file and a hook."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from onetribe_bc.cli.answers import ACCESS_TOKEN, ONETRIBE_URL, Answers
from onetribe_bc.cli.console import Console
from onetribe_bc.cli.invocation import line_for_cron, signals_wait
from onetribe_bc.cli.live_checks import LiveChecks
from onetribe_bc.config import keys
from onetribe_bc.config.finding import file_asked_for, is_found, places_for_new, user_file
from onetribe_bc.config.keys import Key
from onetribe_bc.config.writing import check_target, exists_already, free_backup, render, write
from onetribe_bc.errors import Bc2otError, ExitCode, InputError, UnreachableError

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
_NO_HOOK = "No hook to One Tribe can be made"


@dataclass(frozen=True)
class Options:
    """The options of `init` itself."""

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


@dataclass
class Setup:
    """One set-up on its way from answers to a file and a hook."""

    console: Console
    answers: Answers
    options: Options
    checks: LiveChecks
    passed: set[str] = field(default_factory=set)
    """Names of the keys that the services were asked about, and that are right."""
    written: Path | None = None

    # Two ways to the same file

    def from_options(self, config: Path | None) -> int:
        """Nobody is asked: what is missing or wrong ends it, and nothing is written."""
        self._refuse_gaps()
        answers = self.answers
        place = self._asked_for(config) or places_for_new(answers.cwd, answers.homes)[0]
        if check_target(place) and not self.options.overwrite:
            raise exists_already(place)
        answers.value(keys.STORE_HASH)
        if self.options.check:
            self._check_forms()
            try:
                self.checks.check_store()
                self.checks.check_onetribe()
            except UnreachableError as error:
                error.hint = f"{error.hint} --no-check writes the file all the same.".lstrip()
                raise
        hook = bool(self.options.hook) and self._may_hook()
        code = self._finish(place, overwrite=self.options.overwrite, hook=hook)
        return ExitCode.INCOMPLETE if self.options.hook and not hook else code

    def from_person(self, config: Path | None) -> int:
        """Each answer is checked at once and asked for again when it is wrong."""
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
        while not self._passes(ACCESS_TOKEN.key.name, self.checks.check_store):
            # The token first: who thinks that it is asked for again would paste it for all to see.
            console.say("\nIts access token, and the store")
            answers.ask_secret(ACCESS_TOKEN, console)
            answers.ask_store_hash(console)

        console.say("\n3 of 3: One Tribe's URL")
        console.explain(_ONETRIBE)
        answers.ask_secret(ONETRIBE_URL, console)
        while not self._passes(ONETRIBE_URL.key.name, self.checks.check_onetribe):
            answers.ask_secret(ONETRIBE_URL, console)

        return self._finish(place, overwrite=overwrite, hook=self._ask_hook())

    def _may_hook(self) -> bool:
        """Whether a hook can lead to One Tribe. To a sandbox none can, which does not keep the file
        from being written.
        """
        obstacle = self.checks.hook_obstacle()
        if obstacle and not self.checks.is_sandbox():
            raise InputError(
                f"{_NO_HOOK}: {obstacle} Nothing was written.",
                hint="Give another address, or --no-hook.",
            )
        return self._is_free(obstacle)

    def _is_free(self, obstacle: str) -> bool:
        """Whether nothing is in a hook's way; what is, is said."""
        if obstacle:
            self.console.say("")
            self.console.explain(f"{_NO_HOOK}: {obstacle}")
        return not obstacle

    def _refuse_gaps(self) -> None:
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
        for secret in (ACCESS_TOKEN, ONETRIBE_URL):
            self.answers.check_variable(secret)
            self.answers.value(secret.key, self.console)

    def _asked_for(self, config: Path | None) -> Path | None:
        answers = self.answers
        return file_asked_for(config, answers.environ, answers.cwd, answers.homes)

    def _ask_place(self) -> Path:
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
        known = keys.ONETRIBE_URL.name not in self.answers.unknown
        if keys.ACCESS_TOKEN.name not in self.passed or not known:
            self.console.say("")
            self.console.explain("A hook can be made later, by: bc2ot hooks create")
            return False
        if self.options.hook is False or not self._is_free(self.checks.hook_obstacle()):
            return False
        if self.options.hook is None:
            self.console.say("\nA hook")
            self.console.explain(_HOOK)
        return self.options.hook or self.console.confirm("Create the hook?", default=True)

    # The file, and what comes after

    def _finish(self, place: Path, *, overwrite: bool, hook: bool) -> int:
        text = render(self.answers.given)
        with signals_wait():
            backup = write(place, text, overwrite=overwrite)
            self.written = place
        self.console.say("")
        self.console.explain(f"Written, readable by you alone: {place}")
        if backup is not None:
            self.console.explain(f"The old one is kept: {backup}")
        code = self.checks.create_hook() if hook else 0
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
