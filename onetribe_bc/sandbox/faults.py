"""The faults in force, and which of them strike a request."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable
from dataclasses import dataclass

from onetribe_bc.sandbox.fault import LIST_FAULTS, WAITS, Fault, FaultKind, Gate, Service
from onetribe_bc.sandbox.fault_specs import parse_fault


@dataclass(frozen=True, slots=True)
class Target:
    """What a fault is matched against. `lists` says that it is `GET v2/orders`."""

    service: Service
    method: str
    path: str
    order_id: int | None = None
    lists: bool = False


@dataclass(frozen=True, slots=True)
class Strike:
    """A fault that strikes, and the chance in [0, 1) by which it picks among its variants."""

    fault: Fault
    chance: float


class _Armed:
    """A fault on duty: how often it was passed and struck, and its own dice."""

    def __init__(self, fault: Fault, rng: random.Random) -> None:
        self.fault = fault
        self.struck = 0
        self._passed = 0
        self._rng = rng

    def strike(self, target: Target) -> Strike | None:
        fault = self.fault
        if self.spent or not _matches(fault, target):
            return None
        if self._passed < fault.skip:
            self._passed += 1
            return None
        if fault.rate < 1 and self._rng.random() >= fault.rate:
            return None
        self.struck += 1
        return Strike(fault, self._rng.random())

    @property
    def spent(self) -> bool:
        return self.fault.times is not None and self.struck >= self.fault.times


class Faults:
    """The faults in force; may be changed at any time, from any thread. Seeded: runs repeat."""

    def __init__(self, seed: int, faults: Iterable[Fault | str] = ()) -> None:
        self._seed = seed
        self._lock = threading.Lock()
        self._armed: list[_Armed] = []
        self._added = 0
        for fault in faults:
            self.add(fault)

    def add(self, fault: Fault | str) -> Fault:
        """Put a fault, or a spec such as `onetribe:5xx=0.1`, in force; returns the fault.

        Raises ValueError for a malformed spec.
        """
        parsed = _parsed(fault)
        with self._lock:
            # A generator each, so that one fault more does not change when the others strike.
            self._armed.append(_Armed(parsed, random.Random(f"{self._seed}:{self._added}")))
            self._added += 1
        return parsed

    def hold(self, service: Service | str, *, times: int | None = 1, after: bool = False) -> Gate:
        """Hold the next requests to `service` up until the returned gate is opened."""
        gate = Gate()
        self.add(Fault(service, FaultKind.HOLD, times=times, after=after, gate=gate))
        return gate

    def remove(self, fault: Fault) -> None:
        """Take this very fault out. Raises ValueError when it is not in force."""
        with self._lock:
            for armed in self._armed:
                if armed.fault is fault:
                    self._armed.remove(armed)
                    _open_gate(armed.fault)
                    return
        raise ValueError("This fault is not in force.")

    def replace(self, faults: Iterable[Fault | str]) -> None:
        """Put these in force, and no others. Changes nothing when it raises ValueError."""
        parsed = [_parsed(fault) for fault in faults]
        self.clear()
        for fault in parsed:
            self.add(fault)

    def clear(self) -> None:
        """All is well again. What is held up goes on."""
        with self._lock:
            cleared, self._armed = self._armed, []
        for armed in cleared:
            _open_gate(armed.fault)

    def open_gates(self) -> None:
        """Let go what is held up, without taking any fault out."""
        with self._lock:
            for armed in self._armed:
                _open_gate(armed.fault)

    def active(self) -> tuple[Fault, ...]:
        """The faults that may still strike."""
        with self._lock:
            return tuple(armed.fault for armed in self._armed if not armed.spent)

    def struck(self, fault: Fault) -> int:
        """How often this very fault struck; 0 when it is not in force."""
        with self._lock:
            return sum(armed.struck for armed in self._armed if armed.fault is fault)

    def strike(self, target: Target) -> tuple[Strike, ...]:
        """What strikes: every wait that matches, then the first of the other faults."""
        if not self._armed:
            return ()
        waits: list[Strike] = []
        with self._lock:
            other: Strike | None = None
            for armed in self._armed:
                if armed.fault.kind in WAITS:
                    if strike := armed.strike(target):
                        waits.append(strike)
                elif other is None:
                    other = armed.strike(target)
        return (*waits, other) if other else tuple(waits)


def _parsed(fault: Fault | str) -> Fault:
    return parse_fault(fault) if isinstance(fault, str) else fault


def _open_gate(fault: Fault) -> None:
    if fault.gate is not None:
        fault.gate.open()


def _matches(fault: Fault, target: Target) -> bool:
    return (
        fault.service == target.service
        and (fault.order_ids is None or target.order_id in fault.order_ids)
        and (fault.method is None or fault.method == target.method)
        and (fault.path is None or fault.path in target.path)
        and (fault.kind not in LIST_FAULTS or target.lists)
    )
