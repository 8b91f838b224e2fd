"""The BigCommerce API: orders, hooks and the store, and what each response means.

Orders exist in v2 only; hooks in v3 (wrapped in `data` and `meta`) and in v2 (bare). What fails
temporarily is retried, after the wait that BigCommerce asks for or with full jitter. A request
that might have created something is not.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Literal, TypeVar

from onetribe_bc.api.hooks import (
    Hook,
    HooksAdmin,
    destination_secrets,
    parse_hook,
    parse_hooks_admin,
)
from onetribe_bc.api.http import HttpClient, Response, Timeouts
from onetribe_bc.api.quoting import error_text
from onetribe_bc.api.rate_limit import (
    LONG_WAIT_S,
    MAX_IMPOSED_WAIT_S,
    PATIENCE_S,
    RESET_MARGIN_S,
    Quota,
    RateLimiter,
    full_jitter,
    parse_retry_after,
)
from onetribe_bc.clock import Clock
from onetribe_bc.dates import Window, format_api_date, parse_http_date
from onetribe_bc.errors import (
    BadResponseError,
    Bc2otError,
    CredentialsError,
    NoConnectionError,
    NotFoundError,
    OutOfOrderError,
    RefusedError,
    RejectedError,
    RetryLaterError,
    ScopeError,
    UnexpectedResponseError,
    UnreachableError,
)
from onetribe_bc.order import Order, UnreadableOrder, parse_integer, parse_order, parse_orders
from onetribe_bc.secret import Secret

_log = logging.getLogger(__name__)

T = TypeVar("T")
ApiVersion = Literal["v3", "v2"]

PAGE_SIZE = 250
"""The most rows that BigCommerce returns on one page."""

LOOKUPS = 3
"""How often to request an order before it counts as gone: BigCommerce's index may lag."""

ORDERS_SCOPE = "Orders: read-only (store_v2_orders_read_only)"
INFORMATION_SCOPE = "Information & Settings: read-only (store_v2_information_read_only)"
ANY_SCOPE = "that this request needs"

_QUOTA_ATTEMPTS = 20
"""Attempts of one request against a used-up quota, which the store's other apps use, too."""

_MOST_HOOK_PAGES = 40
"""No API account can have as many hooks as fit these pages."""


@dataclass(frozen=True, slots=True)
class OrderQuery:
    """Conditions for a list of orders; all must hold. IDs and windows include both ends."""

    min_id: int = 1
    max_id: int | None = None
    created: Window | None = None
    modified: Window | None = None
    status_id: int | None = None
    channel_id: int | None = None

    def parameters(self) -> dict[str, str]:
        """Return BigCommerce's query parameters, without paging."""
        named: dict[str, object] = {
            "min_id": self.min_id if self.min_id > 1 else None,
            "max_id": self.max_id,
            "status_id": self.status_id,
            "channel_id": self.channel_id,
        }
        for name, window in (("created", self.created), ("modified", self.modified)):
            if window is not None:
                named[f"min_date_{name}"] = window.since and format_api_date(window.since)
                named[f"max_date_{name}"] = window.until and format_api_date(window.until)
        return {name: str(value) for name, value in named.items() if value is not None}

    def matches(self, order: Order) -> bool:
        """Return whether a row matches, as far as it has the fields.

        BigCommerce ignores a filter that it does not understand, and returns every order.
        """
        return (
            _is_inside(self.created, order.date_created)
            and _is_inside(self.modified, order.date_modified)
            and self.status_id in (None, order.status_id)
            and (self.channel_id is None or order.channel_id in (None, self.channel_id))
        )


def _is_inside(window: Window | None, at: datetime | None) -> bool:
    return window is None or at is None or window.contains(at)


class BigCommerceClient:
    """A client for one store's API, shared by all threads of a run.

    It raises RetryLaterError rather than wait longer than `patience_s` at once.
    """

    def __init__(
        self,
        *,
        store_hash: str,
        access_token: Secret,
        clock: Clock,
        api_url: str = "https://api.bigcommerce.com",
        reserve: float = 0.1,
        timeouts: Timeouts | None = None,
        connections: int = 8,
        attempts: int = 5,
        patience_s: float = PATIENCE_S,
    ) -> None:
        store_hash = store_hash.lower()
        self.store_hash = store_hash
        self._clock = clock
        self._access_token = access_token
        self._attempts = attempts
        self._patience_s = patience_s
        self._limiter = RateLimiter(clock, reserve=reserve, patience_s=patience_s)
        self.imposed = self._limiter.imposed
        self._http = HttpClient(
            f"{api_url.rstrip('/')}/stores/{store_hash}/",
            headers={"X-Auth-Token": access_token.reveal()},
            timeouts=timeouts or Timeouts(),
            connections=connections,
            label=f"/stores/{store_hash}/",
        )
        self.server_time: datetime | None = None
        """BigCommerce's time in its last response: aware UTC, whole seconds."""

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    # Orders

    def get_order(
        self, order_id: int, *, lookups: int = LOOKUPS, attempts: int | None = None
    ) -> Order:
        """Return one order. Raises NotFoundError after `lookups` 404s."""
        for attempt in range(1, lookups + 1):
            try:
                return self._get(
                    f"v2/orders/{order_id}",
                    lambda response: _check_id(parse_order(response.body), order_id),
                    what=f"Order {order_id}",
                    missing="It has no such order.",
                    scope=ORDERS_SCOPE,
                    attempts=attempts,
                )
            except NotFoundError:
                if attempt < lookups:
                    self._clock.sleep(full_jitter(attempt, self._clock.random()))
        raise NotFoundError(
            f"BigCommerce has no order {order_id}.",
            hint="Check the ID. An incomplete order is deleted when the shopper starts over.",
        )

    def list_orders(
        self, query: OrderQuery, *, limit: int = PAGE_SIZE, attempts: int | None = None
    ) -> list[Order | UnreadableOrder]:
        """Return the first `limit` rows by ID.

        Raises OutOfOrderError if IDs do not ascend from `query.min_id`, because the next page
        would start in the wrong place.
        """
        return self._get(
            "v2/orders",
            lambda response: _check_ascending(_rows(response), query),
            query={**query.parameters(), "sort": "id:asc", "limit": str(limit)},
            what="Orders",
            scope=ORDERS_SCOPE,
            attempts=attempts,
        )

    def count_orders(self, query: OrderQuery) -> int:
        """Return the number of orders that match `query`."""
        return self._get(
            "v2/orders/count",
            lambda response: _integer(_json(response), "count"),
            query=query.parameters(),
            what="The number of orders",
            scope=ORDERS_SCOPE,
        )

    def order_statuses(self) -> dict[int, tuple[str, ...]]:
        """Return all names of each status by its ID, the merchant's own included."""
        return self._get(
            "v2/order_statuses", _statuses, what="The order statuses", scope=ORDERS_SCOPE
        )

    # The store

    def store(self) -> dict[str, Any]:
        """Return the store's name, domain, time zone and plan, among others."""
        return self._get(
            "v2/store",
            lambda response: _object(_json(response)),
            what="The store",
            scope=INFORMATION_SCOPE,
        )

    def time(self) -> datetime:
        """Return BigCommerce's time: aware UTC, whole seconds."""
        seconds = self._get(
            "v2/time",
            lambda response: _integer(_json(response), "time"),
            what="The time",
            scope=ANY_SCOPE,
        )
        return datetime.fromtimestamp(seconds, UTC)

    # Hooks

    def list_hooks(
        self,
        *,
        scope: str | None = None,
        destination: str | None = None,
        is_active: bool | None = None,
        api_version: ApiVersion = "v3",
    ) -> list[Hook]:
        """Return the hooks created by this token's API account, which sees no others."""
        wanted: dict[str, str] = {}
        if scope is not None:
            wanted["scope"] = scope
        if destination is not None:
            wanted["destination"] = destination
        if is_active is not None:
            wanted["is_active"] = str(is_active).lower()
        hooks: list[Hook] = []
        for page in range(1, _MOST_HOOK_PAGES + 1):
            paging = {"page": str(page), "limit": str(PAGE_SIZE)} if api_version == "v3" else {}
            rows, pages = self._get(
                f"{api_version}/hooks",
                lambda response: _hook_page(response, api_version),
                query={**wanted, **paging},
                what="Hooks",
                scope=ANY_SCOPE,
            )
            new = [hook for hook in rows if hook not in hooks]
            hooks += new
            if page >= pages or not new:
                break
        # Filter here as well: v2 does not document these filters.
        return [
            hook
            for hook in hooks
            if scope in (None, hook.scope)
            and destination in (None, hook.destination)
            and is_active in (None, hook.is_active)
        ]

    def get_hook(self, hook_id: int, *, api_version: ApiVersion = "v3") -> Hook:
        """Return one hook. Raises NotFoundError."""
        return self._hook("GET", f"{api_version}/hooks/{hook_id}", what=f"Hook {hook_id}")

    def create_hook(
        self,
        *,
        scope: str,
        destination: str,
        is_active: bool = True,
        headers: Mapping[str, str] | None = None,
        api_version: ApiVersion = "v3",
    ) -> Hook:
        """Create a hook. Raises RejectedError with BigCommerce's reason."""
        wanted: dict[str, object] = {
            "scope": scope,
            "destination": destination,
            "is_active": is_active,
        }
        if headers:
            wanted["headers"] = dict(headers)
        return self._hook("POST", f"{api_version}/hooks", what=f"Hook for {scope}", body=wanted)

    def update_hook(
        self, hook_id: int, changes: Mapping[str, object], *, api_version: ApiVersion = "v3"
    ) -> Hook:
        """Change scope, destination, is_active or headers. Raises NotFoundError."""
        path = f"{api_version}/hooks/{hook_id}"
        return self._hook("PUT", path, what=f"Hook {hook_id}", body=changes)

    def delete_hook(self, hook_id: int, *, api_version: ApiVersion = "v3") -> None:
        """Delete a hook. Raises NotFoundError."""
        self._call(
            "DELETE",
            f"{api_version}/hooks/{hook_id}",
            lambda _response: None,
            what=f"Hook {hook_id}",
            missing="It has no such hook.",
            scope=ANY_SCOPE,
        )

    def hooks_admin(self) -> HooksAdmin:
        """Return the alert addresses, the status of each hook, and blocked domains."""
        return self._get(
            "v3/hooks/admin",
            lambda response: parse_hooks_admin(_data(response)),
            what="The hooks' state",
            missing="It does not report deactivated hooks and blocked domains here.",
            scope=ANY_SCOPE,
        )

    def set_alert_emails(self, emails: list[str]) -> None:
        """Set who gets an email when a hook is deactivated or a domain blocked."""
        self._call(
            "PUT",
            "v3/hooks/admin",
            lambda _response: None,
            body={"emails": emails},
            what="The alert addresses",
            scope=ANY_SCOPE,
        )

    # Requests

    def _hook(
        self, method: str, path: str, *, what: str, body: Mapping[str, object] | None = None
    ) -> Hook:
        parse = _hook_of_v3 if path.startswith("v3") else _hook_of_v2
        return self._call(
            method,
            path,
            parse,
            body=body,
            what=what,
            missing="It has no such hook." if method != "POST" else "",
            scope=ANY_SCOPE,
            secrets=_secrets_in(body or {}),
        )

    def _get(
        self,
        path: str,
        parse: Callable[[Response], T],
        *,
        what: str,
        scope: str,
        missing: str = "",
        query: Mapping[str, str] | None = None,
        attempts: int | None = None,
    ) -> T:
        return self._call(
            "GET",
            path,
            parse,
            query=query,
            what=what,
            scope=scope,
            missing=missing,
            attempts=attempts,
        )

    def _call(
        self,
        method: str,
        path: str,
        parse: Callable[[Response], T],
        *,
        what: str,
        scope: str,
        missing: str = "",
        query: Mapping[str, str] | None = None,
        body: Mapping[str, object] | None = None,
        secrets: Collection[str] = (),
        attempts: int | None = None,
    ) -> T:
        """Send a request until there is a usable response; mask `secrets` in errors.

        `missing` says what a 404 means; without it, the store is not there.
        """
        attempt = quota_waits = 0
        while True:
            quota = None
            try:
                response, quota = self._request(method, path, query, body)
                if method == "DELETE" and attempt and _is_missing(response):
                    return parse(response)  # an earlier attempt deleted it; its response was lost
                self._raise_for_status(
                    response, what=what, scope=scope, missing=missing, secrets=secrets
                )
                return parse(response)
            except UnreachableError as error:
                if not _may_retry(method, error):
                    raise
                over_quota = isinstance(error, RetryLaterError) and error.status == 429
                if over_quota and quota is not None:
                    quota_waits += 1
                else:
                    attempt += 1
                if attempt >= (attempts or self._attempts) or quota_waits >= _QUOTA_ATTEMPTS:
                    raise
                self._wait(error, attempt + quota_waits, over_quota=over_quota, quota=quota)

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Mapping[str, object] | None,
    ) -> tuple[Response, Quota | None]:
        with self._limiter.request() as permit:
            response = self._http.request(
                method,
                path,
                query=query,
                body=None if body is None else json.dumps(body).encode(),
                headers=None if body is None else {"Content-Type": "application/json"},
            )
            quota = self._limiter.observe(response.headers, permit)
        self.server_time = parse_http_date(response.headers.get("Date"))
        return response, quota

    def _raise_for_status(
        self, response: Response, *, what: str, scope: str, missing: str, secrets: Collection[str]
    ) -> None:
        if 200 <= response.status < 300:
            return
        # The response may quote what was sent.
        words = error_text(response.body, secrets={*secrets, self._access_token.reveal()})
        said = f"{what}: BigCommerce answered {response.status}{f' ({words})' if words else ''}."
        if _is_missing(response):
            if missing:
                raise NotFoundError(f"{said} {missing}")
            raise CredentialsError(
                f"{said} BigCommerce has no store {self.store_hash} with such an API.",
                hint="Check store_hash: it is in the API path, /stores/HASH/v3/.",
            )
        raise _error(response, said, words, scope=scope, now=self._clock.now())

    def _wait(
        self, error: UnreachableError, attempt: int, *, over_quota: bool, quota: Quota | None
    ) -> None:
        """Wait as long as BigCommerce asks or until the quota's reset, and with full jitter.

        Raises `error` if that is longer than `patience_s`.
        """
        asked_s = error.retry_after_s if isinstance(error, RetryLaterError) else None
        if asked_s is None and over_quota and quota is not None:
            asked_s = quota.reset_s + RESET_MARGIN_S
        if asked_s is not None and asked_s > self._patience_s:
            raise _too_long(error, asked_s) from None
        wait_s = max(
            min(asked_s or 0.0, MAX_IMPOSED_WAIT_S), full_jitter(attempt, self._clock.random())
        )
        level = logging.WARNING if wait_s >= LONG_WAIT_S else logging.DEBUG
        asks = "BigCommerce asks to wait: trying again" if asked_s is not None else "Trying again"
        _log.log(level, "%s %s in %.1f s.", error, asks, wait_s)
        self.imposed.begin(wait_s)
        if over_quota:
            # The store's quota is used up or the platform overloaded: pause all threads.
            self._limiter.pause(wait_s)
        else:
            self._clock.sleep(wait_s)


def _too_long(error: UnreachableError, asked_s: float) -> RetryLaterError:
    return RetryLaterError(
        f"{error} It asks to wait {asked_s:,.0f} s.",
        hint="Run it again after that time.",
        status=error.status if isinstance(error, RetryLaterError) else 0,
        retry_after_s=asked_s,
    )


_CREDENTIALS_HINT = (
    "Check store_hash and access_token: the token must belong to an API account of this store "
    "(control panel: Settings > Store-level API accounts) and must not be revoked."
)


def _error(response: Response, said: str, words: str, *, scope: str, now: datetime) -> Bc2otError:
    """Return the error for a response that is not 2xx; `said` tells it, `words` are its own."""
    status = response.status
    if status in (401, 403) and response.body.lstrip()[:1] == b"<":
        return RefusedError(
            f"{said} That is a web page, not the API: something in between refuses the request.",
            hint="Check any proxy, firewall or IP allowlist between this machine and BigCommerce.",
        )
    if status == 401:
        return CredentialsError(
            f"{said} The access token is not valid for this store.", hint=_CREDENTIALS_HINT
        )
    if status == 403 and (not words or "scope" in words.lower()):
        return ScopeError(
            f"{said} The access token lacks the scope {scope}.",
            hint=f"Give the API account the scope {scope}, or create a new one that has it.",
        )
    if status == 403:
        return RefusedError(
            said, hint="BigCommerce's words say why: the store's plan, its state, or an IP list."
        )
    if status == 404:
        return BadResponseError(
            f"{said} That is not the API's own response.",
            hint="Check bigcommerce.api_url, and any proxy between it and this machine.",
        )
    if status in (408, 425, 429) or status >= 500:
        retry_after = response.headers.get("X-Retry-After") or response.headers.get("Retry-After")
        return RetryLaterError(
            said,
            hint="BigCommerce is overloaded, limiting requests, or down: run it again later.",
            status=status,
            retry_after_s=parse_retry_after(retry_after, now),
        )
    if status >= 400:
        return RejectedError(said)
    return BadResponseError(said, hint="Check bigcommerce.api_url: the API does not redirect.")


def _is_missing(response: Response) -> bool:
    """Whether BigCommerce itself answered 404, which it does in JSON.

    A 404 from anything in between must not make an order look gone.
    """
    if response.status != HTTPStatus.NOT_FOUND:
        return False
    try:
        json.loads(response.body)
    except (ValueError, RecursionError):
        return False
    return True


def _may_retry(method: str, error: UnreachableError) -> bool:
    """A second POST could create a second hook, unless the first certainly did nothing.

    A response that is whole would be the same again.
    """
    if isinstance(error, UnexpectedResponseError):
        return False
    if method != "POST" or isinstance(error, NoConnectionError):
        return True
    return isinstance(error, RetryLaterError) and error.status == HTTPStatus.TOO_MANY_REQUESTS


def _rows(response: Response) -> list[Order | UnreadableOrder]:
    """Return the rows of a list. Only a 204 is an empty page: a 200 without a body lost it."""
    if response.status != HTTPStatus.NO_CONTENT and not response.body:
        raise BadResponseError("BigCommerce's response is empty.")
    return parse_orders(response.body)


def _check_ascending(
    rows: list[Order | UnreadableOrder], query: OrderQuery
) -> list[Order | UnreadableOrder]:
    floor = query.min_id - 1
    for row in rows:
        if row.id <= floor or (query.max_id is not None and row.id > query.max_id):
            raise OutOfOrderError(
                f"BigCommerce's list of orders is out of order at id {row.id}: ids must ascend "
                f"from {query.min_id}.",
                hint="No order was skipped. Run it again; if the error persists, report it.",
            )
        floor = row.id
    return rows


def _check_id(order: Order, order_id: int) -> Order:
    if order.id != order_id:
        raise BadResponseError(f"BigCommerce answered with order {order.id}, not {order_id}.")
    return order


def _json(response: Response) -> object:
    try:
        return json.loads(response.body)
    except (ValueError, RecursionError):
        raise BadResponseError("BigCommerce's response is not JSON, or is incomplete.") from None


def _object(document: object) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise UnexpectedResponseError("BigCommerce's response is not a JSON object.")
    return document


def _integer(document: object, key: str) -> int:
    value = parse_integer(_object(document).get(key))
    if value is None:
        raise UnexpectedResponseError(f"BigCommerce's response has no integer {key!r}.")
    return value


def _statuses(response: Response) -> dict[int, tuple[str, ...]]:
    rows = _json(response)
    if not isinstance(rows, list):
        raise UnexpectedResponseError("BigCommerce's response is not a JSON list.")
    names: dict[int, tuple[str, ...]] = {}
    for row in rows:
        labels = [_object(row).get(key) for key in ("name", "system_label", "custom_label")]
        names[_integer(row, "id")] = tuple(dict.fromkeys(n for n in labels if isinstance(n, str)))
    return names


def _data(response: Response) -> object:
    return _object(_json(response)).get("data")


def _hook_of_v3(response: Response) -> Hook:
    return parse_hook(_data(response))


def _hook_of_v2(response: Response) -> Hook:
    return parse_hook(_json(response))


def _secrets_in(body: Mapping[str, object]) -> set[str]:
    """Return the secrets of a hook, which BigCommerce's errors may quote."""
    destination, headers = body.get("destination"), body.get("headers")
    secrets = set(destination_secrets(destination)) if isinstance(destination, str) else set()
    if isinstance(headers, Mapping):
        secrets.update(headers.values())
    return secrets


def _hook_page(response: Response, api_version: ApiVersion) -> tuple[list[Hook], int]:
    """Return the hooks of one page and the number of pages."""
    if response.status == HTTPStatus.NO_CONTENT:
        return [], 1
    document = _json(response)
    pages = 1
    if api_version == "v3":
        meta = _object(document).get("meta")
        pagination = meta.get("pagination") if isinstance(meta, dict) else None
        total = pagination.get("total_pages") if isinstance(pagination, dict) else None
        pages = parse_integer(total) or 1
        document = _object(document).get("data")
    if not isinstance(document, list):
        raise UnexpectedResponseError("BigCommerce's response is not a list of hooks.")
    return [parse_hook(row) for row in document if isinstance(row, dict)], pages
