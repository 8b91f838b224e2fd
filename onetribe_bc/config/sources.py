"""Where settings come from: the file, its stores, the environment, options and defaults."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from onetribe_bc.config.document import Entry, located
from onetribe_bc.config.kinds import Raw
from onetribe_bc.config.settings import KEYS, SECTIONS, SETTINGS, STORES, nearest_key
from onetribe_bc.errors import Bc2otError, ConfigurationError, InputError

_VARIABLE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)\})?)")


@dataclass(frozen=True)
class Source:
    """A value as it was set, and where.

    Relative paths start at `folder`. `names_file` marks a path to a file that holds the value,
    `has_variables` a value in which `${NAME}` stands for an environment variable.
    """

    key: str
    where: str
    raw: Raw = field(repr=False)
    folder: Path
    names_file: bool = False
    has_variables: bool = False
    error_type: type[Bc2otError] = ConfigurationError

    def error(self, problem: str, *, hint: str = "") -> Bc2otError:
        """Return an error that names the place and the key."""
        return self.error_type(located(self.where, self.key, problem), hint=hint)


Sources = Mapping[str, Source]
"""The values of one origin by the names of their settings."""


def from_file(section: Entry) -> dict[str, Source]:
    """Return what a file, or one of its stores, sets. Raises ConfigurationError."""
    sources: dict[str, Source] = {}
    for name, entry in _iter_values(section, "", section):
        setting = KEYS[name]
        if setting.name in sources:
            raise entry.error(f"is redundant: set {setting.name} or {setting.file_name}, not both")
        sources[setting.name] = Source(
            key=entry.shown,
            where=entry.where,
            raw=entry.raw(),
            folder=entry.file.parent,
            names_file=name == setting.file_name,
            has_variables=True,
        )
    return sources


def from_stores(document: Entry) -> dict[str, Sources]:
    """Return what a file sets for each of its named stores. Raises ConfigurationError."""
    stores = document.entries().get(STORES)
    sources: dict[str, Sources] = {}
    for name, entry in stores.entries().items() if stores else ():
        if entry.shown != entry.name:
            raise entry.error("must be a store's name: letters, digits, -, _ and . (up to 30)")
        sources[name] = from_file(entry)
    return sources


def from_environment(environ: Mapping[str, str], folder: Path) -> dict[str, Source]:
    """Return what environment variables set; an empty variable counts as unset."""
    return {
        name: Source(
            name, f"{setting.variable} in the environment", environ[setting.variable], folder
        )
        for name, setting in SETTINGS.items()
        if setting.variable and environ.get(setting.variable)
    }


def from_options(overrides: Mapping[str, object], folder: Path) -> dict[str, Source]:
    """Return what options set, by dotted name; None counts as unset.

    Raises ValueError for an unknown name, and for a secret, which no option may hold.
    """
    sources: dict[str, Source] = {}
    for name, value in overrides.items():
        setting = KEYS.get(name)
        if setting is None or setting.kind.secret:
            raise ValueError(f"{name} cannot be set by an option")
        if value is not None:
            raw = tuple(map(str, value)) if isinstance(value, tuple | list) else str(value)
            sources[name] = Source(name, "command line", raw, folder, error_type=InputError)
    return sources


def from_defaults(folder: Path) -> dict[str, Source]:
    """Return the defaults; a few settings have none."""
    return {
        name: Source(name, "default", setting.default, folder)
        for name, setting in SETTINGS.items()
        if setting.default is not None
    }


def expand(text: str, environ: Mapping[str, str]) -> str:
    """Replace each `${NAME}` in `text` by that environment variable, and `$$` by `$`.

    Values are not expanded again. Raises KeyError with the name of a variable that is unset or
    empty, ValueError with a phrase if no name follows `${`.
    """

    def value(found: re.Match[str]) -> str:
        if found["dollar"]:
            return "$"
        if not found["name"]:
            raise ValueError("must have a variable name and } after ${")
        if not environ.get(found["name"]):
            raise KeyError(found["name"])
        return environ[found["name"]]

    return _VARIABLE.sub(value, text)


def _iter_values(section: Entry, name: str, top: Entry) -> Iterator[tuple[str, Entry]]:
    """Yield every value below `section`, whose name is `name` in the table of settings."""
    for own_name, entry in section.entries().items():
        full_name = f"{name}.{own_name}" if name else own_name
        if "." in own_name:
            raise _unknown(entry, own_name, name, top)
        if full_name in KEYS:
            yield full_name, entry
        elif full_name in SECTIONS:
            yield from _iter_values(entry, full_name, top)
        elif full_name != STORES or top.name:
            raise _unknown(entry, own_name, name, top)


def _unknown(entry: Entry, own_name: str, section: str, top: Entry) -> ConfigurationError:
    if own_name == "<<":
        return entry.error(
            "is not supported",
            hint="A store inherits from the top of the file whatever it does not set.",
        )
    if own_name in KEYS:
        return entry.error(
            "must be nested", hint="Write each part on its own line, indented, instead of the dots."
        )
    near = nearest_key(section, own_name)
    if near == STORES and top.name:
        return entry.error("cannot be inside a store")
    if near and top.name:
        near = f"{top.name}.{near}"
    return entry.error("is not a known key" + (f"; did you mean {near}?" if near else ""))
