"""The shared secret of the store's callbacks, where no setting gives it: a file beside the ledger.

`hooks create --receiver` makes it once; whoever checks callbacks afterwards reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from onetribe_bc.config.kinds import CREDENTIAL
from onetribe_bc.config.places import Notice, open_to_others, read_contents
from onetribe_bc.errors import ConfigurationError
from onetribe_bc.files import make_directories, write_atomically
from onetribe_bc.secret import Secret

SECRET_BYTES = 32
"""How much chance is in a secret."""

_MOST_BYTES = 1024
_MEND = "let the user that runs bc2ot own its folder and file, or set receiver.secret"


def receiver_secret_file(ledger: Path, store_hash: str) -> Path:
    """Where the secret of that store is kept."""
    return ledger.parent / f"receiver-secret-{store_hash}"


def read_receiver_secret(file: Path) -> tuple[Secret | None, Notice | None]:
    """The secret in `file` and what the user should be warned of; None where there is none.

    What cannot be read is no error here: most commands do very well without it.
    """
    try:
        contents = read_contents(file, most=_MOST_BYTES)
        secret = CREDENTIAL.read(contents.data.decode().rstrip("\r\n"))
    except FileNotFoundError:
        return None, None
    except OSError as error:
        return None, Notice(
            f"The receiver's secret in {file} cannot be read ({error.strerror})",
            _MEND,
        )
    except ValueError:
        return None, Notice(
            f"{file} holds no secret in one line",
            "delete it, and make a new one by `bc2ot hooks create --receiver URL`",
        )
    return secret, open_to_others(file) if contents.is_open_to_others else None


def make_receiver_secret(file: Path, token: Callable[[int], str]) -> Secret:
    """Make a secret of `token(SECRET_BYTES)` and keep it in `file`, for its owner's eyes only.

    A file that is there is never overwritten. Raises ConfigurationError.
    """
    secret = token(SECRET_BYTES)
    try:
        make_directories(file.parent)
        write_atomically(file, f"{secret}\n".encode())
    except OSError as error:
        raise ConfigurationError(
            f"The receiver's secret cannot be kept in {file}: {error.strerror}.",
            hint=f"{_MEND[0].upper()}{_MEND[1:]}.",
        ) from None
    return Secret(secret)
