"""What an answer means: one table for each service, from its status to one of our errors."""

from __future__ import annotations

import json
import re
from datetime import datetime

from onetribe_bc.api.http import Response
from onetribe_bc.api.rate_limit import parse_retry_after
from onetribe_bc.errors import (
    BadResponseError,
    Bc2otError,
    CredentialsError,
    NotFoundError,
    OneTribeUrlError,
    OrderRefusedError,
    RejectedError,
    RetryLaterError,
    ScopeError,
)
from onetribe_bc.text import excerpt

_TRY_AGAIN = frozenset({408, 425, 429})
_WRONG_ADDRESS = frozenset({401, 403, 404, 405, 410})

_CREDENTIALS_HINT = (
    "Check store_hash and access_token: the token must be of an API account of this store "
    "(control panel: Settings > Store-level API accounts), and not revoked."
)

_ADDRESS_HINT = (
    "Check onetribe.url against the address on One Tribe's integration page, merchant key "
    "included. Nothing is lost: what was not delivered stays owed."
)


def bigcommerce_error(
    answer: Response, *, what: str, scope: str, now: datetime
) -> Bc2otError | None:
    """The error that BigCommerce's `answer` to a request for `what` stands for; None for 2xx.

    `scope` is the OAuth scope that the request needs, as the control panel names it.
    """
    status = answer.status
    if 200 <= status < 300:
        return None
    said = f"{what}: BigCommerce answered {status}{_quoted(answer)}."
    if status == 401:
        return CredentialsError(
            f"{said} The access token is not valid for this store.", hint=_CREDENTIALS_HINT
        )
    if status == 403:
        return ScopeError(
            f"{said} The access token lacks the scope {scope}.",
            hint=f"Give the API account the scope {scope}, or make a new one that has it.",
        )
    if status == 404 and not _is_json(answer.body):
        # BigCommerce itself says it in JSON. Anything else comes from something in between, and
        # must not make an order look gone.
        return BadResponseError(
            f"{said} That is not the API's own answer.",
            hint="Check bigcommerce.api_url, and what stands between it and this machine.",
        )
    if status == 404:
        return NotFoundError(said)
    if status in _TRY_AGAIN or status >= 500:
        retry_after = answer.headers.get("X-Retry-After") or answer.headers.get("Retry-After")
        return RetryLaterError(
            said,
            hint="BigCommerce is overloaded, limiting requests, or down: run it again later.",
            status=status,
            retry_after_s=parse_retry_after(retry_after, now),
        )
    if status >= 400:
        return RejectedError(said)
    return BadResponseError(said, hint="Check bigcommerce.api_url: the API does not redirect.")


def onetribe_error(answer: Response, *, text: str, now: datetime) -> Bc2otError | None:
    """The error that One Tribe's `answer` to one order stands for; None for 2xx: delivered.

    `text` is the excerpt of the body that may be shown.
    """
    status = answer.status
    if 200 <= status < 300:
        return None
    said = f"One Tribe answered {status}"
    if 300 <= status < 400:
        return redirect_error(status)
    if status in _WRONG_ADDRESS:
        return OneTribeUrlError(
            f"{said}: the address or the merchant key is wrong.", hint=_ADDRESS_HINT
        )
    if status in _TRY_AGAIN or status >= 500:
        retry_after = parse_retry_after(answer.headers.get("Retry-After"), now)
        return RetryLaterError(said, status=status, text=text, retry_after_s=retry_after)
    return OrderRefusedError(f"{said}: it refuses this order", status=status, text=text)


def redirect_error(status: int) -> OneTribeUrlError:
    """The error that a redirect by One Tribe stands for."""
    return OneTribeUrlError(
        f"One Tribe answered {status}, a redirect: the address is wrong. A redirect is never "
        "followed, since it would deliver nothing.",
        hint=_ADDRESS_HINT,
    )


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True


def _quoted(answer: Response) -> str:
    said = remote_message(answer)
    return f" ({said})" if said else ""


def remote_message(answer: Response) -> str:
    """What a BigCommerce error says in words, at most 200 characters.

    v2 errors are `[{"status": …, "message": …}]`, v3 errors `{"status", "title", "errors"}`;
    proxies in between answer HTML or nothing.
    """
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):
        return excerpt(
            re.sub(
                r"<[^>]*>", " ", re.sub(r"(?is)<(style|script).*?</\1>", " ", answer.text[:4096])
            )
        )
    if isinstance(document, list) and document:
        document = document[0]
    if not isinstance(document, dict):
        return ""
    said = [str(document[key]) for key in ("message", "title") if document.get(key)]
    errors = document.get("errors")
    if isinstance(errors, dict):
        said += [f"{key}: {value}" for key, value in errors.items()]
    return excerpt("; ".join(said))
