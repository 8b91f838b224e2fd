"""Load the settings of a store."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from onetribe_bc.config.kinds import PATH, Raw
from onetribe_bc.config.paths import (
    ConfigurationFile,
    UserDirectories,
    access_warnings,
    find_file,
    nothing_set,
    read_file,
    resolve,
)
from onetribe_bc.config.receiver_secret import read_receiver_secret, receiver_secret_file
from onetribe_bc.config.settings import SETTINGS, Notice, Settings, build
from onetribe_bc.config.sources import (
    Source,
    Sources,
    expand,
    from_defaults,
    from_environment,
    from_options,
)
from onetribe_bc.errors import ConfigurationError
from onetribe_bc.text import excerpt

LEDGER_FILE = "ledger.db"
MAX_SECRET_BYTES = 16 * 1024
"""The largest file that holds one secret."""


def load(
    *,
    path: Path | None,
    environ: Mapping[str, str],
    cwd: Path,
    store: str | None = None,
    overrides: Mapping[str, object] | None = None,
    directories: UserDirectories | None = None,
) -> Settings:
    """Load the settings of one store: options over environment over file over defaults.

    `path` is the configuration file; without it, the file is searched for (see `find_file`).
    `cwd` is absolute. `store` is one of the file's `stores`; None is the store at its top.
    `overrides` are options by dotted name (`delivery.workers`), None for unset ones.

    Raises ConfigurationError for anything wrong or missing in files and variables, InputError for
    an option's value.
    """
    directories = directories or UserDirectories.of_user()
    variables = from_environment(environ, cwd)
    file = find_file(path, environ, cwd, directories)
    if not variables and (file is None or not (file.top or file.stores)):
        raise nothing_set(file, cwd, directories)
    sources = {**from_defaults(cwd), **(file.top if file else {})}
    if store is not None:
        sources.update(_choose(store, file))
        _refuse_mixing(store, variables)
    sources |= variables | from_options(overrides or {}, cwd)
    reader = Reader(environ, directories, list(file.warnings) if file else [])
    values = {name: reader.read(source, name) for name, source in sources.items()}
    if "ledger" not in values:
        values["ledger"] = _default_ledger(directories)
    settings = build(
        Settings,
        values,
        store_name=store,
        source=file.path if file else None,
        variables=tuple(SETTINGS[name].variable for name in variables),
        stores=tuple(file.stores) if file else (),
    )
    if settings.receiver.secret is None and settings.bigcommerce.store_hash:
        settings = _with_receiver_secret(settings, reader)
    return replace(settings, warnings=tuple(reader.warnings))


def store_names(
    *,
    path: Path | None,
    environ: Mapping[str, str],
    cwd: Path,
    directories: UserDirectories | None = None,
) -> tuple[str, ...]:
    """Return the names of the file's `stores`, in its order; none without a file.

    Raises ConfigurationError for a file that cannot be read.
    """
    file = find_file(path, environ, cwd, directories or UserDirectories.of_user())
    return tuple(file.stores) if file else ()


@dataclass
class Reader:
    """Reads values: expands variables, reads secrets from files, resolves paths.

    Collects `warnings` about files that other users can read.
    """

    environ: Mapping[str, str]
    directories: UserDirectories
    warnings: list[Notice] = field(default_factory=list)

    def read(self, source: Source, name: str) -> Any:
        """Return the value of the setting `name`.

        Raises `source.error_type`, and ConfigurationError for what a secret's file contains.
        """
        try:
            raw = self._expand(source) if source.has_variables else source.raw
            if source.names_file:
                file = self._resolve(PATH.read(raw), source)
                raw = self._secret_in(file)
                where = f"{source.where}, file {file}"
                source = replace(source, where=where, error_type=ConfigurationError)
            value = SETTINGS[name].kind.read(raw)
            return self._resolve(value, source) if isinstance(value, Path) else value
        except ValueError as problem:
            raise source.error(str(problem)) from None

    def _expand(self, source: Source) -> Raw:
        try:
            if isinstance(source.raw, tuple):
                return tuple(expand(text, self.environ) for text in source.raw)
            return expand(source.raw, self.environ)
        except KeyError as error:
            raise source.error(
                f"takes the environment variable {error.args[0]}, which is not set",
                hint="Set it, or write $$ for a dollar sign.",
            ) from None

    def _resolve(self, path: Path, source: Source) -> Path:
        return resolve(path, folder=source.folder, directories=self.directories)

    def _secret_in(self, file: Path) -> str:
        # Errors name a file only once it exists: the path may be a secret under the wrong key.
        try:
            data = read_file(file, most=MAX_SECRET_BYTES)
            self.warnings += access_warnings(file)
        except OSError as error:
            raise ValueError(f"names a file that cannot be read: {error.strerror}") from None
        try:
            text = data.decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise ValueError(f"names a file that is not UTF-8: {file}") from None
        if "\n" in text or "\r" in text:
            raise ValueError(f"names a file with more than one line: {file}")
        return text


def _default_ledger(directories: UserDirectories) -> Path:
    ledger = directories.state / LEDGER_FILE
    if not ledger.is_absolute():
        raise ConfigurationError(
            "There is no home directory for the ledger.",
            hint="Set ledger in the configuration file, or BC2OT_LEDGER.",
        )
    return ledger


def _with_receiver_secret(settings: Settings, reader: Reader) -> Settings:
    """Add the secret that `hooks create --receiver` made for the store, if any."""
    file = receiver_secret_file(settings.ledger, settings.bigcommerce.store_hash)
    secret, warnings = read_receiver_secret(file)
    reader.warnings += warnings
    return replace(settings, receiver=replace(settings.receiver, secret=secret))


def _choose(store: str, file: ConfigurationFile | None) -> Sources:
    if file is None:
        raise ConfigurationError(
            "--store needs a configuration file, and there is none.",
            hint="Omit --store, or add the store under stores: in a file.",
        )
    if store in file.stores:
        return file.stores[store]
    near = difflib.get_close_matches(store, file.stores, n=1)
    known = ", ".join(file.stores) or "none"
    raise ConfigurationError(
        f'{file.path} has no store "{excerpt(store)}"'
        + (f"; did you mean {near[0]}?" if near else "."),
        hint=f"Its stores: {known}. Omit --store to use the one at the top of the file.",
    )


def _refuse_mixing(store: str, variables: Sources) -> None:
    """Refuse variables of one store, which would send another store's orders to it."""
    mixed = [SETTINGS[name].variable for name in variables if SETTINGS[name].of_store]
    if mixed:
        raise ConfigurationError(
            f"--store {store} takes the store from the file, but the environment sets "
            f"{', '.join(mixed)}: one store's orders could be sent as another's.",
            hint="Unset the variables, or omit --store. In the file, ${NAME} can take variables "
            "with other names.",
        )
