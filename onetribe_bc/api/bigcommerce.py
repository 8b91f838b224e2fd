"""The BigCommerce API, as far as we need it.

Orders exist on v2 only; hooks on v3 (wrapped in `data` and `meta`) and on v2 (bare). Whatever
fails in passing is tried again, by the waits that BigCommerce asks for or with full jitter;
a request that might have made something is not.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Literal, TypeVar

from onetribe_bc.api.answers import bigcommerce_error
from onetribe_bc.api.hooks import (
    Hook,
    HooksAdmin,
    destination_secrets,
    parse_hook,
    parse_hooks_admin,
)
from onetribe_bc.api.http import HttpClient, Response, Timeouts
from onetribe_bc.api.rate_limit import (
    RESET_MARGIN_S,
    Quota,
    RateLimiter,
    full_jitter,
)
from onetribe_bc.clock import Clock
from onetribe_bc.dates import Window, format_api_date, parse_http_date
from onetribe_bc.errors import (
    BadResponseError,
    CredentialsError,
    NoConnectionError,
    NotFoundError,
    RetryLaterError,
    UnreachableError,
)
from onetribe_bc.order import Order, parse_order, parse_orders
from onetribe_bc.secret import MASK, Secret

_log = logging.getLogger(__name__)

T = TypeVar("T")
ApiVersion = Literal["v3", "v2"]

PAGE_SIZE = 250
"""The most that BigCommerce puts on one page."""

ORDERS_SCOPE = "Orders: read-only (store_v2_orders_read_only)"
INFORMATION_SCOPE = "Information & Settings: read-only (store_v2_information_read_only)"
ANY_SCOPE = "that this request needs"

_QUOTA_TRIES = 20
"""How often a request may meet a used-up quota, which other apps of the store can use up, too."""

_SECRET_CHARACTERS = 4
"""Shorter values are no secrets, and taking them out would garble the text around them."""

LOOKS = 3
"""How often an order is asked for that BigCommerce says it does not have: it may lag."""


@dataclass(frozen=True, slots=True)
class OrderQuery:
    """Which orders; all conditions hold at once. Ids and windows include both ends."""

    min_id: int = 1
    max_id: int | None = None
    created: Window | None = None
    modified: Window | None = None
    status_id: int | None = None
    channel_id: int | None = None

    def parameters(self) -> dict[str, str]:
        """As BigCommerce's query parameters, without paging."""
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
        """Whether a row belongs in the answer: a filter in a form that BigCommerce does not
        understand is ignored by it, and every order comes back. What a row does not tell
        cannot speak against it.
        """
        return (
            _inside(self.created, order.date_created)
            and _inside(self.modified, order.date_modified)
            and self.status_id in (None, order.status_id)
            and (self.channel_id is None or order.channel_id in (None, self.channel_id))
        )


def _inside(window: Window | None, moment: datetime | None) -> bool:
    return window is None or moment is None or window.contains(moment)


class BigCommerceClient:
    """One store's API, for all threads of a run."""

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
    ) -> None:
        self.store_hash = store_hash
        self._clock = clock
        self._access_token = access_token
        self._attempts = attempts
        self._limiter = RateLimiter(clock, reserve=reserve)
        self._http = HttpClient(
            f"{api_url.rstrip('/')}/stores/{store_hash}/",
            headers={"X-Auth-Token": access_token.reveal()},
            timeouts=timeouts or Timeouts(),
            connections=connections,
            label=f"/stores/{store_hash}/",
        )
        self.server_time: datetime | None = None
        """BigCommerce's clock as of its last answer: aware UTC, whole seconds."""

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    # Orders

    def get_order(self, order_id: int, *, looks: int = LOOKS) -> Order:
        """One order. Raises NotFoundError when BigCommerce says `looks` times that it has none."""
        for attempt in range(1, looks + 1):
            try:
                return self._get(
                    f"v2/orders/{order_id}",
                    lambda answer: _same_id(parse_order(answer.body), order_id),
                    what=f"Order {order_id}",
                    scope=ORDERS_SCOPE,
                )
            except NotFoundError:
                if attempt == looks:
                    break
                self._clock.sleep(full_jitter(attempt, self._clock.random()))
        raise NotFoundError(
            f"BigCommerce has no order {order_id}.",
            hint="Check the number. Incomplete orders vanish when a shopper starts over.",
        )

    def list_orders(self, query: OrderQuery, *, limit: int = PAGE_SIZE) -> list[Order]:
        """The first `limit` rows by id. Raises BadResponseError when ids do not ascend from
        `query.min_id`, since the next page would start in the wrong place.
        """
        return self._get(
            "v2/orders",
            lambda answer: _ascending(_rows(answer), query),
            query={**query.parameters(), "sort": "id:asc", "limit": str(limit)},
            what="Orders",
            scope=ORDERS_SCOPE,
        )

    def iter_pages(self, query: OrderQuery) -> Iterator[list[Order]]:
        """All rows, page by page, by keyset: each page starts behind the last id seen, so that
        orders that come, go or change in between can neither repeat a row nor hide one.
        """
        min_id = query.min_id
        while query.max_id is None or min_id <= query.max_id:
            page = self.list_orders(_from(query, min_id))
            if not page:
                return
            yield page
            min_id = page[-1].id + 1

    def count_orders(self, query: OrderQuery) -> int:
        """How many orders BigCommerce counts for `query`."""
        return self._get(
            "v2/orders/count",
            lambda answer: _number(_json(answer), "count"),
            query=query.parameters(),
            what="The number of orders",
            scope=ORDERS_SCOPE,
        )

    def order_statuses(self) -> dict[int, tuple[str, ...]]:
        """The store's statuses: id to all names it goes by, the merchant's own included."""
        return self._get(
            "v2/order_statuses", _statuses, what="The order statuses", scope=ORDERS_SCOPE
        )

    # The store

    def store(self) -> dict[str, Any]:
        """Name, domain, timezone and plan of the store, among others."""
        return self._get(
            "v2/store", lambda a: _object(_json(a)), what="The store", scope=INFORMATION_SCOPE
        )

    def time(self) -> datetime:
        """BigCommerce's clock: aware UTC, whole seconds."""
        seconds = self._get(
            "v2/time", lambda a: _number(_json(a), "time"), what="The time", scope=ANY_SCOPE
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
        """The hooks that this token's API account made; others stay invisible to it."""
        wanted: dict[str, str] = {}
        if scope is not None:
            wanted["scope"] = scope
        if destination is not None:
            wanted["destination"] = destination
        if is_active is not None:
            wanted["is_active"] = str(is_active).lower()
        hooks: list[Hook] = []
        page = 1
        while True:
            paging = {"page": str(page), "limit": str(PAGE_SIZE)} if api_version == "v3" else {}
            rows, pages = self._get(
                f"{api_version}/hooks",
                lambda answer: _hook_page(answer, api_version),
                query={**wanted, **paging},
                what="Hooks",
                scope=ANY_SCOPE,
            )
            # The filters are checked here as well: v2 does not document them.
            hooks += [
                hook
                for hook in rows
                if scope in (None, hook.scope)
                and destination in (None, hook.destination)
                and is_active in (None, hook.is_active)
            ]
            if page >= pages:
                return hooks
            page += 1

    def get_hook(self, hook_id: int, *, api_version: ApiVersion = "v3") -> Hook:
        """One hook. Raises NotFoundError."""
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
        """Make a hook. Raises RejectedError with BigCommerce's reason."""
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
        """Change some of scope, destination, is_active and headers. Raises NotFoundError."""
        path = f"{api_version}/hooks/{hook_id}"
        return self._hook("PUT", path, what=f"Hook {hook_id}", body=changes)

    def delete_hook(self, hook_id: int, *, api_version: ApiVersion = "v3") -> None:
        """Delete a hook. Raises NotFoundError."""
        self._call(
            "DELETE",
            f"{api_version}/hooks/{hook_id}",
            lambda _answer: None,
            what=f"Hook {hook_id}",
            scope=ANY_SCOPE,
        )

    def hooks_admin(self) -> HooksAdmin:
        """Alert addresses, the state of each hook, blocked domains."""
        return self._get(
            "v3/hooks/admin",
            lambda answer: parse_hooks_admin(_data(answer)),
            what="The hooks' state",
            scope=ANY_SCOPE,
        )

    def set_alert_emails(self, emails: list[str]) -> None:
        """Who gets an e-mail when a hook is deactivated or a domain blocked."""
        self._call(
            "PUT",
            "v3/hooks/admin",
            lambda _answer: None,
            body={"emails": emails},
            what="The alert addresses",
            scope=ANY_SCOPE,
        )

    # One way out for all of them

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
        query: Mapping[str, str] | None = None,
    ) -> T:
        return self._call("GET", path, parse, query=query, what=what, scope=scope)

    def _call(
        self,
        method: str,
        path: str,
        parse: Callable[[Response], T],
        *,
        what: str,
        scope: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, object] | None = None,
        secrets: Collection[str] = (),
    ) -> T:
        """Send until there is an answer. An error that quotes `secrets` is told without them."""
        attempt = quota_waits = 0
        while True:
            quota = None
            try:
                answer, quota = self._request(method, path, query, body)
                shown = answer
                if answer.status >= HTTPStatus.BAD_REQUEST:  # an error may quote what it got
                    shown = _without(answer, {*secrets, self._access_token.reveal()})
                error = bigcommerce_error(shown, what=what, scope=scope, now=self._clock.now())
                if error is None:
                    return parse(answer)
                if isinstance(error, NotFoundError) and method == "DELETE" and attempt:
                    return parse(answer)  # an earlier try did it, and its answer was lost
                if isinstance(error, NotFoundError) and not path[-1].isdigit():
                    raise CredentialsError(
                        f"{error} BigCommerce knows no store {self.store_hash} with such an API.",
                        hint="Check store_hash: it is in the API path, /stores/HASH/v3/.",
                    )
                raise error
            except UnreachableError as caught:
                if not _may_repeat(method, caught):
                    raise
                over_quota = isinstance(caught, RetryLaterError) and caught.status == 429
                if over_quota and quota is not None:
                    quota_waits += 1
                else:
                    attempt += 1
                if attempt >= self._attempts or quota_waits >= _QUOTA_TRIES:
                    raise
                self._wait(caught, attempt, over_quota=over_quota, quota=quota)

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Mapping[str, object] | None,
    ) -> tuple[Response, Quota | None]:
        with self._limiter.request() as turn:
            answer = self._http.request(
                method,
                path,
                query=query,
                body=None if body is None else json.dumps(body).encode(),
                headers=None if body is None else {"Content-Type": "application/json"},
            )
            quota = self._limiter.observe(answer.headers, turn)
        self.server_time = parse_http_date(answer.headers.get("Date"))
        return answer, quota

    def _wait(
        self, error: UnreachableError, attempt: int, *, over_quota: bool, quota: Quota | None
    ) -> None:
        """Before the next try: as long as BigCommerce asks for, or until the quota's reset."""
        wait_s = error.retry_after_s if isinstance(error, RetryLaterError) else None
        if wait_s is None and over_quota and quota is not None:
            wait_s = quota.reset_s + RESET_MARGIN_S
        if wait_s is None:
            wait_s = full_jitter(attempt, self._clock.random())
        _log.debug("%s Trying again in %.1f s.", error, wait_s)
        if over_quota:
            # The whole store is over its quota or the platform overloaded: nobody else may go.
            self._limiter.pause(wait_s)
        else:
            self._clock.sleep(wait_s)


def _may_repeat(method: str, error: UnreachableError) -> bool:
    """A second POST could make a second hook, unless the first certainly did nothing."""
    if method != "POST" or isinstance(error, NoConnectionError):
        return True
    return isinstance(error, RetryLaterError) and error.status == HTTPStatus.TOO_MANY_REQUESTS


def _from(query: OrderQuery, min_id: int) -> OrderQuery:
    return OrderQuery(
        min_id, query.max_id, query.created, query.modified, query.status_id, query.channel_id
    )


def _rows(answer: Response) -> list[Order]:
    """The rows of a list. Only a 204 is an empty page: a 200 without a body lost its own."""
    if answer.status != HTTPStatus.NO_CONTENT and not answer.body:
        raise BadResponseError("BigCommerce's answer is empty.")
    return parse_orders(answer.body)


def _ascending(orders: list[Order], query: OrderQuery) -> list[Order]:
    floor = query.min_id - 1
    for order in orders:
        if order.id <= floor or (query.max_id is not None and order.id > query.max_id):
            raise BadResponseError(
                f"BigCommerce's list of orders is out of order at id {order.id}: ids must ascend "
                f"from {query.min_id}.",
                hint="No order was passed over. Run it again; if it stays, report it.",
            )
        floor = order.id
    return orders


def _same_id(order: Order, order_id: int) -> Order:
    if order.id != order_id:
        raise BadResponseError(f"BigCommerce answered with order {order.id}, not {order_id}.")
    return order


def _json(answer: Response) -> object:
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        raise BadResponseError(
            "BigCommerce's answer is not JSON, or was cut off on the way."
        ) from None


def _object(document: object) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise BadResponseError("BigCommerce's answer is not the JSON object that it should be.")
    return document


def _number(document: object, key: str) -> int:
    value = _object(document).get(key)
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadResponseError(f"BigCommerce's answer has no number {key!r}.")
    return value


def _statuses(answer: Response) -> dict[int, tuple[str, ...]]:
    rows = _json(answer)
    if not isinstance(rows, list):
        raise BadResponseError("BigCommerce's answer is not the JSON list that it should be.")
    names: dict[int, tuple[str, ...]] = {}
    for row in rows:
        given = [_object(row).get(key) for key in ("name", "system_label", "custom_label")]
        names[_number(row, "id")] = tuple(dict.fromkeys(n for n in given if isinstance(n, str)))
    return names


def _data(answer: Response) -> object:
    return _object(_json(answer)).get("data")


def _hook_of_v3(answer: Response) -> Hook:
    return parse_hook(_data(answer))


def _hook_of_v2(answer: Response) -> Hook:
    return parse_hook(_json(answer))


def _secrets_in(body: Mapping[str, object]) -> set[str]:
    """What BigCommerce must not be quoted with, should it say what is wrong with a hook."""
    destination, headers = body.get("destination"), body.get("headers")
    secrets = set(destination_secrets(destination)) if isinstance(destination, str) else set()
    if isinstance(headers, Mapping):
        secrets.update(headers.values())
    return secrets


def _without(answer: Response, secrets: Collection[str]) -> Response:
    """Masked before the message is shortened, which could leave the half of a secret."""
    body = answer.body
    for secret in sorted(secrets, key=len, reverse=True):
        escaped = json.dumps(secret)[1:-1]
        for written in (secret, escaped, escaped.replace("/", r"\/")):
            if len(secret) >= _SECRET_CHARACTERS:
                body = body.replace(written.encode(), MASK.encode())
    return Response(answer.status, answer.headers, body)


def _hook_page(answer: Response, api_version: ApiVersion) -> tuple[list[Hook], int]:
    """The hooks of one page and the number of pages."""
    if answer.status == HTTPStatus.NO_CONTENT:
        return [], 1
    document = _json(answer)
    pages = 1
    if api_version == "v3":
        meta = _object(document).get("meta")
        pagination = meta.get("pagination") if isinstance(meta, dict) else None
        total = pagination.get("total_pages") if isinstance(pagination, dict) else None
        pages = total if isinstance(total, int) else 1
        document = _object(document).get("data")
    if not isinstance(document, list):
        raise BadResponseError("BigCommerce's answer is not the list of hooks that it should be.")
    return [parse_hook(row) for row in document], pages
