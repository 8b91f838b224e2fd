"""The one table of everything that can be set: loading, suggestions and the guide read it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Generic, TypeVar
from zoneinfo import ZoneInfo

from onetribe_bc.config import kinds
from onetribe_bc.config.settings import (
    BigCommerceSettings,
    DeliverySettings,
    OnUnknown,
    OrderSettings,
    ReceiverSettings,
    Resend,
    SyncSettings,
)
from onetribe_bc.secret import Secret

T = TypeVar("T")

CONFIG_VARIABLE = "BC2OT_CONFIG"
STORES = "stores"


@dataclass(frozen=True)
class Key(Generic[T]):
    """Something that can be set.

    `name` is dotted as in the file's nesting, `variable` the environment variable if there is
    one. A secret can also be read from a file, which the key `file_name` names. `of_store` marks
    what tells one store from another.
    """

    name: str
    kind: kinds.Kind[T]
    about: str
    default: T
    default_text: str = ""
    variable: str = ""
    secret: bool = False
    of_store: bool = False

    @property
    def file_name(self) -> str:
        """The key whose value is a file that holds this secret; empty if it is none."""
        return f"{self.name}_file" if self.secret else ""


STORE_HASH: Key[str] = Key(
    "bigcommerce.store_hash",
    kinds.STORE_HASH,
    "The store: the part after `stores/` in its API path; the whole path will do.",
    default="",
    variable="BC2OT_STORE_HASH",
    of_store=True,
)
ACCESS_TOKEN: Key[Secret | None] = Key(
    "bigcommerce.access_token",
    kinds.CREDENTIAL,
    "The access token of a store-level API account.",
    default=None,
    variable="BC2OT_ACCESS_TOKEN",
    secret=True,
    of_store=True,
)
CLIENT_SECRET: Key[Secret | None] = Key(
    "bigcommerce.client_secret",
    kinds.CREDENTIAL,
    "The client secret of that API account; only needed to verify callbacks.",
    default=None,
    variable="BC2OT_CLIENT_SECRET",
    secret=True,
    of_store=True,
)
API_URL: Key[str] = Key(
    "bigcommerce.api_url",
    kinds.API_URL,
    "BigCommerce's address; `http://` is taken for this machine only.",
    default=BigCommerceSettings.api_url,
    variable="BC2OT_API_URL",
)
RESERVE: Key[float] = Key(
    "bigcommerce.reserve",
    kinds.share(0.9),
    "The share of the store's request quota left to its other apps.",
    default=BigCommerceSettings.reserve,
)
ONETRIBE_URL: Key[Secret | None] = Key(
    "onetribe.url",
    kinds.ONETRIBE_URL,
    "Where orders go; it ends in the merchant key, so all of it is a secret.",
    default=None,
    variable="BC2OT_ONETRIBE_URL",
    secret=True,
    of_store=True,
)
SKIP_STATUSES: Key[tuple[str | int, ...]] = Key(
    "orders.skip_statuses",
    kinds.STATUS_LIST,
    "Orders in these statuses are not sent; `[]` sends every order.",
    default=OrderSettings.skip_statuses,
)
RESEND: Key[Resend] = Key(
    "orders.resend",
    kinds.choice("never", "on-change"),
    "Whether a delivered order is sent again when its content changed.",
    default=OrderSettings.resend,
)
WORKERS: Key[int] = Key(
    "delivery.workers",
    kinds.whole_number(1, 64),
    "How many orders are sent at the same time.",
    default=DeliverySettings.workers,
    variable="BC2OT_WORKERS",
)
ATTEMPTS: Key[int] = Key(
    "delivery.attempts",
    kinds.whole_number(1, 20),
    "Tries for one order within a run.",
    default=DeliverySettings.attempts,
)
CONNECT_TIMEOUT: Key[float] = Key(
    "delivery.timeout.connect",
    kinds.seconds(600),
    "How long to wait for a connection.",
    default=DeliverySettings.connect_timeout_s,
)
READ_TIMEOUT: Key[float] = Key(
    "delivery.timeout.read",
    kinds.seconds(600),
    "How long to wait for an answer.",
    default=DeliverySettings.read_timeout_s,
)
ON_UNKNOWN: Key[OnUnknown] = Key(
    "delivery.on_unknown",
    kinds.choice("resend", "hold"),
    "An order that may have arrived is sent again, or held for `retry --unknown`.",
    default=DeliverySettings.on_unknown,
)
SYNC_OVERLAP: Key[timedelta] = Key(
    "sync.overlap",
    kinds.duration(timedelta(days=90)),
    "How far `sync` looks back behind the end of the last one.",
    default=SyncSettings.overlap,
    default_text="`48h`",
)
MONITOR_URL: Key[Secret | None] = Key(
    "monitor.url",
    kinds.SECRET_URL,
    "Called by `sync`: with `/start` added before, as it is after success, with `/fail` else.",
    default=None,
    secret=True,
)
MONITOR_TEXTFILE: Key[str | None] = Key(
    "monitor.textfile",
    kinds.PATH,
    "A file for Prometheus' node exporter, written anew by each `sync`.",
    default=None,
)
RECEIVER_SECRET: Key[Secret | None] = Key(
    "receiver.secret",
    kinds.CREDENTIAL,
    "What callbacks carry in the header `X-Bc2ot-Secret`, to be told from a stranger's.",
    default=None,
    default_text="what `hooks create --receiver` made: `receiver-secret-STORE_HASH` beside "
    "the ledger",
    variable="BC2OT_RECEIVER_SECRET",
    secret=True,
    of_store=True,
)
RECEIVER_TOKEN: Key[Secret | None] = Key(
    "receiver.token",
    kinds.CREDENTIAL,
    "A bearer token that opens `serve`'s `/readyz` and `/metrics` to other machines.",
    default=None,
    secret=True,
)
RECEIVER_SYNC_EVERY: Key[timedelta] = Key(
    "receiver.sync_every",
    kinds.duration(timedelta(days=1)),
    "How often `serve` does what `sync` does, for callbacks that never came. `0m`: only at its "
    "start and after trouble.",
    default=ReceiverSettings.sync_every,
    default_text="`15m`",
)
LEDGER: Key[str | None] = Key(
    "ledger",
    kinds.PATH,
    "The file that records what was sent.",
    default=None,
    default_text="`bc2ot/ledger.db` in the user's state folder",
    variable="BC2OT_LEDGER",
)
TIMEZONE: Key[ZoneInfo | None] = Key(
    "timezone",
    kinds.TIMEZONE,
    "The zone of dates without an offset.",
    default=None,
    default_text="`UTC`",
)

KEYS: tuple[Key[Any], ...] = (
    STORE_HASH,
    ACCESS_TOKEN,
    CLIENT_SECRET,
    API_URL,
    RESERVE,
    ONETRIBE_URL,
    SKIP_STATUSES,
    RESEND,
    WORKERS,
    ATTEMPTS,
    CONNECT_TIMEOUT,
    READ_TIMEOUT,
    ON_UNKNOWN,
    SYNC_OVERLAP,
    MONITOR_URL,
    MONITOR_TEXTFILE,
    RECEIVER_SECRET,
    RECEIVER_TOKEN,
    RECEIVER_SYNC_EVERY,
    LEDGER,
    TIMEZONE,
)

BY_NAME: Mapping[str, Key[Any]] = MappingProxyType(
    {key.name: key for key in KEYS} | {key.file_name: key for key in KEYS if key.secret}
)
"""Every name that may stand in a file, `…_file` included, to its key."""

SECTIONS = frozenset(name.rpartition(".")[0] for name in BY_NAME) - {""}
"""The dotted names that hold other names."""


def suggestion(section: str, name: str) -> str:
    """The dotted name that was probably meant by `name` in `section` ("" is the top), or "".

    The same name comes first, in this section before elsewhere, then a similar one in this
    section, then a similar one anywhere.
    """
    names = [*BY_NAME, *SECTIONS, STORES]
    folded = name.casefold().replace("-", "_")
    anywhere = {known.rpartition(".")[2]: known for known in names}
    here = {
        end: known
        for known in names
        for start, _, end in [known.rpartition(".")]
        if start == section
    }
    for known_by_end in (here, anywhere):
        if folded in known_by_end:
            return known_by_end[folded]
    for known_by_end in (here, anywhere):
        if close := difflib.get_close_matches(folded, known_by_end, n=1):
            return known_by_end[close[0]]
    return ""
