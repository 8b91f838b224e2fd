"""Which orders to list, and the query for a page of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import sqlalchemy as sa

from onetribe_bc.ledger import schema
from onetribe_bc.ledger.orders import SELECT_ENTRIES, of
from onetribe_bc.ledger.states import Entry, State


@dataclass(frozen=True, slots=True)
class EntryFilter:
    """What the listed orders have in common; by default nothing.

    Their last change in the ledger is from `since` to `until`, the second of `until` included;
    `reason` is part of their reason, in upper or lower case. With `duplicates`, One Tribe may have
    them more than once. The run `run_id` sent them or is sending them.
    """

    since: datetime | None = None
    until: datetime | None = None
    reason: str = ""
    duplicates: bool = False
    run_id: str = ""

    @property
    def values(self) -> dict[str, Any]:
        """The conditions for `page_query`, each with its value."""
        given = {
            "since": self.since,
            "before": self.until and self.until + timedelta(seconds=1),
            "reason": self.reason,
            "duplicates": self.duplicates,
            "run_id": self.run_id,
        }
        return {name: value for name, value in given.items() if value}

    def matches(self, entry: Entry) -> bool:
        """Check what the query leaves open: databases disagree on the case of letters."""
        return self.reason.casefold() in entry.reason.casefold()


EVERY = EntryFilter()
"""Excludes no order."""

_ORDERS = schema.orders.c
_ATTEMPTS = schema.attempts.c
_RUN_ID = sa.bindparam("run_id", type_=_ORDERS.run_id.type)
_SENT_BY_RUN = sa.exists().where(
    of(schema.attempts), _ATTEMPTS.order_id == _ORDERS.order_id, _ATTEMPTS.run_id == _RUN_ID
)
_CONDITIONS: dict[str, sa.ColumnElement[bool] | sa.TextClause] = {
    "since": _ORDERS.updated_at >= sa.bindparam("since", type_=schema.Moment),
    "before": _ORDERS.updated_at < sa.bindparam("before", type_=schema.Moment),
    "reason": _ORDERS.reason != "",
    "duplicates": schema.DUPLICATED,
    "run_id": sa.or_(_ORDERS.run_id == _RUN_ID, _SENT_BY_RUN),
}


@cache
def page_query(states: tuple[State, ...], conditions: tuple[str, ...] = ()) -> sa.Select[Any]:
    """Return the query for a page of entries by id, in any state if there are no `states`.

    The ids in each state are read from the index, which holds them.
    """
    order_id = _ORDERS.order_id
    limit: sa.BindParameter[int] = sa.bindparam("limit")
    wanted = sa.and_(
        of(schema.orders),
        order_id > sa.bindparam("after"),
        *(_CONDITIONS[name] for name in conditions),
    )
    branches = []
    for state in states:
        ids = sa.select(order_id).where(wanted, _ORDERS.state == state.value)
        if state is not State.DELIVERED:
            ids = ids.where(schema.UNDELIVERED)
        branches.append(sa.select(ids.order_by(order_id).limit(limit).subquery()))
    page = SELECT_ENTRIES.where(order_id.in_(sa.union_all(*branches)) if states else wanted)
    return page.order_by(order_id).limit(limit)
