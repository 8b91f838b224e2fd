"""Check the PostgreSQL server that has the ledger."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from datetime import timedelta

from onetribe_bc.clock import Clock
from onetribe_bc.doctor.finding import CHECK_ERRORS, Finding, fail, failed, ok, warn
from onetribe_bc.doctor.store import CLOCK_TOLERANCE
from onetribe_bc.errors import ExitCode
from onetribe_bc.ledger.postgres_schema import TIMEOUTS
from onetribe_bc.ledger.server import Server, inspect
from onetribe_bc.location import PostgresUrl
from onetribe_bc.text import plural, span

CONNECTIONS_PER_PROCESS = 3
"""To write, to renew the lease, and to read."""

_FEW_CONNECTIONS = 4 * CONNECTIONS_PER_PROCESS


def check_server(location: PostgresUrl, clock: Clock) -> Generator[Finding, None, bool]:
    """Yield the findings. Return whether the ledger on it can be read."""
    try:
        server = inspect(location, clock)
    except CHECK_ERRORS as error:
        yield failed("ledger.server", error)
        return False
    yield ok("ledger.server", f"PostgreSQL {server.version} is reachable at {location}.")
    yield _tls(location, server)
    yield from _rights(server)
    if server.ledger_error is not None:
        yield failed("ledger.schema", server.ledger_error)
    if server.write_error is not None:
        yield failed("ledger.durability", server.write_error)
    else:
        yield ok("ledger.durability", "It is the primary, and makes every commit durable.")
    yield _timeouts(server)
    yield _clock(server.ahead)
    yield _connections(server.connections_left)
    return server.ledger_error is None


def _tls(location: PostgresUrl, server: Server) -> Finding:
    """Check TLS. A remote host without a verified certificate is refused earlier."""
    check = "ledger.tls"
    if not location.is_remote:
        how = "with TLS" if server.uses_tls else "without TLS"
        return ok(check, f"The connection stays on this machine, {how}.")
    if location.parameters.get("sslmode") == "verify-ca":
        return warn(
            check,
            "sslmode=verify-ca does not compare the server's certificate with its host name.",
            "Set sslmode=verify-full in `ledger`, unless the CA signs for this server only.",
        )
    return ok(check, "The connection is encrypted, and the server's certificate is verified.")


def _rights(server: Server) -> Iterator[Finding]:
    missing = server.missing_rights
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        yield fail(
            "ledger.rights",
            f"The role lacks {', '.join(missing[:3])}{more}.",
            "As the role that created the ledger: bc2ot ledger create --role ROLE",
            exit_code=ExitCode.CONFIGURATION,
        )
    elif server.ledger_error is None:
        yield ok("ledger.rights", "The role has all rights that it needs.")


def _timeouts(server: Server) -> Finding:
    if not server.unset_timeouts:
        return ok("ledger.timeouts", "The role has all timeouts.")
    settings = "; ".join(
        f"ALTER ROLE … SET {name} = '{TIMEOUTS[name]}'" for name in server.unset_timeouts
    )
    return warn(
        "ledger.timeouts",
        f"The role has no {', '.join(server.unset_timeouts)}: a process that freezes or loses its "
        "network can hold locks for long.",
        f"As the role that created the ledger: bc2ot ledger create --role ROLE (or: {settings})",
    )


def _clock(ahead: timedelta) -> Finding:
    if abs(ahead) <= CLOCK_TOLERANCE:
        return ok("ledger.clock", "The server's clock agrees with this machine's.")
    direction = "ahead of" if ahead > timedelta() else "behind"
    return warn(
        "ledger.clock",
        f"The server's clock is {span(abs(ahead))} {direction} this machine's: times in the ledger "
        "are off, and retries come too early or too late.",
        "Synchronize both by NTP: timedatectl set-ntp true",
    )


def _connections(left: int) -> Finding:
    check = "ledger.connections"
    if left >= _FEW_CONNECTIONS:
        return ok(check, "The server has enough connections left.")
    return warn(
        check,
        f"The server has {plural(max(left, 0), 'connection')} left; each process of bc2ot needs up "
        f"to {CONNECTIONS_PER_PROCESS}.",
        "Raise max_connections or the limit of the role or database, or use PgBouncer.",
    )
