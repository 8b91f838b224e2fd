"""Render a configuration file, and write it without losing an existing one."""

from __future__ import annotations

import itertools
import json
import os
import textwrap
from pathlib import Path

from onetribe_bc.config.paths import exists
from onetribe_bc.config.settings import SETTINGS, Setting
from onetribe_bc.config.sources import Source, Sources
from onetribe_bc.errors import ConfigurationError, InputError
from onetribe_bc.files import make_directories, write_atomically

_HEAD = """\
# bc2ot's configuration: ./bc2ot.yaml, or bc2ot/config.yaml in your configuration directory
# (~/.config on Linux). It may hold secrets: make it readable only by you (chmod 600).
# Commented keys, such as "# workers: 8", show other settings with their defaults.
# ${NAME} takes an environment variable; $$ is a dollar sign. access_token_file, url_file and so on
# name a file that holds the secret instead. See docs/configuration.md.
"""
_STORES = """
# More stores, each chosen with `bc2ot --store NAME`. A store inherits what it does not set.
# stores:
#   uk:
#     bigcommerce:
#       store_hash: def456
#       access_token: ${BIGCOMMERCE_UK_ACCESS_TOKEN}
#     onetribe:
#       url: ${ONETRIBE_UK_URL}
#     timezone: Europe/London
"""
_COLUMNS = 98
_PLAIN = frozenset({"text", "letters and digits", "a path", "a URL", "a time zone"})
"""Kinds of values that need no explanation."""


def render(sources: Sources) -> str:
    """Return the text of a file that sets `sources`, with all other settings as comments.

    Paths should be absolute, or relative to the file's directory.
    """
    lines = _HEAD.splitlines()
    opened: list[str] = []
    for setting in SETTINGS.values():
        *sections, own_name = setting.name.split(".")
        if sections[:1] != opened[:1] or not sections:
            lines.append("")
        for depth, section in enumerate(sections):
            if sections[: depth + 1] != opened[: depth + 1]:
                lines.append(f"{'  ' * depth}{section}:")
        opened = sections
        indent = "  " * len(sections)
        width = _COLUMNS - len(f"{indent}# ")
        comment = textwrap.wrap(_comment(setting), width, break_on_hyphens=False)
        lines += [f"{indent}# {line}" for line in comment]
        source = sources.get(setting.name)
        if source is None:
            lines.append(f"{indent}# {own_name}: {setting.default_text}".rstrip())
        else:
            suffix = "_file" if source.names_file else ""
            lines.append(f"{indent}{own_name}{suffix}: {_scalar(source)}")
    return "\n".join(lines) + "\n" + _STORES


def _comment(setting: Setting) -> str:
    comment = setting.meaning
    if setting.kind.takes not in _PLAIN:
        comment += f" Takes {setting.kind.takes}."
    if setting.default_note:
        comment += f" Default: {setting.default_note}."
    return comment


def _scalar(source: Source) -> str:
    """Return the value in double quotes: YAML then reads any printable text as JSON does."""
    text = str(source.raw)
    return json.dumps(text if source.has_variables else text.replace("$", "$$"), ensure_ascii=False)


def check_target(path: Path) -> bool:
    """Return whether `path` is an existing file.

    Raises InputError or ConfigurationError if no file can be written there.
    """
    found = exists(path)
    if found and not path.is_file():
        raise InputError(f"{path} is not a file.", hint="Pass the path of a file: --config FILE.")
    directory = next(filter(exists, path.parents))
    if not directory.is_dir() or not os.access(directory, os.W_OK | os.X_OK):
        raise _not_written(path, f"{directory} is not a directory that you can write to")
    return found


def write(path: Path, text: str, *, overwrite: bool) -> Path | None:
    """Write `text` to `path` atomically, mode 0600; missing directories are created.

    Symbolic links are followed. An existing file is backed up under a free name, which is
    returned. Raises InputError if a file exists and `overwrite` is false, ConfigurationError if
    the file cannot be written.
    """
    target = Path(os.path.realpath(path))
    backup = None
    try:
        if overwrite and target.exists():
            backup = free_backup(target)
            write_atomically(backup, target.read_bytes())
        make_directories(target.parent)
        write_atomically(target, text.encode(), replace=overwrite)
    except OSError as error:
        if isinstance(error, FileExistsError) and target.exists():
            raise exists_already(path) from None
        raise _not_written(path, error.strerror or type(error).__name__) from None
    return backup


def free_backup(path: Path) -> Path:
    """Return the path for the next backup of `path`, which never replaces an older one."""
    target = Path(os.path.realpath(path))
    suffixes = itertools.chain([".bak"], (f".bak.{number}" for number in itertools.count(2)))
    backups = (target.with_name(f"{target.name}{suffix}") for suffix in suffixes)
    return next(backup for backup in backups if not os.path.lexists(backup))


def exists_already(path: Path) -> InputError:
    """Return the error for an existing file that may not be overwritten."""
    return InputError(
        f"{path} already exists. Nothing was written.",
        hint=f"Replace it with --overwrite, which keeps it as {free_backup(path).name}, or choose "
        "another file with --config FILE.",
    )


def _not_written(path: Path, problem: str) -> ConfigurationError:
    return ConfigurationError(
        f"Cannot write the configuration file {path}: {problem}.",
        hint="Choose another one: bc2ot --config FILE init",
    )
