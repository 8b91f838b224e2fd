"""What a run has under way, written where it outlives the process and costs no sync.

The ledger is durable against a power cut, which takes milliseconds per commit. This record
only has to outlive a killed process: it is a memory map of the run's own lock file, so a write
is a store to memory and the kernel keeps it. Whoever finds a dead run's claims can tell from it
which of them were never sent, which were answered and how, and which are truly in doubt: at
most as many as the run had requests under way.

After a restart of the machine the record is worth nothing, since its writes were never synced.
It then tells so by the boot id in its head, and every claim of the run is in doubt.
"""

from __future__ import annotations

import errno
import mmap
import os
import struct
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from onetribe_bc.ledger.states import ABANDONED, UNSENT, Outcome, Result

_HEAD = struct.Struct("<8s64s")
_MAGIC = b"bc2ot-2\n"
_SLOT = struct.Struct("<qIHBB")
"""Order id, number of the attempt, status of the answer, result, phase: the phase last, for it
makes the rest valid.
"""

_IDLE, _SENT, _ANSWERED = 0, 1, 2
_RESULTS = tuple(Result)
_PHASE_OFFSET = _SLOT.size - 1
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Record:
    """What a dead run left: outcomes by order id and attempt. Not `trusted` after a restart of the
    machine.
    """

    trusted: bool
    outcomes: Mapping[tuple[int, int], Outcome]

    def outcome(self, order_id: int, attempt: int) -> Outcome:
        """What became of a claim of that run, as far as can be told. What became of an earlier
        one of the same order says nothing of it.
        """
        return self.outcomes.get((order_id, attempt), UNSENT if self.trusted else ABANDONED)


class InFlight:
    """The record of a live run. Each worker has two slots, used in turn: a slot may tell of an
    answer that the ledger does not know yet, and is not used again before it does.
    """

    def __init__(self, descriptor: int, workers: int) -> None:
        """Map the file behind `descriptor`, which may be closed afterwards. Raises OSError."""
        size = _HEAD.size + 2 * workers * _SLOT.size
        # Written out, not only made longer: a map of a file with holes ends in SIGBUS when the
        # disk is full.
        if os.pwrite(descriptor, bytes(size), 0) < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._map = mmap.mmap(descriptor, size)
        self._map[: _HEAD.size] = _HEAD.pack(_MAGIC, boot_id().encode())
        self._slots = [2 * worker for worker in range(workers)]
        self._orders: dict[int, int] = {}
        self._unwritten: dict[int, Future[None]] = {}

    def sent(self, worker: int, order_id: int, attempt: int) -> None:
        """Say, before it happens, that a request for the order goes out.

        Raises what became of an earlier answer that could not be written to the ledger: the
        record is then the only place that tells of it.
        """
        slot = self._slots[worker]
        if self._orders.get(slot) != order_id:
            slot ^= 1
        if slot in self._unwritten:
            self._unwritten[slot].result()
        self._slots[worker] = slot
        self._orders[slot] = order_id
        self._write(slot, _SLOT.pack(order_id, attempt, 0, 0, _SENT))

    def answered(self, worker: int, order_id: int, attempt: int, outcome: Outcome) -> None:
        """Say how it ended, until the ledger knows."""
        result, status = _RESULTS.index(outcome.result), outcome.answer_status or 0
        self._write(self._slots[worker], _SLOT.pack(order_id, attempt, status, result, _ANSWERED))

    def keep_until(self, worker: int, written: Future[None]) -> None:
        """Keep what was last answered until the ledger has it."""
        self._unwritten[self._slots[worker]] = written

    def close(self) -> None:
        """Let go of the file."""
        self._map.close()

    def _write(self, slot: int, body: bytes) -> None:
        start, phase = _HEAD.size + slot * _SLOT.size, body[_PHASE_OFFSET]
        if phase == _SENT:
            self._map[start + _PHASE_OFFSET] = _IDLE
        self._map[start : start + _PHASE_OFFSET] = body[:_PHASE_OFFSET]
        self._map[start + _PHASE_OFFSET] = phase


def read_record(descriptor: int) -> Record:
    """The record that a dead run left in its lock file; untrusted if it cannot be read."""
    size = os.fstat(descriptor).st_size
    body = os.pread(descriptor, size, 0)
    if len(body) < _HEAD.size or (len(body) - _HEAD.size) % _SLOT.size:
        return Record(trusted=False, outcomes={})
    magic, boot = _HEAD.unpack_from(body)
    here = boot_id()
    if magic != _MAGIC or not here or boot.rstrip(b"\0").decode("ascii", "replace") != here:
        return Record(trusted=False, outcomes={})
    outcomes: dict[tuple[int, int], Outcome] = {}
    for order_id, attempt, status, result, phase in _SLOT.iter_unpack(body[_HEAD.size :]):
        if phase == _IDLE:
            continue
        claim = (order_id, attempt)
        if phase == _ANSWERED and result < len(_RESULTS) and claim not in outcomes:
            outcomes[claim] = Outcome(_RESULTS[result], _LATE, status or None)
        else:
            outcomes[claim] = ABANDONED
    return Record(trusted=True, outcomes=outcomes)


_LATE = "The run that sent it was killed before it could write this down."


def boot_id() -> str:
    """Names this start of the machine; empty where the system does not tell."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()[:64]
    except (OSError, ValueError):
        return ""
