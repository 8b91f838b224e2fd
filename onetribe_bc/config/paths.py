"""Paths: the user's directories, the configuration file, and files that may hold secrets."""

from __future__ import annotations

import errno
import os
import shlex
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from onetribe_bc.config.kinds import PATH
from onetribe_bc.config.settings import CONFIG_VARIABLE, Notice
from onetribe_bc.errors import ConfigurationError
from onetribe_bc.files import user_name


@dataclass(frozen=True)
class UserDirectories:
    """bc2ot's directories `config` and `state`, and the user's `home`, for `~`.

    A directory that cannot be determined is a relative path, which is not used.
    """

    config: Path
    state: Path
    home: Path

    @classmethod
    def of_user(cls) -> UserDirectories:
        """Return the directories of the current user, by the platform or XDG_… variables."""
        import platformdirs

        def find(locate: Callable[[str], Path]) -> Path:
            try:
                return locate("bc2ot")
            except RuntimeError:  # a user without a home, as in a container with any uid
                return Path("bc2ot")

        return cls(
            config=find(platformdirs.user_config_path),
            state=find(platformdirs.user_state_path),
            home=Path(os.path.expanduser("~")),  # noqa: PTH111 - Path.home() fails without a home
        )

    @property
    def config_file(self) -> Path:
        """The user's configuration file, used from every working directory."""
        return self.config / "config.yaml"

    def resolve(self, path: Path, directory: Path | None) -> Path:
        """Return `path` from `directory` on, with `~` replaced by the user's home.

        Raises ValueError, with a phrase, if `~` cannot be resolved, and for a relative path
        without a `directory`.
        """
        if directory is None and (str(path) == "~" or not str(path).startswith(("/", "~"))):
            raise ValueError("must be an absolute path, or begin with ~/")
        if not str(path).startswith("~"):
            return path if directory is None else directory / path
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
        file = next(filter(exists, usual_files(cwd, directories)), None)
        if file is not None:
            hint = f"If you trust it, name it: --config {shlex.quote(str(file))}"
            refuse_foreign("The configuration file", file, environ, hint)
        return file
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
        return directories.resolve(path or PATH.read(text), cwd if path else None)
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


def access_warnings(file: Path, environ: Mapping[str, str]) -> tuple[Notice, ...]:
    """Return warnings if a file of secrets is another user's, or others can read or write it.

    systemd's credentials are protected by their directory instead.
    """
    if str(file).startswith(f"{environ.get('CREDENTIALS_DIRECTORY', '/run/credentials')}/"):
        return ()
    found = file.stat()
    notices = []
    if not _is_trusted(found, environ):
        text = f"{file} belongs to user {user_name(found.st_uid)}, who can change it at any time"
        notices.append(Notice(text, f"run `chown $(id -un) {shlex.quote(str(file))}` as root"))
    if stat.S_ISREG(found.st_mode) and found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        text = f"{file} may hold secrets, and other users of this machine have access to it"
        hint = f"run `chmod 600 {shlex.quote(str(file))}`"
        notices.append(Notice(text, hint, open_file=file))
    return tuple(notices)


def user_of(path: Path) -> int | None:
    """Return who owns a file, or the directory where it would be; None if there is neither."""
    found = next((each for each in (path, path.parent) if each.exists()), None)
    return None if found is None else found.stat().st_uid


def refuse_foreign(
    what: str, file: Path, environ: Mapping[str, str], hint: str = "", *, owner: int | None = None
) -> None:
    """Raise ConfigurationError for a file in a default location that another user owns.

    The other user may have planted it. This also applies to a symbolic link. `owner` is trusted.
    """
    for follow in (False, True):
        try:
            found = file.stat(follow_symlinks=follow)
        except OSError:  # missing, or reported when the file is opened
            return
        if not _is_trusted(found, environ) and found.st_uid != owner:
            user = user_name(os.geteuid())
            raise ConfigurationError(
                f"{what} {file} belongs to user {user_name(found.st_uid)}, not to user {user}.",
                hint=hint
                or f"If it is yours, run `chown {user} "
                f"{shlex.quote(str(file))}` as root. Otherwise another user put it there.",
            )


def _is_trusted(found: os.stat_result, environ: Mapping[str, str]) -> bool:
    """Whether the owner is this user, root or, with sudo, the user who called it."""
    trusted = {0, os.geteuid()}
    if os.geteuid() == 0 and environ.get("SUDO_UID", "").isdecimal():
        trusted.add(int(environ["SUDO_UID"]))
    return found.st_uid in trusted
