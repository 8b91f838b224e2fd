"""Follow: list orders, then each order that changes."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from onetribe_bc.clock import Clock
from onetribe_bc.ledger.ledger import Ledger
from onetribe_bc.ledger.listing import EntryFilter
from onetribe_bc.ledger.states import Entry, State

POLL_S = 2.0
LONGEST_S = 30.0
_SHARE = 10
"""A search of a large ledger takes a second, so it runs a tenth of the time at most."""
_OVERLAP = timedelta(minutes=1)
"""Each search looks back this far, since a change is visible later than its time: by the wait for
a commit, and by as much as the clock of another machine is behind.
"""


def follow(
    ledger: Ledger, states: Collection[State], matching: EntryFilter, clock: Clock
) -> Iterator[Entry | None]:
    """Yield the matching entries, then each entry that changes and matches; None after a search.

    Raises InterruptedRunError when the clock is stopped.
    """
    seen: dict[int, datetime] = {}
    since = matching.since
    while True:
        began_s, next_since = clock.monotonic(), clock.now() - _OVERLAP
        for entry in ledger.iter_entries(states, replace(matching, since=since)):
            if seen.get(entry.order_id) != entry.updated_at:
                if entry.updated_at >= next_since:
                    seen[entry.order_id] = entry.updated_at
                yield entry
        yield None
        seen = {order_id: at for order_id, at in seen.items() if at >= next_since}
        since = max(next_since, matching.since or next_since)
        took_s = clock.monotonic() - began_s
        clock.sleep(min(LONGEST_S, max(POLL_S, _SHARE * took_s)))
