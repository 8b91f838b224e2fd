"""Write files atomically: a temporary file next to the target, then a rename."""

from __future__ import annotations

import os
import pwd
import shlex
import tempfile
from pathlib import Path


def make_directories(path: Path) -> None:
    """Create `path` and its missing parents, readable only by their owner. Raises OSError."""
    for directory in reversed([d for d in (path, *path.parents) if not d.exists()]):
        directory.mkdir(mode=0o700, exist_ok=True)  # mkdir(parents=True) ignores the mode
        give_to_owner(directory, directory.parent)


def give_to_owner(path: Path | int, like: Path) -> None:
    """Where root made a file, give it to the owner of `like`, who needs it later. Raises OSError.

    Otherwise one run with sudo would lock the user out.
    """
    if os.geteuid() == 0:
        owner = like.stat()
        if owner.st_uid != 0:
            os.chown(path, owner.st_uid, owner.st_gid)


def describe_owner(path: Path) -> str:
    """Return why this user cannot use a file, and the command that helps."""
    found = next(each for each in (path, *path.parents) if os.path.lexists(each))
    owner, user = (user_name(uid) for uid in (found.lstat().st_uid, os.geteuid()))
    if owner == user:
        return (
            f"{found} belongs to {owner}, who may not write to it: run `chmod u+rwX "
            f"{shlex.quote(str(found))}`, unless its file system is read-only"
        )
    return (
        f"{found} belongs to {owner}, and this is {user}: "
        f"run `sudo chown {user} {shlex.quote(str(found))}`"
    )


def user_name(uid: int) -> str:
    """Return a user's name, or the number of one without a name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def write_atomically(path: Path, data: bytes, *, replace: bool = False, mode: int = 0o600) -> None:
    """Write `data` to `path` durably; neither a kill nor a power loss leaves a partial file.

    The file has mode 0600 until it is complete, then `mode`. Raises OSError, and FileExistsError
    if `path` exists and `replace` is false.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            os.fchmod(descriptor, mode)
            file.flush()
            os.fsync(descriptor)
        if replace:
            temporary.replace(path)
        else:
            _move_to_unused_name(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_directory(path.parent)


def _move_to_unused_name(file: Path, path: Path) -> None:
    """Link `file` to `path`: atomic, and unlike a rename it never overwrites."""
    try:
        path.hardlink_to(file)
    except FileExistsError:
        raise
    except OSError:  # the file system has no hard links
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        file.replace(path)


def _sync_directory(directory: Path) -> None:
    """Make the new name survive a power loss."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
