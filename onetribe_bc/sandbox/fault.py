"""What can go wrong, and when."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field
from enum import StrEnum

from onetribe_bc.sandbox.messages import header_value


class Service(StrEnum):
    """The two services that are simulated."""

    BIGCOMMERCE = "bigcommerce"
    ONETRIBE = "onetribe"


class FaultKind(StrEnum):
    """What can go wrong. Answers of the first group replace the work: with them no order is filed,
    unless `status` is a 2xx. Those of the others come after it: the order was filed.
    """

    SERVER_ERROR = "5xx"
    """500, 502, 503 or 504, by chance."""
    STATUS = "status"
    """`Fault.status`, with `Fault.headers`."""
    HTML = "html"
    """An HTML page with `Fault.status` (default 502)."""
    BARE_429 = "bare_429"
    """429 without quota headers: BigCommerce's sign of an overloaded platform."""
    RESET = "reset"
    """The connection is reset before the request is looked at."""

    LOST_REPLY = "lost_reply"
    """The request is carried out, then the connection is reset without an answer."""
    EMPTY = "empty"
    """200 without a body."""
    GARBLED = "garbled"
    """200 with broken JSON, or with bytes that are not UTF-8, by chance."""
    TRUNCATED = "truncated"
    """Half a body and the end of the connection; Content-Length promised all of it."""
    CUT_JSON = "cut_json"
    """Half a body, with the Content-Length of that half."""
    DRIP = "drip"
    """The body a byte at a time, `Fault.delay_s` between two."""

    SLOW = "slow"
    """An answer `Fault.delay_s` later."""
    HOLD = "hold"
    """An answer once `Fault.gate` is opened."""

    OBJECT_FOR_LIST = "object_for_list"
    """A JSON object where a list is due."""
    ROW_WITHOUT_ID = "row_without_id"
    """A list whose last order has no id."""
    NOT_ASCENDING = "not_ascending"
    """A list the wrong way round."""
    DATE_FILTER_IGNORED = "date_filter_ignored"
    """A list as if no date had been asked for."""


WAITS = frozenset({FaultKind.SLOW, FaultKind.HOLD})
LIST_FAULTS = frozenset(
    {
        FaultKind.OBJECT_FOR_LIST,
        FaultKind.ROW_WITHOUT_ID,
        FaultKind.NOT_ASCENDING,
        FaultKind.DATE_FILTER_IGNORED,
    }
)
"""These strike `GET v2/orders` only."""
SERVER_ERRORS = (500, 502, 503, 504)

_DEFAULT_STATUS = {FaultKind.STATUS: 500, FaultKind.HTML: 502}
_DEFAULT_DELAY_S = {FaultKind.SLOW: 1.0, FaultKind.DRIP: 0.01}


class Gate:
    """Holds requests up: `arrived` is set when the first one waits, `open()` lets all go."""

    def __init__(self) -> None:
        self.arrived = threading.Event()
        self.opened = threading.Event()

    def open(self) -> None:
        self.opened.set()

    def wait_arrival(self, timeout_s: float = 10.0) -> None:
        """Wait until a request is held. Raises TimeoutError."""
        if not self.arrived.wait(timeout_s):
            raise TimeoutError("No request arrived at the gate.")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong, and when.

    Without conditions it strikes every request to `service`. `rate` is a chance in [0, 1]; `times`
    ends it after so many strikes; `skip` lets so many matching requests pass first. `order_ids`,
    `method` and `path` (a part of it) narrow it down: on BigCommerce's side an order id is that of
    `GET v2/orders/{id}`, on One Tribe's that of the posted order. `after` makes `slow` and `hold`
    wait when the request was carried out, not before.

    Raises ValueError for values that make no sense.
    """

    service: Service | str
    kind: FaultKind | str
    rate: float = 1.0
    times: int | None = None
    skip: int = 0
    order_ids: frozenset[int] | None = None
    method: str | None = None
    path: str | None = None
    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    delay_s: float | None = None
    after: bool = False
    gate: Gate | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        kind = FaultKind(self.kind)
        _set(self, "service", Service(self.service))
        _set(self, "kind", kind)
        if not 0 <= self.rate <= 1:
            raise ValueError(f"A fault's rate is a number from 0 to 1, not {self.rate}.")
        if kind in LIST_FAULTS and self.service is not Service.BIGCOMMERCE:
            raise ValueError(f"{kind} is about lists of orders: only bigcommerce sends any.")
        if kind is FaultKind.HOLD and self.gate is None:
            raise ValueError("hold needs a gate=Gate() that someone opens.")
        if self.status == 0:
            _set(self, "status", _DEFAULT_STATUS.get(kind, 200))
        if not 200 <= self.status <= 599:
            raise ValueError(f"{self.status} is no HTTP status from 200 to 599.")
        if self.delay_s is None:
            _set(self, "delay_s", _DEFAULT_DELAY_S.get(kind, 0.0))
        elif not 0 <= self.delay_s < math.inf:
            raise ValueError(f"A fault's delay is a number of seconds, not {self.delay_s}.")
        for name, value in self.headers:
            header_value(name, value)

    @property
    def replaces_work(self) -> bool:
        """Whether the request is not carried out when this strikes."""
        if self.kind in (FaultKind.STATUS, FaultKind.HTML):
            return self.status >= 300
        return self.kind in (FaultKind.SERVER_ERROR, FaultKind.BARE_429, FaultKind.RESET)


def _set(fault: Fault, name: str, value: object) -> None:
    object.__setattr__(fault, name, value)  # the way a frozen dataclass normalises its own fields
