"""What each source gives: the file, one of its stores, the environment, the options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from onetribe_bc.config.document import Entry
from onetribe_bc.config.keys import BY_NAME, KEYS, SECTIONS, STORES, suggestion
from onetribe_bc.config.places import Given, Layer, Place
from onetribe_bc.errors import Bc2otError, InputError


def file_layer(document: Entry) -> dict[str, Given]:
    """What the file gives for the store at its top. Raises ConfigurationError."""
    return _section_layer(document)


def store_layers(document: Entry) -> dict[str, Layer]:
    """What the file gives for each of its other stores, by name. Raises ConfigurationError."""
    stores = document.entries().get(STORES)
    if stores is None:
        return {}
    layers: dict[str, Layer] = {}
    for name, entry in stores.entries().items():
        place = entry.shown(name, is_store=True)
        if place != entry.place or not name:
            raise place.error("expects a store's name: letters, digits, -, _ and . (up to 30)")
        layers[name] = _section_layer(entry)
    return layers


def environment_layer(environ: Mapping[str, str], cwd: Path) -> Layer:
    """What environment variables give. An empty one counts as not set."""
    return {
        key.name: Given(
            environ[key.variable], Place(key.name, f"{key.variable} in the environment"), cwd
        )
        for key in KEYS
        if key.variable and environ.get(key.variable)
    }


def option_layer(overrides: Mapping[str, object], cwd: Path) -> Layer:
    """What options give, by dotted name; None counts as not given.

    Raises ValueError for a name that is no key, and for a secret, which no option may hold.
    """
    layer: dict[str, Given] = {}
    for name, value in overrides.items():
        key = BY_NAME.get(name)
        if key is None or key.secret:
            raise ValueError(f"{name} cannot be set by an option")
        if value is None:
            continue
        raw = tuple(map(str, value)) if isinstance(value, tuple | list) else str(value)
        layer[name] = Given(raw, Place(name, "command line", InputError), cwd)
    return layer


def _section_layer(top: Entry) -> dict[str, Given]:
    layer: dict[str, Given] = {}
    for name, entry in _iter_values(top, "", top):
        key = BY_NAME[name]
        if key.name in layer:
            raise entry.place.error(
                f"is one too many: give {key.name} or {key.file_name}, not both"
            )
        layer[key.name] = Given(
            entry.raw(),
            entry.place,
            entry.file.parent,
            in_file=name == key.file_name,
            has_variables=True,
        )
    return layer


def _iter_values(section: Entry, section_name: str, top: Entry) -> Iterator[tuple[str, Entry]]:
    """Every value below `section`, by its name as in the table of keys."""
    for own_name, entry in section.entries().items():
        name = f"{section_name}.{own_name}" if section_name else own_name
        if "." in own_name:
            raise _unknown(entry, own_name, section_name, top)
        if name in BY_NAME:
            yield name, entry
        elif name in SECTIONS:
            yield from _iter_values(entry, name, top)
        elif name != STORES or top.name:
            raise _unknown(entry, own_name, section_name, top)


def _unknown(entry: Entry, own_name: str, section_name: str, top: Entry) -> Bc2otError:
    place = entry.shown(own_name)
    if own_name == "<<":
        return entry.place.error(
            "is not supported",
            hint="A store already takes from the top whatever it does not set itself.",
        )
    if own_name in BY_NAME:
        return place.error(
            "has to be nested", hint="Write a line for each part, indented, instead of the dots."
        )
    near = suggestion(section_name, own_name)
    if near == STORES and top.name:
        return place.error("cannot be inside a store")
    if near and top.name:
        near = f"{top.name}.{near}"
    return place.error("is not a known key" + (f"; did you mean {near}?" if near else ""))
