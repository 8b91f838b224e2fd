"""Which configuration file there is, and what stands in it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from onetribe_bc.config import keys
from onetribe_bc.config.document import parse_document
from onetribe_bc.config.layers import file_layer, store_layers
from onetribe_bc.config.places import Homes, Layer, absolute, open_to_others, read_contents
from onetribe_bc.errors import ConfigurationError

LOCAL_FILE = "bc2ot.yaml"
"""The file that is looked for in the working folder."""
USER_FILE = "config.yaml"
"""The file that is looked for in the user's configuration folder."""
MOST_BYTES = 256 * 1024
"""How large a configuration file may be."""


@dataclass(frozen=True)
class ConfigurationFile:
    """A configuration file, read; its values are not looked into yet."""

    path: Path
    top: Layer
    stores: Mapping[str, Layer]
    warnings: tuple[str, ...]


def find_file(
    path: Path | None, environ: Mapping[str, str], cwd: Path, homes: Homes
) -> ConfigurationFile | None:
    """The file asked for, else the first one that exists where files are looked for.

    `path` comes first, then BC2OT_CONFIG; a file they name has to exist. Otherwise it is
    `bc2ot.yaml` in `cwd`, then `config.yaml` in the user's folder. Raises ConfigurationError.
    """
    asked_for = str(path) if path else environ.get(keys.CONFIG_VARIABLE)
    if asked_for:
        return _read_asked_for(asked_for, "--config" if path else keys.CONFIG_VARIABLE, cwd, homes)
    for file in _usual_files(cwd, homes):
        with suppress(FileNotFoundError, NotADirectoryError):
            return _read(file)
    return None


def _read_asked_for(text: str, by: str, cwd: Path, homes: Homes) -> ConfigurationFile:
    try:
        file = absolute(text, folder=cwd, homes=homes)
    except ValueError as problem:
        raise ConfigurationError(f"The file that {by} names {problem}.") from None
    try:
        return _read(file)
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigurationError(f"There is no file {file}, which {by} names.") from None


def _usual_files(cwd: Path, homes: Homes) -> list[Path]:
    files = [cwd / LOCAL_FILE, homes.config / USER_FILE]
    return [file for file in files if file.is_absolute()]


def _read(path: Path) -> ConfigurationFile:
    try:
        contents = read_contents(path, most=MOST_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise ConfigurationError(
            f"The configuration file {path} cannot be read: {error.strerror}."
        ) from None
    document = parse_document(path, contents.data)
    return ConfigurationFile(
        path=path,
        top=file_layer(document) if document else {},
        stores=store_layers(document) if document else {},
        warnings=(open_to_others(path),) if contents.is_open_to_others else (),
    )


def nothing_found(file: ConfigurationFile | None, cwd: Path, homes: Homes) -> ConfigurationError:
    """The error for when neither a file nor the environment says anything: how to begin."""
    hint = (
        f"Copy config.example.yaml to {LOCAL_FILE} and fill it in, or set "
        f"{keys.STORE_HASH.variable}, {keys.ACCESS_TOKEN.variable} and "
        f"{keys.ONETRIBE_URL.variable} in the environment."
    )
    if file is not None:
        return ConfigurationError(f"The configuration file {file.path} is empty.", hint=hint)
    looked_at = ", ".join(str(file) for file in _usual_files(cwd, homes))
    return ConfigurationError(
        f"There is no configuration: --config and {keys.CONFIG_VARIABLE} name no file, "
        f"and none of these exists: {looked_at}.",
        hint=hint,
    )
