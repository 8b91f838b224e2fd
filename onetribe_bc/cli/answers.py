"""The values that `init` writes: from options, from the environment, or from a person."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from onetribe_bc.cli.console import Console
from onetribe_bc.config import UserDirectories
from onetribe_bc.config.kinds import PATH, store_hash_in
from onetribe_bc.config.load import Reader
from onetribe_bc.config.settings import SETTINGS, Setting
from onetribe_bc.config.sources import Source, from_environment
from onetribe_bc.errors import Bc2otError, ConfigurationError, InputError

STORE_HASH = SETTINGS["bigcommerce.store_hash"]
API_URL = SETTINGS["bigcommerce.api_url"]

_REFUSED = "Not accepted"
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TYPED, _VARIABLE, _FILE = range(3)
_WAYS = (
    "paste it here, to store it in the configuration file",
    "name an environment variable that holds it",
    "name a file that holds nothing else",
)


class SecretQuestion(NamedTuple):
    """A secret to ask for: its setting, its name, and the prefix of its two options."""

    setting: Setting
    label: str
    option: str


ACCESS_TOKEN = SecretQuestion(
    SETTINGS["bigcommerce.access_token"], "Access token", "--access-token"
)
ONETRIBE_URL = SecretQuestion(SETTINGS["onetribe.url"], "One Tribe's URL", "--onetribe-url")


@dataclass
class Answers:
    """`sources` is what the file will set, by name of the setting.

    `unchecked` has the names of settings whose environment variable is kept although unset here.
    """

    console: Console
    environ: Mapping[str, str]
    cwd: Path
    directories: UserDirectories
    sources: dict[str, Source] = field(default_factory=dict)
    unchecked: set[str] = field(default_factory=set)

    def value(self, setting: Setting, *, warn: bool = False) -> Any:
        """Return the value of `setting`; with `warn`, show warnings about its file.

        Raises InputError; ConfigurationError for what a file contains and for BC2OT_API_URL.
        """
        source = self.sources.get(setting.name)
        if source is None:
            return setting.default
        reader = Reader(self.environ, self.directories)
        value = reader.read(source, setting.name)
        for warning in reader.warnings if warn else ():
            self.console.warning(str(warning))
        return value

    def variables(self) -> list[str]:
        """Return the names of the environment variables that the file takes secrets from."""
        sources = self.sources.values()
        return [_variable_name(source) for source in sources if source.has_variables]

    def overridden(self) -> list[str]:
        """Return the variables whose value here differs from the file, which they override."""
        found = []
        for name, variable in from_environment(self.environ).items():
            if name in self.sources and name not in self.unchecked:
                setting = SETTINGS[name]
                with suppress(Bc2otError):
                    own = Reader(self.environ, self.directories).read(variable, name)
                    if own == self.value(setting):
                        continue
                found.append(setting.variable)
        return found

    # Options and the environment

    def take_api_url(self) -> None:
        """Take BigCommerce's URL from the environment if it is not the default: a sandbox's."""
        source = from_environment(self.environ).get(API_URL.name)
        if source:
            self.sources[API_URL.name] = source
            if self.value(API_URL) == API_URL.default:
                del self.sources[API_URL.name]

    def take_store_hash(self, option: str | None) -> None:
        """Take the store hash from --store-hash or the environment, if set."""
        if option:
            self._set_store_hash(option, "--store-hash")
        elif text := self.environ.get(STORE_HASH.variable):
            self._set_store_hash(text, f"{STORE_HASH.variable} in the environment")

    def take_secret(self, secret: SecretQuestion, variable: str | None, file: str | None) -> None:
        """Take a secret from the variable or file of its options, else from its own variable.

        The file that is written names that place, and does not hold the secret.
        """
        name, usual = secret.setting.name, secret.setting.variable
        if variable:
            self.sources[name] = self._in_variable(variable, f"{secret.option}-env")
        elif file:
            self.sources[name] = self._in_file(file, f"{secret.option}-file")
        elif self.environ.get(usual):
            self.sources[name] = self._in_variable(usual, f"{usual} in the environment")

    # Questions

    def ask_store_hash(self) -> None:
        """Prompt until the store hash is valid."""
        before = self.sources.get(STORE_HASH.name)
        default = str(before.raw) if before else ""
        while True:
            text = self.console.ask("Store hash or API path", default=default)
            self._set_store_hash(text, _REFUSED)
            try:
                self.value(STORE_HASH)
                return
            except InputError as error:
                self.console.error(str(error), fold=True)

    def ask_secret(self, secret: SecretQuestion) -> None:
        """Prompt for a secret, or where it is, until it is valid.

        A variable that is not set may be kept; its setting is then in `unchecked`.
        """
        name = secret.setting.name
        self.unchecked.discard(name)
        while True:
            try:
                source = self._ask_source(secret.label, self.sources.get(name))
                self.sources[name] = source
                if not source.has_variables or self.environ.get(_variable_name(source)):
                    self.value(secret.setting, warn=True)
                    return
            except (InputError, ConfigurationError) as error:  # the latter for a file's content
                self.console.error(str(error), fold=True)
            else:
                if self.console.confirm("It is not set here. Keep it unchecked?"):
                    self.unchecked.add(name)
                    return

    def _ask_source(self, label: str, before: Source | None) -> Source:
        ask = self.console.ask
        way = self.console.choose_or_paste("How", _WAYS, _way(before))
        if isinstance(way, str):
            return self._source(way)
        again = before if _way(before) == way else None
        if way == _VARIABLE:
            default = _variable_name(again) if again else ""
            return self._in_variable(ask("Name of the variable", default=default))
        if way == _FILE:
            return self._in_file(ask("Path of the file", default=str(again.raw) if again else ""))
        if again is None:
            return self._source(ask(f"{label} (hidden)", hidden=True))
        question = f"{label} (hidden; Enter keeps the previous one)"
        text = ask(question, hidden=True, may_be_empty=True)
        return self._source(text) if text else again

    # Sources; `where` is how errors begin

    def _set_store_hash(self, text: str, where: str) -> None:
        self.sources[STORE_HASH.name] = self._source(store_hash_in(text), where)

    def _source(self, raw: str, where: str = _REFUSED, **marks: bool) -> Source:
        return Source("the value", where, raw, self.cwd, error_type=InputError, **marks)

    def _in_variable(self, text: str, where: str = _REFUSED) -> Source:
        # `text` may be a secret pasted too early: the error does not quote it.
        name = text.removeprefix("$").removeprefix("{").removesuffix("}")
        if not _VARIABLE_NAME.fullmatch(name):
            raise InputError(
                f"{where}: the value must be the name of a variable: letters, digits and _."
            )
        return self._source(f"${{{name}}}", where, has_variables=True)

    def _in_file(self, text: str, where: str = _REFUSED) -> Source:
        try:
            path = self.directories.resolve(PATH.read(text), self.cwd)
        except ValueError as problem:
            raise self._source("", where).error(str(problem)) from None
        return self._source(str(path), where, names_file=True)


def _way(source: Source | None) -> int:
    if source is None or not (source.has_variables or source.names_file):
        return _TYPED
    return _VARIABLE if source.has_variables else _FILE


def _variable_name(source: Source) -> str:
    return str(source.raw)[2:-1]
