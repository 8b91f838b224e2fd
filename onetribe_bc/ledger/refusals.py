"""PostgreSQL's errors in our words, by SQLSTATE. No text of the server or of libpq is shown: it may
quote an order, a user or a password.
"""

from __future__ import annotations

import psycopg

from onetribe_bc.errors import Bc2otError, BusyError, LedgerError, RefusedError, UnreachableError
from onetribe_bc.ledger.engine import TransientError
from onetribe_bc.ledger.schema import SCHEMA_VERSION

_LOST = ("08", "57P", "25P03")
_PASSES = {
    "53300": "it has no free connection",
    "25006": "it is read-only at the moment, as during a failover",
    "40001": "transactions kept getting in each other's way",
    "40P01": "transactions kept getting in each other's way",
    "55P03": "a lock was not free in time",
}
_OURS = frozenset({"orders_claims", "runs_exclusive", "orders_pkey", "callbacks_pkey", "runs_pkey"})
"""Unique constraints that only a concurrent transaction can violate."""

_PROBLEMS = {
    "42501": (
        "refuses bc2ot's role the rights it needs",
        "Grant them as the role that created it: bc2ot ledger create --role ROLE",
    ),
    "42P01": ("has no such table", "Create them: bc2ot ledger create"),
    "42703": ("has no such column", "Upgrade it: bc2ot ledger upgrade"),
    "42704": ("does not know that role", "Create it first: CREATE ROLE … LOGIN"),
    "3F000": ("has no schema to create tables in", "Set the role's search_path."),
    "53100": ("has a full disk", "Make room on the server. No order is sent unrecorded."),
}

_LOGIN = "Check user and password in `ledger`, PGPASSWORD or PGPASSFILE."
_SETTING = "Check `ledger` (BC2OT_LEDGER)."
_CONNECTING: tuple[tuple[str, type[Bc2otError], str, str], ...] = (
    ("password authentication failed", RefusedError, "refuses the user or the password", _LOGIN),
    ("no password supplied", RefusedError, "asks for a password, and none is set", _LOGIN),
    ("no pg_hba.conf entry", RefusedError, "refuses this user from this host", _LOGIN),
    ("permitted to log in", RefusedError, "refuses the role a login", "ALTER ROLE … LOGIN"),
    ("role ", RefusedError, "has no such role", _LOGIN),
    ("permission denied for database", RefusedError, "refuses this user the database", _LOGIN),
    ("database ", LedgerError, "has no such database", _SETTING),
    ("certificate", UnreachableError, "has a certificate that cannot be verified", _SETTING),
    ("SSL", UnreachableError, "does not offer the TLS that sslmode demands", _SETTING),
)
"""libpq has no SQLSTATE for a connection that failed, so its words decide."""


def connection_failed(label: str, message: str) -> Bc2otError | TransientError:
    """Return the error for a connection that libpq could not make."""
    for sign, kind, problem, hint in _CONNECTING:
        if sign in message and (sign == sign.strip() or "does not exist" in message):
            return kind(f"The ledger {label}: the server {problem}.", hint=hint)
    if "failed to resolve host" in message:
        return lost(label, "its host name does not resolve")
    full = "too many" in message or "remaining connection slots" in message
    return lost(label, _PASSES["53300"] if full else "no connection")


def lost(label: str, why: str) -> TransientError:
    """Return the error for a database that cannot be reached now."""
    return TransientError(
        UnreachableError(
            f"The ledger {label} could not be reached: {why}.",
            hint="Check the server, the network and `ledger`. What was not delivered stays owed.",
        )
    )


def is_lost(error: psycopg.Error) -> bool:
    """Whether the connection is gone, or was never made."""
    state = error.sqlstate
    if state is None:
        return isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
    return state.startswith(_LOST)


def translated(label: str, error: psycopg.Error) -> Bc2otError | TransientError:
    """Return a statement's error in our words."""
    state = error.sqlstate or ""
    if is_lost(error):
        return lost(label, "the connection was lost")
    if state in _PASSES:
        return lost(label, _PASSES[state])
    if state == "23505" and error.diag.constraint_name in _OURS:
        return TransientError(BusyError(f"Other processes kept changing the ledger {label}."))
    if state == "57014":
        return BusyError(f"The ledger {label} did not respond in time.")
    problem, hint = _PROBLEMS.get(state, ("", ""))
    if problem:
        return LedgerError(f"The ledger {label}: the server {problem}.", hint=hint)
    return LedgerError(
        f"The ledger {label} failed: {type(error).__name__} (SQLSTATE {state or 'none'}).",
        hint="Check the server's log.",
    )


def too_old(label: str, version: int, oldest: int) -> LedgerError:
    return LedgerError(f"{label} is PostgreSQL {version}; bc2ot needs {oldest} or newer.")


def replica(label: str) -> LedgerError:
    return LedgerError(
        f"{label} is a read-only replica.",
        hint="Set `ledger` to the primary, or to all hosts: libpq finds the primary among them.",
    )


def asynchronous(label: str) -> LedgerError:
    return LedgerError(
        f"{label} has synchronous_commit = off: a crash of the server would lose what was sent.",
        hint="ALTER ROLE … SET synchronous_commit = on",
    )


def not_utf8(label: str) -> LedgerError:
    return LedgerError(
        f"The database {label} cannot hold every text: its encoding is not UTF8.",
        hint="CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0",
    )


def without_schema(label: str) -> LedgerError:
    return LedgerError(
        f"{label} has no ledger yet.",
        hint="Create it once, as a role that may create tables: bc2ot ledger create",
    )


def other_version(label: str, version: int) -> LedgerError:
    if version > SCHEMA_VERSION:
        hint = "Upgrade bc2ot on this machine."
    else:
        hint = "Upgrade it once, as the role that created it: bc2ot ledger upgrade"
    return LedgerError(
        f"The ledger {label} has version {version}; this bc2ot needs version {SCHEMA_VERSION}.",
        hint=hint,
    )
