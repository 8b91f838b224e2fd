"""What a run did, in words and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onetribe_bc.delivery import Kind, Report
from onetribe_bc.runs.pipeline import NOT_TRIED
from onetribe_bc.runs.tally import KEPT_PROBLEMS, Tally
from onetribe_bc.wording import plural

SHOWN_PROBLEMS = 20

_ORDER = (
    Kind.DELIVERED,
    Kind.TO_SEND,
    Kind.ALREADY_DELIVERED,
    Kind.SKIPPED,
    Kind.FAILED,
    Kind.FAILED_BEFORE,
    Kind.UNKNOWN,
    Kind.HELD,
    Kind.PENDING,
    Kind.CLAIMED,
    Kind.MISSING,
)

_WORDS = {
    Kind.PENDING: "still owed",
    Kind.HELD: "unknown and held",
    Kind.MISSING: "not in the store",
}

_NEXT = {
    Kind.UNKNOWN: "Unknown orders may have arrived; the next run sends them again and flags them, "
    "or holds them (delivery.on_unknown).",
    Kind.PENDING: "What is still owed is sent by the next run.",
    Kind.HELD: "Held orders wait for you (delivery.on_unknown: hold): bc2ot retry --unknown.",
    Kind.FAILED: "Failed orders wait until they change, or for bc2ot retry --failed.",
    Kind.MISSING: "Check the ids of what is not in the store: an Incomplete order vanishes when "
    "its shopper starts over.",
}


def progress_text(tally: Tally, elapsed_s: float) -> str:
    """One line for a bar: delivered, skipped, failed and the rate."""
    kinds = tally.kinds
    trouble = sum(n for kind, n in kinds.items() if kind in (Kind.FAILED, Kind.UNKNOWN))
    skipped = kinds[Kind.SKIPPED] + kinds[Kind.ALREADY_DELIVERED]
    rate = kinds[Kind.DELIVERED] / elapsed_s if elapsed_s > 0 else 0.0
    return (
        f"{kinds[Kind.DELIVERED]:,} delivered, {skipped:,} skipped, {trouble:,} failed, "
        f"{rate:.0f}/s"
    )


def summary_text(tally: Tally) -> str:
    """One sentence whose numbers add up to the orders seen."""
    parts = []
    for kind in _ORDER:
        number = tally.kinds[kind]
        if not number:
            continue
        part = f"{number:,} {_WORDS.get(kind, kind.value)}"
        if kind is Kind.SKIPPED:
            reasons = ", ".join(f"{n:,} {reason}" for reason, n in tally.skipped_reasons.items())
            part += f" ({reasons})"
        parts.append(part)
    seen = f"{plural(tally.seen, 'order')} seen"
    text = f"{seen}: {', '.join(parts)}." if parts else f"{seen}."
    if tally.possible_duplicates:
        text += f" {plural(tally.possible_duplicates, 'possible duplicate')} at One Tribe."
    return text


def problem_lines(tally: Tally) -> Iterator[str]:
    """Each order in trouble with its reason, the first of them at least, and what comes next."""
    # Those that the run did not get to are not in trouble themselves: their number says it all.
    tried = [report for report in tally.problems if report.reason != NOT_TRIED]
    troubled = tally.troubled - (len(tally.problems) - len(tried))
    for report in tried[:SHOWN_PROBLEMS]:
        yield problem_line(report)
    if troubled > SHOWN_PROBLEMS:
        named = f"the first {KEPT_PROBLEMS:,}" if troubled > KEPT_PROBLEMS else "them"
        yield f"... and {troubled - SHOWN_PROBLEMS:,} more; --json names {named}."
    for kind, text in _NEXT.items():
        if tally.kinds[kind]:
            yield text


def alarm_text(tally: Tally) -> str:
    """All of that in one line, for -q."""
    first = problem_line(tally.problems[0]).rstrip(".")
    if tally.seen == 1 and not tally.possible_duplicates:
        return f"{first}."
    more = "" if tally.troubled < 2 else f", and {tally.troubled - 1:,} more"
    return f"{summary_text(tally)} {first}{more}."


def problem_line(report: Report) -> str:
    """One order's trouble in a line."""
    word = _WORDS.get(report.kind, report.kind.value)
    reason = f": {report.reason}" if report.reason else ""
    return f"Order {report.order_id} {word}{reason}"


def summary_json(tally: Tally) -> dict[str, object]:
    """The same for programs; the counts by kind add up to `seen`."""
    counts = {kind.value.replace(" ", "_").replace(",", ""): tally.kinds[kind] for kind in _ORDER}
    return {
        "seen": tally.seen,
        **counts,
        "skipped_reasons": dict(tally.skipped_reasons),
        "possible_duplicates": tally.possible_duplicates,
        "problems": [
            {"order_id": r.order_id, "kind": r.kind.value, "reason": r.reason}
            for r in tally.problems
        ],
    }


def spans(ids: Iterable[int]) -> list[str]:
    """Ascending ids as people write them: `218`, `300-310`."""
    parts: list[tuple[int, int]] = []
    for order_id in ids:
        if parts and order_id == parts[-1][1] + 1:
            parts[-1] = (parts[-1][0], order_id)
        else:
            parts.append((order_id, order_id))
    return [f"{a}" if a == b else f"{a}-{b}" for a, b in parts]
