"""Faults: what goes wrong, and when.

A new kind is a member of `FaultKind` and a case in `faults.py`; if it breaks a connection in a way
of its own, also a `Delivery` and a case in `server.py`. Help and guide are made from the members.
"""

from __future__ import annotations

import math
import random
import re
import threading
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

FAULT_SYNTAX = "SERVICE:KIND[=RATE][@ARGUMENT][*TIMES][#ID,ID…]"
_SPEC = re.compile(
    r"(?P<service>[^:]*):(?P<kind>[^=@*#]*)"
    r"(?:=(?P<rate>[^@*#]*))?(?:@(?P<argument>[^*#]*))?(?:\*(?P<times>\d+))?(?:#(?P<ids>[\d,]+))?"
)


class Service(StrEnum):
    BIGCOMMERCE = "bigcommerce"
    ONETRIBE = "onetribe"


class Group(StrEnum):
    """When faults strike, as help and guide say it."""

    INSTEAD = "Instead of the request, unless the status is a 2xx"
    AFTER = "The response: the request was carried out, One Tribe has filed the order"
    LATE = "Late, in addition to other faults"
    LIST = "Lists of orders, from bigcommerce only"
    ORDER = "Orders with these IDs, else the last of each list, from bigcommerce only"


class FaultKind(StrEnum):
    """What can go wrong: its name, when, what happens, and its argument with the default."""

    group: Group
    effect: str
    argument: str
    default: float

    def __new__(
        cls,
        name: str,
        group: Group = Group.LATE,
        effect: str = "",
        argument: str = "",
        default: float = 0,
    ) -> FaultKind:
        kind = str.__new__(cls, name)
        kind._value_ = name
        kind.group, kind.effect, kind.argument, kind.default = group, effect, argument, default
        return kind

    SERVER_ERROR = "5xx", Group.INSTEAD, "500, 502, 503 or 504"
    STATUS = "status", Group.INSTEAD, "that status, worded as the service does", "STATUS", 500
    HTML = "html", Group.INSTEAD, "an HTML page with that status, as from a proxy", "STATUS", 502
    EMPTY = "empty", Group.INSTEAD, "that status without a body", "STATUS", 200
    BARE_429 = "bare_429", Group.INSTEAD, "429 without quota headers: an overloaded platform"
    RETRY_AFTER = "retry_after", Group.INSTEAD, "503 with Retry-After; < 0: a past date", "SECONDS"
    RESET = "reset", Group.INSTEAD, "a reset connection"
    CONTINUE_FOREVER = "continue_forever", Group.INSTEAD, "100 Continue without end"
    REFUSE_COPY = "refuse_copy", Group.INSTEAD, "409 for an order filed before (onetribe only)"

    LOST_REPLY = "lost_reply", Group.AFTER, "a reset connection in its place"
    GATEWAY = "gateway", Group.AFTER, "a gateway's HTML page in its place", "STATUS", 504
    GARBLED = "garbled", Group.AFTER, "broken JSON or invalid UTF-8 in its place"
    TRUNCATED = "truncated", Group.AFTER, "half a body, though Content-Length promises all"
    CUT_JSON = "cut_json", Group.AFTER, "half a body, with the Content-Length of that half"
    DRIP = "drip", Group.AFTER, "a byte of the body at a time", "SECONDS", 0.01
    DRIP_HEAD = "drip_head", Group.AFTER, "a byte of headers and body at a time", "SECONDS", 0.01
    INTERIM = "interim", Group.AFTER, "100, 102 and 103, and later the response", "SECONDS", 0.5
    MANY_HEADERS = "many_headers", Group.AFTER, "that many extra headers", "NUMBER", 200
    LONG_HEADER = "long_header", Group.AFTER, "a header of that many bytes", "NUMBER", 100_000
    ENDLESS_QUOTA = "endless_quota", Group.AFTER, "no quota left for 1e15 ms (bigcommerce only)"
    IDLE_RESET = "idle_reset", Group.AFTER, "a request after that idle time is reset", "SECONDS"
    IDLE_SILENCE = "idle_silence", Group.AFTER, "a request after that idle time is lost", "SECONDS"

    SLOW = "slow", Group.LATE, "that much later", "SECONDS", 1
    LATE = "late", Group.LATE, "carried out now, the response later", "SECONDS", 35
    HOLD = "hold"
    """Until `Fault.gate` is opened; only for tests."""

    OBJECT_FOR_LIST = "object_for_list", Group.LIST, "a JSON object in place of a list"
    NOT_ASCENDING = "not_ascending", Group.LIST, "a list in reverse order"
    DATE_FILTER_IGNORED = (
        "date_filter_ignored",
        Group.LIST,
        "a list as if no date had been asked for",
    )
    LONG_LIST = "long_list", Group.LIST, "500 for a list of more orders than that", "NUMBER", 50

    UNFETCHABLE = (
        "unfetchable",
        Group.ORDER,
        "that status for it and for lists with it",
        "STATUS",
        500,
    )
    ROW_NOT_UTF8 = "row_not_utf8", Group.ORDER, "an order that is not UTF-8"
    ROW_BROKEN_JSON = "row_broken_json", Group.ORDER, "an order that is not JSON"
    ROW_WITHOUT_ID = "row_without_id", Group.ORDER, "an order without an id"
    ROW_QUOTED_ID = "row_quoted_id", Group.ORDER, "an id in quotes"
    ROW_QUOTED_STATUS = "row_quoted_status", Group.ORDER, "a status_id in quotes"
    ROW_NULL_STATUS = "row_null_status", Group.ORDER, "a status_id of null"


_ONLY = {FaultKind.ENDLESS_QUOTA: Service.BIGCOMMERCE, FaultKind.REFUSE_COPY: Service.ONETRIBE}


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
    `GET v2/orders/{id}`, or of the order posted to One Tribe. The kind's argument is `status`,
    `delay_s` or `number`. With `after`, `slow` and `hold` wait when the request was carried out.

    Raises ValueError for invalid values.
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
    number: int | None = None
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
        self.status = self.status or (int(kind.default) if kind.argument == "STATUS" else 200)
        if self.delay_s is None:
            self.delay_s = kind.default if kind.argument == "SECONDS" else 0.0
        if self.number is None:
            self.number = int(kind.default)
        self.after = self.after or kind is FaultKind.LATE
        of_orders = kind.group in (Group.LIST, Group.ORDER)
        only = Service.BIGCOMMERCE if of_orders else _ONLY.get(kind, self.service)
        least_s = -math.inf if kind is FaultKind.RETRY_AFTER else 0
        if not 0 <= self.rate <= 1:
            raise ValueError(f"A fault's rate is a number from 0 to 1, not {self.rate}.")
        if only != self.service:
            raise ValueError(f"{kind} is a fault of {only} only.")
        if not 200 <= self.status <= 599:
            raise ValueError(f"{self.status} is not an HTTP status from 200 to 599.")
        if not least_s <= self.delay_s < math.inf:
            raise ValueError(f"A fault's delay is a number of seconds, not {self.delay_s}.")
        if self.number < 0:
            raise ValueError(f"A fault's number is 0 or more, not {self.number}.")

    def arm(self, seed: str) -> None:
        """Start to count from zero, with dice of its own."""
        self.struck = self._passed = 0
        self._random = random.Random(seed)

    @property
    def spent(self) -> bool:
        return self.times is not None and self.struck >= self.times

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
        return Fault(
            service,
            kind,
            rate=1.0 if rate is None else float(rate),
            times=None if times is None else int(times),
            order_ids=None if ids is None else frozenset(map(int, ids.split(","))),
            **_argument(FaultKind(kind), argument),
        )
    except ValueError as error:
        raise ValueError(f"The fault {spec!r} is malformed: {error}") from None


def _argument(kind: FaultKind, text: str | None) -> dict[str, Any]:
    match kind.argument:
        case _ if text is None:
            return {}
        case "STATUS":
            return {"status": int(text)}
        case "SECONDS":
            return {"delay_s": float(text)}
        case "NUMBER":
            return {"number": int(text)}
    raise ValueError(f"{kind} takes no argument after '@'.")
