"""The receiver's shared secret in a file next to the ledger, for when no setting holds one.

`hooks create --receiver` makes it once; everything that verifies callbacks reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from onetribe_bc.config.kinds import CREDENTIAL
from onetribe_bc.config.paths import access_warnings, read_file
from onetribe_bc.config.settings import Notice
from onetribe_bc.errors import ConfigurationError
from onetribe_bc.files import make_directories, write_atomically
from onetribe_bc.secret import Secret

SECRET_BYTES = 32
"""The random bytes in a secret."""

_MAX_BYTES = 1024
_HINT = (
    "make the user who runs bc2ot the owner of the file and its directory, or set receiver.secret"
)


def receiver_secret_file(ledger: Path, store_hash: str) -> Path:
    """Return the file for the secret of a store."""
    return ledger.parent / f"receiver-secret-{store_hash}"


def read_receiver_secret(file: Path) -> tuple[Secret | None, tuple[Notice, ...]]:
    """Return the secret in `file`, None if there is none, and warnings.

    An unreadable file is only a warning: most commands do not need the secret.
    """
    try:
        secret = CREDENTIAL.read(read_file(file, most=_MAX_BYTES).decode().rstrip("\r\n"))
        return secret, access_warnings(file)
    except FileNotFoundError:
        return None, ()
    except OSError as error:
        text = f"Cannot read the receiver's secret in {file} ({error.strerror})"
        return None, (Notice(text, _HINT),)
    except ValueError:
        hint = "delete it, and make a new one with `bc2ot hooks create --receiver URL`"
        return None, (Notice(f"{file} does not contain a secret on one line", hint),)


def make_receiver_secret(file: Path, token: Callable[[int], str]) -> Secret:
    """Write a secret of `token(SECRET_BYTES)` to `file`, readable only by its owner.

    Never overwrites a file. Raises ConfigurationError.
    """
    secret = token(SECRET_BYTES)
    try:
        make_directories(file.parent)
        write_atomically(file, f"{secret}\n".encode())
    except OSError as error:
        raise ConfigurationError(
            f"Cannot write the receiver's secret to {file}: {error.strerror}.",
            hint=f"{_HINT[0].upper()}{_HINT[1:]}.",
        ) from None
    return Secret(secret)
