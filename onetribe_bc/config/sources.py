"""Where settings come from: the file, its stores, the environment and options."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from onetribe_bc.config.document import MASKED_KEY, Entry, located, parse_document
from onetribe_bc.config.kinds import Raw
from onetribe_bc.config.paths import access_warnings, read_file
from onetribe_bc.config.settings import SETTINGS, STORES, Notice
from onetribe_bc.errors import Bc2otError, ConfigurationError, InputError

KEYS = {**SETTINGS, **{one.file_name: one for one in SETTINGS.values() if one.kind.secret}}
"""The settings by the dotted keys of a file, `…_file` included."""

SECTIONS = frozenset(name.rpartition(".")[0] for name in SETTINGS) - {""}
"""The dotted names of the file's sections."""

_MAX_BYTES = 256 * 1024
_VARIABLE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)\})?)")


@dataclass(frozen=True)
class Source:
    """A value as it was set, and where.

    Relative paths start at `directory`; with None, they are errors. `names_file` marks the path of
    a file that holds the value, `has_variables` a value with `${NAME}` for variables.
    """

    key: str
    where: str
    raw: Raw = field(repr=False)
    directory: Path | None
    names_file: bool = False
    has_variables: bool = False
    error_type: type[Bc2otError] = ConfigurationError

    def error(self, problem: str, *, hint: str = "") -> Bc2otError:
        """Return an error with the location and the key."""
        return self.error_type(located(self.where, self.key, problem), hint=hint)


Sources = Mapping[str, Source]
"""The values from one origin, by setting name."""


@dataclass(frozen=True)
class ConfigurationFile:
    """The unchecked values in a configuration file, at its top and for its stores."""

    path: Path | None = None
    top: Sources = field(default_factory=dict)
    stores: Mapping[str, Sources] = field(default_factory=dict)
    warnings: tuple[Notice, ...] = ()


def read_configuration(path: Path | None, environ: Mapping[str, str]) -> ConfigurationFile:
    """Read a file; None is one that sets nothing. Raises ConfigurationError."""
    if path is None:
        return ConfigurationFile()
    try:
        data, warnings = read_file(path, most=_MAX_BYTES), access_warnings(path, environ)
    except OSError as error:
        raise ConfigurationError(
            f"Cannot read the configuration file {path}: {error.strerror}."
        ) from None
    document = parse_document(path, data)
    if document is None:
        return ConfigurationFile(path, warnings=warnings)
    stores = document.entries().get(STORES)
    named = stores.entries() if stores else {}
    for entry in named.values():
        if MASKED_KEY in entry.name:
            raise entry.error("must be a store's name: letters, digits, -, _ and . (up to 30)")
    of_stores = {name: _from_section(entry) for name, entry in named.items()}
    return ConfigurationFile(path, _from_section(document), of_stores, warnings)


def _from_section(top: Entry) -> dict[str, Source]:
    """Return the values that a file, or one of its stores, sets."""
    sources: dict[str, Source] = {}
    for name, entry in _iter_values(top, "", top):
        setting = KEYS[name]
        if setting.name in sources:
            raise entry.error(f"is redundant: set {setting.name} or {setting.file_name}, not both")
        sources[setting.name] = Source(
            key=entry.name,
            where=entry.where,
            raw=entry.raw(),
            directory=entry.file.parent,
            names_file=name == setting.file_name,
            has_variables=True,
        )
    return sources


def _iter_values(section: Entry, above: str, top: Entry) -> Iterator[tuple[str, Entry]]:
    """Yield every value below `section`, whose key is `above`, with its key in `KEYS`."""
    for own_name, entry in section.entries().items():
        name = f"{above}.{own_name}" if above else own_name
        if "." in own_name:
            raise _unknown(entry, name, top)
        if name in KEYS:
            yield name, entry
        elif name in SECTIONS:
            yield from _iter_values(entry, name, top)
        elif name != STORES or top.name:
            raise _unknown(entry, name, top)


def _unknown(entry: Entry, name: str, top: Entry) -> ConfigurationError:
    if name in KEYS:
        return entry.error(
            "must be nested", hint="Write each part on its own line, indented, instead of the dots."
        )
    if name.endswith("<<"):
        return entry.error(
            "is not supported",
            hint="A store inherits what it does not set from the top of the file.",
        )
    near = _nearest_key(name)
    if near == STORES and top.name:
        return entry.error("cannot be inside a store")
    if near and top.name:
        near = f"{top.name}.{near}"
    return entry.error("is not a known key" + (f"; did you mean {near}?" if near else ""))


def _nearest_key(name: str) -> str:
    """Return the dotted key that `name` probably means, best from the same section; else ""."""
    section, _, own_name = name.casefold().replace("-", "_").rpartition(".")
    keys = sorted([*KEYS, *SECTIONS, STORES], key=lambda key: key.rpartition(".")[0] == section)
    by_own_name = {key.rpartition(".")[2]: key for key in keys}  # the same section last: it wins
    near = difflib.get_close_matches(own_name, by_own_name, n=1)
    return by_own_name[near[0]] if near else ""


def from_environment(environ: Mapping[str, str]) -> dict[str, Source]:
    """Return what environment variables set; an empty variable counts as unset."""
    return {
        name: Source(
            name, f"{setting.variable} in the environment", environ[setting.variable], None
        )
        for name, setting in SETTINGS.items()
        if setting.variable and environ.get(setting.variable)
    }


def from_options(overrides: Mapping[str, object], directory: Path) -> dict[str, Source]:
    """Return the values from options, by dotted name; None counts as unset.

    Raises ValueError for an unknown name, and for a secret, which options may not set.
    """
    sources: dict[str, Source] = {}
    for name, value in overrides.items():
        setting = SETTINGS.get(name)
        if setting is None or setting.kind.secret:
            raise ValueError(f"{name} cannot be set by an option")
        if value is not None:
            raw = tuple(map(str, value)) if isinstance(value, tuple | list) else str(value)
            sources[name] = Source(name, "command line", raw, directory, error_type=InputError)
    return sources


def expand(text: str, environ: Mapping[str, str]) -> str:
    """Replace each `${NAME}` in `text` with that environment variable, and `$$` with `$`.

    Values are not expanded again. Raises KeyError with the name of a variable that is unset or
    empty, and ValueError with a phrase if no name follows `${`.
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


def variables_in(text: str) -> list[str]:
    """Return the names of the variables that `expand` would replace."""
    return [found["name"] for found in _VARIABLE.finditer(text) if found["name"]]
