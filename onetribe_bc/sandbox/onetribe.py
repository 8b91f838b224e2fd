"""One Tribe's side: takes orders by POST and files them."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass
from datetime import datetime
from email.message import Message

from onetribe_bc.sandbox.fault import Service
from onetribe_bc.sandbox.faults import Faults
from onetribe_bc.sandbox.messages import (
    KEEP_REQUESTS,
    Request,
    Response,
    json_response,
)

PATH = "/direct/webhook/big-commerce/order/"
_MESSAGES = {
    401: "This merchant key is unknown.",
    404: "Not found.",
    405: "POST an order here.",
    409: "This order exists.",
    413: "This order is too large.",
    415: "Send application/json.",
    422: "This is not an order: expected a JSON object with an id.",
    429: "Too many requests.",
}


@dataclass(slots=True)
class Received:
    """A POST of an order, filed or not.

    `order_id` is None if the body has none, `answered` the status that was sent: None before that,
    or if the connection was reset instead. `body` and `headers` are empty for what arrived after
    the first `keep_bodies`; `sha256` (hex) is always that of the body. `at` is aware UTC.
    """

    order_id: int | None
    body: bytes
    headers: Message
    at: datetime
    sha256: str
    answered: int | None = None
    filed: bool = False


class OneTribe:
    """What arrived, and how One Tribe behaves.

    What it really responds, and whether it drops a second copy of an order, is not known: here it
    sends 200 with a few bytes of JSON and files every copy, or, with `deduplicate`, one for each
    `Idempotency-Key`. A response takes `latency_s`. A body above `max_body` bytes is a 413. All
    three may be changed at any time.
    """

    def __init__(
        self, merchant_key: str, faults: Faults, stopping: threading.Event, keep_bodies: int
    ) -> None:
        self.deduplicate = False
        self.latency_s = 0.0
        self.max_body = 1_048_576
        self._path = PATH + merchant_key
        self._faults = faults
        self._stopping = stopping
        self._keep_bodies = keep_bodies
        self._lock = threading.Lock()
        self._received: list[Received] = []
        self._requests: deque[Request] = deque(maxlen=KEEP_REQUESTS)
        self._keys: set[str] = set()
        self._filed: set[int | None] = set()

    @property
    def received(self) -> tuple[Received, ...]:
        """Every POST to the path of orders, whatever its key, in the order of arrival."""
        with self._lock:
            return tuple(self._received)

    @property
    def requests(self) -> tuple[Request, ...]:
        """The last requests, other than POSTs included, in the order of the responses."""
        return tuple(self._requests.copy())

    def counts(self) -> dict[int, int]:
        """How often each order was filed, for those that were."""
        return dict(
            Counter(r.order_id for r in self.received if r.filed and r.order_id is not None)
        )

    def bodies(self, order_id: int) -> tuple[bytes, ...]:
        """The bodies filed for an order, as far as they were kept."""
        return tuple(r.body for r in self.received if r.order_id == order_id and r.filed)

    def clear(self) -> None:
        """Forget everything that arrived."""
        with self._lock:
            self._received.clear()
            self._requests.clear()
            self._keys.clear()
            self._filed.clear()

    def respond(self, request: Request) -> Response:
        """Respond to a request, under the faults in force, and record it."""
        respond_at = time.monotonic() + self.latency_s
        order_id = _order_id(request.body)
        received = self._receive(request, order_id)

        def work(request: Request) -> Response:
            refused = self._refusal(request, order_id)
            if refused is not None:
                return refused
            received.filed = self._is_new(request)
            self._filed.add(order_id)
            return json_response(200, {"success": True, "order_id": order_id})

        response = self._faults.carry_out(
            Service.ONETRIBE,
            request,
            work,
            _error,
            order_id=order_id,
            is_copy=order_id in self._filed,
        )
        self._stopping.wait(max(0.0, respond_at - time.monotonic()))
        record = request.record(response)
        self._requests.append(record)
        received.answered = record.status
        return response

    def _receive(self, request: Request, order_id: int | None) -> Received:
        digest = hashlib.sha256(request.body).hexdigest()
        with self._lock:
            keep = len(self._received) < self._keep_bodies
            received = Received(
                order_id=order_id,
                body=request.body if keep else b"",
                headers=request.headers if keep else Message(),
                at=request.at,
                sha256=digest,
            )
            if request.method == "POST" and request.path.startswith(PATH):
                self._received.append(received)
        return received

    def _refusal(self, request: Request, order_id: int | None) -> Response | None:
        if not request.path.startswith(PATH):
            return _error(404)
        if request.method != "POST":
            return _error(405).with_headers(("Allow", "POST"))
        if request.path != self._path:
            return _error(401)
        content_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if content_type != "application/json":
            return _error(415)
        if len(request.body) > self.max_body:
            return _error(413)
        return _error(422) if order_id is None else None

    def _is_new(self, request: Request) -> bool:
        key = request.headers.get("Idempotency-Key")
        if not self.deduplicate or key is None:
            return True
        with self._lock:
            known = key in self._keys
            self._keys.add(key)
        return not known


def _order_id(body: bytes) -> int | None:
    try:
        order = json.loads(body)
    except (ValueError, RecursionError):
        return None
    order_id = order.get("id") if isinstance(order, dict) else None
    if isinstance(order_id, str) and re.fullmatch("[0-9]{1,18}", order_id):
        return int(order_id)
    return order_id if isinstance(order_id, int) and not isinstance(order_id, bool) else None


def _error(status: int) -> Response:
    message = _MESSAGES.get(status, "Something went wrong.")
    return json_response(status, {"success": False, "message": message})
