"""What became of the orders of a run, and how many of each."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from onetribe_bc.errors import ExitCode
from onetribe_bc.ledger.states import Disposition


@dataclass(frozen=True, slots=True)
class Report:
    """What became of one order, and why. `possible_duplicates` counts copies beyond one."""

    order_id: int
    disposition: Disposition
    reason: str = ""
    possible_duplicates: int = 0


KEPT_PROBLEMS = 1000
"""How many orders in trouble a tally names; it counts all of them."""

_FINE = frozenset({Disposition.DELIVERED, Disposition.ALREADY_DELIVERED, Disposition.TO_SEND})
_FINE_UNLESS_NAMED = frozenset({Disposition.SKIPPED, Disposition.CLAIMED})
_TOLD_BEFORE = frozenset({Disposition.FAILED_BEFORE, Disposition.HELD})


@dataclass(slots=True)
class Summary:
    """Counts by disposition, which add up to `seen`; reasons of skips; the orders in trouble.

    With `strict`, for orders asked for one by one, a skipped order is in trouble, too. With
    `routine`, for runs that nobody watches, trouble that an earlier run told of is none.
    """

    strict: bool = False
    routine: bool = False
    dispositions: Counter[Disposition] = field(default_factory=Counter)
    skipped_reasons: Counter[str] = field(default_factory=Counter)
    problems: list[Report] = field(default_factory=list)
    possible_duplicates: int = 0

    def add(self, report: Report) -> None:
        """Count one order."""
        self.dispositions[report.disposition] += 1
        self.possible_duplicates += report.possible_duplicates
        if report.disposition is Disposition.SKIPPED:
            self.skipped_reasons[report.reason] += 1
        if self._troubles(report.disposition) and len(self.problems) < KEPT_PROBLEMS:
            self.problems.append(report)

    @property
    def seen(self) -> int:
        """All orders that the run came across."""
        return self.dispositions.total()

    @property
    def exit_code(self) -> ExitCode:
        """INCOMPLETE when an order is not where it should be."""
        return ExitCode.INCOMPLETE if self.troubled else ExitCode.DONE

    @property
    def troubled(self) -> int:
        """How many orders are in trouble, also beyond those that are named."""
        return sum(
            number
            for disposition, number in self.dispositions.items()
            if self._troubles(disposition)
        )

    def _troubles(self, disposition: Disposition) -> bool:
        if disposition in _FINE_UNLESS_NAMED:
            return self.strict
        return disposition not in _FINE and not (self.routine and disposition in _TOLD_BEFORE)

    def counts(self) -> dict[str, int]:
        """The columns that the ledger keeps of a run."""
        return {
            "seen": self.seen,
            "delivered": self.dispositions[Disposition.DELIVERED],
            "skipped": self.dispositions[Disposition.SKIPPED],
            "failed": self.dispositions[Disposition.FAILED],
            "unknown": self.dispositions[Disposition.UNKNOWN],
        }
