"""A configuration file, made from answers: its text, and how it gets to the disk."""

from __future__ import annotations

import itertools
import json
import os
import re
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from onetribe_bc.config.finding import is_there
from onetribe_bc.config.keys import KEYS, Key
from onetribe_bc.config.places import Given
from onetribe_bc.errors import ConfigurationError, InputError
from onetribe_bc.files import make_directories, write_atomically

_HEAD = """\
# bc2ot's configuration, a secret: keep it readable by you alone.
# Commented keys, such as "# workers: 8", show what else can be set, and its default.
# ${NAME} takes an environment variable; $$ stands for a dollar sign. A secret can also be in a
# file of its own: access_token_file, url_file and so on name it. See docs/configuration.md.
"""
_COLUMNS = 98
_PLAIN = frozenset({"text", "a path", "a web address"})
"""What a value looks like that needs no word."""


def render(given: Mapping[str, Given]) -> str:
    """The text of a file that gives these values, by key name; whatever else can be set is there
    as a comment. Paths in it should be absolute, or start at the folder that the file will be in.
    """
    lines = _HEAD.splitlines()
    opened: set[str] = set()
    for key in KEYS:
        *sections, _ = key.name.split(".")
        if not sections or sections[0] not in opened:
            lines.append("")
        for depth, section in enumerate(sections):
            name = ".".join(sections[: depth + 1])
            if name not in opened:
                opened.add(name)
                lines.append(f"{'  ' * depth}{section}:")
        indent = "  " * len(sections)
        lines += textwrap.wrap(
            _prose(key),
            _COLUMNS,
            initial_indent=f"{indent}# ",
            subsequent_indent=f"{indent}# ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        lines.append(f"{indent}{_line(key, given.get(key.name))}")
    return "\n".join(lines) + "\n"


def _prose(key: Key[Any]) -> str:
    prose = key.about
    if key.kind.takes not in _PLAIN:
        prose = f"{prose.removesuffix('.')} ({key.kind.takes})."
    if key.default_text and not _default(key):  # it depends on the machine
        prose += f" By default {key.default_text}."
    return prose


def _line(key: Key[Any], given: Given | None) -> str:
    if given is None:
        return f"# {key.name.rpartition('.')[2]}: {_default(key)}".rstrip()
    name = key.file_name if given.in_file else key.name
    return f"{name.rpartition('.')[2]}: {_scalar(given)}"


def _scalar(given: Given) -> str:
    """The value in double quotes: within them YAML, as JSON, takes whatever can be printed."""
    assert isinstance(given.raw, str)  # noqa: S101 - nobody is asked for a list
    text = given.raw if given.has_variables else given.raw.replace("$", "$$")
    return json.dumps(text, ensure_ascii=False)


def _default(key: Key[Any]) -> str:
    """The default as it is written; empty where there is none or it depends on the machine."""
    if key.default_text:
        told = re.fullmatch(r"`([^`]+)`", key.default_text)
        return told[1] if told else ""
    if isinstance(key.default, tuple):
        return f"[{', '.join(map(str, key.default))}]"
    return str(key.default or "")


def check_target(path: Path) -> bool:
    """Whether there is a configuration file already. Raises InputError or ConfigurationError where
    none can be put.
    """
    found = is_there(path)
    if found and not path.is_file():
        raise InputError(f"{path} is not a file.", hint="Give the path of one: --config FILE.")
    folder = path.parent
    while not is_there(folder):
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise _not_written(path, f"{folder} is no folder that you can write to")
    return found


def write(path: Path, text: str, *, overwrite: bool) -> Path | None:
    """Put `text` at `path`: all of it or nothing, 0600 from the first byte on.

    Folders that lack are made. What was there is kept beside it under a free name, which is
    returned. A link is followed. Raises InputError where there is a file already and `overwrite`
    is not given, ConfigurationError where the disk refuses.
    """
    target = Path(os.path.realpath(path))
    backup = None
    try:
        if overwrite:
            with suppress(FileNotFoundError):
                backup = _set_aside(target, target.read_bytes())
        make_directories(target.parent)
        write_atomically(target, text.encode(), replace=overwrite)
    except OSError as error:
        if isinstance(error, FileExistsError) and target.exists():
            raise exists_already(path) from None
        raise _not_written(path, error.strerror or type(error).__name__) from None
    return backup


def free_backup(path: Path) -> Path:
    """Where the next `write` keeps what is at `path`."""
    target = Path(os.path.realpath(path))
    return next(backup for backup in _backups(target) if not os.path.lexists(backup))


def exists_already(path: Path) -> InputError:
    """The error for a file that is there and may not be overwritten."""
    return InputError(
        f"There is a file {path} already. Nothing was written.",
        hint=f"--overwrite replaces it and keeps it as {free_backup(path).name}; --config FILE "
        "takes another place.",
    )


def _set_aside(target: Path, before: bytes) -> Path:
    """Never over an older copy: the first may be the one that was written by hand."""
    for backup in _backups(target):
        with suppress(FileExistsError):
            write_atomically(backup, before)
            break
    return backup


def _backups(target: Path) -> Iterator[Path]:
    yield target.with_name(f"{target.name}.bak")
    for number in itertools.count(2):
        yield target.with_name(f"{target.name}.bak.{number}")


def _not_written(path: Path, problem: str) -> ConfigurationError:
    return ConfigurationError(
        f"The configuration file {path} cannot be written: {problem}.",
        hint="Give another place: bc2ot --config FILE init",
    )
