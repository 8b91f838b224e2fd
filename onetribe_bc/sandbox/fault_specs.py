"""Faults as text, for a command line or another process: `onetribe:slow=0.2@1.5*10`."""

from __future__ import annotations

import re

from onetribe_bc.sandbox.fault import Fault, FaultKind, Service

SYNTAX = "SERVICE:KIND[=RATE][@ARGUMENT][*TIMES][#ID,ID…]"
"""RATE is a chance from 0 to 1, ARGUMENT the seconds of `slow` and `drip` or the status of `status`
and `html`, TIMES how often it strikes at most, and the IDs are those of the orders it strikes."""

_TEXTUAL_KINDS = tuple(kind.value for kind in FaultKind if kind is not FaultKind.HOLD)
_SPEC = re.compile(
    r"(?P<service>[^:]*):(?P<kind>[^=@*#]*)"
    r"(?:=(?P<rate>[^@*#]*))?(?:@(?P<argument>[^*#]*))?(?:\*(?P<times>\d+))?(?:#(?P<ids>[\d,]+))?"
)
_WITH_SECONDS = (FaultKind.SLOW, FaultKind.DRIP)
_WITH_STATUS = (FaultKind.STATUS, FaultKind.HTML)


def parse_fault(spec: str) -> Fault:
    """Read `onetribe:5xx=0.1` and its like; see SYNTAX.

    Raises ValueError with a sentence that says what is wrong and names what is known. `hold` has no
    text: it needs someone who opens the gate.
    """
    match = _SPEC.fullmatch(spec.strip())
    if match is None:
        raise ValueError(
            f"The fault {spec!r} is not of the form {SYNTAX}, such as 'onetribe:5xx=0.1'."
        )
    service, kind, rate, argument, times, ids = match.groups()
    if service not in tuple(Service):
        raise ValueError(f"The fault {spec!r} names no service: known are {', '.join(Service)}.")
    if kind not in _TEXTUAL_KINDS:
        raise ValueError(
            f"The fault {spec!r} is of no known kind: known are {', '.join(_TEXTUAL_KINDS)}."
        )
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


def format_fault(fault: Fault) -> str:
    """The text of a fault; what has no text (headers, path, a gate…) is left out."""
    text = f"{fault.service}:{fault.kind}"
    if fault.rate < 1:
        text += f"={fault.rate:g}"
    if fault.kind in _WITH_SECONDS:
        text += f"@{fault.delay_s:g}"
    if fault.kind in _WITH_STATUS:
        text += f"@{fault.status}"
    if fault.times is not None:
        text += f"*{fault.times}"
    if fault.order_ids is not None:
        text += "#" + ",".join(map(str, sorted(fault.order_ids)))
    return text


def _argument(kind: FaultKind, text: str | None) -> tuple[int, float | None]:
    """Status and seconds; 0 and None stand for the kind's default."""
    if text is None:
        return 0, None
    if kind in _WITH_STATUS:
        return int(text), None
    if kind in _WITH_SECONDS:
        return 0, float(text)
    raise ValueError(f"{kind} takes no argument after '@'.")
