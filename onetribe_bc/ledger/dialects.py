"""Inserts that go on over a conflict, which SQLite and PostgreSQL have and SQL has not."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

Insert = sqlite.Insert | postgresql.Insert
Statements = Mapping[str, sa.Insert]
"""One statement in each dialect: `statements[connection.dialect.name]`."""


def in_each_dialect(table: sa.Table, build: Callable[[Insert], sa.Insert]) -> Statements:
    """What `build` makes of an insert into the table."""
    return {
        "sqlite": build(sqlite.insert(table)),
        "postgresql": build(postgresql.insert(table)),
    }


def upsert(table: sa.Table) -> Statements:
    """Insert whole rows, or put them in the place of those with the same primary key."""
    keys = [column.name for column in table.primary_key]
    others = [column.name for column in table.columns if column.name not in keys]
    return in_each_dialect(
        table,
        lambda insert: insert.on_conflict_do_update(
            index_elements=keys, set_={name: insert.excluded[name] for name in others}
        ),
    )
