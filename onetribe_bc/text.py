"""Format numbers, durations and remote text for people, the same everywhere."""

from __future__ import annotations

from datetime import timedelta

EXCERPT_CHARACTERS = 200
"""The most characters of a remote text to store or quote."""


def excerpt(text: str, limit: int = EXCERPT_CHARACTERS) -> str:
    """Return the first `limit` characters of `text` on one line, unprintable ones replaced."""
    line = " ".join(text[: limit * 4].split())[:limit]
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)


def decode_utf8(data: bytes) -> str:
    """Decode UTF-8, with or without a byte order mark. Raises ValueError with a phrase."""
    # UTF-16 and UTF-32 begin with a mark of their own, or have NULs where text has none.
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data[:4]:
        raise ValueError("is UTF-16, not UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError("is not UTF-8") from error


def plural(number: int, noun: str) -> str:
    """Return `1 order` or `2,000 orders`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def span(duration: timedelta) -> str:
    """Return a duration in the largest unit of which it has at least two: `3 days`, `47 hours`."""
    seconds = max(0, int(duration.total_seconds()))
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}s"
    return plural(seconds, "second")
