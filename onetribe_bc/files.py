"""A file of secrets on the disk: its owner's alone, all of it or nothing, and there to stay."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def keep(path: Path, data: bytes, *, replace: bool = False) -> None:
    """Put `data` at `path`, 0600 from the first byte on. Folders that lack are made, 0700.

    It is written beside its place and then moved there: neither a kill nor a power cut leaves
    half of it. Raises OSError, and FileExistsError where something is there, unless `replace`.
    """
    for folder in reversed([f for f in path.parents if not f.exists()]):
        folder.mkdir(mode=0o700, exist_ok=True)  # `parents` would leave those above open to all
    descriptor, name = tempfile.mkstemp(prefix=".bc2ot.", dir=path.parent)  # 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            Path(name).replace(path)
        else:
            _move_to_free_place(Path(name), path)
    finally:
        Path(name).unlink(missing_ok=True)
    _sync_folder(path.parent)


def _move_to_free_place(file: Path, path: Path) -> None:
    """A link comes about at once and whole, and never in the place of what is there."""
    try:
        path.hardlink_to(file)
    except FileExistsError:
        raise
    except OSError:  # not every file system has links
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        file.replace(path)


def _sync_folder(folder: Path) -> None:
    """The file's name outlives a power cut, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
