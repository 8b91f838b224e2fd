"""The values that `init` writes: from options, from the environment, or from a person."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from onetribe_bc.cli.console import Console
from onetribe_bc.config import UserDirectories
from onetribe_bc.config.kinds import PATH, store_hash_in
from onetribe_bc.config.load import Reader
from onetribe_bc.config.settings import SETTINGS, Setting
from onetribe_bc.config.sources import Source, from_defaults, from_environment
from onetribe_bc.errors import ConfigurationError, InputError

STORE_HASH = SETTINGS["bigcommerce.store_hash"]
API_URL = SETTINGS["bigcommerce.api_url"]

_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TYPED, _VARIABLE, _FILE = range(3)
_WAYS = (
    "paste it here, to store it in the configuration file",
    "name an environment variable that holds it",
    "name a file that holds nothing else",
)


@dataclass(frozen=True)
class SecretQuestion:
    """A secret to ask for: its setting, its name, and the prefix of its two options."""

    setting: Setting
    label: str
    option: str

    @property
    def options(self) -> str:
        """The options that say where the secret is."""
        return f"{self.option}-env NAME or {self.option}-file FILE"


ACCESS_TOKEN = SecretQuestion(
    SETTINGS["bigcommerce.access_token"], "Access token", "--access-token"
)
ONETRIBE_URL = SecretQuestion(SETTINGS["onetribe.url"], "One Tribe's URL", "--onetribe-url")
SECRETS = (ACCESS_TOKEN, ONETRIBE_URL)


@dataclass
class Answers:
    """`sources` is what the file will set, by name of the setting.

    `unchecked` has the names of settings whose environment variable is kept although unset here.
    """

    environ: Mapping[str, str]
    cwd: Path
    directories: UserDirectories
    sources: dict[str, Source] = field(default_factory=dict)
    unchecked: set[str] = field(default_factory=set)

    def value(self, setting: Setting, console: Console | None = None) -> Any:
        """Return the value of `setting`; warnings about its file go to `console`.

        Raises InputError; ConfigurationError for what a file contains and for BC2OT_API_URL.
        """
        source = self.sources.get(setting.name) or from_defaults(self.cwd)[setting.name]
        return self._read(source, setting, console)

    def _read(self, source: Source, setting: Setting, console: Console | None = None) -> Any:
        reader = Reader(self.environ, self.directories)
        value = reader.read(source, setting.name)
        if console is not None:
            for warning in reader.warnings:
                console.warning(str(warning))
        return value

    def variables(self) -> list[str]:
        """Return the names of the environment variables that the file takes secrets from."""
        sources = self.sources.values()
        return [_variable_name(source) for source in sources if source.has_variables]

    def overridden(self) -> list[str]:
        """Return the variables whose value here differs from the file, which they override."""
        found = []
        for name, variable in from_environment(self.environ, self.cwd).items():
            if name not in self.sources or name in self.unchecked:
                continue
            setting = SETTINGS[name]
            try:
                differs = self._read(variable, setting) != self.value(setting)
            except ConfigurationError:
                differs = True
            if differs:
                found.append(setting.variable)
        return found

    # Options and the environment

    def take_api_url(self) -> None:
        """Take BigCommerce's URL from the environment if it is not the default: a sandbox's."""
        source = from_environment(self.environ, self.cwd).get(API_URL.name)
        if source and self._read(source, API_URL) != API_URL.default:
            self.sources[API_URL.name] = source

    def take_store_hash(self, option: str | None) -> None:
        """Take the store hash from --store-hash or the environment, if set."""
        text = option or self.environ.get(STORE_HASH.variable)
        if text:
            where = "--store-hash" if option else f"{STORE_HASH.variable} in the environment"
            source = self._source(where, STORE_HASH.name)
            self.sources[STORE_HASH.name] = replace(source, raw=store_hash_in(text))

    def take_secret(self, secret: SecretQuestion, variable: str | None, file: str | None) -> None:
        """Take a secret from the variable or file of its options, else from its own variable.

        The file that is written names that place, and does not hold the secret.
        """
        name = secret.setting.name
        usual = secret.setting.variable
        if variable:
            source = self._source(f"{secret.option}-env", name)
            self.sources[name] = _in_variable(variable, source)
        elif file:
            source = self._source(f"{secret.option}-file", name)
            self.sources[name] = self._in_file(file, source)
        elif self.environ.get(usual):
            source = self._source(f"{usual} in the environment", name)
            self.sources[name] = _in_variable(usual, source)

    def check_variable(self, secret: SecretQuestion) -> None:
        """Raise InputError if the secret's variable is not set."""
        source = self.sources[secret.setting.name]
        if source.has_variables and not self.environ.get(_variable_name(source)):
            raise source.error(
                "takes an environment variable that is not set",
                hint="Set it, or write the file without checks: --no-check",
            )

    # Questions

    def ask_store_hash(self, console: Console) -> None:
        """Prompt until the store hash is valid."""
        before = self.sources.get(STORE_HASH.name)
        default = str(before.raw) if before else ""
        while True:
            text = console.ask("Store hash or API path", default=default)
            self.sources[STORE_HASH.name] = replace(self._source(), raw=store_hash_in(text))
            try:
                self.value(STORE_HASH)
            except InputError as error:
                console.error(str(error), fold=True)
            else:
                return

    def ask_secret(self, secret: SecretQuestion, console: Console) -> None:
        """Prompt for a secret, or where it is, until it is valid.

        A variable that is not set may be kept; its setting is then in `unchecked`.
        """
        name = secret.setting.name
        while True:
            self.unchecked.discard(name)
            try:
                source = self._ask_source(secret, self.sources.get(name), console)
                self.sources[name] = source
                if source.has_variables and not self.environ.get(_variable_name(source)):
                    if not console.confirm("It is not set here. Keep it unchecked?"):
                        continue
                    self.unchecked.add(name)
                    return
                self.value(secret.setting, console)
            except (InputError, ConfigurationError) as error:  # the latter for a file's content
                console.error(str(error), fold=True)
            else:
                return

    def _ask_source(
        self, secret: SecretQuestion, before: Source | None, console: Console
    ) -> Source:
        source = self._source()
        way = console.choose_or_paste("How", _WAYS, default=_way(before))
        if isinstance(way, str):
            return replace(source, raw=way)
        again = before if _way(before) == way else None
        default = _shown(again)
        if way == _VARIABLE:
            return _in_variable(console.ask("Name of the variable", default=default), source)
        if way == _FILE:
            return self._in_file(console.ask("Path of the file", default=default), source)
        keeps = "; Enter keeps the previous one" if again else ""
        question = f"{secret.label} (hidden{keeps})"
        text = console.ask_hidden(question, may_be_empty=again is not None)
        return replace(source, raw=text or (again.raw if again else ""))

    def _source(self, where: str = "Not accepted", key: str = "the value") -> Source:
        """Return a source without a value: an answer, unless `where` and `key` say otherwise."""
        return Source(key, where, "", self.cwd, error_type=InputError)

    def _in_file(self, text: str, source: Source) -> Source:
        try:
            path = self.directories.resolve(PATH.read(text), self.cwd)
        except ValueError as problem:
            raise source.error(str(problem)) from None
        return replace(source, raw=str(path), names_file=True)


def _in_variable(text: str, source: Source) -> Source:
    # `text` may be a secret pasted too early: the error does not quote it.
    name = text.removeprefix("$").removeprefix("{").removesuffix("}")
    if not _VARIABLE_NAME.fullmatch(name):
        raise source.error("must be the name of a variable: letters, digits and _")
    return replace(source, raw=f"${{{name}}}", has_variables=True)


def _way(source: Source | None) -> int:
    if source is None or not (source.has_variables or source.names_file):
        return _TYPED
    return _VARIABLE if source.has_variables else _FILE


def _shown(source: Source | None) -> str:
    """Return the previous answer if it is no secret."""
    if source is None or _way(source) == _TYPED:
        return ""
    return _variable_name(source) if source.has_variables else str(source.raw)


def _variable_name(source: Source) -> str:
    return str(source.raw)[2:-1]
