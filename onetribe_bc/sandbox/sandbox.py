"""Both services on loopback, put together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from datetime import datetime

from onetribe_bc.sandbox.bigcommerce import INFORMATION_SCOPE, ORDERS_SCOPE, BigCommerce
from onetribe_bc.sandbox.control import PREFIX, respond_to_control
from onetribe_bc.sandbox.dates import ServerClock
from onetribe_bc.sandbox.fault import Fault
from onetribe_bc.sandbox.faults import Faults
from onetribe_bc.sandbox.hooks import HookStore
from onetribe_bc.sandbox.invented_orders import EXAMPLE_ORDER_ID, OrderFactory, example_order
from onetribe_bc.sandbox.messages import Request, Response
from onetribe_bc.sandbox.onetribe import PATH, OneTribe
from onetribe_bc.sandbox.order_store import OrderStore
from onetribe_bc.sandbox.quota import Quota, QuotaWindow
from onetribe_bc.sandbox.server import Server

STORE_HASH = "sandbox1"
ACCESS_TOKEN = "sandbox-access-token-not-a-secret"  # noqa: S105 - obviously fake
CLIENT_SECRET = "sandbox-client-secret-not-a-secret"  # noqa: S105 - obviously fake
MERCHANT_KEY = "sandbox-merchant-key-not-a-secret"
PRO_QUOTA = Quota()


class Sandbox:
    """BigCommerce and One Tribe, simulated on two ports of 127.0.0.1.

    It serves from the start until `stop()` or the end of its `with` block. Attributes:

    - `store`: the orders; `hooks`: the hooks; `onetribe`: what arrived there, and how it behaves
    - `faults`: what goes wrong
    - `on_request`: called with each BigCommerce request before it is carried out, in its thread
    - `scopes`: the token's OAuth scopes, a set that may be changed
    - `clock`: the server's clock (Date, `v2/time`, `date_modified`), which may be set wrong
    - `store_hash`, `access_token`, `client_secret`, `merchant_key`: fake credentials

    `now` (aware; default: the real now) is when the server's clock starts, and `date_created` of
    the invented orders is spread over the `days` before it. `example` adds order 218 of
    BigCommerce's reference. `quota=None` is a store without limits, whose responses carry no quota
    headers; `monotonic` times the quota's window. Bodies are kept of the first `keep_bodies` orders
    that arrive. Port 0 is any free one; raises OSError for one in use.
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
        keep_bodies: int = 5_000,
        port: int = 0,
        onetribe_port: int = 0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store_hash = STORE_HASH
        self.access_token = ACCESS_TOKEN
        self.client_secret = CLIENT_SECRET
        self.merchant_key = MERCHANT_KEY
        self.scopes = {ORDERS_SCOPE, INFORMATION_SCOPE}
        self.on_request: Callable[[Request], None] | None = None
        self.clock = ServerClock(now)
        self._stopping = threading.Event()
        self.faults = Faults(seed, self._stopping, faults)
        factory = OrderFactory(seed, STORE_HASH, self.clock.started_at, days)
        self.store = OrderStore(factory, orders, self.clock.now)
        if example:
            if EXAMPLE_ORDER_ID in self.store:
                self.store.remove(EXAMPLE_ORDER_ID)
            self.store.add(example_order(STORE_HASH))
        self.hooks = HookStore(STORE_HASH, self.clock.now)
        self.onetribe = OneTribe(MERCHANT_KEY, self.faults, self._stopping, keep_bodies)
        self._quota = QuotaWindow(quota, monotonic)
        self._bigcommerce = BigCommerce(
            self.store,
            self.hooks,
            self.faults,
            self._quota,
            self.clock,
            self.scopes,
            store_hash=STORE_HASH,
            access_token=ACCESS_TOKEN,
        )
        self._api_server = self._server(self._respond, port)
        try:
            self._onetribe_server = self._server(self.onetribe.respond, onetribe_port)
        except OSError:
            self._api_server.stop()
            raise
        self._api_server.start()
        self._onetribe_server.start()

    @property
    def api_url(self) -> str:
        """Stands for https://api.bigcommerce.com."""
        return self._api_server.url

    @property
    def onetribe_url(self) -> str:
        """The URL that takes orders; its last part is the merchant key."""
        return self._onetribe_server.url + PATH + self.merchant_key

    @property
    def requests(self) -> tuple[Request, ...]:
        """The last requests to the BigCommerce side, in the order of the responses."""
        return tuple(self._bigcommerce.requests.copy())

    @property
    def quota(self) -> Quota | None:
        """The quota in force; setting one starts a new window."""
        return self._quota.quota

    @quota.setter
    def quota(self, quota: Quota | None) -> None:
        self._quota.reset(quota)

    def eat_quota(self, requests: int) -> None:
        """Count requests of the store's other apps."""
        self._quota.count(requests)

    def environment(self) -> dict[str, str]:
        """The environment variables that point a `bc2ot` process at this sandbox."""
        return {
            "BC2OT_STORE_HASH": self.store_hash,
            "BC2OT_ACCESS_TOKEN": self.access_token,
            "BC2OT_API_URL": self.api_url,
            "BC2OT_ONETRIBE_URL": self.onetribe_url,
            "BC2OT_CLIENT_SECRET": self.client_secret,
        }

    def reset(self) -> None:
        """Forget what arrived, requests, faults and used quota. Orders and hooks stay."""
        self.faults.clear()
        self.onetribe.clear()
        self._bigcommerce.requests.clear()
        self._quota.reset(self._quota.quota)

    def stop(self) -> None:
        """Close every socket, end every thread, release held requests. Safe to call twice."""
        self._stopping.set()
        self.faults.open_gates()
        self._api_server.stop()
        self._onetribe_server.stop()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _server(self, respond: Callable[[Request], Response], port: int) -> Server:
        return Server(respond, port=port, date=self.clock.http_date, stopping=self._stopping)

    def _respond(self, request: Request) -> Response:
        if request.path.startswith(PREFIX):
            return respond_to_control(self.store, self.onetribe, self.faults, request)
        if self.on_request is not None:
            self.on_request(request)
        return self._bigcommerce.respond(request)
