"""BigCommerce's webhooks as values: validate, parse, compare and mask them."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from onetribe_bc.dates import from_timestamp
from onetribe_bc.errors import InputError, UnexpectedResponseError
from onetribe_bc.order import parse_integer
from onetribe_bc.secret import MASK, Secret
from onetribe_bc.text import excerpt

HOOKS_PER_SCOPE = 10
"""BigCommerce's limit per store, API account and scope."""

ORDER_CREATED = "store/order/created"
ORDER_SCOPES = (
    "store/order/*",
    ORDER_CREATED,
    "store/order/updated",
    "store/order/archived",
    "store/order/statusUpdated",
    "store/order/message/created",
    "store/order/refund/created",
    "store/order/transaction/created",
    "store/order/transaction/updated",
    "store/order/metafield/created",
    "store/order/metafield/updated",
    "store/order/metafield/deleted",
)

_KEY_CHARACTERS = 16
"""A path segment of at least this length may be a key, and is masked."""

_LONGEST_BLOCK_S = 365 * 86_400
_OTHER_KINDS = ("arn:", "projects/", "{", "[")
"""Prefixes of destinations that are not URLs: Amazon's and Google's event services, and JSON."""

_ONETRIBE_PATH = "/direct/webhook/"
_SCOPE = re.compile(r"store(?:/channel/[0-9]{1,12})?(?:/[A-Za-z][A-Za-z0-9_-]*)+(?:/\*)?")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True, slots=True)
class Hook:
    """A webhook. BigCommerce sends `headers`, which may be secret, with every callback."""

    id: int
    scope: str
    destination: str = field(repr=False)
    is_active: bool = True
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class BlockedDomain:
    """A destination that BigCommerce will not call for another `time_left_s` seconds."""

    destination: str
    time_left_s: int
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HooksAdmin:
    """The response of `GET v3/hooks/admin`: each webhook's status by ID, and blocked domains."""

    statuses: Mapping[int, str] = field(default_factory=dict)
    blocked_domains: tuple[BlockedDomain, ...] = ()


def check_destination(destination: str) -> None:
    """Raise InputError for a destination that BigCommerce would refuse."""
    try:
        parts = urlsplit(destination)
        port = parts.port
    except ValueError:
        raise InputError("The webhook's destination is not a URL.") from None
    if any(c.isspace() or not c.isprintable() for c in destination) or not parts.hostname:
        raise InputError(
            "The webhook's destination is not a URL.",
            hint="Pass a complete one, such as https://hooks.example.com/orders",
        )
    if parts.scheme != "https":
        raise InputError(
            "BigCommerce calls webhooks over https only; this destination is not https.",
            hint="Put a TLS proxy in front of the receiver and pass its https URL.",
        )
    if port not in (None, 443):
        raise InputError(
            f"BigCommerce calls webhooks on port 443 only; this destination has port {port}.",
            hint="Serve the receiver on port 443 and leave the port out.",
        )
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise InputError(
            "The webhook's destination has a user, a password or a fragment.",
            hint="Use --header NAME=VALUE for a shared secret.",
        )


def hook_obstacle(url: Secret) -> str:
    """Return a sentence on why BigCommerce cannot call this URL; empty if it can."""
    try:
        check_destination(url.reveal())
    except InputError as error:
        return str(error)
    return ""


def check_scope(scope: str) -> None:
    """Raise InputError for a malformed scope. Only BigCommerce knows which ones exist."""
    if _SCOPE.fullmatch(scope):
        return
    near = difflib.get_close_matches(scope, ORDER_SCOPES, n=1, cutoff=0.5)
    raise InputError(
        f"{scope[:60]!r} is not a valid scope.",
        hint=f"Did you mean {near[0]}?" if near else f"Scopes look like {ORDER_CREATED}.",
    )


def nearest_scope(scope: str) -> str | None:
    """Return the order scope that `scope` probably misspells, or None."""
    parts = scope.split("/")
    about = parts[1] if len(parts) > 1 else ""
    if scope in ORDER_SCOPES or not difflib.get_close_matches(about.lower(), ["order"], cutoff=0.7):
        return None
    return difflib.get_close_matches(scope, ORDER_SCOPES, n=1, cutoff=0.0)[0]


def check_header(name: str, value: str) -> None:
    """Raise InputError for a header that is not valid in HTTP, without quoting its value."""
    if not _HEADER_NAME.fullmatch(name):
        raise InputError(
            "A header's name has letters, digits and hyphens, such as X-Hook-Secret.",
            hint="Write NAME=VALUE.",
        )
    if not value.strip():
        raise InputError(f"The header {name} has no value.")
    if not (value.isascii() and value.isprintable()):
        raise InputError(
            f"The value of the header {name} has line breaks, control or non-ASCII characters."
        )


def same_url(one: str, other: str) -> bool:
    """Return whether two destinations are equal, ignoring the host's case and port 443."""
    return _canonical(one) == _canonical(other)


def same_destination(one: str, other: str) -> bool:
    """Return whether two destinations are equal, also ignoring a slash at the end of the path.

    Two such webhooks would call the same service twice.
    """
    return same_url(_without_slash(one), _without_slash(other))


def same_merchant(one: str, other: str) -> bool:
    """Return whether both are One Tribe URLs of one merchant, whatever precedes the key."""
    first, second = _split(one), _split(other)
    return (
        first is not None
        and second is not None
        and _ONETRIBE_PATH in first.path
        and _ONETRIBE_PATH in second.path
        and (first.hostname, _last(first)) == (second.hostname, _last(second))
    )


def host_of(destination: str) -> str:
    """Return the host of a destination, which may lack a scheme; empty if it has none."""
    parts = _split(destination)
    return (parts.hostname or "") if parts else ""


def mask_destination(destination: str, onetribe: Secret | None = None) -> str:
    """Return `destination` without its secrets.

    Masks the key of a One Tribe URL, path segments that contain the key of the configured URL
    `onetribe` or have 16 or more characters, and the query; omits the user and the fragment.
    """
    if destination.startswith(_OTHER_KINDS):
        return excerpt(destination)
    parts = _split(destination)
    if parts is None:
        return MASK
    secrets = _secret_segments(parts, onetribe)
    path = "/".join(MASK if s in secrets else s for s in parts.path.split("/"))
    host = parts.netloc.rpartition("@")[2]
    shown = urlunsplit((parts.scheme, host, path, MASK if parts.query else "", ""))
    return shown if "//" in destination else shown.removeprefix("//")


def destination_secrets(destination: str) -> tuple[str, ...]:
    """Return what `mask_destination` masks, for texts that may quote it."""
    parts = _split(destination)
    if parts is None:
        return (destination,)
    query = [parts.query] if parts.query else []
    return (*_secret_segments(parts, None), *query)


def parse_hook(row: object) -> Hook:
    """Return one webhook, in the form that v2 and v3 share. Raises UnexpectedResponseError.

    Values of an unknown kind become JSON text.
    """
    if not isinstance(row, dict):
        raise UnexpectedResponseError("BigCommerce's response has a row that is not a webhook.")
    headers = row.get("headers")
    return Hook(
        id=parse_integer(row.get("id")) or 0,
        scope=_text(row.get("scope")),
        destination=_text(row.get("destination")),
        is_active=row.get("is_active") not in (False, 0, "false"),
        headers={str(k): _text(v) for k, v in headers.items()} if isinstance(headers, dict) else {},
        created_at=from_timestamp(row.get("created_at")),
        updated_at=from_timestamp(row.get("updated_at")),
    )


def _text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def parse_hooks_admin(data: object) -> HooksAdmin:
    """Return the response of the admin endpoint. Raises UnexpectedResponseError."""
    if not isinstance(data, dict):
        raise UnexpectedResponseError("BigCommerce's state of webhooks is not an object.")
    hooks = [(parse_integer(row.get("id")), row) for row in _rows(data.get("hooks_list"))]
    return HooksAdmin(
        statuses={i: _text(row.get("status")) for i, row in hooks if i is not None},
        blocked_domains=tuple(_blocked(row) for row in _rows(data.get("blocked_domains"))),
    )


def _split(destination: str) -> SplitResult | None:
    """Split a URL, which BigCommerce may report without its scheme."""
    try:
        parts = urlsplit(destination if "//" in destination else f"//{destination}")
        _ = parts.port
    except ValueError:
        return None
    return parts


def _canonical(destination: str) -> tuple[object, ...]:
    parts = _split(destination)
    if parts is None:
        return (destination,)
    return (parts.scheme, parts.hostname, parts.port or 443, parts.path or "/", parts.query)


def _without_slash(destination: str) -> str:
    parts = _split(destination)
    return destination if parts is None else parts._replace(path=parts.path.rstrip("/")).geturl()


def _last(parts: SplitResult) -> str:
    return parts.path.rstrip("/").rpartition("/")[2]


def _secret_segments(parts: SplitResult, onetribe: Secret | None) -> set[str]:
    secrets = {s for s in parts.path.split("/") if len(s) >= _KEY_CHARACTERS}
    configured = _split(onetribe.reveal()) if onetribe else None
    key = _last(configured) if configured else ""
    if key:
        secrets |= {s for s in parts.path.split("/") if unquote(key) in unquote(s)}
    if _ONETRIBE_PATH in parts.path:
        secrets.add(_last(parts))
    return secrets


def _blocked(row: dict[str, Any]) -> BlockedDomain:
    return BlockedDomain(
        destination=_text(row.get("destination")),
        time_left_s=min(max(0, parse_integer(row.get("time_left")) or 0), _LONGEST_BLOCK_S),
        reasons=tuple(
            excerpt(_text(r.get("failure_description"))) for r in _rows(row.get("reasons"))
        ),
    )


def _rows(value: object) -> list[dict[str, Any]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []
