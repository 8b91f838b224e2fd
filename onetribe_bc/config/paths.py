"""Paths: the user's directories, the configuration file, and files that may hold secrets."""

from __future__ import annotations

import errno
import os
import shlex
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from onetribe_bc.config.settings import CONFIG_VARIABLE, Notice
from onetribe_bc.errors import ConfigurationError


@dataclass(frozen=True)
class UserDirectories:
    """bc2ot's directories `config` and `state`, and the user's `home`, for `~`.

    A directory that cannot be determined is a relative path, and is not used.
    """

    config: Path
    state: Path
    home: Path

    @classmethod
    def of_user(cls) -> UserDirectories:
        """Return the directories of the current user, by the platform or XDG_… variables."""
        import platformdirs

        return cls(
            config=platformdirs.user_config_path("bc2ot"),
            state=platformdirs.user_state_path("bc2ot"),
            home=Path(os.path.expanduser("~")),  # noqa: PTH111 - Path.home() fails without a home
        )

    @property
    def config_file(self) -> Path:
        """The user's configuration file, used from every working directory."""
        return self.config / "config.yaml"

    def resolve(self, path: Path, directory: Path) -> Path:
        """Return `path` relative to `directory`, with `~` replaced by the user's home.

        Raises ValueError, with a phrase, if `~` cannot be resolved.
        """
        if not str(path).startswith("~"):
            return directory / path
        if path.parts[0] != "~" or not self.home.is_absolute():
            raise ValueError("starts with a ~ that cannot be resolved: write the full path")
        return self.home.joinpath(*path.parts[1:])


def find_file(
    path: Path | None, environ: Mapping[str, str], cwd: Path, directories: UserDirectories
) -> Path | None:
    """Return the configuration file; None if there is none. Raises ConfigurationError.

    It is `path`, or else the file that BC2OT_CONFIG names; such a file must exist. Otherwise, it is
    `bc2ot.yaml` in `cwd` or `config.yaml` in the user's directory.
    """
    file = named_file(path, environ, cwd, directories)
    if file is None:
        return next(filter(exists, usual_files(cwd, directories)), None)
    if not exists(file):
        raise ConfigurationError(f"{_named_by(path)} names a file that does not exist: {file}.")
    return file


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
        return directories.resolve(Path(text), cwd)
    except ValueError as problem:
        raise ConfigurationError(f"The path in {_named_by(path)} {problem}.") from None


def _named_by(path: Path | None) -> str:
    return "--config" if path else CONFIG_VARIABLE


def usual_files(cwd: Path, directories: UserDirectories) -> list[Path]:
    """Return the default locations of the configuration file, in order."""
    files = [cwd / "bc2ot.yaml", directories.config_file]
    return [file for file in files if file.is_absolute()]


def exists(path: Path) -> bool:
    """Return whether `path` exists. Raises ConfigurationError if that cannot be determined."""
    try:
        return path.exists()
    except OSError as error:  # a directory without access, a name that is too long
        raise ConfigurationError(
            f"Cannot read the configuration file {path}: {error.strerror}.",
            hint="Name another one: --config FILE.",
        ) from None


def read_file(path: Path, *, most: int) -> bytes:
    """Read a file or pipe of at most `most` bytes.

    Raises OSError, with the reason as `strerror`, if it is larger or cannot be read.
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
