"""Which configuration file there is, and what stands in it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from onetribe_bc.config import keys
from onetribe_bc.config.document import parse_document
from onetribe_bc.config.layers import file_layer, store_layers
from onetribe_bc.config.places import Homes, Layer, Notice, absolute, open_to_others, read_contents
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
    warnings: tuple[Notice, ...]


def find_file(
    path: Path | None, environ: Mapping[str, str], cwd: Path, homes: Homes
) -> ConfigurationFile | None:
    """The file asked for, else the first one that exists where files are looked for.

    `path` comes first, then BC2OT_CONFIG; a file they name has to exist. Otherwise it is
    `bc2ot.yaml` in `cwd`, then `config.yaml` in the user's folder. Raises ConfigurationError.
    """
    file = file_asked_for(path, environ, cwd, homes)
    if file is not None:
        try:
            return _read(file)
        except (FileNotFoundError, NotADirectoryError):
            raise ConfigurationError(
                f"There is no file {file}, which {_asked_by(path)} names."
            ) from None
    for file in _usual_files(cwd, homes):
        with suppress(FileNotFoundError, NotADirectoryError):
            return _read(file)
    return None


def file_asked_for(
    path: Path | None, environ: Mapping[str, str], cwd: Path, homes: Homes
) -> Path | None:
    """What `path`, or else BC2OT_CONFIG, names, be it there or not. Raises ConfigurationError."""
    text = str(path) if path else environ.get(keys.CONFIG_VARIABLE)
    if not text:
        return None
    try:
        return absolute(text, folder=cwd, homes=homes)
    except ValueError as problem:
        raise ConfigurationError(f"The file that {_asked_by(path)} names {problem}.") from None


def user_file(homes: Homes) -> Path:
    """The file that is found from every folder."""
    return homes.config / USER_FILE


def places_for_new(cwd: Path, homes: Homes) -> list[Path]:
    """Where a new file is found without being asked for, the better place first. The user's folder
    is found from everywhere and in no repository; but a file in the working folder comes before
    it. Raises ConfigurationError.
    """
    local, *user = _usual_files(cwd, homes)
    return [local, *user] if is_there(local) else [*user, local]


def is_found(file: Path, environ: Mapping[str, str], cwd: Path, homes: Homes) -> bool:
    """Whether `find_file` comes to this file without being told, in this folder and environment."""
    try:
        found = file_asked_for(None, environ, cwd, homes) or next(
            (usual for usual in _usual_files(cwd, homes) if is_there(usual)), None
        )
    except ConfigurationError:
        return False
    return found == file


def is_there(path: Path) -> bool:
    """Whether there is something. Raises ConfigurationError where that cannot be seen."""
    try:
        return path.exists()
    except OSError as error:  # a folder that may not be entered, a name that is too long
        raise ConfigurationError(
            f"The configuration file {path} cannot be read: {error.strerror}.",
            hint="Name another one: --config FILE.",
        ) from None


def _asked_by(path: Path | None) -> str:
    return "--config" if path else keys.CONFIG_VARIABLE


def _usual_files(cwd: Path, homes: Homes) -> list[Path]:
    files = [cwd / LOCAL_FILE, user_file(homes)]
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
        "`bc2ot init` asks for what is needed and writes a file. Or set "
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
