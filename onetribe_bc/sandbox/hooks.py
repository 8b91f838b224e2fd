"""The webhooks of the simulated store: one set, behind v2 and v3 alike."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any
from urllib.parse import urlsplit

CLIENT_ID = "sandbox-client-id"
FOREIGN_CLIENT_ID = "another-apps-client-id"
MAX_PER_SCOPE = 10
_FIRST_ID = 20_172_984
_BLOCKED_S = 180

_EVENTS = {
    "app": "uninstalled",
    "cart": "* created updated deleted couponApplied abandoned converted lineItem/* "
    "lineItem/created lineItem/updated lineItem/deleted",
    "category": "* created updated deleted",
    "channel": "* created updated",
    "customer": "* created updated deleted address/created address/updated address/deleted "
    "payment/instrument/default/updated",
    "hook": "deliveryException",
    "information": "updated",
    "order": "* created updated archived statusUpdated message/created refund/created "
    "transaction/created transaction/updated metafield/created metafield/updated metafield/deleted",
    "product": "* created updated deleted inventory/updated inventory/order/updated",
    "shipment": "* created updated deleted",
    "sku": "* created updated deleted inventory/updated inventory/order/updated",
    "subscriber": "* created updated deleted",
}
SCOPES = frozenset(
    f"store/{resource}/{event}" for resource, events in _EVENTS.items() for event in events.split()
)
"""The scopes a hook may have, from BigCommerce's `webhooks.v3` reference and its events guide."""


class HookError(ValueError):
    """A hook that BigCommerce refuses with 422, and the field that is wrong."""

    def __init__(self, wrong_field: str, message: str) -> None:
        super().__init__(message)
        self.field = wrong_field


@dataclass(frozen=True, slots=True)
class Hook:
    """One webhook. Times are epoch seconds."""

    id: int
    client_id: str
    store_hash: str
    scope: str
    destination: str
    headers: Mapping[str, str] | None
    is_active: bool
    created_at: int
    updated_at: int
    deactivated: bool = False
    """Disabled by BigCommerce, not by its owner; only `hooks/admin` shows it."""

    def as_json(self) -> dict[str, object]:
        """As in v3 under `data`, and in v2 bare."""
        fields = asdict(self)
        del fields["deactivated"]
        return fields

    @property
    def status(self) -> str:
        if self.deactivated:
            return "deactivated"
        return "active" if self.is_active else "inactive"


@dataclass(frozen=True, slots=True)
class BlockedDomain:
    """A destination that BigCommerce sends nothing to for now. Times are in seconds."""

    destination: str
    time_left: int
    reasons: tuple[Mapping[str, object], ...]


class HookStore:
    """The hooks that exist. Every method may be called from any thread.

    `now` gives the server's clock in epoch seconds. `answer_destination`, if set, is stored in
    place of the requested destination: One Tribe's help page shows such a response.
    """

    def __init__(self, store_hash: str, now: Callable[[], int]) -> None:
        self._store_hash = store_hash
        self._now = now
        self._lock = threading.RLock()
        self._hooks: dict[int, Hook] = {}
        self._next_id = _FIRST_ID
        self._blocked: dict[str, BlockedDomain] = {}
        self._emails: tuple[str, ...] = ()
        self.answer_destination: str | None = None

    def all(self) -> tuple[Hook, ...]:
        """Every hook, those of other clients included, by id."""
        with self._lock:
            return tuple(self._hooks.values())

    def visible(self) -> tuple[Hook, ...]:
        """The hooks that the sandbox's token sees: those of its own client."""
        return tuple(hook for hook in self.all() if hook.client_id == CLIENT_ID)

    def get(self, hook_id: int) -> Hook:
        """A hook that the token sees. Raises KeyError."""
        with self._lock:
            hook = self._hooks[hook_id]
        if hook.client_id != CLIENT_ID:
            raise KeyError(hook_id)
        return hook

    def add(
        self,
        scope: str,
        destination: str,
        *,
        is_active: bool = True,
        headers: Mapping[str, str] | None = None,
        foreign: bool = False,
    ) -> Hook:
        """Add a hook, unchecked, as old ones may be; `foreign`: of another client."""
        with self._lock:
            now = self._now()
            hook = Hook(
                id=self._next_id,
                client_id=FOREIGN_CLIENT_ID if foreign else CLIENT_ID,
                store_hash=self._store_hash,
                scope=scope,
                destination=destination,
                headers=headers,
                is_active=is_active,
                created_at=now,
                updated_at=now,
            )
            self._hooks[hook.id] = hook
            self._next_id += 1
            return hook

    def create(self, wanted: Mapping[str, object]) -> Hook:
        """Create a hook, as POST does. Raises HookError."""
        for name in ("scope", "destination"):
            if wanted.get(name) is None:
                raise HookError(name, "error.path.missing")
        values = _checked(wanted)
        with self._lock:
            self._check_room(values["scope"], values["destination"], besides=None)
            if self.answer_destination is not None:
                values["destination"] = self.answer_destination
            return self.add(**values)

    def update(self, hook_id: int, wanted: Mapping[str, object]) -> Hook:
        """Change the given fields, as PUT does. Raises KeyError and HookError."""
        values = _checked(wanted)
        if not values:
            raise HookError("scope", "An update needs at least one field.")
        with self._lock:
            hook = self.get(hook_id)
            changed = replace(hook, **values, updated_at=max(self._now(), hook.updated_at + 1))
            if changed.is_active:
                changed = replace(changed, deactivated=False)
            self._check_room(changed.scope, changed.destination, besides=hook_id)
            self._hooks[hook_id] = changed
            return changed

    def delete(self, hook_id: int) -> Hook:
        """Delete a hook that the token sees, and return it. Raises KeyError."""
        with self._lock:
            hook = self.get(hook_id)
            del self._hooks[hook_id]
            return hook

    def deactivate(self, hook_id: int) -> None:
        """As BigCommerce does after 90 idle days or when every retry failed. Raises KeyError."""
        with self._lock:
            hook = self._hooks[hook_id]
            self._hooks[hook_id] = replace(hook, is_active=False, deactivated=True)

    def block(self, destination: str, time_left_s: int = _BLOCKED_S) -> None:
        """Put a destination on the deny list until `unblock()`."""
        reason = {"failure_description": "HTTP 500", "count": 37, "timestamp": self._now()}
        with self._lock:
            self._blocked[destination] = BlockedDomain(destination, time_left_s, (reason,))

    def unblock(self, destination: str) -> None:
        """Raises KeyError if it is not blocked."""
        with self._lock:
            del self._blocked[destination]

    def blocked(self) -> tuple[BlockedDomain, ...]:
        with self._lock:
            return tuple(self._blocked.values())

    @property
    def emails(self) -> tuple[str, ...]:
        """The addresses that BigCommerce alerts."""
        return self._emails

    def set_emails(self, emails: object) -> None:
        """Raises HookError unless it is a list of addresses."""
        if not isinstance(emails, list) or not all(
            isinstance(each, str) and "@" in each for each in emails
        ):
            raise HookError("emails", "Expected a list of e-mail addresses.")
        self._emails = tuple(emails)

    def _check_room(self, scope: str, destination: str, besides: int | None) -> None:
        others = [h for h in self.visible() if h.scope == scope and h.id != besides]
        if any(hook.destination == destination for hook in others):
            raise HookError("destination", "A webhook with this scope and destination exists.")
        if len(others) >= MAX_PER_SCOPE:
            raise HookError("scope", f"There are {MAX_PER_SCOPE} webhooks with this scope already.")


def _checked(wanted: Mapping[str, object]) -> dict[str, Any]:
    """The known fields that are given. Raises HookError for an invalid one."""
    values = {name: wanted[name] for name in _CHECKS if name in wanted}
    for name, value in values.items():
        is_valid, message = _CHECKS[name]
        if not is_valid(value):
            raise HookError(name, message)
    return values


def _is_destination(value: object) -> bool:
    try:
        url = urlsplit(value if isinstance(value, str) else "")
        return url.scheme == "https" and bool(url.hostname) and url.port in (None, 443)
    except ValueError:  # an invalid port
        return False


def _are_headers(value: object) -> bool:
    return value is None or (
        isinstance(value, dict) and all(isinstance(each, str) for each in value.values())
    )


_CHECKS: dict[str, tuple[Callable[[object], bool], str]] = {
    "scope": (lambda value: isinstance(value, str) and value in SCOPES, "Unknown scope."),
    "destination": (_is_destination, "Expected a full https URL on port 443."),
    "is_active": (lambda value: isinstance(value, bool), "Expected true or false."),
    "headers": (_are_headers, "Expected an object of strings."),
}
