"""The outcomes of a run's orders: described, judged as problems, and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from types import MappingProxyType

from onetribe_bc.errors import ExitCode
from onetribe_bc.ledger.states import Disposition, Entry, State


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of one order, and why. `possible_duplicates` counts copies beyond the first;
    `old` marks an order that was sent more than a year after its creation.
    """

    order_id: int
    disposition: Disposition
    reason: str = ""
    possible_duplicates: int = 0
    old: bool = False


def unsent(order_id: int, disposition: Disposition, entry: Entry | None) -> Report:
    """Report an order that is not to be sent now, with what the ledger knows of it."""
    if entry is None:
        return Report(order_id, disposition)
    reason = entry.reason
    if disposition is Disposition.PENDING and entry.state is State.UNKNOWN:
        reason = f"{reason} Not sent again before {entry.resend_at:%F %H:%M} UTC.".strip()
    return Report(order_id, disposition, reason, entry.possible_duplicates)


class Severity(Enum):
    """Whether a disposition is a problem."""

    NONE = auto()
    IF_REQUESTED = auto()
    """Only for an order that was requested by its ID."""
    REPORTED = auto()
    """An earlier run has reported it."""
    OPEN = auto()
    """One Tribe does not have the order yet."""
    FAILURE = auto()
    """This run tried to send the order and One Tribe did not accept it, or may not have."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """A disposition for people: its text, whether it is a problem, and what to do next."""

    text: str
    severity: Severity = Severity.NONE
    next_step: str = ""


MEANINGS: Mapping[Disposition, Meaning] = MappingProxyType(
    {
        Disposition.DELIVERED: Meaning("delivered"),
        Disposition.TO_SEND: Meaning("to send"),
        Disposition.ALREADY_DELIVERED: Meaning("already delivered"),
        Disposition.SKIPPED: Meaning("skipped", Severity.IF_REQUESTED),
        Disposition.FAILED: Meaning(
            "failed",
            Severity.FAILURE,
            "Failed orders wait until they change, or for bc2ot retry --failed.",
        ),
        Disposition.FAILED_BEFORE: Meaning("failed before", Severity.REPORTED),
        Disposition.UNKNOWN: Meaning(
            "unknown",
            Severity.FAILURE,
            "Unknown orders may have arrived; later runs send them again, at growing intervals, "
            "and flag them, or hold them (delivery.on_unknown, delivery.max_copies).",
        ),
        Disposition.HELD: Meaning(
            "unknown and held",
            Severity.REPORTED,
            "Held orders wait for you (delivery.on_unknown, delivery.max_copies): "
            "bc2ot retry --unknown.",
        ),
        Disposition.PENDING: Meaning(
            "still owed", Severity.OPEN, "Later runs send the orders that are still owed."
        ),
        Disposition.CLAIMED: Meaning("claimed by another run", Severity.IF_REQUESTED),
        Disposition.MISSING: Meaning(
            "not in the store",
            Severity.OPEN,
            "Check the IDs of orders that are not in the store: an Incomplete order vanishes "
            "when its shopper starts over.",
        ),
        Disposition.NOT_SENT: Meaning("missing at One Tribe", Severity.OPEN),
        Disposition.CHANGED: Meaning("changed since its delivery", Severity.OPEN),
    }
)
"""In the order in which a summary lists them."""

KEPT_PROBLEMS = 1000


@dataclass(slots=True)
class Summary:
    """Counts by disposition, which add up to `seen`; skips by reason; the first `kept` problems;
    how many delivered orders are `old`.

    With `strict`, for orders requested by ID, a skipped order is also a problem. With `routine`,
    for scheduled runs, a problem that an earlier run has reported is not.
    """

    strict: bool = False
    routine: bool = False
    kept: int = KEPT_PROBLEMS
    dispositions: Counter[Disposition] = field(default_factory=Counter)
    skipped_reasons: Counter[str] = field(default_factory=Counter)
    problems: list[Report] = field(default_factory=list)
    possible_duplicates: int = 0
    old: int = 0

    def add(self, report: Report) -> None:
        """Count one order."""
        self.dispositions[report.disposition] += 1
        self.possible_duplicates += report.possible_duplicates
        self.old += report.old and report.disposition is Disposition.DELIVERED
        if report.disposition is Disposition.SKIPPED:
            self.skipped_reasons[report.reason] += 1
        if self._is_problem(report.disposition) and len(self.problems) < self.kept:
            self.problems.append(report)

    @property
    def seen(self) -> int:
        """The number of orders counted."""
        return self.dispositions.total()

    @property
    def problem_count(self) -> int:
        """The number of orders with a problem, including those beyond `kept`."""
        return sum(number for each, number in self.dispositions.items() if self._is_problem(each))

    @property
    def exit_code(self) -> ExitCode:
        """INCOMPLETE if any order is a problem."""
        return ExitCode.INCOMPLETE if self.problem_count else ExitCode.DONE

    def _is_problem(self, disposition: Disposition) -> bool:
        match MEANINGS[disposition].severity:
            case Severity.NONE:
                return False
            case Severity.IF_REQUESTED:
                return self.strict
            case Severity.REPORTED:
                return not self.routine
        return True

    def counts(self) -> dict[str, int]:
        """The counts that the ledger keeps of a run."""
        return {
            "seen": self.seen,
            "delivered": self.dispositions[Disposition.DELIVERED],
            "skipped": self.dispositions[Disposition.SKIPPED],
            "failed": self.dispositions[Disposition.FAILED],
            "unknown": self.dispositions[Disposition.UNKNOWN],
        }
