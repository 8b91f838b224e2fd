"""The webhooks of the simulated store: one set, over HTTP as v2 and as v3.

Not documented, hence chosen: a second hook with the same scope and destination, and an eleventh
with the same scope, are a 422, since the reference has 400, 401, 404 and 422 only; an empty v2 list
is `[]`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from onetribe_bc.sandbox.messages import Request, Response, api_error, json_object, json_response

CLIENT_ID = "sandbox-client-id"
FOREIGN_CLIENT_ID = "another-apps-client-id"
MAX_PER_SCOPE = 10
_FIRST_ID = 20_172_984
_BLOCKED_S = 180
_DEFAULT_LIMIT = 50
_MAX_LIMIT = 250

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
    """One webhook. Times are epoch seconds. `deactivated`: by BigCommerce, not by its owner."""

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

    def as_json(self) -> dict[str, object]:
        """As in v3 under `data`, and in v2 bare."""
        fields = asdict(self)
        del fields["deactivated"]
        return fields

    @property
    def status(self) -> str:
        """As `hooks/admin` shows it."""
        if self.deactivated:
            return "deactivated"
        return "active" if self.is_active else "inactive"


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
        self._blocked: dict[str, dict[str, object]] = {}
        self._emails: list[str] = []
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

    def deactivate(self, hook_id: int) -> None:
        """As BigCommerce does after 90 idle days or when every retry failed. Raises KeyError."""
        with self._lock:
            hook = self._hooks[hook_id]
            self._hooks[hook_id] = replace(hook, is_active=False, deactivated=True)

    def block(self, destination: str, time_left_s: int = _BLOCKED_S) -> None:
        """Put a destination on the deny list."""
        reason = {"failure_description": "HTTP 500", "count": 37, "timestamp": self._now()}
        with self._lock:
            self._blocked[destination] = {
                "destination": destination,
                "time_left": time_left_s,
                "reasons": [reason],
            }

    def respond(self, request: Request, version: str, resource: str) -> Response:
        """Respond for `resource`, the path from `hooks` on. Any token may: hooks need no scope."""
        name = resource.partition("/")[2]
        try:
            if version == "v3" and name == "admin":
                return self._admin(request)
            if not name:
                return self._collection(request, version)
            return self._single(request, version, int(name))
        except HookError as error:
            if version == "v2":
                return api_error(version, 422, f"{error.field}: {error}")
            message = "JSON data is missing or invalid"
            return api_error(version, 422, message, {error.field: str(error)})
        except KeyError:
            return api_error(version, 404, f"Webhook with id [{name}] not found")
        except ValueError:  # an id that is not a number, or a body that is not a JSON object
            return api_error(version, 400, "Input is invalid.")

    def _collection(self, request: Request, version: str) -> Response:
        if request.method == "POST":
            return _one(version, self._create(json_object(request.body)))
        if request.method != "GET":
            return api_error(version, 405)
        found = _filtered(self.visible(), request.params())
        if version == "v2":
            return json_response(200, [hook.as_json() for hook in found])
        page, pagination = _page(found, request)
        data = [hook.as_json() for hook in page]
        return json_response(200, {"data": data, "meta": {"pagination": pagination}})

    def _single(self, request: Request, version: str, hook_id: int) -> Response:
        if request.method not in ("GET", "PUT", "DELETE"):
            return api_error(version, 405)
        with self._lock:
            hook = self.get(hook_id)
            if request.method == "PUT":
                hook = self._update(hook, json_object(request.body))
            elif request.method == "DELETE":
                del self._hooks[hook_id]
        return _one(version, hook)

    def _admin(self, request: Request) -> Response:
        if request.method == "PUT":
            emails = json_object(request.body).get("emails")
            if not isinstance(emails, list) or not all("@" in str(each) for each in emails):
                raise HookError("emails", "Expected a list of e-mail addresses.")
            self._emails = emails
            return Response(204)
        if request.method != "GET":
            return api_error("v3", 405)
        found = _filtered(self.visible(), request.params())
        data = {
            "emails": self._emails,
            "hooks_list": [hook.as_json() | {"status": hook.status} for hook in found],
            "blocked_domains": list(self._blocked.values()),
        }
        _, pagination = _page(found, request)
        return json_response(200, {"data": data, "meta": {"pagination": pagination}})

    def _create(self, wanted: Mapping[str, object]) -> Hook:
        for name in ("scope", "destination"):
            if wanted.get(name) is None:
                raise HookError(name, "error.path.missing")
        values = _checked(wanted)
        with self._lock:
            self._check_room(values["scope"], values["destination"])
            if self.answer_destination is not None:
                values["destination"] = self.answer_destination
            return self.add(**values)

    def _update(self, hook: Hook, wanted: Mapping[str, object]) -> Hook:
        values = _checked(wanted)
        if not values:
            raise HookError("scope", "An update needs at least one field.")
        changed = replace(hook, **values, updated_at=max(self._now(), hook.updated_at + 1))
        if changed.is_active:
            changed = replace(changed, deactivated=False)
        self._check_room(changed.scope, changed.destination, besides=hook.id)
        self._hooks[hook.id] = changed
        return changed

    def _check_room(self, scope: str, destination: str, besides: int | None = None) -> None:
        others = [h for h in self.visible() if h.scope == scope and h.id != besides]
        if any(hook.destination == destination for hook in others):
            raise HookError("destination", "A webhook with this scope and destination exists.")
        if len(others) >= MAX_PER_SCOPE:
            raise HookError("scope", f"There are {MAX_PER_SCOPE} webhooks with this scope already.")


def _one(version: str, hook: Hook) -> Response:
    body: object = hook.as_json() if version == "v2" else {"data": hook.as_json(), "meta": {}}
    return json_response(200, body)


def _filtered(hooks: tuple[Hook, ...], params: Mapping[str, str]) -> list[Hook]:
    scope = params.get("scope")
    active = {"true": True, "1": True, "false": False, "0": False}.get(params.get("is_active", ""))
    return [h for h in hooks if scope in (None, h.scope) and active in (None, h.is_active)]


def _page(hooks: list[Hook], request: Request) -> tuple[list[Hook], dict[str, int]]:
    """One page and its `pagination`. Raises ValueError for an invalid number."""
    params = request.params()
    number = max(1, int(params.get("page", "1")))
    limit = min(_MAX_LIMIT, max(1, int(params.get("limit", _DEFAULT_LIMIT))))
    page = hooks[(number - 1) * limit : number * limit]
    pages = -(-len(hooks) // limit)
    return page, {
        "total": len(hooks),
        "count": len(page),
        "per_page": limit,
        "current_page": number,
        "total_pages": pages,
    }


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
