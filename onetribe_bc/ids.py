"""Sets of order IDs as people write them: `218,300-310`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from onetribe_bc.errors import InputError
from onetribe_bc.order import MAX_ORDER_ID
from onetribe_bc.text import excerpt

_ITEM = re.compile(r"#?(\d+)(?:-#?(\d+))?", re.ASCII)
_COMMENT = re.compile(r"\s*#(\s|$)")


@dataclass(frozen=True, slots=True, order=True)
class IdRange:
    """The IDs from `first` to `last`, both included.

    A range selects the orders that exist in it. `named` marks a single ID that was requested, and
    is reported if there is no such order.
    """

    first: int
    last: int
    named: bool = False


def parse_ids(texts: Iterable[str]) -> list[IdRange]:
    """Return IDs and ranges in ascending order and merged.

    Commas, semicolons and white space separate them; each may have a `#` before it or quotes
    around it. Raises InputError that names the invalid item: none is ever dropped.
    """
    found = [
        _parse(item)
        for text in texts
        for item in re.split(r"[,;\s]+", re.sub(r"\s*-\s*", "-", text))
        if item
    ]
    return merge(found)


def parse_id_lines(text: str) -> list[IdRange]:
    """Return the same from the lines of a file, without comments: lines that begin with `# `."""
    lines = [line for line in text.splitlines() if not _COMMENT.match(line)]
    first = next(filter(str.strip, lines), "")
    if first and not any(character.isdigit() for character in first):
        raise InputError(
            f"The first line is not an order id but a header: {excerpt(first, 40)!r}.",
            hint="Leave it out, as `tail -n +2` does.",
        )
    return parse_ids(lines)


def _parse(item: str) -> IdRange:
    match = _ITEM.fullmatch(item.strip("\"'"))
    if match is None:
        raise InputError(
            f"{item[:40]!r} is not an order id.",
            hint="Pass IDs and ranges of IDs, such as 218,300-310",
        )
    first = _id(match[1])
    if match[2] is None:
        return IdRange(first, first, named=True)
    last = _id(match[2])
    if last < first:
        raise InputError(f"The range {item[:40]} ends before it starts.")
    return IdRange(first, last)


def _id(digits: str) -> int:
    if len(digits) > 19 or not 0 < int(digits) <= MAX_ORDER_ID:
        raise InputError(
            f"{digits[:40]} is not an order id: ids are whole numbers from 1 to {MAX_ORDER_ID}."
        )
    return int(digits)


def each_of(order_ids: Iterable[int]) -> list[IdRange]:
    """Return each ID as a named range, in ascending order."""
    return [IdRange(order_id, order_id, named=True) for order_id in sorted(order_ids)]


def merge(ranges: Sequence[IdRange]) -> list[IdRange]:
    """Return ranges in ascending order without overlaps; a range absorbs the named IDs in it."""
    merged: list[IdRange] = []
    for item in sorted(ranges, key=lambda r: (r.first, -r.last, r.named)):
        if merged and item.first <= merged[-1].last:
            before = merged[-1]
            if item.last > before.last:
                merged[-1] = IdRange(before.first, item.last)
        else:
            merged.append(item)
    return merged
