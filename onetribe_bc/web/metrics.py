"""What a receiver counts, in Prometheus' text form. Labels have few values, all of them ours."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping

from onetribe_bc.commands.monitor import family
from onetribe_bc.delivery.report import Report
from onetribe_bc.ledger.states import Disposition

BUCKETS_S = (0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600)
"""The upper ends of the histogram's buckets: seconds from a callback to its order's delivery."""


class Metrics:
    """Counts since the start, for all threads."""

    def __init__(self, store_hash: str) -> None:
        self._store = f'store="{store_hash}"'
        self._lock = threading.Lock()
        self._accepted = 0
        self._ignored: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._delivered = 0
        self._late = [0] * (len(BUCKETS_S) + 1)
        self._late_sum_s = 0.0

    def accept(self) -> None:
        """A callback is in the ledger."""
        with self._lock:
            self._accepted += 1

    def ignore(self, reason: str) -> None:
        """A callback was good, and there is nothing to do."""
        with self._lock:
            self._ignored[reason] += 1

    def refuse(self, reason: str) -> None:
        """A callback was answered 4xx or 503. `reason` is one of a few words of ours."""
        with self._lock:
            self._refused[reason] += 1

    def settle(self, report: Report, waited_s: float | None) -> None:
        """An order was settled, so long after the callback that named it, if one did."""
        if report.disposition is not Disposition.DELIVERED:
            return
        with self._lock:
            self._delivered += 1
            if waited_s is not None:
                self._late[bisect_left(BUCKETS_S, waited_s)] += 1
                self._late_sum_s += max(0.0, waited_s)

    def text(self, waiting: int | None = None) -> str:
        """All of it; `waiting` orders are in the inbox, None where nobody knows."""
        with self._lock:
            accepted, delivered = self._accepted, self._delivered
            ignored, refused = dict(self._ignored), dict(self._refused)
            late, late_sum_s = list(self._late), self._late_sum_s
        lines = [
            *family(
                "bc2ot_callbacks_accepted_total",
                "counter",
                "Callbacks that are in the ledger and were answered 2xx.",
                [f"bc2ot_callbacks_accepted_total{{{self._store}}} {accepted}"],
            ),
            *family(
                "bc2ot_callbacks_ignored_total",
                "counter",
                "Callbacks that were answered 2xx and ask for nothing.",
                self._by_reason("bc2ot_callbacks_ignored_total", ignored),
            ),
            *family(
                "bc2ot_callbacks_refused_total",
                "counter",
                "Requests that were answered 4xx or 503.",
                self._by_reason("bc2ot_callbacks_refused_total", refused),
            ),
            *family(
                "bc2ot_delivered_orders_total",
                "counter",
                "Orders that One Tribe took.",
                [f"bc2ot_delivered_orders_total{{{self._store}}} {delivered}"],
            ),
            *family(
                "bc2ot_delivery_latency_seconds",
                "histogram",
                "Seconds from an order's first callback to its delivery.",
                self._histogram("bc2ot_delivery_latency_seconds", late, late_sum_s),
            ),
        ]
        if waiting is not None:
            lines += family(
                "bc2ot_waiting_orders",
                "gauge",
                "Orders that callbacks named and nobody has fetched since.",
                [f"bc2ot_waiting_orders{{{self._store}}} {waiting}"],
            )
        return "\n".join(lines) + "\n"

    def _by_reason(self, name: str, counts: Mapping[str, int]) -> list[str]:
        return [
            f'{name}{{{self._store},reason="{reason}"}} {number}'
            for reason, number in sorted(counts.items())
        ]

    def _histogram(self, name: str, buckets: list[int], sum_s: float) -> list[str]:
        lines: list[str] = []
        so_far = 0
        for end, number in zip((*map(str, BUCKETS_S), "+Inf"), buckets, strict=True):
            so_far += number
            lines.append(f'{name}_bucket{{{self._store},le="{end}"}} {so_far}')
        return [
            *lines,
            f"{name}_sum{{{self._store}}} {sum_s:.3f}",
            f"{name}_count{{{self._store}}} {so_far}",
        ]
