"""Where settings come from: the user's folders, files, and the place of each value."""

from __future__ import annotations

import errno
import os
import shlex
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from onetribe_bc.config.kinds import Raw
from onetribe_bc.errors import Bc2otError, ConfigurationError

APP = "bc2ot"


@dataclass(frozen=True)
class Homes:
    """The user's folders: `config` and `state` are bc2ot's own, `user` is what `~` stands for.

    A folder that the machine does not know is a relative path and never used.
    """

    config: Path
    state: Path
    user: Path

    @classmethod
    def of_user(cls) -> Homes:
        """The folders of whoever runs this, as the platform (or XDG_… variables) has them."""
        import platformdirs

        return cls(
            config=platformdirs.user_config_path(APP),
            state=platformdirs.user_state_path(APP),
            user=Path(os.path.expanduser("~")),  # noqa: PTH111 - Path.home() fails without a home
        )


@dataclass(frozen=True)
class Place:
    """A key and where its value stands: a file and line, a variable, an option."""

    key: str
    where: str
    error_type: type[Bc2otError] = ConfigurationError

    def error(self, problem: str, *, hint: str = "") -> Bc2otError:
        """An error that says where, which key, and what is wrong with it."""
        end = "" if problem.endswith("?") else "."
        return self.error_type(f"{self.where}: {self.key} {problem}{end}", hint=hint)


@dataclass(frozen=True)
class Given:
    """A value as it was given.

    `folder` is what relative paths in it start from, `in_file` says that it names a file which
    holds the value, `has_variables` that `${NAME}` in it stands for an environment variable.
    """

    raw: Raw = field(repr=False)
    place: Place
    folder: Path
    in_file: bool = False
    has_variables: bool = False


Layer = Mapping[str, Given]
"""Key name to what one source gives for it."""


@dataclass(frozen=True)
class Contents:
    """What a file holds, and whether users other than its owner can get at it."""

    data: bytes = field(repr=False)
    is_open_to_others: bool


def read_contents(path: Path, *, most: int) -> Contents:
    """The contents of a file of up to `most` bytes; pipes are read too.

    Raises OSError, whose `strerror` says why, where it cannot be read or is larger.
    """
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most} bytes")
    return Contents(data, stat.S_ISREG(mode) and bool(mode & (stat.S_IRWXG | stat.S_IRWXO)))


def absolute(text: str, *, folder: Path, homes: Homes) -> Path:
    """The path `text`, where `~/` is the user's home and a relative one starts at `folder`.

    Raises ValueError, with a phrase, where `~` cannot be resolved.
    """
    if not text.startswith("~"):
        return folder / text
    if text.partition("/")[0] != "~" or not homes.user.is_absolute():
        raise ValueError("begins with a ~ that stands for no known folder: write the path in full")
    return homes.user / text[1:].lstrip("/")


@dataclass(frozen=True)
class Notice:
    """Something for the user to see, and what to do about it: two halves of one sentence.
    `open_file` is a file that others can read.
    """

    text: str
    mend: str
    open_file: Path | None = None

    def __str__(self) -> str:
        return f"{self.text}: {self.mend}."


def open_to_others(file: Path) -> Notice:
    """The warning for a file of secrets that is not its owner's alone, and how to mend it."""
    return Notice(
        f"{file} may hold secrets and is open to other users of this machine",
        f"run `chmod 600 {shlex.quote(str(file))}`",
        open_file=file,
    )
