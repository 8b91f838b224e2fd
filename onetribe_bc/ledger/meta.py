"""What a ledger says of itself: version, identity, where it was moved, what it misses."""

from __future__ import annotations

import sqlalchemy as sa

from onetribe_bc.errors import LedgerError
from onetribe_bc.ledger import schema
from onetribe_bc.ledger.engine import Transaction, upsert

_ALL = sa.select(schema.meta.c.key, schema.meta.c.value)
_SET = upsert(schema.meta)


def read(transaction: Transaction) -> dict[str, str]:
    """Return all keys and values."""
    return {str(key): str(value) for key, value in transaction.rows(_ALL)}


def write(transaction: Transaction, **values: str) -> None:
    """Set some keys."""
    transaction.run(_SET, *({"key": key, "value": value} for key, value in values.items()))


def check_moved(transaction: Transaction, label: str) -> None:
    """Raise LedgerError if the orders are in another ledger by now."""
    if (where := read(transaction).get("moved_to")) is not None:
        raise LedgerError(
            f"The ledger {label} was moved to {where}.",
            hint="Set `ledger` (BC2OT_LEDGER) to that one: this one misses what was sent since.",
        )


def version(transaction: Transaction) -> int | None:
    """Return the schema's version, None if it has none."""
    found = read(transaction).get("schema_version", "")
    return int(found) if found.isdecimal() else None
