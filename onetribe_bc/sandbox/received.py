"""What arrived at One Tribe, and which of it was filed."""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime

from onetribe_bc.sandbox.messages import Headers, Request

_NO_HEADERS = Headers()


@dataclass(frozen=True, slots=True)
class Received:
    """One POST of an order, filed or not.

    `order_id` is None when the body told none, `answered` the status that was sent: None while
    there is no answer yet, or when the connection was reset without one. `body` and `headers` are
    empty for what arrived after the log's limit was reached; `sha256` (hex) always tells the body.
    `at` is aware UTC.
    """

    order_id: int | None
    body: bytes
    headers: Headers
    at: datetime
    answered: int | None
    filed: bool
    sha256: str


class ReceivedLog:
    """Everything that was posted to One Tribe, in the order of arrival.

    Whole bodies are kept of the first `keep_bodies` posts only, so that long runs stay small.
    """

    def __init__(self, keep_bodies: int) -> None:
        self._keep_bodies = keep_bodies
        self._lock = threading.Lock()
        self._received: dict[int, Received] = {}
        self._numbers = itertools.count()
        self._filed: Counter[int] = Counter()

    def arrive(self, request: Request, order_id: int | None) -> int:
        """Note a POST; returns its number, by which the rest of its story is told."""
        digest = hashlib.sha256(request.body).hexdigest()
        with self._lock:
            number = next(self._numbers)
            keep = len(self._received) < self._keep_bodies
            self._received[number] = Received(
                order_id=order_id,
                body=request.body if keep else b"",
                headers=request.headers if keep else _NO_HEADERS,
                at=request.at,
                answered=None,
                filed=False,
                sha256=digest,
            )
            return number

    def file(self, number: int) -> None:
        """The order was accepted. Seen at once, though the answer may be long in coming."""
        with self._lock:
            received = self._received.get(number)
            if received is not None and received.order_id is not None:  # None: cleared meanwhile
                self._received[number] = replace(received, filed=True)
                self._filed[received.order_id] += 1

    def answer(self, number: int, status: int | None) -> None:
        """The answer goes out; None: there is none."""
        with self._lock:
            received = self._received.get(number)
            if received is not None:
                self._received[number] = replace(received, answered=status)

    @property
    def received(self) -> tuple[Received, ...]:
        with self._lock:
            return tuple(self._received.values())

    def counts(self) -> dict[int, int]:
        """How often each order was filed; an order that never was is not in it."""
        with self._lock:
            return dict(self._filed)

    def bodies(self, order_id: int) -> tuple[bytes, ...]:
        """The bodies filed for an order."""
        return tuple(r.body for r in self.received if r.order_id == order_id and r.filed)

    def summary(self) -> dict[str, object]:
        """As JSON: per order id how often it was filed, and each filed body's SHA-256."""
        orders: dict[int, list[str]] = {}
        received = self.received
        for each in received:
            if each.filed and each.order_id is not None:
                orders.setdefault(each.order_id, []).append(each.sha256)
        return {
            "received": len(received),
            "filed": sum(map(len, orders.values())),
            "orders": {
                str(order_id): {"filed": len(digests), "sha256": digests}
                for order_id, digests in sorted(orders.items())
            },
        }

    def clear(self) -> None:
        with self._lock:
            self._received.clear()
            self._filed.clear()
