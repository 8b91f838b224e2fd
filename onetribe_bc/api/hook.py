"""BigCommerce's webhooks as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from onetribe_bc.errors import BrokenAnswerError, InputError

HOOKS_PER_SCOPE = 10
"""BigCommerce's limit for one store, API account and scope."""

ORDER_SCOPES = (
    "store/order/*",
    "store/order/created",
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


@dataclass(frozen=True, slots=True)
class Hook:
    """A hook as BigCommerce has it. `headers` are sent along with every callback: secrets."""

    id: int
    scope: str
    destination: str = field(repr=False)
    is_active: bool = True
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class BlockedDomain:
    """A destination that BigCommerce sends nothing to for another `time_left_s` seconds."""

    destination: str
    time_left_s: int
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HooksAdmin:
    """`GET v3/hooks/admin`: alert addresses, each hook's status by id, blocked domains."""

    emails: tuple[str, ...] = field(repr=False)
    statuses: Mapping[int, str] = field(default_factory=dict)
    blocked_domains: tuple[BlockedDomain, ...] = ()


def check_destination(destination: str) -> None:
    """Raise InputError for an address that BigCommerce would not take for a hook."""
    try:
        parts = urlsplit(destination)
        port = parts.port
    except ValueError:
        raise InputError("The hook's destination is not a URL.") from None
    if any(c.isspace() or not c.isprintable() for c in destination) or not parts.hostname:
        raise InputError(
            "The hook's destination is not a URL.",
            hint="Give a whole one, as in https://hooks.example.com/orders",
        )
    if parts.scheme != "https":
        raise InputError(
            "BigCommerce calls hooks over https only; this destination is not https.",
            hint="Put a TLS proxy in front of the receiver and give its https address.",
        )
    if port not in (None, 443):
        raise InputError(
            f"BigCommerce calls hooks on port 443 only; this destination has port {port}.",
            hint="Serve the receiver on port 443 and leave the port out.",
        )
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise InputError(
            "The hook's destination holds a user, a password or a fragment.",
            hint="Use --header NAME=VALUE for a shared secret.",
        )


def parse_hook(row: object) -> Hook:
    """One hook, in the form that v2 and v3 share. Raises BrokenAnswerError."""
    if not isinstance(row, dict):
        raise BrokenAnswerError("BigCommerce's answer has something other than a hook in it.")
    hook_id, scope, destination = row.get("id"), row.get("scope"), row.get("destination")
    headers = row.get("headers") or {}
    if (
        isinstance(hook_id, bool)
        or not isinstance(hook_id, int)
        or not isinstance(scope, str)
        or not isinstance(destination, str)
        or not isinstance(headers, dict)
    ):
        raise BrokenAnswerError("BigCommerce's answer has a hook without id, scope or destination.")
    return Hook(
        id=hook_id,
        scope=scope,
        destination=destination,
        is_active=row.get("is_active") is not False,
        headers={str(name): str(value) for name, value in headers.items()},
        created_at=_moment(row.get("created_at")),
        updated_at=_moment(row.get("updated_at")),
    )


def parse_hooks_admin(data: object) -> HooksAdmin:
    """What the admin endpoint tells. Raises BrokenAnswerError."""
    if not isinstance(data, dict):
        raise BrokenAnswerError("BigCommerce's answer on the hooks' state is not an object.")
    hooks = [row for row in _rows(data.get("hooks_list")) if isinstance(row.get("id"), int)]
    return HooksAdmin(
        emails=tuple(e for e in data.get("emails") or () if isinstance(e, str)),
        statuses={row["id"]: str(row.get("status", "")) for row in hooks},
        blocked_domains=tuple(_blocked(row) for row in _rows(data.get("blocked_domains"))),
    )


def _blocked(row: dict[str, Any]) -> BlockedDomain:
    time_left = row.get("time_left")
    return BlockedDomain(
        destination=str(row.get("destination", "")),
        time_left_s=time_left if isinstance(time_left, int) else 0,
        reasons=tuple(str(r.get("failure_description", "")) for r in _rows(row.get("reasons"))),
    )


def _rows(value: object) -> list[dict[str, Any]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _moment(value: object) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, OSError, ValueError):
        return None
