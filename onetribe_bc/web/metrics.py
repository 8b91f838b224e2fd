"""The receiver's Prometheus metrics. No label comes from a request."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from onetribe_bc.delivery.report import Report
from onetribe_bc.ledger.states import Disposition

BUCKETS_S = (0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600)


class Metrics:
    """Counts since the start of the process. Thread-safe."""

    def __init__(self, store_hash: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._store = store_hash
        self._registry = registry = CollectorRegistry()
        self._accepted = Counter(
            "bc2ot_callbacks_accepted",
            "Callbacks recorded in the ledger and answered with 2xx.",
            ["store"],
            registry=registry,
        ).labels(store_hash)
        self._ignored = Counter(
            "bc2ot_callbacks_ignored",
            "Callbacks answered with 2xx that need no action.",
            ["store", "reason"],
            registry=registry,
        )
        self._refused = Counter(
            "bc2ot_callbacks_refused",
            "Requests answered with 4xx or 503.",
            ["store", "reason"],
            registry=registry,
        )
        self._delivered = Counter(
            "bc2ot_delivered_orders",
            "Orders that One Tribe accepted.",
            ["store"],
            registry=registry,
        ).labels(store_hash)
        self._latency_s = Histogram(
            "bc2ot_delivery_latency_seconds",
            "Seconds from an order's first callback to its delivery.",
            ["store"],
            buckets=BUCKETS_S,
            registry=registry,
        ).labels(store_hash)
        self._waiting = Gauge(
            "bc2ot_waiting_orders",
            "Orders named by callbacks and not fetched yet.",
            ["store"],
            registry=registry,
        )

    def accept(self) -> None:
        """Count a callback that is in the ledger."""
        self._accepted.inc()

    def ignore(self, reason: str) -> None:
        """Count an authentic callback that needs no action."""
        self._ignored.labels(self._store, reason).inc()

    def refuse(self, reason: str) -> None:
        """Count a request answered with 4xx or 503. `reason` must not quote the request."""
        self._refused.labels(self._store, reason).inc()

    def settle(self, report: Report, waited_s: float | None) -> None:
        """Count a delivery, `waited_s` seconds after its callback if it had one."""
        if report.disposition is Disposition.DELIVERED:
            self._delivered.inc()
            if waited_s is not None:
                self._latency_s.observe(max(0.0, waited_s))

    def text(self, waiting: int | None = None) -> str:
        """Return the text format, with `waiting` orders in the inbox; None if unknown."""
        if waiting is None:
            self._waiting.clear()
        else:
            self._waiting.labels(self._store).set(waiting)
        return generate_latest(self._registry).decode()
