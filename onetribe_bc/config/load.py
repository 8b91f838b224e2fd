"""Load the settings of a store."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from onetribe_bc.config.kinds import PATH, Raw
from onetribe_bc.config.paths import (
    UserDirectories,
    access_warnings,
    find_file,
    read_file,
    refuse_foreign,
    user_of,
    usual_files,
)
from onetribe_bc.config.receiver_secret import read_receiver_secret, receiver_secret_file
from onetribe_bc.config.settings import CONFIG_VARIABLE, SETTINGS, Notice, Settings, build
from onetribe_bc.config.sources import (
    ConfigurationFile,
    Source,
    Sources,
    expand,
    from_environment,
    from_options,
    read_configuration,
    variables_in,
)
from onetribe_bc.errors import ConfigurationError
from onetribe_bc.secret import Secret
from onetribe_bc.text import decode_utf8, excerpt

_MAX_SECRET_BYTES = 16 * 1024
_SKIP = "orders.skip_statuses"


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

    `path` is the configuration file; without it, `find_file` searches for one.
    `cwd` is absolute. `store` is one of the file's `stores`; None is the store at its top.
    `overrides` are options by dotted name (`delivery.workers`), None for unset ones.

    Raises ConfigurationError if anything in files or variables is wrong or missing, and InputError
    for an invalid option.
    """
    directories = directories or UserDirectories.of_user()
    file = read_configuration(find_file(path, environ, cwd, directories), environ)
    variables = from_environment(environ)
    if not (variables or file.top or file.stores):
        raise _nothing_set(file.path, cwd, directories)
    sources = {
        **file.top,
        **(_choose(store, file, variables) if store is not None else {}),
        **variables,
        **from_options(overrides or {}, cwd),
    }
    reader = Reader(environ, directories, [*file.warnings])
    values = {name: reader.read(source, name) for name, source in sources.items()}
    ledger = values.setdefault("ledger", directories.state / "ledger.db")
    secret = _read_beside(ledger, values, reader) if isinstance(ledger, Path) else None
    if isinstance(secret, Secret):
        values["receiver.secret"] = secret
    return build(
        Settings,
        values,
        store_name=store,
        source=file.path,
        variables=tuple(SETTINGS[name].variable for name in variables),
        stores=tuple(file.stores),
        filled_in=frozenset(reader.filled_in),
        warnings=tuple(reader.warnings),
        secret_problem=secret if isinstance(secret, Notice) else None,
        skip_statuses_at=sources[_SKIP].where if _SKIP in sources else "",
    )


def _read_beside(ledger: Path, values: Mapping[str, Any], reader: Reader) -> Secret | Notice | None:
    """Return the receiver's secret next to the ledger, unless set, or why it cannot be used.

    Raises ConfigurationError if another user made the ledger, its locks or the secret.
    """
    if not ledger.is_absolute():
        raise ConfigurationError(
            "There is no home directory for the ledger.",
            hint="Set ledger in the configuration file, or BC2OT_LEDGER.",
        )
    files = {"The ledger": ledger, "The directory": ledger.with_name(f"{ledger.name}.locks")}
    store_hash = values.get("bigcommerce.store_hash")
    secret_file = receiver_secret_file(ledger, store_hash or "")
    if is_read := store_hash and "receiver.secret" not in values:
        files["The receiver's secret"] = secret_file
    # root may work on any user's ledger, but not with the locks and the secret of a third one.
    owner = user_of(ledger) if os.geteuid() == 0 else None
    for what, file in files.items():
        refuse_foreign(what, file, reader.environ, owner=owner)
    secret = read_receiver_secret(secret_file) if is_read else None
    if isinstance(secret, Notice):
        reader.warnings.append(secret)
    elif secret is not None:
        reader.warnings += access_warnings(secret_file, reader.environ)
    return secret


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
    directories = directories or UserDirectories.of_user()
    return tuple(read_configuration(find_file(path, environ, cwd, directories), environ).stores)


@dataclass
class Reader:
    """Reads values: expands variables, reads secrets from files, resolves paths.

    It collects `warnings` about files that other users can access, and the names of variables that
    it `filled_in`.
    """

    environ: Mapping[str, str]
    directories: UserDirectories
    warnings: list[Notice] = field(default_factory=list)
    filled_in: set[str] = field(default_factory=set)

    def read(self, source: Source, name: str) -> Any:
        """Return the value of the setting `name`.

        Raises `source.error_type`, and ConfigurationError for the content of a secret's file.
        """
        try:
            raw = self._expand(source) if source.has_variables else source.raw
            if source.names_file:
                file = self.directories.resolve(PATH.read(raw), source.directory)
                raw = self._secret_in(file)
                where = f"{source.where}, file {file}"
                source = replace(source, where=where, error_type=ConfigurationError)
            value = SETTINGS[name].kind.read(raw)
            if isinstance(value, Path):
                return self.directories.resolve(value, source.directory)
            return value
        except ValueError as problem:
            raise source.error(str(problem)) from None

    def _expand(self, source: Source) -> Raw:
        texts = (source.raw,) if isinstance(source.raw, str) else source.raw
        for text in texts:
            self.filled_in.update(variables_in(text))
        try:
            expanded = tuple(expand(text, self.environ) for text in texts)
        except KeyError as error:
            raise source.error(
                f"takes the environment variable {error.args[0]}, which is not set",
                hint="Set and export it ($$ is a dollar sign).",
            ) from None
        return expanded[0] if isinstance(source.raw, str) else expanded

    def _secret_in(self, file: Path) -> str:
        # Errors name only existing files: the path may be a secret under the wrong key.
        try:
            data = read_file(file, most=_MAX_SECRET_BYTES)
            self.warnings += access_warnings(file, self.environ)
        except OSError as error:
            raise ValueError(f"names a file that cannot be read: {error.strerror}") from None
        try:
            text = decode_utf8(data).rstrip("\r\n")
        except ValueError as problem:
            raise ValueError(f"names a file that {problem}: {file}") from None
        if "\n" in text or "\r" in text:
            raise ValueError(f"names a file with more than one line: {file}")
        return text


def _nothing_set(file: Path | None, cwd: Path, directories: UserDirectories) -> ConfigurationError:
    if file is not None:
        message = f"The configuration file {file} is empty."
    else:
        files = ", ".join(map(str, usual_files(cwd, directories)))
        message = (
            f"No configuration found: --config and {CONFIG_VARIABLE} are not set, and none of "
            f"these files exists: {files}."
        )
    return ConfigurationError(
        message,
        hint="Run `bc2ot init` to write a configuration file, or set the environment variables "
        "BC2OT_STORE_HASH, BC2OT_ACCESS_TOKEN and BC2OT_ONETRIBE_URL.",
    )


def _choose(store: str, file: ConfigurationFile, variables: Sources) -> Sources:
    """Return the values that the file sets for a named store."""
    if file.path is None:
        raise ConfigurationError(
            "--store needs a configuration file, and there is none.",
            hint="Omit --store, or add the store under stores: in a file.",
        )
    if store not in file.stores:
        near = difflib.get_close_matches(store, file.stores, n=1)
        raise ConfigurationError(
            f'{file.path} has no store "{excerpt(store)}"'
            + (f"; did you mean {near[0]}?" if near else "."),
            hint=f"Its stores: {', '.join(file.stores) or 'none'}. Omit --store to use the one at "
            "the top of the file.",
        )
    mixed = [SETTINGS[name].variable for name in variables if SETTINGS[name].of_store]
    if mixed:
        raise ConfigurationError(
            f"--store {store} takes the store from the file, but the environment sets "
            f"{', '.join(mixed)}: one store's orders could be sent as another's.",
            hint="Unset the variables, or omit --store. In the file, ${NAME} can take variables "
            "with other names.",
        )
    return file.stores[store]
