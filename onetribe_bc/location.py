"""Where a ledger is: a file, or a database on a PostgreSQL server."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from onetribe_bc.secret import Secret, is_loopback

_SCHEMES = ("postgresql", "postgres")
_VERIFIED = ("verify-full", "verify-ca")


@dataclass(frozen=True, slots=True)
class PostgresUrl:
    """A libpq URL. All of it is a secret; `str()` shows hosts and database only."""

    url: Secret
    hosts: tuple[str, ...]
    database: str
    parameters: Mapping[str, str]

    def __str__(self) -> str:
        return f"postgresql://{','.join(self.hosts)}/{self.database}"

    @property
    def has_password(self) -> bool:
        """Whether the URL holds a password."""
        return "password" in self.parameters or bool(urlsplit(self.url.reveal()).password)

    @property
    def is_remote(self) -> bool:
        """Whether a connection to one of its hosts leaves this machine."""
        return any(host and host[0] not in "/@" and not is_loopback(host) for host in self.hosts)


Location = Path | PostgresUrl


def parse_location(text: str) -> Location:
    """Parse a path, or `postgresql://user@host1,host2:5433/database?sslmode=…`.

    Raises ValueError with a phrase that quotes nothing of the text: it may contain a password.
    """
    if not text.isprintable():
        raise ValueError("must be a path or a URL, but contains a control character")
    if "://" not in text:
        return Path(text)
    try:
        parts = urlsplit(text)
    except ValueError:  # its message quotes the URL
        raise ValueError("must be a path or a postgresql:// URL") from None
    if parts.scheme not in _SCHEMES:
        raise ValueError("must be a path or a postgresql:// URL")
    if " " in text or parts.fragment:
        raise ValueError("contains a space or a #, which a password needs as %20 and %23")
    parameters = dict(parse_qsl(parts.query))
    database = unquote(parts.path.lstrip("/")) or parameters.get("dbname", "")
    if not database:
        raise ValueError("names no database: postgresql://user@host/database")
    named = parts.netloc.rpartition("@")[2] or parameters.get("host", os.environ.get("PGHOST", ""))
    hosts = tuple(_host(item) for item in named.split(","))
    location = PostgresUrl(Secret(text), hosts, database, parameters)
    if location.is_remote and parameters.get("sslmode", "verify-full") not in _VERIFIED:
        raise ValueError(
            "has an sslmode that does not verify a remote server: use verify-full (the default), "
            "with sslrootcert=FILE for a private CA"
        )
    return location


def _host(item: str) -> str:
    """The host of `host:port`; IPv6 addresses are in brackets."""
    host = unquote(item)
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host if host.startswith("/") else host.partition(":")[0]
