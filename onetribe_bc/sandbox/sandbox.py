"""Both services on loopback, put together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from types import TracebackType

from onetribe_bc.sandbox import control
from onetribe_bc.sandbox.bigcommerce import BigCommerce
from onetribe_bc.sandbox.dates import ServerClock
from onetribe_bc.sandbox.example_order import EXAMPLE_ORDER_ID, example_order
from onetribe_bc.sandbox.fault import Fault
from onetribe_bc.sandbox.faults import Faults
from onetribe_bc.sandbox.hooks import HookBook
from onetribe_bc.sandbox.hooks_api import HooksApi
from onetribe_bc.sandbox.injection import Injector
from onetribe_bc.sandbox.messages import Request, Response
from onetribe_bc.sandbox.onetribe import PATH, OneTribe
from onetribe_bc.sandbox.order_factory import OrderFactory
from onetribe_bc.sandbox.order_store import OrderStore
from onetribe_bc.sandbox.orders_api import INFORMATION_SCOPE, ORDERS_SCOPE, OrdersApi
from onetribe_bc.sandbox.quota import Quota, QuotaWindow
from onetribe_bc.sandbox.request_log import RequestLog, RequestRecord
from onetribe_bc.sandbox.server import Server

STORE_HASH = "sandbox1"
ACCESS_TOKEN = "sandbox-access-token-not-a-secret"  # noqa: S105 - obviously fake
CLIENT_SECRET = "sandbox-client-secret-not-a-secret"  # noqa: S105 - obviously fake
MERCHANT_KEY = "sandbox-merchant-key-not-a-secret"
ALL_SCOPES = frozenset({ORDERS_SCOPE, INFORMATION_SCOPE})
PRO_QUOTA = Quota()
"""What a Pro plan has: 450 requests per 30 s."""


class Sandbox:
    """BigCommerce and One Tribe, simulated on two ports of 127.0.0.1.

    Serves from its making until `stop()` or the end of its `with` block. Attributes:

    - `store`: the orders; `hooks`: the hooks; `onetribe`: what arrived there, and how it behaves
    - `faults`: what goes wrong
    - `scopes`: the token's OAuth scopes, a set that may be changed
    - `clock`: the server's clock; `clock.offset_s` makes it wrong
    - `store_hash`, `access_token`, `client_secret`, `merchant_key`: fake credentials

    `now` (aware; default: the real now) is when the server's clock starts, and `date_created` of
    the invented orders is spread over the `days` before it. `example` adds order 218 of
    BigCommerce's reference. `quota=None` is a store without limits, whose answers carry no quota
    headers; `monotonic` times the quota's window. Whole bodies are kept of the first `keep_bodies`
    orders that arrive. Ports of 0 are free ones; raises OSError for one in use.
    """

    def __init__(
        self,
        orders: int = 100,
        seed: int = 1,
        *,
        now: datetime | None = None,
        days: float = 30.0,
        example: bool = False,
        quota: Quota | None = PRO_QUOTA,
        faults: Iterable[Fault | str] = (),
        scopes: Iterable[str] = ALL_SCOPES,
        deduplicate: bool = False,
        max_body: int = 1_048_576,
        keep_bodies: int = 5_000,
        keep_requests: int = 10_000,
        port: int = 0,
        onetribe_port: int = 0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store_hash = STORE_HASH
        self.access_token = ACCESS_TOKEN
        self.client_secret = CLIENT_SECRET
        self.merchant_key = MERCHANT_KEY
        self.clock = ServerClock(now)
        self.scopes = set(scopes)
        self.faults = Faults(seed, faults)
        factory = OrderFactory(seed, STORE_HASH, self.clock.started_at, days)
        self.store = OrderStore(factory, orders, self.clock.now)
        if example:
            if EXAMPLE_ORDER_ID in self.store:
                self.store.remove(EXAMPLE_ORDER_ID)
            self.store.add(example_order(STORE_HASH))
        self.hooks = HookBook(STORE_HASH, self.clock.now)

        self._stopping = threading.Event()
        injector = Injector(self._stopping)
        self._quota = QuotaWindow(quota, monotonic)
        self._requests = RequestLog(keep_requests)
        self.onetribe = OneTribe(
            MERCHANT_KEY,
            self.faults,
            injector,
            deduplicate=deduplicate,
            max_body=max_body,
            keep_bodies=keep_bodies,
            keep_requests=keep_requests,
        )
        self._bigcommerce = BigCommerce(
            OrdersApi(self.store, self.clock, STORE_HASH, self.scopes),
            HooksApi(self.hooks),
            self.faults,
            injector,
            self._quota,
            self._requests,
            store_hash=STORE_HASH,
            access_token=ACCESS_TOKEN,
        )
        self._control = control.Control(
            self.store,
            self.onetribe,
            self.faults,
            self._requests,
            about=self._about,
            reset=self.reset,
        )
        self._api_server = self._server(self._answer, port)
        try:
            self._onetribe_server = self._server(self.onetribe.answer, onetribe_port)
        except OSError:
            self._api_server.stop()
            raise
        self._api_server.start()
        self._onetribe_server.start()

    @property
    def api_url(self) -> str:
        """What stands for https://api.bigcommerce.com."""
        return self._api_server.url

    @property
    def onetribe_url(self) -> str:
        """Where orders are posted to; its last part is the merchant key."""
        return self._onetribe_server.url + PATH + self.merchant_key

    @property
    def requests(self) -> tuple[RequestRecord, ...]:
        """The last requests to the BigCommerce side, in the order of the answers."""
        return self._requests.records()

    @property
    def on_request(self) -> Callable[[Request], None] | None:
        """Called with each BigCommerce request before it is answered, in its thread."""
        return self._bigcommerce.on_request

    @on_request.setter
    def on_request(self, callback: Callable[[Request], None] | None) -> None:
        self._bigcommerce.on_request = callback

    @property
    def quota(self) -> Quota | None:
        """The quota in force; setting one starts a new window."""
        return self._quota.quota

    @quota.setter
    def quota(self, quota: Quota | None) -> None:
        self._quota.reset(quota)

    @property
    def clock_offset_s(self) -> float:
        """How far BigCommerce's clock (Date, `v2/time`, `date_modified`) is wrong, in seconds."""
        return self.clock.offset_s

    @clock_offset_s.setter
    def clock_offset_s(self, seconds: float) -> None:
        self.clock.offset_s = seconds

    def eat_quota(self, requests: int) -> None:
        """Another app of the store makes so many requests."""
        self._quota.count(requests)

    def environment(self) -> dict[str, str]:
        """What a `bc2ot` process needs in its environment to work with this sandbox."""
        return {
            "BC2OT_STORE_HASH": self.store_hash,
            "BC2OT_ACCESS_TOKEN": self.access_token,
            "BC2OT_API_URL": self.api_url,
            "BC2OT_ONETRIBE_URL": self.onetribe_url,
            "BC2OT_CLIENT_SECRET": self.client_secret,
        }

    def reset(self) -> None:
        """Forget what arrived, requests, faults and used quota; orders and hooks stay."""
        self.faults.clear()
        self.onetribe.clear()
        self._requests.clear()
        self._quota.reset(self._quota.quota)

    def stop(self) -> None:
        """Close every socket, end every thread, let go what is held. Safe to call twice."""
        self._stopping.set()
        self.faults.open_gates()
        self._api_server.stop()
        self._onetribe_server.stop()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _server(self, app: Callable[[Request], Response], port: int) -> Server:
        return Server(app, port=port, date=self.clock.http_date, stopping=self._stopping)

    def _answer(self, request: Request) -> Response:
        if request.path == control.PREFIX or request.path.startswith(f"{control.PREFIX}/"):
            return self._control.answer(request)
        return self._bigcommerce.answer(request)

    def _about(self) -> Mapping[str, object]:
        return {
            "store_hash": self.store_hash,
            "api_url": self.api_url,
            "onetribe_url": self.onetribe_url,
            "orders": len(self.store),
        }
