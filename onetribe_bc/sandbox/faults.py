"""The faults in force, and requests carried out under them."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from onetribe_bc.sandbox.dates import format_date
from onetribe_bc.sandbox.fault import Fault, FaultKind, Gate, Group, Service, parse_fault
from onetribe_bc.sandbox.messages import REASONS, Request, Response
from onetribe_bc.sandbox.orders import DATE_FILTERS

_SERVER_ERRORS = (500, 502, 503, 504)
_GARBLED = (b'{"id": 218, "status": "Awai\x00, [}', b'{"id": 218, "first_name": "\xff\xfe\xc3("}')
_ENDLESS_QUOTA = (
    ("X-Rate-Limit-Time-Window-Ms", "1000000000000000"),
    ("X-Rate-Limit-Time-Reset-Ms", "1000000000000000"),
    ("X-Rate-Limit-Requests-Left", "0"),
)
_ROWS: dict[str, tuple[bytes, bytes]] = {
    FaultKind.ROW_NOT_UTF8: (rb'"first_name":"', b'"first_name":"\xff\xfe'),
    FaultKind.ROW_BROKEN_JSON: (rb'"status":', b'"status"='),
    FaultKind.ROW_WITHOUT_ID: (rb'"id"\s*:\s*\d+\s*,', b""),
    FaultKind.ROW_QUOTED_ID: (rb'"id"\s*:\s*(\d+)', rb'"id":"\1"'),
    FaultKind.ROW_QUOTED_STATUS: (rb'"status_id"\s*:\s*(\d+)', rb'"status_id":"\1"'),
    FaultKind.ROW_NULL_STATUS: (rb'"status_id"\s*:\s*\d+', b'"status_id":null'),
}
"""What is replaced in an order's bytes, once, and by what."""

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
        self.open_gates()
        with self._lock:
            self._faults = []

    def open_gates(self) -> None:
        """Release the requests that are held, without removing a fault."""
        with self._lock:
            for fault in self._faults:
                if fault.gate is not None:
                    fault.gate.open()

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
        is_copy: bool = False,
    ) -> Response:
        """The response of `work`, as the faults leave it; `error_for` words a service's error.

        Every wait that matches strikes, and the first of the other faults. `order_id` is the order
        that the request is about; `is_list`: it is `GET v2/orders`; `is_copy`: it was filed before.
        """
        waits: list[Fault] = []
        fault, chance = None, 0.0
        with self._lock:
            for each in self._faults:
                kind = FaultKind(each.kind)
                if (
                    kind.group is Group.ORDER
                    or (kind.group is not Group.LATE and fault is not None)
                    or (kind.group is Group.LIST and not is_list)
                    or (kind is FaultKind.REFUSE_COPY and not is_copy)
                    or not _matches(each, service, request, order_id)
                ):
                    continue
                struck = each.strike()
                if struck is None:
                    continue
                if kind.group is Group.LATE:
                    waits.append(each)
                else:
                    fault, chance = each, struck
        self._wait(each for each in waits if not each.after)
        response = _under(fault, chance, request, work, error_for) if fault else work(request)
        self._wait(each for each in waits if each.after)
        return response

    def spoil(self, rows: Mapping[int, bytes], *, is_list: bool) -> list[bytes] | int:
        """The bytes of orders as the faults of orders leave them, or the status of an error.

        Every fault that matches strikes: those with ids strike these orders, the others the last
        one of a list.
        """
        spoiled = dict(rows)
        with self._lock:
            for fault in self._faults:
                if FaultKind(fault.kind).group is not Group.ORDER:
                    continue
                last = list(rows)[-1:] if is_list else []
                struck = last if fault.order_ids is None else fault.order_ids & rows.keys()
                if not struck or fault.strike() is None:
                    continue
                if fault.kind is FaultKind.UNFETCHABLE:
                    return fault.status
                pattern, replacement = _ROWS[fault.kind]
                for order_id in struck:
                    spoiled[order_id] = re.sub(pattern, replacement, spoiled[order_id], count=1)
        return list(spoiled.values())

    def _wait(self, faults: Iterable[Fault]) -> None:
        for fault in faults:
            if fault.gate is None:
                self._stopping.wait(fault.delay_s)
            else:
                fault.gate.arrived.set()
                fault.gate.opened.wait()  # the sandbox opens every gate when it stops


def _parsed(fault: Fault | str) -> Fault:
    return parse_fault(fault) if isinstance(fault, str) else fault


def _matches(fault: Fault, service: Service, request: Request, order_id: int | None) -> bool:
    return (
        fault.service == service
        and (fault.order_ids is None or order_id in fault.order_ids)
        and (fault.method is None or fault.method == request.method)
        and (fault.path is None or fault.path in request.path)
    )


def _under(
    fault: Fault, chance: float, request: Request, work: Work, error_for: ErrorFor
) -> Response:
    match fault.kind:
        case FaultKind.SERVER_ERROR:
            return error_for(_SERVER_ERRORS[int(chance * len(_SERVER_ERRORS))])
        case FaultKind.BARE_429:
            return replace(error_for(429), hides_quota=True)
        case FaultKind.RETRY_AFTER:
            return error_for(503).with_headers(("Retry-After", _retry_after(fault.delay_s or 0)))
        case FaultKind.REFUSE_COPY:
            return error_for(409)
        case FaultKind.RESET | FaultKind.CONTINUE_FOREVER:
            return Response(200, delivery=FaultKind(fault.kind))
        case FaultKind.STATUS | FaultKind.HTML | FaultKind.EMPTY if fault.status >= 300:
            return _with_status(fault, error_for(fault.status))
        case FaultKind.DATE_FILTER_IGNORED:
            parts = request.query.split("&")
            kept = (part for part in parts if part.partition("=")[0] not in DATE_FILTERS)
            return work(replace(request, query="&".join(kept)))
    response = work(request)
    if FaultKind(fault.kind).group is Group.LIST:
        return _altered_list(fault, response, error_for)
    return _after_work(fault, chance, response)


def _after_work(fault: Fault, chance: float, response: Response) -> Response:
    number = fault.number or 0
    match fault.kind:
        case FaultKind.STATUS | FaultKind.HTML | FaultKind.EMPTY | FaultKind.GATEWAY:
            return _with_status(fault, response)
        case FaultKind.GARBLED:
            return Response(200, _GARBLED[int(chance * len(_GARBLED))])
        case FaultKind.CUT_JSON:
            return replace(response, body=response.body[: len(response.body) // 2])
        case FaultKind.MANY_HEADERS:
            return response.with_headers(*((f"X-Extra-{n}", "x") for n in range(number)))
        case FaultKind.LONG_HEADER:
            return response.with_headers(("X-Extra", "x" * number))
        case FaultKind.ENDLESS_QUOTA:
            return response.with_headers(*_ENDLESS_QUOTA)
    return replace(response, delivery=FaultKind(fault.kind), delay_s=fault.delay_s or 0.0)


def _altered_list(fault: Fault, response: Response, error_for: ErrorFor) -> Response:
    if response.status != 200:  # an empty list (204) and an error stay as they are
        return response
    if fault.kind is FaultKind.OBJECT_FOR_LIST:
        return replace(response, body=b'{"orders":' + response.body + b"}")
    rows = json.loads(response.body)
    if fault.kind is FaultKind.LONG_LIST:
        return error_for(500) if len(rows) > (fault.number or 0) else response
    return replace(response, body=json.dumps(rows[::-1]).encode())


def _with_status(fault: Fault, response: Response) -> Response:
    if fault.kind is FaultKind.EMPTY:
        return replace(response, status=fault.status, body=b"")
    if fault.kind in (FaultKind.HTML, FaultKind.GATEWAY):
        page = fault.body or _page(fault.status)
        return Response(fault.status, page, headers=fault.headers, content_type="text/html")
    body = response.body if fault.body is None else fault.body
    headers = response.headers + fault.headers
    return replace(response, status=fault.status, body=body, headers=headers)


def _retry_after(seconds: float) -> str:
    if seconds >= 0:
        return f"{seconds:.0f}"
    return format_date(time.time() + seconds, zone="GMT")


def _page(status: int) -> bytes:
    title = f"{status} {REASONS.get(status, 'Unknown')}"
    return (
        f"<!DOCTYPE html>\n<html><head><title>{title}</title></head>\n"
        f"<body><center><h1>{title}</h1></center><hr><center>nginx</center></body></html>\n"
    ).encode()
