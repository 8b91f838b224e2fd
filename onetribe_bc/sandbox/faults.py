"""The faults in force, and requests carried out under them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace

from onetribe_bc.sandbox.fault import WAITS, Fault, FaultKind, Gate, Service, parse_fault
from onetribe_bc.sandbox.messages import REASONS, Delivery, Request, Response
from onetribe_bc.sandbox.orders import DATE_FILTERS

_SERVER_ERRORS = (500, 502, 503, 504)
_GARBLED = (b'{"id": 218, "status": "Awai\x00, [}', b'{"id": 218, "first_name": "\xff\xfe\xc3("}')
_DELIVERIES: dict[str, Delivery] = {
    FaultKind.LOST_REPLY: Delivery.RESET,
    FaultKind.TRUNCATED: Delivery.TRUNCATED,
    FaultKind.DRIP: Delivery.DRIP,
}

Work = Callable[[Request], Response]
ErrorFor = Callable[[int], Response]


class Faults:
    """The faults in force; may be changed at any time, from any thread. Seeded: runs repeat.

    `stopping` ends every wait early.
    """

    def __init__(self, seed: int, stopping: threading.Event, faults: Iterable[Fault | str]) -> None:
        self._seed = seed
        self._stopping = stopping
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._added = 0
        for fault in faults:
            self.add(fault)

    def add(self, fault: Fault | str) -> Fault:
        """Add a fault, or a spec such as `onetribe:5xx=0.1`, and return the fault.

        Raises ValueError for a malformed spec.
        """
        parsed = _parsed(fault)
        with self._lock:
            # Dice for each, so that one fault more does not change when the others strike.
            parsed.arm(f"{self._seed}:{self._added}")
            self._faults.append(parsed)
            self._added += 1
        return parsed

    def hold(self, service: Service | str, *, times: int | None = 1, after: bool = False) -> Gate:
        """Hold the next requests to `service` until the returned gate is opened."""
        gate = Gate()
        self.add(Fault(service, FaultKind.HOLD, times=times, after=after, gate=gate))
        return gate

    def replace(self, faults: Iterable[Fault | str]) -> None:
        """Have these faults and no others. Changes nothing when it raises ValueError."""
        parsed = [_parsed(fault) for fault in faults]
        self.clear()
        for fault in parsed:
            self.add(fault)

    def clear(self) -> None:
        """Remove every fault, and release the requests that are held."""
        with self._lock:
            cleared, self._faults = self._faults, []
        for fault in cleared:
            _open_gate(fault)

    def open_gates(self) -> None:
        """Release the requests that are held, without removing a fault."""
        with self._lock:
            for fault in self._faults:
                _open_gate(fault)

    def active(self) -> tuple[Fault, ...]:
        """The faults that may still strike."""
        with self._lock:
            return tuple(fault for fault in self._faults if not fault.spent)

    def carry_out(
        self,
        service: Service,
        request: Request,
        work: Work,
        error_for: ErrorFor,
        *,
        order_id: int | None = None,
        is_list: bool = False,
    ) -> Response:
        """The response of `work`, as the faults leave it; `error_for` words a service's error.

        Every wait that matches strikes, and the first of the other faults. `order_id` and `is_list`
        are what `Fault.matches` needs to know of the request.
        """
        if not self._faults:
            return work(request)
        waits: list[Fault] = []
        fault, chance = None, 0.0
        with self._lock:
            for each in self._faults:
                if each.kind not in WAITS and fault is not None:
                    continue
                if not each.matches(
                    service, request.method, request.path, order_id, is_list=is_list
                ):
                    continue
                struck = each.strike()
                if struck is None:
                    continue
                if each.kind in WAITS:
                    waits.append(each)
                else:
                    fault, chance = each, struck
        self._wait(each for each in waits if not each.after)
        response = _under(fault, chance, request, work, error_for) if fault else work(request)
        self._wait(each for each in waits if each.after)
        return response

    def _wait(self, faults: Iterable[Fault]) -> None:
        for fault in faults:
            if fault.gate is None:
                self._stopping.wait(fault.delay_s)
            else:
                fault.gate.arrived.set()
                fault.gate.opened.wait()  # the sandbox opens every gate when it stops


def _parsed(fault: Fault | str) -> Fault:
    return parse_fault(fault) if isinstance(fault, str) else fault


def _open_gate(fault: Fault) -> None:
    if fault.gate is not None:
        fault.gate.open()


def _under(
    fault: Fault, chance: float, request: Request, work: Work, error_for: ErrorFor
) -> Response:
    match fault.kind:
        case FaultKind.SERVER_ERROR:
            return error_for(_SERVER_ERRORS[int(chance * len(_SERVER_ERRORS))])
        case FaultKind.BARE_429:
            return replace(error_for(429), hides_quota=True)
        case FaultKind.RESET:
            return Response(200, delivery=Delivery.RESET)
        case FaultKind.STATUS | FaultKind.HTML if fault.status >= 300:
            return _with_status(fault, error_for(fault.status))
        case FaultKind.DATE_FILTER_IGNORED:
            parts = request.query.split("&")
            kept = (part for part in parts if part.partition("=")[0] not in DATE_FILTERS)
            return work(replace(request, query="&".join(kept)))
    return _after_work(fault, chance, work(request))


def _after_work(fault: Fault, chance: float, response: Response) -> Response:
    match fault.kind:
        case FaultKind.STATUS | FaultKind.HTML:
            return _with_status(fault, response)
        case FaultKind.EMPTY:
            return Response(200)
        case FaultKind.GARBLED:
            return Response(200, _GARBLED[int(chance * len(_GARBLED))])
        case FaultKind.CUT_JSON:
            return replace(response, body=response.body[: len(response.body) // 2])
        case FaultKind.LOST_REPLY | FaultKind.TRUNCATED | FaultKind.DRIP:
            delivery = _DELIVERIES[fault.kind]
            return replace(response, delivery=delivery, drip_s=fault.delay_s or 0.0)
    return _altered_list(fault, response)


def _altered_list(fault: Fault, response: Response) -> Response:
    if response.status != 200:  # an empty list (204) and an error stay as they are
        return response
    if fault.kind is FaultKind.OBJECT_FOR_LIST:
        return replace(response, body=b'{"orders":' + response.body + b"}")
    rows = json.loads(response.body)
    if fault.kind is FaultKind.NOT_ASCENDING:
        rows.reverse()
    else:
        del rows[-1]["id"]
    return replace(response, body=json.dumps(rows).encode())


def _with_status(fault: Fault, response: Response) -> Response:
    if fault.kind is FaultKind.HTML:
        page = fault.body or _page(fault.status)
        return Response(fault.status, page, headers=fault.headers, content_type="text/html")
    body = response.body if fault.body is None else fault.body
    headers = response.headers + fault.headers
    return replace(response, status=fault.status, body=body, headers=headers)


def _page(status: int) -> bytes:
    title = f"{status} {REASONS.get(status, 'Unknown')}"
    return (
        f"<!DOCTYPE html>\n<html><head><title>{title}</title></head>\n"
        f"<body><center><h1>{title}</h1></center><hr><center>nginx</center></body></html>\n"
    ).encode()
