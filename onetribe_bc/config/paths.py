"""Paths: the user's directories, the configuration file, and files that may hold secrets."""

from __future__ import annotations

import errno
import os
import shlex
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from onetribe_bc.config.document import parse_document
from onetribe_bc.config.settings import CONFIG_VARIABLE, SETTINGS, Notice
from onetribe_bc.config.sources import Sources, from_file, from_stores
from onetribe_bc.errors import ConfigurationError

APP = "bc2ot"
LOCAL_FILE = "bc2ot.yaml"
"""The configuration file in the working directory."""
USER_FILE = "config.yaml"
"""The configuration file in the user's configuration directory."""
MAX_BYTES = 256 * 1024
"""The largest configuration file."""


@dataclass(frozen=True)
class UserDirectories:
    """bc2ot's own directories `config` and `state`, and the user's `home`, for `~`.

    One that the machine does not know is a relative path, and is not used.
    """

    config: Path
    state: Path
    home: Path

    @classmethod
    def of_user(cls) -> UserDirectories:
        """Return the directories of the current user, by the platform or XDG_… variables."""
        import platformdirs

        return cls(
            config=platformdirs.user_config_path(APP),
            state=platformdirs.user_state_path(APP),
            home=Path(os.path.expanduser("~")),  # noqa: PTH111 - Path.home() fails without a home
        )

    @property
    def config_file(self) -> Path:
        """The configuration file that is found from every working directory."""
        return self.config / USER_FILE


def resolve(path: Path, *, folder: Path, directories: UserDirectories) -> Path:
    """Return `path` from `folder` on, with `~` replaced by the user's home.

    Raises ValueError, with a phrase, if `~` cannot be resolved.
    """
    if not str(path).startswith("~"):
        return folder / path
    if path.parts[0] != "~" or not directories.home.is_absolute():
        raise ValueError("starts with a ~ that cannot be resolved: write the full path")
    return directories.home.joinpath(*path.parts[1:])


def read_file(path: Path, *, most: int) -> bytes:
    """Read a file or pipe of up to `most` bytes.

    Raises OSError, whose `strerror` is the reason, if it cannot be read or is larger.
    """
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most} bytes")
    return data


def access_warnings(file: Path) -> tuple[Notice, ...]:
    """Return a warning if users other than the owner can read or write a file of secrets."""
    mode = file.stat().st_mode
    if not (stat.S_ISREG(mode) and mode & (stat.S_IRWXG | stat.S_IRWXO)):
        return ()
    warning = f"{file} may hold secrets, and other users of this machine have access to it"
    return (Notice(warning, f"run `chmod 600 {shlex.quote(str(file))}`", open_file=file),)


# The configuration file


@dataclass(frozen=True)
class ConfigurationFile:
    """A configuration file with what it sets, for its top and its stores; values are unchecked."""

    path: Path
    top: Sources
    stores: Mapping[str, Sources]
    warnings: tuple[Notice, ...]


def find_file(
    path: Path | None, environ: Mapping[str, str], cwd: Path, directories: UserDirectories
) -> ConfigurationFile | None:
    """Read the configuration file; None if there is none.

    It is `path`, else what BC2OT_CONFIG names; such a file must exist. Otherwise it is
    `bc2ot.yaml` in `cwd` or `config.yaml` in the user's directory. Raises ConfigurationError.
    """
    file = named_file(path, environ, cwd, directories)
    if file is not None:
        try:
            return _read(file)
        except (FileNotFoundError, NotADirectoryError):
            raise ConfigurationError(
                f"{_named_by(path)} names a file that does not exist: {file}."
            ) from None
    for file in _usual_files(cwd, directories):
        with suppress(FileNotFoundError, NotADirectoryError):
            return _read(file)
    return None


def named_file(
    path: Path | None, environ: Mapping[str, str], cwd: Path, directories: UserDirectories
) -> Path | None:
    """Return the file that `path` or BC2OT_CONFIG names, whether or not it exists.

    Raises ConfigurationError.
    """
    text = str(path) if path else environ.get(CONFIG_VARIABLE)
    if not text:
        return None
    try:
        return resolve(Path(text), folder=cwd, directories=directories)
    except ValueError as problem:
        raise ConfigurationError(f"The path in {_named_by(path)} {problem}.") from None


def places_for_new(cwd: Path, directories: UserDirectories) -> list[Path]:
    """Return where a new file is found without --config, the better place first.

    The user's directory comes first: it is found from everywhere, and is in no repository. But an
    existing file in `cwd` would override it. Raises ConfigurationError.
    """
    local, *user = _usual_files(cwd, directories)
    return [local, *user] if exists(local) else [*user, local]


def is_found(
    file: Path, environ: Mapping[str, str], cwd: Path, directories: UserDirectories
) -> bool:
    """Return whether `find_file` finds `file` from `cwd` without --config."""
    try:
        found = find_file(None, environ, cwd, directories)
    except ConfigurationError:
        return False
    return found is not None and found.path == file


def exists(path: Path) -> bool:
    """Return whether `path` exists. Raises ConfigurationError if that cannot be determined."""
    try:
        return path.exists()
    except OSError as error:  # a directory without access, a name that is too long
        raise ConfigurationError(
            f"Cannot read the configuration file {path}: {error.strerror}.",
            hint="Name another one: --config FILE.",
        ) from None


def nothing_set(
    file: ConfigurationFile | None, cwd: Path, directories: UserDirectories
) -> ConfigurationError:
    """Return the error for when neither a file nor the environment sets anything."""
    needed = ("bigcommerce.store_hash", "bigcommerce.access_token", "onetribe.url")
    first, second, third = (SETTINGS[name].variable for name in needed)
    hint = (
        "Run `bc2ot init` to write a configuration file, or set the environment variables "
        f"{first}, {second} and {third}."
    )
    if file is not None:
        return ConfigurationError(f"The configuration file {file.path} is empty.", hint=hint)
    files = ", ".join(map(str, _usual_files(cwd, directories)))
    return ConfigurationError(
        f"No configuration found: --config and {CONFIG_VARIABLE} are not set, and none of these "
        f"files exists: {files}.",
        hint=hint,
    )


def _named_by(path: Path | None) -> str:
    return "--config" if path else CONFIG_VARIABLE


def _usual_files(cwd: Path, directories: UserDirectories) -> list[Path]:
    files = [cwd / LOCAL_FILE, directories.config_file]
    return [file for file in files if file.is_absolute()]


def _read(path: Path) -> ConfigurationFile:
    try:
        document = parse_document(path, read_file(path, most=MAX_BYTES))
        warnings = access_warnings(path)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise ConfigurationError(
            f"Cannot read the configuration file {path}: {error.strerror}."
        ) from None
    return ConfigurationFile(
        path=path,
        top=from_file(document) if document else {},
        stores=from_stores(document) if document else {},
        warnings=warnings,
    )
