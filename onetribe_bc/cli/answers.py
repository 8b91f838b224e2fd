"""What `init` was told: by options, by the environment, by a person who is asked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from onetribe_bc.cli.console import Console
from onetribe_bc.config import Homes, keys
from onetribe_bc.config.keys import Key
from onetribe_bc.config.kinds import PATH, store_hash_in
from onetribe_bc.config.layers import environment_layer
from onetribe_bc.config.places import Given, Place, absolute
from onetribe_bc.config.values import Values
from onetribe_bc.errors import ConfigurationError, InputError
from onetribe_bc.secret import Secret

T = TypeVar("T")

_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TYPED, _VARIABLE, _FILE = range(3)
_WAYS = (
    "paste it here; the file holds it",
    "name an environment variable that holds it",
    "name a file that holds it and nothing else",
)
_ANSWER = Place("it", "Not taken", InputError)
"""Where an answer comes from, for errors: they follow the question."""


@dataclass(frozen=True)
class SecretValue:
    """A secret that is asked for: how it is called, and the options that say where it is."""

    key: Key[Secret | None]
    name: str
    option: str


ACCESS_TOKEN = SecretValue(keys.ACCESS_TOKEN, "Access token", "--access-token")
ONETRIBE_URL = SecretValue(keys.ONETRIBE_URL, "One Tribe's URL", "--onetribe-url")


@dataclass
class Answers:
    """`given` is what will stand in the file, by key name, each as it will stand there."""

    environ: Mapping[str, str]
    cwd: Path
    homes: Homes
    given: dict[str, Given] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)
    """Names of keys whose variable is not set here, and was kept all the same."""

    def value(self, key: Key[T], console: Console | None = None) -> T:
        """The value of `key`, from wherever it is; warnings on its file go to `console`.

        Raises InputError; ConfigurationError for what a file holds and for BC2OT_API_URL.
        """
        values = Values(self.given, self.environ, self.homes)
        value = values.of(key)
        if console is not None:
            for warning in values.warnings:
                console.warn(str(warning))
        return value

    def variables(self) -> list[str]:
        """The names of the environment variables that the file takes secrets from."""
        return [_variable_name(given) for given in self.given.values() if given.has_variables]

    def overruled(self) -> list[str]:
        """Variables that are set here to something else than the file: they come first."""
        overruling = []
        for name, from_environment in environment_layer(self.environ, self.cwd).items():
            given = self.given.get(name)
            if given is None or name in self.unknown:
                continue
            key = keys.BY_NAME[name]
            there = replace(self, given={name: from_environment})
            try:
                differs = there.value(key) != self.value(key)
            except ConfigurationError:
                differs = True
            if differs:
                overruling.append(key.variable)
        return overruling

    # Options and the environment

    def take_api_url(self) -> None:
        """BigCommerce's address, where the environment has another one: a sandbox's, say."""
        name = keys.API_URL.name
        layer = environment_layer(self.environ, self.cwd)
        if name in layer:
            self.given[name] = layer[name]
            if self.value(keys.API_URL) == keys.API_URL.default:
                del self.given[name]

    def take_store_hash(self, option: str | None) -> None:
        """From --store-hash or the environment, if it is there."""
        variable = keys.STORE_HASH.variable
        text = option or self.environ.get(variable)
        if text:
            where = "--store-hash" if option else f"{variable} in the environment"
            place = Place(keys.STORE_HASH.name, where, InputError)
            self.given[keys.STORE_HASH.name] = Given(store_hash_in(text), place, self.cwd)

    def take_secret(self, secret: SecretValue, variable: str | None, file: str | None) -> None:
        """From the variable or file that options name, or the usual variable if it is set. The
        file that is written names the same, and does not get to hold the secret itself.
        """
        name = secret.key.name
        if variable:
            place = Place(name, f"{secret.option}-env", InputError)
            self.given[name] = self._in_variable(variable, place)
        elif file:
            place = Place(name, f"{secret.option}-file", InputError)
            self.given[name] = self._in_file(file, place)
        elif self.environ.get(usual := secret.key.variable):
            place = Place(name, f"{usual} in the environment", InputError)
            self.given[name] = self._in_variable(usual, place)

    def check_variable(self, secret: SecretValue) -> None:
        """Raise InputError for a variable that is not set."""
        given = self.given[secret.key.name]
        if given.has_variables and not self.environ.get(_variable_name(given)):
            raise given.place.error(
                "is to come from an environment variable that is not set",
                hint="Set it, or write the file unchecked: --no-check",
            )

    # A person

    def ask_store_hash(self, console: Console) -> None:
        """Ask until it can be one."""
        before = self.given.get(keys.STORE_HASH.name)
        default = str(before.raw) if before else ""
        while True:
            text = console.ask("Store hash or API path", default=default)
            self.given[keys.STORE_HASH.name] = Given(store_hash_in(text), _ANSWER, self.cwd)
            try:
                self.value(keys.STORE_HASH)
            except InputError as error:
                console.complain(str(error))
            else:
                return

    def ask_secret(self, secret: SecretValue, console: Console) -> None:
        """Ask where it is, and for it, until it can be one. A variable that is not set may be
        kept; its key is in `unknown` then.
        """
        name = secret.key.name
        while True:
            before = self.given.get(name)
            self.unknown.discard(name)
            try:
                given = self._ask_place(secret, before, console)
                self.given[name] = replace(given, place=_ANSWER)
                if given.has_variables and not self.environ.get(_variable_name(given)):
                    if not console.confirm("It is not set here. Keep it unchecked?"):
                        continue
                    self.unknown.add(name)
                    return
                self.value(secret.key, console)
            except (InputError, ConfigurationError) as error:  # the latter for what a file holds
                console.complain(str(error))
            else:
                return

    def _ask_place(self, secret: SecretValue, before: Given | None, console: Console) -> Given:
        way = console.choose_or_paste("How", _WAYS, default=_way(before))
        if isinstance(way, str):
            return Given(way, _ANSWER, self.cwd)
        again = before if _way(before) == way else None
        default = _shown(again)
        if way == _VARIABLE:
            variable = console.ask("Name of the variable", default=default)
            return self._in_variable(variable, _ANSWER)
        if way == _FILE:
            return self._in_file(console.ask("Path of the file", default=default), _ANSWER)
        keeps = "; Enter for the one before" if again else ""
        question = f"{secret.name} (hidden{keeps})"
        text = console.ask_hidden(question, may_be_empty=again is not None)
        return Given(text, _ANSWER, self.cwd) if text or again is None else again

    def _in_variable(self, text: str, place: Place) -> Given:
        """`text` may be a secret that was pasted too early: no error quotes it."""
        name = text.removeprefix("$").removeprefix("{").removesuffix("}")
        if not _VARIABLE_NAME.fullmatch(name):
            raise place.error("is not the name of a variable: letters, digits and _")
        return Given(f"${{{name}}}", place, self.cwd, has_variables=True)

    def _in_file(self, text: str, place: Place) -> Given:
        try:
            path = absolute(PATH.read(text), folder=self.cwd, homes=self.homes)
        except ValueError as problem:
            raise place.error(str(problem)) from None
        return Given(str(path), place, self.cwd, in_file=True)


def _way(given: Given | None) -> int:
    if given is None or not (given.has_variables or given.in_file):
        return _TYPED
    return _VARIABLE if given.has_variables else _FILE


def _shown(given: Given | None) -> str:
    """What was answered before, where that may be shown."""
    if given is None or _way(given) == _TYPED:
        return ""
    return _variable_name(given) if given.has_variables else str(given.raw)


def _variable_name(given: Given) -> str:
    return str(given.raw)[2:-1]
