"""Numbers and spans of time in words, the same wherever they are told."""

from __future__ import annotations

from datetime import timedelta


def plural(number: int, noun: str) -> str:
    """`1 order`, `2,000 orders`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def span(time: timedelta) -> str:
    """A span of time in the largest unit of which it has two: `3 days`, `47 hours`."""
    seconds = max(0, int(time.total_seconds()))
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}s"
    return plural(seconds, "second")
