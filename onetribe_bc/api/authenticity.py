"""Whether a callback is BigCommerce's: by its signature, by a secret that only BigCommerce was
given, or by both.

BigCommerce signs each callback the Standard Webhooks way, with the client secret of the API
account that made the hook, and sends along the headers that the hook was made with.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

from onetribe_bc.errors import ConfigurationError, NotAuthenticError
from onetribe_bc.secret import Secret

if TYPE_CHECKING:
    from standardwebhooks import Webhook

SECRET_HEADER = "X-Bc2ot-Secret"  # noqa: S105 - a header's name
"""The header in which a hook made by `hooks create --receiver` carries its secret."""

SIGNATURE_TOLERANCE = timedelta(minutes=5)
"""How far a signature's time may be from this machine's: Standard Webhooks' own limit."""

SIGNATURE_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
"""The headers of a signature, in lower case; the last is what makes it one."""

_HEADERS = (*SIGNATURE_HEADERS, SECRET_HEADER.lower())


class Verifier:
    """Tells BigCommerce's callbacks from a stranger's, by whichever of the two is given.

    Thread-safe.
    """

    def __init__(self, *, client_secret: Secret | None, shared_secret: Secret | None) -> None:
        """Raises ConfigurationError where signatures cannot be checked for want of a package."""
        self._webhook = _webhook(client_secret) if client_secret else None
        self._secret = shared_secret.reveal().encode() if shared_secret else None

    @property
    def is_configured(self) -> bool:
        """Whether there is anything to check by; if not, `check` refuses every callback."""
        return self._webhook is not None or self._secret is not None

    def check(self, headers: Mapping[str, str] | Iterable[tuple[str, str]], body: bytes) -> None:
        """Raise NotAuthenticError unless these headers came with this very body from BigCommerce.

        Of the two ways, those that are configured and in the headers must all be right, and one
        must be there: leaving a header out helps nobody who has not the other secret. A signature
        holds for `SIGNATURE_TOLERANCE` before and after its time.
        """
        given = _lowered(headers)
        signed = self._webhook is not None and SIGNATURE_HEADERS[-1] in given
        told = self._secret is not None and SECRET_HEADER.lower() in given
        if not (signed or told):
            raise NotAuthenticError(
                "secret missing" if self._webhook is None else "signature missing"
            )
        if told:
            self._check_secret(given[SECRET_HEADER.lower()])
        if signed:
            self._check_signature(given, body)

    def _check_secret(self, value: str) -> None:
        # As bytes, since text outside ASCII is refused by compare_digest.
        given = value.encode("utf-8", "surrogatepass")
        if self._secret is None or not hmac.compare_digest(given, self._secret):
            raise NotAuthenticError("secret wrong")

    def _check_signature(self, given: Mapping[str, str], body: bytes) -> None:
        if self._webhook is None or not all(given.get(name) for name in SIGNATURE_HEADERS):
            raise NotAuthenticError("signature missing")
        try:
            self._webhook.verify(
                body, {name: given[name] for name in SIGNATURE_HEADERS}, json_parse=False
            )
        except Exception as error:  # noqa: BLE001 - it raises all kinds on malformed input
            off = "timestamp too" in str(error)  # old, or new
            raise NotAuthenticError("timestamp" if off else "signature wrong") from None


def _webhook(client_secret: Secret) -> Webhook:
    try:
        from standardwebhooks import Webhook
    except ImportError:
        raise ConfigurationError(
            "bigcommerce.client_secret is set, and to check signatures with it a package is "
            "missing: standardwebhooks.",
            hint="pip install 'onetribe-bc[serve]' (from a clone: pip install '.[serve]'). Or "
            "leave client_secret out and have the shared secret checked alone.",
        ) from None
    key = client_secret.reveal().encode("utf-8", "surrogateescape")
    return Webhook(base64.b64encode(key).decode())


def _lowered(headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> dict[str, str]:
    """The headers that matter, by their names in lower case; given twice, they must agree."""
    given: dict[str, str] = {}
    for name, value in headers.items() if isinstance(headers, Mapping) else headers:
        lowered = name.lower()
        if lowered in _HEADERS and given.setdefault(lowered, value) != value:
            raise NotAuthenticError("header given twice")
    return given
