"""The BigCommerce API: orders, webhooks and the store, and what each response means.

Orders exist in v2 only; webhooks in v3 (wrapped in `data` and `meta`) and in v2 (bare). Temporary
failures are retried, after the wait that BigCommerce asks for or with full jitter. A request that
may have created something is not retried.
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
    WrongStoreError,
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
_ANY_SCOPE = "that this request needs"
_NO_HOOK = "It has no such webhook."

_QUOTA_ATTEMPTS = 20
"""Attempts of one request against a used-up quota, which the store's other apps use, too."""

_MOST_HOOK_PAGES = 40
"""No API account can have as many webhooks as fit on these pages."""


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


@dataclass(frozen=True, slots=True)
class OrderCount:
    """A number of orders, and how many of them have each status, by its ID.

    `by_status` is empty if BigCommerce did not count by status.
    """

    total: int
    by_status: Mapping[int, int]

    def only(self, status_ids: Collection[int]) -> OrderCount:
        """Return the part with these statuses; without any, all of it."""
        if not status_ids or not self.by_status:
            return self
        part = {each: n for each, n in self.by_status.items() if each in status_ids}
        return OrderCount(sum(part.values()), part)


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
                return self._call(
                    "GET",
                    f"v2/orders/{order_id}",
                    lambda response: _order(response, order_id),
                    what=f"Order {order_id}",
                    scope=ORDERS_SCOPE,
                    missing="It has no such order.",
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
        return self._call(
            "GET",
            "v2/orders",
            lambda response: _ascending_orders(response, query),
            what="Orders",
            scope=ORDERS_SCOPE,
            query={**query.parameters(), "sort": "id:asc", "limit": str(limit)},
            attempts=attempts,
        )

    def count_orders(self, query: OrderQuery) -> int:
        """Return the number of orders that match `query`."""
        return self.count_by_status(query).total

    def count_by_status(self, query: OrderQuery) -> OrderCount:
        """Return the same, and the number for each status, in one request."""
        return self._call(
            "GET",
            "v2/orders/count",
            _order_count,
            what="The number of orders",
            scope=ORDERS_SCOPE,
            query=query.parameters(),
        )

    def order_statuses(self) -> dict[int, tuple[str, ...]]:
        """Return all names of each status by its ID, the merchant's own included."""
        what = "The order statuses"
        return self._call("GET", "v2/order_statuses", _statuses, what=what, scope=ORDERS_SCOPE)

    # The store

    def store(self) -> dict[str, Any]:
        """Return the store's name, domain, time zone and plan, among others."""
        return self._call(
            "GET",
            "v2/store",
            lambda response: _object(_json(response)),
            what="The store",
            scope=INFORMATION_SCOPE,
        )

    def time(self) -> datetime:
        """Return BigCommerce's time: aware UTC, whole seconds."""
        seconds = self._call(
            "GET", "v2/time", lambda response: _integer(_json(response), "time"), what="The time"
        )
        return datetime.fromtimestamp(seconds, UTC)

    # Webhooks

    def list_hooks(
        self,
        *,
        scope: str | None = None,
        is_active: bool | None = None,
        api_version: ApiVersion = "v3",
    ) -> list[Hook]:
        """Return the webhooks created by this token's API account, which sees no others."""
        query: dict[str, str] = {} if scope is None else {"scope": scope}
        if is_active is not None:
            query["is_active"] = str(is_active).lower()
        hooks: list[Hook] = []
        for page in range(1, _MOST_HOOK_PAGES + 1):
            if api_version == "v3":
                query |= {"page": str(page), "limit": str(PAGE_SIZE)}
            rows, pages = self._call(
                "GET",
                f"{api_version}/hooks",
                lambda response: _hook_page(response, api_version),
                what="Webhooks",
                query=query,
            )
            new = [hook for hook in rows if hook not in hooks]
            hooks += new
            if page >= pages or not new:
                break
        # Filter here as well: v2 does not document these filters.
        return [
            hook
            for hook in hooks
            if scope in (None, hook.scope) and is_active in (None, hook.is_active)
        ]

    def get_hook(self, hook_id: int, *, api_version: ApiVersion = "v3") -> Hook:
        """Return one webhook. Raises NotFoundError."""
        return self._call_hook("GET", hook_id, api_version)

    def create_hook(
        self,
        *,
        scope: str,
        destination: str,
        is_active: bool = True,
        headers: Mapping[str, str] | None = None,
        api_version: ApiVersion = "v3",
    ) -> Hook:
        """Create a webhook. Raises RejectedError with BigCommerce's reason."""
        body = {"scope": scope, "destination": destination, "is_active": is_active}
        return self._call(
            "POST",
            f"{api_version}/hooks",
            lambda response: parse_hook(_data(response, api_version)),
            what=f"Webhook for {scope}",
            body=body | ({"headers": dict(headers)} if headers else {}),
        )

    def update_hook(
        self, hook_id: int, changes: Mapping[str, object], *, api_version: ApiVersion = "v3"
    ) -> Hook:
        """Change scope, destination, is_active or headers. Raises NotFoundError."""
        return self._call_hook("PUT", hook_id, api_version, body=changes)

    def delete_hook(self, hook_id: int, *, api_version: ApiVersion = "v3") -> None:
        """Delete a webhook. Raises NotFoundError."""
        self._call(
            "DELETE",
            f"{api_version}/hooks/{hook_id}",
            lambda _response: None,
            what=f"Webhook {hook_id}",
            missing=_NO_HOOK,
        )

    def hooks_admin(self) -> HooksAdmin:
        """Return the status of each webhook, and blocked domains."""
        return self._call(
            "GET",
            "v3/hooks/admin",
            lambda response: parse_hooks_admin(_data(response, "v3")),
            what="The state of webhooks",
            missing="It does not report deactivated webhooks and blocked domains here.",
        )

    def _call_hook(
        self,
        method: str,
        hook_id: int,
        api_version: ApiVersion,
        body: Mapping[str, object] | None = None,
    ) -> Hook:
        return self._call(
            method,
            f"{api_version}/hooks/{hook_id}",
            lambda response: parse_hook(_data(response, api_version)),
            what=f"Webhook {hook_id}",
            missing=_NO_HOOK,
            body=body,
        )

    # Requests

    def _call(
        self,
        method: str,
        path: str,
        parse: Callable[[Response], T],
        *,
        what: str,
        scope: str = _ANY_SCOPE,
        missing: str = "",
        query: Mapping[str, str] | None = None,
        body: Mapping[str, object] | None = None,
        attempts: int | None = None,
    ) -> T:
        """Send a request until there is a usable response.

        For errors, `what` names the subject, and `scope` the OAuth scope. `missing` says what a 404
        means; without it, the store does not exist.
        """
        attempt = quota_waits = 0
        while True:
            quota = None
            try:
                response, quota = self._request(method, path, query, body)
                if method == "DELETE" and attempt and _is_missing(response):
                    return parse(response)  # an earlier attempt deleted it; its response was lost
                if not 200 <= response.status < 300:
                    raise self._error(response, what, scope=scope, missing=missing, body=body)
                return parse(response)
            except UnreachableError as error:
                if not _may_retry(method, error):
                    raise
                if quota is not None and _is_over_quota(error):
                    quota_waits += 1
                else:
                    attempt += 1
                if attempt >= (attempts or self._attempts) or quota_waits >= _QUOTA_ATTEMPTS:
                    raise
                self._wait(error, attempt + quota_waits, quota)

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

    def _error(
        self,
        response: Response,
        what: str,
        *,
        scope: str,
        missing: str,
        body: Mapping[str, object] | None,
    ) -> Bc2otError:
        # The response may quote what was sent.
        secrets = {self._access_token.reveal(), *_secrets_in(body or {})}
        words = error_text(response.body, secrets=secrets)
        message = f"{what}: BigCommerce responded with {response.status}{words and f' ({words})'}."
        if not _is_missing(response):
            return _error(response, message, words, scope=scope, now=self._clock.now())
        if missing:
            return NotFoundError(f"{message} {missing}")
        return WrongStoreError(
            f"{message} BigCommerce has no store {self.store_hash} with such an API.",
            hint="Check store_hash: it is in the API path, /stores/HASH/v3/.",
        )

    def _wait(self, error: UnreachableError, attempt: int, quota: Quota | None) -> None:
        """Wait as long as BigCommerce asks or until the quota's reset, and with full jitter.

        Raises RetryLaterError if BigCommerce asks for more than `patience_s`.
        """
        over_quota = _is_over_quota(error)
        asked_s = None
        if isinstance(error, RetryLaterError):
            asked_s = error.retry_after_s
            if asked_s is None and over_quota and quota is not None:
                asked_s = quota.reset_s + RESET_MARGIN_S
            if asked_s is not None and asked_s > self._patience_s:
                raise RetryLaterError(
                    f"{error} It asks to wait {asked_s:,.0f} s.",
                    hint="Run it again after that time.",
                    status=error.status,
                    retry_after_s=asked_s,
                ) from None
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


_BEFORE_A_PAGE = b"\xef\xbb\xbf \t\r\n"
"""A byte order mark and white space."""

_CREDENTIALS_HINT = (
    "Check store_hash and access_token: the token must belong to an API account of this store "
    "(control panel: Settings > Store-level API accounts) and must not be revoked."
)


def _error(
    response: Response, message: str, words: str, *, scope: str, now: datetime
) -> Bc2otError:
    """Return the error for a response that is neither 2xx nor the API's own 404.

    `message` describes the response, `words` are quoted from it.
    """
    status = response.status
    if status in (401, 403) and response.body.lstrip(_BEFORE_A_PAGE)[:1] == b"<":
        return RefusedError(
            f"{message} That is a web page, not the API: something in between refuses the request.",
            hint="Check any proxy, firewall or IP allowlist between this machine and BigCommerce.",
        )
    if status == 401:
        return CredentialsError(
            f"{message} The access token is not valid for this store.", hint=_CREDENTIALS_HINT
        )
    if status == 403 and ("scope" in words.lower() or not response.body.strip()):
        return ScopeError(
            f"{message} The access token lacks the scope {scope}.",
            hint=f"Give the API account the scope {scope}, or create a new one that has it.",
        )
    if status == 403:
        return RefusedError(
            message,
            hint="BigCommerce's message says why: the store's plan, its state, or an IP list.",
        )
    if status == 404:
        return BadResponseError(
            f"{message} That is not the API's own response.",
            hint="Check bigcommerce.api_url, and any proxy between it and this machine.",
        )
    if status in (408, 425, 429) or status >= 500:
        retry_after = response.headers.get("X-Retry-After") or response.headers.get("Retry-After")
        return RetryLaterError(
            message,
            hint="BigCommerce is overloaded, limiting requests, or down: run it again later.",
            status=status,
            retry_after_s=parse_retry_after(retry_after, now),
        )
    if status >= 400:
        return RejectedError(message)
    return BadResponseError(message, hint="Check bigcommerce.api_url: the API does not redirect.")


def _is_missing(response: Response) -> bool:
    """Whether this is a 404 from BigCommerce itself, which is JSON.

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
    """Whether a second attempt may succeed, and cannot create a second webhook."""
    if isinstance(error, UnexpectedResponseError):
        return False
    return method != "POST" or isinstance(error, NoConnectionError) or _is_over_quota(error)


def _is_over_quota(error: UnreachableError) -> bool:
    return isinstance(error, RetryLaterError) and error.status == HTTPStatus.TOO_MANY_REQUESTS


def _order(response: Response, order_id: int) -> Order:
    order = parse_order(response.body)
    if order.id != order_id:
        raise BadResponseError(f"BigCommerce responded with order {order.id}, not {order_id}.")
    return order


def _ascending_orders(response: Response, query: OrderQuery) -> list[Order | UnreadableOrder]:
    # Only a 204 is an empty page: a 200 without a body lost it.
    if response.status != HTTPStatus.NO_CONTENT and not response.body:
        raise BadResponseError("BigCommerce's response is empty.")
    rows = parse_orders(response.body)
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


def _json(response: Response) -> Any:
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
    if value is None or value < 0:
        raise UnexpectedResponseError(f"BigCommerce's response has no valid integer {key!r}.")
    return value


def _order_count(response: Response) -> OrderCount:
    document = _json(response)
    total = _integer(document, "count")
    rows = document.get("statuses")
    if not isinstance(rows, list):
        rows = []
    return OrderCount(total, {_integer(row, "id"): _integer(row, "count") for row in rows})


def _statuses(response: Response) -> dict[int, tuple[str, ...]]:
    rows = _json(response)
    if not isinstance(rows, list):
        raise UnexpectedResponseError("BigCommerce's response is not a JSON list.")
    names: dict[int, tuple[str, ...]] = {}
    for row in rows:
        labels = [_object(row).get(key) for key in ("name", "system_label", "custom_label")]
        names[_integer(row, "id")] = tuple(dict.fromkeys(n for n in labels if isinstance(n, str)))
    return names


def _data(response: Response, api_version: ApiVersion) -> object:
    """Return the document, which v3 wraps."""
    document = _json(response)
    return document if api_version == "v2" else _object(document).get("data")


def _hook_page(response: Response, api_version: ApiVersion) -> tuple[list[Hook], int]:
    """Return the webhooks of one page and the number of pages."""
    if response.status == HTTPStatus.NO_CONTENT:
        return [], 1
    rows = _data(response, api_version)
    if not isinstance(rows, list):
        raise UnexpectedResponseError("BigCommerce's response is not a list of webhooks.")
    try:
        pages = int(_json(response)["meta"]["pagination"]["total_pages"])
    except (LookupError, OverflowError, TypeError, ValueError):
        pages = 1
    return [parse_hook(row) for row in rows if isinstance(row, dict)], pages


def _secrets_in(body: Mapping[str, object]) -> set[str]:
    """Return the secrets of a webhook."""
    destination, headers = body.get("destination"), body.get("headers")
    secrets = set(destination_secrets(destination)) if isinstance(destination, str) else set()
    if isinstance(headers, Mapping):
        secrets.update(headers.values())
    return secrets
