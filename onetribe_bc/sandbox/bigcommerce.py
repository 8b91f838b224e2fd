"""BigCommerce's side: who may ask, how often, and which part of the API answers."""

from __future__ import annotations

import hmac
from collections.abc import Callable

from onetribe_bc.sandbox.api_errors import v2_error, v3_error
from onetribe_bc.sandbox.fault import FaultKind, Service
from onetribe_bc.sandbox.faults import Faults, Target
from onetribe_bc.sandbox.hooks_api import HooksApi
from onetribe_bc.sandbox.injection import Injector
from onetribe_bc.sandbox.messages import Delivery, Request, Response
from onetribe_bc.sandbox.orders_api import OrdersApi
from onetribe_bc.sandbox.quota import QuotaWindow
from onetribe_bc.sandbox.request_log import RequestLog


class BigCommerce:
    """Answers `/stores/{store_hash}/v2/…` and `/v3/…`.

    `on_request`, when set, is called before a request is answered, in the thread that answers it.
    An unknown store is a 401, as is a wrong token: BigCommerce speaks of their combination.
    """

    def __init__(
        self,
        orders: OrdersApi,
        hooks: HooksApi,
        faults: Faults,
        injector: Injector,
        quota: QuotaWindow,
        requests: RequestLog,
        *,
        store_hash: str,
        access_token: str,
    ) -> None:
        self.on_request: Callable[[Request], None] | None = None
        self._orders = orders
        self._hooks = hooks
        self._faults = faults
        self._injector = injector
        self._quota = quota
        self._requests = requests
        self._prefix = f"/stores/{store_hash}/"
        self._access_token = access_token.encode()

    def answer(self, request: Request) -> Response:
        """Answer one request, under quota and faults, and record it."""
        if self.on_request is not None:
            self.on_request(request)
        error_for = v3_error if _version(request.path) == "v3" else v2_error
        state = self._quota.count()
        strikes = self._faults.strike(_target(request))
        if state is not None and state.exceeded:
            response = error_for(429)
        else:
            response = self._injector.answer(request, strikes, self._work, error_for)
        bare = any(strike.fault.kind is FaultKind.BARE_429 for strike in strikes)
        if state is not None and (state.exceeded or not bare):
            response = response.with_headers(*state.headers())
        self._requests.record(
            request, None if response.delivery is Delivery.RESET else response.status
        )
        return response

    def _work(self, request: Request) -> Response:
        version = _version(request.path)
        token = request.headers.get("X-Auth-Token", "").encode()
        if not request.path.startswith(self._prefix) or not hmac.compare_digest(
            token, self._access_token
        ):
            return v3_error(401) if version == "v3" else v2_error(401)
        resource = _resource(request.path)
        if version in ("v2", "v3") and resource.partition("/")[0] == "hooks":
            return self._hooks.answer(request, version, resource)
        if version == "v2":
            return self._orders.answer(request, resource)
        return v3_error(404)


def _version(path: str) -> str:
    """The `v2` of `/stores/{store_hash}/v2/orders`."""
    return "".join(path.split("/")[3:4])


def _resource(path: str) -> str:
    """The `orders/218` of `/stores/{store_hash}/v2/orders/218`."""
    return "".join(path.split("/", 4)[4:5]).rstrip("/")


def _target(request: Request) -> Target:
    name, _, order_id = _resource(request.path).partition("/")
    of_orders = request.method == "GET" and _version(request.path) == "v2" and name == "orders"
    return Target(
        Service.BIGCOMMERCE,
        request.method,
        request.path,
        order_id=int(order_id) if of_orders and order_id.isdecimal() else None,
        lists=of_orders and not order_id,
    )
