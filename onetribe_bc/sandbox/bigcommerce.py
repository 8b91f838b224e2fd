"""BigCommerce's side: access, quota, and the v2 API for orders, statuses, the store and its time.

Writing needs scopes that the simulated token never has, hooks excepted.
"""

from __future__ import annotations

import hmac
from collections import deque

from onetribe_bc.sandbox.dates import ServerClock
from onetribe_bc.sandbox.fault import Service
from onetribe_bc.sandbox.faults import Faults
from onetribe_bc.sandbox.hooks import HookStore
from onetribe_bc.sandbox.messages import (
    KEEP_REQUESTS,
    Request,
    Response,
    api_error,
    json_response,
)
from onetribe_bc.sandbox.order_store import OrderStore
from onetribe_bc.sandbox.orders import OrderQuery, QueryError, parse_query
from onetribe_bc.sandbox.quota import QuotaWindow
from onetribe_bc.sandbox.statuses import STATUSES

ORDERS_SCOPE = "store_v2_orders_read_only"
INFORMATION_SCOPE = "store_v2_information_read_only"
_SCOPES = {
    "orders": ORDERS_SCOPE,
    "order_statuses": ORDERS_SCOPE,
    "store": INFORMATION_SCOPE,
}
_STORE = {
    "domain": "sandbox.example.com",
    "secure_url": "https://sandbox.example.com",
    "name": "Sandbox Store",
    "first_name": "Sandy",
    "last_name": "Boxwood",
    "country": "United Kingdom",
    "country_code": "GB",
    "admin_email": "owner@example.com",
    "order_email": "orders@example.com",
    "timezone": {"name": "Europe/London", "raw_offset": 0, "dst_offset": 3600},
    "language": "en",
    "currency": "USD",
    "plan_name": "Sandbox Pro",
    "plan_level": "Pro",
    "status": "prelaunch",
}


class BigCommerce:
    """Responds to `/stores/{store_hash}/v2/…` and `/v3/…`.

    `scopes` are the token's OAuth scopes. An unknown store is a 401, as is a wrong token:
    BigCommerce speaks of their combination.
    """

    def __init__(
        self,
        store: OrderStore,
        hooks: HookStore,
        faults: Faults,
        quota: QuotaWindow,
        clock: ServerClock,
        scopes: set[str],
        *,
        store_hash: str,
        access_token: str,
    ) -> None:
        self.requests: deque[Request] = deque(maxlen=KEEP_REQUESTS)
        self._store = store
        self._hooks = hooks
        self._faults = faults
        self._quota = quota
        self._clock = clock
        self._scopes = scopes
        self._store_hash = store_hash
        self._access_token = access_token.encode()

    def respond(self, request: Request) -> Response:
        """Respond to a request, under quota and faults, and record it."""
        _, version, resource = _parts(request.path)
        name, _, order_id = resource.partition("/")
        reads_orders = request.method == "GET" and (version, name) == ("v2", "orders")
        exceeded, quota_headers = self._quota.count()
        if exceeded:
            response = api_error(version, 429)
        else:
            response = self._faults.carry_out(
                Service.BIGCOMMERCE,
                request,
                self._work,
                lambda status: api_error(version, status),
                order_id=int(order_id) if reads_orders and order_id.isdecimal() else None,
                is_list=reads_orders and not order_id,
            )
        if not response.hides_quota:
            response = response.with_headers(*quota_headers)
        self.requests.append(request.record(response))
        return response

    def _work(self, request: Request) -> Response:
        store_hash, version, resource = _parts(request.path)
        token = request.headers.get("X-Auth-Token", "").encode()
        if store_hash != self._store_hash or not hmac.compare_digest(token, self._access_token):
            return api_error(version, 401)
        if version in ("v2", "v3") and resource.partition("/")[0] == "hooks":
            return self._hooks.respond(request, version, resource)
        if version == "v2":
            return self._v2(request, resource)
        return api_error("v3", 404)

    def _v2(self, request: Request, resource: str) -> Response:
        name, _, rest = resource.partition("/")
        scope = _SCOPES.get(name)
        if scope is not None and (scope not in self._scopes or request.method != "GET"):
            return api_error("v2", 403)
        if request.method != "GET":
            return api_error("v2", 405)
        match name, rest:
            case "orders", "" | "count":
                try:
                    query = parse_query(request.params())
                except QueryError as error:
                    return api_error("v2", 400, str(error))
                return self._count(query) if rest else self._list(query)
            case "orders", _:
                return self._order(rest)
            case "order_statuses", _:
                return _statuses(rest)
            case "store", "":
                return json_response(200, {"id": self._store_hash} | _STORE)
            case "time", "":
                return json_response(200, {"time": self._clock.now()})
            case _:
                return api_error("v2", 404)

    def _list(self, query: OrderQuery) -> Response:
        orders = self._faults.spoil(self._store.page(query), is_list=True)
        if isinstance(orders, int):
            return api_error("v2", orders)
        return Response(200, b"[" + b",".join(orders) + b"]") if orders else Response(204)

    def _count(self, query: OrderQuery) -> Response:
        counts = self._store.counts(query)
        statuses = [
            status.as_json() | {"count": counts[status.id], "sort_order": status.sort_order}
            for status in sorted(STATUSES.values(), key=lambda status: status.sort_order)
        ]
        return json_response(200, {"statuses": statuses, "count": sum(counts.values())})

    def _order(self, order_id: str) -> Response:
        try:
            rows = {int(order_id): self._store.raw(int(order_id))}
        except (KeyError, ValueError):
            return api_error("v2", 404)
        orders = self._faults.spoil(rows, is_list=False)
        return api_error("v2", orders) if isinstance(orders, int) else Response(200, orders[0])


def _parts(path: str) -> tuple[str, str, str]:
    """Store hash, version, and resource of `/stores/{store_hash}/v2/orders/218`."""
    _, root, store_hash, version, resource, *_ = (*path.split("/", 4), "", "", "", "")
    return store_hash if root == "stores" else "", version, resource.rstrip("/")


def _statuses(status_id: str) -> Response:
    rows = [status.as_json() | {"order": status.sort_order} for status in STATUSES.values()]
    if not status_id:
        return json_response(200, rows)
    row = next((row for row in rows if str(row["id"]) == status_id), None)
    return api_error("v2", 404) if row is None else json_response(200, row)
