"""The outcome of a run, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from onetribe_bc.delivery.pipeline import NOT_TRIED
from onetribe_bc.delivery.report import KEPT_PROBLEMS, MEANINGS, Report, Severity, Summary
from onetribe_bc.ledger.states import Disposition
from onetribe_bc.text import plural

SHOWN_PROBLEMS = 20

_RECONCILED_ONLY = (Disposition.NOT_SENT, Disposition.CHANGED)


def progress_text(summary: Summary, elapsed_s: float) -> str:
    """Return the text next to a progress bar: delivered, skipped, failed and the rate."""
    counts = summary.dispositions
    failed = sum(n for each, n in counts.items() if MEANINGS[each].severity is Severity.FAILURE)
    skipped = counts[Disposition.SKIPPED] + counts[Disposition.ALREADY_DELIVERED]
    rate = counts[Disposition.DELIVERED] / elapsed_s if elapsed_s > 0 else 0.0
    return (
        f"{counts[Disposition.DELIVERED]:,} delivered, {skipped:,} skipped, {failed:,} failed, "
        f"{rate:.0f}/s"
    )


def summary_text(summary: Summary) -> str:
    """Return one sentence whose numbers add up to the orders seen."""
    parts = []
    for disposition, meaning in MEANINGS.items():
        number = summary.dispositions[disposition]
        if not number:
            continue
        part = f"{number:,} {meaning.text}"
        if disposition is Disposition.SKIPPED:
            reasons = ", ".join(f"{n:,} {reason}" for reason, n in summary.skipped_reasons.items())
            part += f" ({reasons})"
        parts.append(part)
    seen = f"{plural(summary.seen, 'order')} seen"
    text = f"{seen}: {', '.join(parts)}." if parts else f"{seen}."
    if summary.possible_duplicates:
        text += f" {plural(summary.possible_duplicates, 'possible duplicate')} at One Tribe."
    if summary.old:
        text += f" Created more than a year ago: {summary.old:,} of the delivered."
    return text


def status_text(counts: Mapping[str, int]) -> str:
    """Return the number of orders in each status, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{number:,} {status}" for status, number in ordered if number)


def problem_lines(summary: Summary) -> Iterator[str]:
    """Yield the first problems with their reasons, and the next steps."""
    # Orders that the run did not reach are only counted.
    tried = [report for report in summary.problems if report.reason != NOT_TRIED]
    count = summary.problem_count - (len(summary.problems) - len(tried))
    for report in tried[:SHOWN_PROBLEMS]:
        yield problem_line(report)
    if count > SHOWN_PROBLEMS:
        named = f"the first {KEPT_PROBLEMS:,}" if count > KEPT_PROBLEMS else "them"
        yield f"... and {count - SHOWN_PROBLEMS:,} more; --json names {named}."
    for disposition, meaning in MEANINGS.items():
        if meaning.next_step and summary.dispositions[disposition]:
            yield meaning.next_step


def alarm_text(summary: Summary) -> str:
    """Return the outcome in one line, for -q."""
    first = problem_line(summary.problems[0]).rstrip(".")
    if summary.seen == 1 and not summary.possible_duplicates:
        return f"{first}."
    more = "" if summary.problem_count < 2 else f", and {summary.problem_count - 1:,} more"
    return f"{summary_text(summary)} {first}{more}."


def problem_line(report: Report) -> str:
    """Return the outcome of one order, its possible copies, and why."""
    number = report.possible_duplicates
    copies = f" (One Tribe may have it {number + 1} times)" if number else ""
    reason = f": {report.reason}" if report.reason else ""
    return f"Order {report.order_id} {MEANINGS[report.disposition].text}{copies}{reason}"


def summary_json(summary: Summary) -> dict[str, object]:
    """Return the outcome for JSON output; the counts by disposition add up to `seen`."""
    counts = {
        disposition.value.replace(" ", "_"): summary.dispositions[disposition]
        for disposition in MEANINGS
        if disposition not in _RECONCILED_ONLY
    }
    return {
        "seen": summary.seen,
        **counts,
        "skipped_reasons": dict(summary.skipped_reasons),
        "possible_duplicates": summary.possible_duplicates,
        "created_over_a_year_ago": summary.old,
        "problems": [
            {"order_id": r.order_id, "kind": r.disposition.value, "reason": r.reason}
            for r in summary.problems
        ],
    }


def id_ranges(ids: Iterable[int]) -> list[str]:
    """Combine ascending IDs into ranges: `218`, `300-310`."""
    parts: list[tuple[int, int]] = []
    for order_id in ids:
        if parts and order_id == parts[-1][1] + 1:
            parts[-1] = (parts[-1][0], order_id)
        else:
            parts.append((order_id, order_id))
    return [f"{a}" if a == b else f"{a}-{b}" for a, b in parts]
