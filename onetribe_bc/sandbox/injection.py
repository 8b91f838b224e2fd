"""Answers a request with the faults that strike it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace

from onetribe_bc.sandbox.fault import SERVER_ERRORS, Fault, FaultKind
from onetribe_bc.sandbox.faults import Strike
from onetribe_bc.sandbox.messages import REASONS, Delivery, Request, Response
from onetribe_bc.sandbox.order_query import DATE_FILTERS

Work = Callable[[Request], Response]
ErrorFor = Callable[[int], Response]

_GARBLED = (b'{"id": 218, "status": "Awai\x00, [}', b'{"id": 218, "first_name": "\xff\xfe\xc3("}')
_DELIVERIES: dict[str, Delivery] = {
    FaultKind.RESET: Delivery.RESET,
    FaultKind.LOST_REPLY: Delivery.RESET,
    FaultKind.TRUNCATED: Delivery.TRUNCATED,
    FaultKind.DRIP: Delivery.DRIP,
}


class Injector:
    """Carries out requests under faults. `stopping` ends every wait early."""

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping

    def answer(
        self, request: Request, strikes: tuple[Strike, ...], work: Work, error_for: ErrorFor
    ) -> Response:
        """The answer of `work`, as the strikes leave it; `error_for` words a service's error."""
        if not strikes:
            return work(request)
        waits = [s.fault for s in strikes if s.fault.kind in (FaultKind.SLOW, FaultKind.HOLD)]
        other = next((s for s in strikes if s.fault not in waits), None)
        self._wait([fault for fault in waits if not fault.after])
        if other is None:
            response = work(request)
        elif other.fault.replaces_work:
            response = _struck(other, Response(200), error_for)
        else:
            blind = other.fault.kind is FaultKind.DATE_FILTER_IGNORED
            response = _struck(
                other, work(_without_dates(request) if blind else request), error_for
            )
        self._wait([fault for fault in waits if fault.after])
        return response

    def pause(self, seconds: float) -> None:
        """Wait, unless the sandbox stops."""
        if seconds > 0:
            self._stopping.wait(seconds)

    def _wait(self, faults: list[Fault]) -> None:
        for fault in faults:
            if fault.gate is None:
                self.pause(fault.delay_s or 0.0)
            else:
                fault.gate.arrived.set()
                fault.gate.opened.wait()  # stop() opens every gate


def _struck(strike: Strike, response: Response, error_for: ErrorFor) -> Response:
    """The response as a fault leaves it; of a fault that replaces the work it is a bare 200."""
    fault = strike.fault
    match fault.kind:
        case FaultKind.SERVER_ERROR:
            return error_for(SERVER_ERRORS[int(strike.chance * len(SERVER_ERRORS))])
        case FaultKind.BARE_429:
            return error_for(429)
        case FaultKind.STATUS:
            return _with_status(fault, response, error_for)
        case FaultKind.HTML:
            return Response(
                fault.status, fault.body or _page(fault.status), content_type="text/html"
            )
        case FaultKind.EMPTY:
            return Response(200)
        case FaultKind.GARBLED:
            return Response(200, _GARBLED[int(strike.chance * len(_GARBLED))])
        case FaultKind.CUT_JSON:
            return replace(response, body=response.body[: len(response.body) // 2])
    if fault.kind in _DELIVERIES:
        return replace(response, delivery=_DELIVERIES[fault.kind], drip_s=fault.delay_s or 0.0)
    return _with_rows(fault, response)


def _with_status(fault: Fault, response: Response, error_for: ErrorFor) -> Response:
    plain = (
        error_for(fault.status) if fault.replaces_work else replace(response, status=fault.status)
    )
    body = plain.body if fault.body is None else fault.body
    return replace(plain, body=body, headers=plain.headers + fault.headers)


def _with_rows(fault: Fault, response: Response) -> Response:
    """A list of orders, spoilt. An empty list (204) and an error stay what they are."""
    if response.status != 200 or fault.kind is FaultKind.DATE_FILTER_IGNORED:
        return response
    if fault.kind is FaultKind.OBJECT_FOR_LIST:
        return replace(response, body=b'{"orders":' + response.body + b"}")
    rows = json.loads(response.body)
    if fault.kind is FaultKind.NOT_ASCENDING:
        rows.reverse()
    else:
        del rows[-1]["id"]
    return replace(response, body=json.dumps(rows).encode())


def _without_dates(request: Request) -> Request:
    kept = (part for part in request.query.split("&") if part.partition("=")[0] not in DATE_FILTERS)
    return replace(request, query="&".join(kept))


def _page(status: int) -> bytes:
    title = f"{status} {REASONS.get(status, 'Unknown')}"
    return (
        f"<!DOCTYPE html>\n<html><head><title>{title}</title></head>\n"
        f"<body><center><h1>{title}</h1></center><hr><center>nginx</center></body></html>\n"
    ).encode()
