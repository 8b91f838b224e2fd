"""One Tribe's side: takes orders by POST and files them."""

from __future__ import annotations

import json
import threading
import time

from onetribe_bc.sandbox.fault import Service
from onetribe_bc.sandbox.faults import Faults, Target
from onetribe_bc.sandbox.injection import Injector
from onetribe_bc.sandbox.messages import Delivery, Request, Response, json_response
from onetribe_bc.sandbox.received import Received, ReceivedLog
from onetribe_bc.sandbox.request_log import RequestLog, RequestRecord

PATH = "/direct/webhook/big-commerce/order/"


class OneTribe:
    """What arrived, and how One Tribe behaves.

    What it really answers, and whether it drops a second copy of an order, is not known: it answers
    200 with a few bytes of JSON and files every copy, or, with `deduplicate`, one per
    `Idempotency-Key`. `latency_s` is waited before every answer. A body above `max_body` bytes is a
    413. All three may be changed at any time.
    """

    def __init__(
        self,
        merchant_key: str,
        faults: Faults,
        injector: Injector,
        *,
        deduplicate: bool,
        max_body: int,
        keep_bodies: int,
        keep_requests: int,
    ) -> None:
        self.deduplicate = deduplicate
        self.latency_s = 0.0
        self.max_body = max_body
        self._path = PATH + merchant_key
        self._faults = faults
        self._injector = injector
        self._log = ReceivedLog(keep_bodies)
        self._requests = RequestLog(keep_requests)
        self._lock = threading.Lock()
        self._keys: set[str] = set()

    @property
    def received(self) -> tuple[Received, ...]:
        """Every POST to the path of orders, whatever its key, in the order of arrival."""
        return self._log.received

    @property
    def requests(self) -> tuple[RequestRecord, ...]:
        """Every request, also those that are no POST of an order."""
        return self._requests.records()

    def counts(self) -> dict[int, int]:
        """How often each order was filed; an order that never was is not in it."""
        return self._log.counts()

    def bodies(self, order_id: int) -> tuple[bytes, ...]:
        """The bodies filed for an order, as far as they were kept."""
        return self._log.bodies(order_id)

    def summary(self) -> dict[str, object]:
        """What was filed, as JSON for another process."""
        return self._log.summary()

    def clear(self) -> None:
        """Forget everything that arrived."""
        self._log.clear()
        self._requests.clear()
        with self._lock:
            self._keys.clear()

    def answer(self, request: Request) -> Response:
        """Answer one request, under the faults in force, and record it."""
        answer_at = time.monotonic() + self.latency_s
        order_id = _order_id(request.body)
        posted = request.method == "POST" and request.path.startswith(PATH)
        number = self._log.arrive(request, order_id) if posted else -1

        def work(request: Request) -> Response:
            refusal = self._refusal(request, order_id)
            if refusal is not None:
                return refusal
            if self._is_new(request):
                self._log.file(number)
            return json_response(200, {"success": True, "order_id": order_id})

        target = Target(Service.ONETRIBE, request.method, request.path, order_id)
        response = self._injector.answer(request, self._faults.strike(target), work, _error)
        self._injector.pause(answer_at - time.monotonic())
        status = None if response.delivery is Delivery.RESET else response.status
        self._requests.record(request, status)
        if posted:
            self._log.answer(number, status)
        return response

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
    return order_id if isinstance(order_id, int) and not isinstance(order_id, bool) else None


_MESSAGES = {
    401: "This merchant key is not known.",
    404: "Not found.",
    405: "POST an order here.",
    413: "This order is too large.",
    415: "Send application/json.",
    422: "This is no order: a JSON object with an id is needed.",
    429: "Too many requests.",
}


def _error(status: int) -> Response:
    message = _MESSAGES.get(status, "Something went wrong.")
    return json_response(status, {"success": False, "message": message})
