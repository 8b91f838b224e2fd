"""Faults: what goes wrong, and when.

A new kind is a member of `FaultKind` and a case in `faults.py`; if it breaks a connection in a way
of its own, also a `Delivery` and a case in `server.py`.
"""

from __future__ import annotations

import math
import random
import re
import threading
from dataclasses import dataclass, field
from enum import StrEnum

FAULT_SYNTAX = "SERVICE:KIND[=RATE][@ARGUMENT][*TIMES][#ID,ID…]"
"""RATE is a chance from 0 to 1, ARGUMENT the seconds of `slow` and `drip` or the status of `status`
and `html`, TIMES how often it strikes at most, and the IDs are those of the orders it strikes."""

_SPEC = re.compile(
    r"(?P<service>[^:]*):(?P<kind>[^=@*#]*)"
    r"(?:=(?P<rate>[^@*#]*))?(?:@(?P<argument>[^*#]*))?(?:\*(?P<times>\d+))?(?:#(?P<ids>[\d,]+))?"
)


class Service(StrEnum):
    BIGCOMMERCE = "bigcommerce"
    ONETRIBE = "onetribe"


class FaultKind(StrEnum):
    """What can go wrong. Kinds of the first group strike instead of the work: with them no order is
    filed, unless `status` is a 2xx. The others strike after it: the order was filed.
    """

    SERVER_ERROR = "5xx"
    """500, 502, 503 or 504, by chance."""
    STATUS = "status"
    """`Fault.status`, with `Fault.headers` and `Fault.body`."""
    HTML = "html"
    """An HTML page with `Fault.status`."""
    BARE_429 = "bare_429"
    """429 without quota headers: BigCommerce's sign of an overloaded platform."""
    RESET = "reset"
    """The connection is reset before the request is carried out."""

    LOST_REPLY = "lost_reply"
    """The connection is reset after the request was carried out."""
    EMPTY = "empty"
    """200 without a body."""
    GARBLED = "garbled"
    """200 with broken JSON or with invalid UTF-8, by chance."""
    TRUNCATED = "truncated"
    """Half a body and the end of the connection; Content-Length promised all of it."""
    CUT_JSON = "cut_json"
    """Half a body, with the Content-Length of that half."""
    DRIP = "drip"
    """The body a byte at a time, `Fault.delay_s` apart."""

    SLOW = "slow"
    """A response `Fault.delay_s` later."""
    HOLD = "hold"
    """A response once `Fault.gate` is opened."""

    OBJECT_FOR_LIST = "object_for_list"
    """A JSON object where a list is due."""
    ROW_WITHOUT_ID = "row_without_id"
    """A list whose last order has no id."""
    NOT_ASCENDING = "not_ascending"
    """A list in reverse order."""
    DATE_FILTER_IGNORED = "date_filter_ignored"
    """A list as if no date had been asked for."""


WAITS = frozenset({FaultKind.SLOW, FaultKind.HOLD})
_LIST_FAULTS = frozenset(
    {
        FaultKind.OBJECT_FOR_LIST,
        FaultKind.ROW_WITHOUT_ID,
        FaultKind.NOT_ASCENDING,
        FaultKind.DATE_FILTER_IGNORED,
    }
)
"""They strike `GET v2/orders` only."""
_DEFAULT_STATUS = {FaultKind.STATUS: 500, FaultKind.HTML: 502}
_DEFAULT_DELAY_S = {FaultKind.SLOW: 1.0, FaultKind.DRIP: 0.01}


class Gate:
    """Holds requests: `arrived` is set when the first one waits, `open()` lets all of them go."""

    def __init__(self) -> None:
        self.arrived = threading.Event()
        self.opened = threading.Event()

    def open(self) -> None:
        self.opened.set()

    def wait_arrival(self, timeout_s: float = 10.0) -> None:
        """Wait until a request is held. Raises TimeoutError."""
        if not self.arrived.wait(timeout_s):
            raise TimeoutError("No request arrived at the gate.")


@dataclass(slots=True)
class Fault:
    """One thing that goes wrong, and when.

    Without conditions it strikes every request to `service`. `rate` is a chance in [0, 1]; `times`
    ends it after so many strikes; `skip` lets so many matching requests pass first. `order_ids`,
    `method` and `path` (a part of it) narrow it down: an order id is that of BigCommerce's
    `GET v2/orders/{id}`, or of the order posted to One Tribe. With `after`, `slow` and `hold` wait
    when the request was carried out, not before.

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
    struck: int = field(default=0, init=False, compare=False)
    """How often it struck since it was added to the faults in force."""
    _passed: int = field(default=0, init=False, compare=False, repr=False)
    _random: random.Random = field(
        default_factory=random.Random, init=False, compare=False, repr=False
    )

    def __post_init__(self) -> None:
        self.service = Service(self.service)
        self.kind = kind = FaultKind(self.kind)
        if not 0 <= self.rate <= 1:
            raise ValueError(f"A fault's rate is a number from 0 to 1, not {self.rate}.")
        if kind in _LIST_FAULTS and self.service is not Service.BIGCOMMERCE:
            raise ValueError(f"{kind} is about lists of orders, which only bigcommerce sends.")
        if kind is FaultKind.HOLD and self.gate is None:
            raise ValueError("hold needs a gate=Gate() that a test opens.")
        self.status = self.status or _DEFAULT_STATUS.get(kind, 200)
        if not 200 <= self.status <= 599:
            raise ValueError(f"{self.status} is not an HTTP status from 200 to 599.")
        if self.delay_s is None:
            self.delay_s = _DEFAULT_DELAY_S.get(kind, 0.0)
        if not 0 <= self.delay_s < math.inf:
            raise ValueError(f"A fault's delay is a number of seconds, not {self.delay_s}.")
        for name, value in self.headers:
            if "\r" in value or "\n" in value:
                raise ValueError(f"The header {name} contains a line break.")

    def arm(self, seed: str) -> None:
        """Start to count from zero, with dice of its own."""
        self.struck = self._passed = 0
        self._random = random.Random(seed)

    @property
    def spent(self) -> bool:
        return self.times is not None and self.struck >= self.times

    def matches(
        self, service: Service, method: str, path: str, order_id: int | None, *, is_list: bool
    ) -> bool:
        """Whether a request meets the conditions. `is_list`: it is `GET v2/orders`."""
        return (
            self.service == service
            and (self.order_ids is None or order_id in self.order_ids)
            and (self.method is None or self.method == method)
            and (self.path is None or self.path in path)
            and (self.kind not in _LIST_FAULTS or is_list)
        )

    def strike(self) -> float | None:
        """Strike a request that matches, or let it pass (None).

        Returns a chance in [0, 1), by which the kind picks among its variants.
        """
        if self.spent:
            return None
        if self._passed < self.skip:
            self._passed += 1
            return None
        if self.rate < 1 and self._random.random() >= self.rate:
            return None
        self.struck += 1
        return self._random.random()


def parse_fault(spec: str) -> Fault:
    """Read a fault such as `onetribe:slow=0.2@1.5*10`; see FAULT_SYNTAX.

    `hold` cannot be written: it needs code that opens the gate. Raises ValueError with a sentence
    that says what is wrong and what is known.
    """
    match = _SPEC.fullmatch(spec.strip())
    if match is None:
        raise ValueError(
            f"The fault {spec!r} is not of the form {FAULT_SYNTAX}, such as 'onetribe:5xx=0.1'."
        )
    service, kind, rate, argument, times, ids = match.groups()
    kinds = [known.value for known in FaultKind if known is not FaultKind.HOLD]
    if service not in tuple(Service):
        raise ValueError(
            f"The fault {spec!r} names an unknown service: known are {', '.join(Service)}."
        )
    if kind not in kinds:
        raise ValueError(f"The fault {spec!r} has an unknown kind: known are {', '.join(kinds)}.")
    try:
        status, delay_s = _argument(FaultKind(kind), argument)
        return Fault(
            service,
            kind,
            rate=1.0 if rate is None else float(rate),
            times=None if times is None else int(times),
            order_ids=None if ids is None else frozenset(map(int, ids.split(","))),
            status=status,
            delay_s=delay_s,
        )
    except ValueError as error:
        raise ValueError(f"The fault {spec!r} is malformed: {error}") from None


def _argument(kind: FaultKind, text: str | None) -> tuple[int, float | None]:
    """Status and seconds; 0 and None stand for the kind's default."""
    if text is None:
        return 0, None
    if kind in _DEFAULT_STATUS:
        return int(text), None
    if kind in _DEFAULT_DELAY_S:
        return 0, float(text)
    raise ValueError(f"{kind} takes no argument after '@'.")
