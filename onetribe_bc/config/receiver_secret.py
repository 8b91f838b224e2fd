"""The receiver's shared secret in a file next to the ledger, used if no setting has one.

`hooks create --receiver` creates it once; everything that verifies callbacks reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from onetribe_bc.config.kinds import CREDENTIAL
from onetribe_bc.config.paths import read_file
from onetribe_bc.config.settings import Notice
from onetribe_bc.errors import ConfigurationError
from onetribe_bc.files import give_to_owner, make_directories, write_atomically
from onetribe_bc.secret import Secret
from onetribe_bc.text import decode_utf8

_SECRET_BYTES = 32
_MAX_BYTES = 1024
_HINT = (
    "make the user who runs bc2ot the owner of the file and its directory, or set receiver.secret"
)


def receiver_secret_file(ledger: Path, store_hash: str) -> Path:
    """Return the path of a store's secret."""
    return ledger.parent / f"receiver-secret-{store_hash}"


def read_receiver_secret(file: Path) -> Secret | Notice | None:
    """Return the secret in `file`, why it cannot be used, or None if there is no file."""
    try:
        return CREDENTIAL.read(decode_utf8(read_file(file, most=_MAX_BYTES)).rstrip("\r\n"))
    except FileNotFoundError:
        return None
    except OSError as error:
        return Notice(f"Cannot read the receiver's secret in {file} ({error.strerror})", _HINT)
    except ValueError:
        hint = "delete it, and create a new one with `bc2ot hooks create --receiver URL`"
        return Notice(f"{file} does not contain a secret on one line", hint)


def make_receiver_secret(file: Path, token: Callable[[int], str]) -> Secret:
    """Write a secret, `token(number of random bytes)`, to `file`, readable only by its owner.

    Raises ConfigurationError, also if the file exists.
    """
    secret = token(_SECRET_BYTES)
    try:
        make_directories(file.parent)
        write_atomically(file, f"{secret}\n".encode())
        give_to_owner(file, file.parent)
    except OSError as error:
        raise ConfigurationError(
            f"Cannot write the receiver's secret to {file}: {error.strerror}.",
            hint=f"{_HINT[0].upper()}{_HINT[1:]}.",
        ) from None
    return Secret(secret)
