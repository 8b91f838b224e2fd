"""BigCommerce's v2 API, as far as orders, their statuses, the store and its clock go."""

from __future__ import annotations

from onetribe_bc.sandbox.api_errors import v2_error
from onetribe_bc.sandbox.dates import ServerClock
from onetribe_bc.sandbox.messages import Request, Response, json_response
from onetribe_bc.sandbox.order_query import QueryError, parse_query
from onetribe_bc.sandbox.order_store import OrderStore
from onetribe_bc.sandbox.statuses import STATUSES

ORDERS_SCOPE = "store_v2_orders_read_only"
INFORMATION_SCOPE = "store_v2_information_read_only"


class OrdersApi:
    """Reads only. `scopes` are the OAuth scopes of the token; what they lack is a 403."""

    def __init__(
        self, store: OrderStore, clock: ServerClock, store_hash: str, scopes: set[str]
    ) -> None:
        self._store = store
        self._clock = clock
        self._store_hash = store_hash
        self._scopes = scopes

    def answer(self, request: Request, resource: str) -> Response:
        """Answer `resource`, the path after `/v2/`."""
        name, _, rest = resource.partition("/")
        scope = {
            "orders": ORDERS_SCOPE, "order_statuses": ORDERS_SCOPE, "store": INFORMATION_SCOPE,
        }.get(name)  # fmt: skip
        # Writing needs scopes beyond the read-only ones, which this token never has.
        if scope is not None and (scope not in self._scopes or request.method != "GET"):
            return v2_error(403)
        if request.method != "GET":
            return v2_error(405)
        match name, rest:
            case "orders", "":
                return self._list(request)
            case "orders", "count":
                return self._count(request)
            case "orders", _:
                return self._order(rest)
            case "order_statuses", _:
                return _statuses(rest)
            case "store", "":
                return json_response(200, self._about())
            case "time", "":
                return json_response(200, {"time": self._clock.now()})
            case _:
                return v2_error(404)

    def _list(self, request: Request) -> Response:
        try:
            orders = self._store.page(parse_query(request.params()))
        except QueryError as error:
            return v2_error(400, str(error))
        if not orders:
            return Response(204)
        return Response(200, b"[" + b",".join(orders) + b"]")

    def _count(self, request: Request) -> Response:
        try:
            counts = self._store.counts(parse_query(request.params()))
        except QueryError as error:
            return v2_error(400, str(error))
        statuses = [
            status.as_json() | {"count": counts[status.id], "sort_order": status.sort_order}
            for status in sorted(STATUSES.values(), key=lambda status: status.sort_order)
        ]
        return json_response(200, {"statuses": statuses, "count": sum(counts.values())})

    def _order(self, order_id: str) -> Response:
        try:
            return Response(200, self._store.raw(int(order_id)))
        except (KeyError, ValueError):
            return v2_error(404)

    def _about(self) -> dict[str, object]:
        return {
            "id": self._store_hash,
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


def _statuses(status_id: str) -> Response:
    rows = [status.as_json() | {"order": status.sort_order} for status in STATUSES.values()]
    if not status_id:
        return json_response(200, rows)
    row = next((row for row in rows if str(row["id"]) == status_id), None)
    return v2_error(404) if row is None else json_response(200, row)
