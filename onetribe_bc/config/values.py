"""Values on demand: variables filled in, secrets read from their files, everything checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from zoneinfo import ZoneInfo

from onetribe_bc.config import keys
from onetribe_bc.config.keys import Key
from onetribe_bc.config.kinds import PATH, TIMEZONE, Raw
from onetribe_bc.config.places import (
    Given,
    Homes,
    Notice,
    Place,
    absolute,
    open_to_others,
    read_contents,
)
from onetribe_bc.errors import ConfigurationError

T = TypeVar("T")

LEDGER_FILE = "ledger.db"
MOST_SECRET_BYTES = 16 * 1024
"""How large a file that holds one secret may be."""

_VARIABLE = re.compile(r"\$(?:(?P<escape>\$)|\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)\})?)")


@dataclass
class Values:
    """Values on demand, so that what another source replaces is never read or complained of.

    `warnings` grows by what is noticed on the way.
    """

    given: Mapping[str, Given]
    environ: Mapping[str, str]
    homes: Homes
    warnings: list[Notice] = field(default_factory=list)

    def of(self, key: Key[T]) -> T:
        """The value of `key` or its default. Raises ConfigurationError or InputError."""
        given = self.given.get(key.name)
        if given is None:
            return key.default
        raw, place = given.raw, given.place
        if given.has_variables:
            raw = _expand(raw, self.environ, place)
        try:
            if given.in_file:
                file = absolute(PATH.read(raw), folder=given.folder, homes=self.homes)
                raw = self._secret_in(file)
                place = Place(place.key, f"{place.where}, file {file}")
            return key.kind.read(raw)
        except ValueError as problem:
            raise place.error(str(problem)) from None

    def ledger(self) -> Path:
        """Where the ledger is: an absolute path."""
        given = self.path(keys.LEDGER)
        if given is None:
            ledger = self.homes.state / LEDGER_FILE
            if not ledger.is_absolute():
                raise ConfigurationError(
                    "There is no home folder to keep the ledger in.",
                    hint="Set ledger in the configuration file, or BC2OT_LEDGER.",
                )
            return ledger
        return given

    def path(self, key: Key[str | None]) -> Path | None:
        """A path, made absolute from the folder of the file that gives it; None if none does."""
        text = self.of(key)
        if text is None:
            return None
        given = self.given[key.name]
        try:
            return absolute(text, folder=given.folder, homes=self.homes)
        except ValueError as problem:
            raise given.place.error(str(problem)) from None

    def timezone(self) -> ZoneInfo:
        """The zone of dates without an offset."""
        zone = self.of(keys.TIMEZONE)
        if zone is not None:
            return zone
        try:
            return TIMEZONE.read("UTC")
        except ValueError as problem:
            raise ConfigurationError(f"timezone {problem}.") from None

    def _secret_in(self, file: Path) -> str:
        # Until it turns out to exist, the path may be a secret that was put into the wrong key.
        try:
            contents = read_contents(file, most=MOST_SECRET_BYTES)
        except OSError as error:
            raise ValueError(f"names a file that cannot be read: {error.strerror}") from None
        try:
            text = contents.data.decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise ValueError(f"names a file that is not UTF-8 text: {file}") from None
        if "\n" in text or "\r" in text:
            raise ValueError(f"names a file of more than one line: {file}")
        if contents.is_open_to_others:
            self.warnings.append(open_to_others(file))
        return text


def _expand(raw: Raw, environ: Mapping[str, str], place: Place) -> Raw:
    """`raw` with each `${NAME}` replaced, once: what a variable holds is taken as it is."""

    def value(found: re.Match[str]) -> str:
        if found["escape"]:
            return "$"
        if not found["name"]:
            raise place.error("has a ${ that is not followed by a variable's name and }")
        if filled := environ.get(found["name"]):
            return filled
        raise place.error(
            f"takes the environment variable {found['name']}, which is not set",
            hint="Set it, or write $$ where a dollar sign itself is meant.",
        )

    if isinstance(raw, tuple):
        return tuple(_VARIABLE.sub(value, text) for text in raw)
    return _VARIABLE.sub(value, raw)
