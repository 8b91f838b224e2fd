"""The table of settings. Reading, `init`, the example file and the reference derive from it.

To add a setting, add a field: its key, kind, meaning and default are defined only here.
"""

# ruff: noqa: RUF009 - `_setting` returns a dataclass field, as `field` does.

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from datetime import date, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar, cast
from zoneinfo import ZoneInfo

from onetribe_bc.config import kinds
from onetribe_bc.config.kinds import Kind, Raw
from onetribe_bc.errors import ConfigurationError
from onetribe_bc.location import Location
from onetribe_bc.secret import Secret, mask_url

T = TypeVar("T")

Resend = Literal["never", "on-change"]
OnUnknown = Literal["resend", "hold"]

CONFIG_VARIABLE = "BC2OT_CONFIG"
"""The environment variable that names the configuration file."""
STORES = "stores"
"""The section with more stores."""


@dataclass(frozen=True)
class Setting:
    """A row of the table.

    `name` is the dotted key in the file, `default` its default as the file spells it;
    `default_note` describes a default that depends on the machine. `variable` is the environment
    variable, if any. A setting that is `of_store` identifies a store.
    """

    name: str
    kind: Kind[Any]
    meaning: str
    default: Raw | None = None
    default_note: str = ""
    variable: str = ""
    of_store: bool = False

    @property
    def file_name(self) -> str:
        """The key that names a file with this secret; empty for other settings."""
        return f"{self.name}_file" if self.kind.secret else ""

    @property
    def default_text(self) -> str:
        """The default in YAML; empty if there is none."""
        if isinstance(self.default, tuple):
            return f"[{', '.join(self.default)}]"
        return self.default or ""


def _setting(
    name: str,
    kind: Kind[T],
    meaning: str,
    *,
    default: Raw | None = None,
    unset: object = None,
    **details: Any,
) -> T:
    """Return a dataclass field with its `Setting` as metadata. Without a default, it is `unset`."""
    metadata = {"setting": Setting(name, kind, meaning, default, **details)}
    if default is None:
        return cast(T, field(default=unset, metadata=metadata))
    return field(default_factory=lambda: kind.read(default), metadata=metadata)


# The sections read as a table, so they are not formatted to an argument per line.
# fmt: off


@dataclass(frozen=True)
class BigCommerceSettings:
    """The store and its API account."""

    store_hash: str = _setting("bigcommerce.store_hash", kinds.STORE_HASH,
        "Store hash: the part after `stores/` in the API path. The whole path works, too.",
        unset="", variable="BC2OT_STORE_HASH", of_store=True)
    access_token: Secret | None = _setting("bigcommerce.access_token", kinds.CREDENTIAL,
        "Access token of a store-level API account.",
        variable="BC2OT_ACCESS_TOKEN", of_store=True)
    client_secret: Secret | None = _setting("bigcommerce.client_secret", kinds.CREDENTIAL,
        "Client secret of that API account; only needed to verify callbacks.",
        variable="BC2OT_CLIENT_SECRET", of_store=True)
    api_url: str = _setting("bigcommerce.api_url", kinds.API_URL,
        "URL of BigCommerce's API; `http://` is accepted for this machine only.",
        default="https://api.bigcommerce.com", variable="BC2OT_API_URL")
    reserve: float = _setting("bigcommerce.reserve", kinds.share(0.9),
        "Share of the store's request quota left to its other apps.", default="0.1")


@dataclass(frozen=True)
class OneTribeSettings:
    """Where orders are sent."""

    url: Secret | None = _setting("onetribe.url", kinds.ONETRIBE_URL,
        "Where orders are sent. It ends in the merchant key, so all of it is a secret.",
        variable="BC2OT_ONETRIBE_URL", of_store=True)

    @property
    def masked(self) -> str:
        """The URL with its key masked; empty if not set."""
        return mask_url(self.url.reveal()) if self.url else ""


@dataclass(frozen=True)
class OrderSettings:
    """Which orders are sent."""

    skip_statuses: tuple[str | int, ...] = _setting("orders.skip_statuses", kinds.STATUS_LIST,
        "Orders with these statuses are not sent; `[]` sends every order.",
        default=("Incomplete",))
    resend: Resend = _setting("orders.resend", kinds.choice("never", "on-change"),
        "Whether to send a delivered order again when its content changed.", default="never")
    channels: tuple[int, ...] = _setting("orders.channels", kinds.CHANNEL_LIST,
        "Only orders of these sales channels are sent, by their BigCommerce IDs; `[]` sends those "
        "of all.", default=())
    not_before: date | None = _setting("orders.not_before", kinds.DATE,
        "Orders created before this day, in `timezone`, are not sent, such as those that a "
        "migration imported.")


@dataclass(frozen=True)
class DeliverySettings:
    """How orders are sent."""

    workers: int = _setting("delivery.workers", kinds.whole_number(1, 64),
        "Number of orders sent at the same time.", default="8", variable="BC2OT_WORKERS")
    attempts: int = _setting("delivery.attempts", kinds.whole_number(1, 20),
        "Attempts for one order within a run.", default="5")
    connect_timeout_s: float = _setting("delivery.timeout.connect", kinds.seconds(600),
        "Time to wait for a connection.", default="5")
    read_timeout_s: float = _setting("delivery.timeout.read", kinds.seconds(600),
        "Time to wait for a response.", default="30")
    on_unknown: OnUnknown = _setting("delivery.on_unknown", kinds.choice("resend", "hold"),
        "What to do with an order that may have arrived: send it again, or hold it for "
        "`retry --unknown`.", default="resend")
    max_copies: int = _setting("delivery.max_copies", kinds.whole_number(1, 20),
        "An order that may have arrived this often is held for `retry --unknown`, even if "
        "`on_unknown` is `resend`.", default="3")


@dataclass(frozen=True)
class SyncSettings:
    """What `sync` reads."""

    overlap: timedelta = _setting("sync.overlap", kinds.duration(timedelta(days=90)),
        "How long before the end of the previous one each `sync` starts.", default="48h")


@dataclass(frozen=True)
class MonitorSettings:
    """How each `sync` reports its outcome."""

    url: Secret | None = _setting("monitor.url", kinds.SECRET_URL,
        "Requested by `sync`: with `/start` appended before, as it is after success, with `/fail` "
        "after failure.")
    textfile: Path | None = _setting("monitor.textfile", kinds.PATH,
        "File for Prometheus' node exporter, rewritten by each `sync`.")


@dataclass(frozen=True)
class ReceiverSettings:
    """How callbacks are verified, and how often `serve` syncs."""

    secret: Secret | None = _setting("receiver.secret", kinds.CREDENTIAL,
        "Value of the header `X-Bc2ot-Secret` that proves a callback to be BigCommerce's.",
        default_note="made by `hooks create --receiver`: `receiver-secret-STORE_HASH` next to "
        "the ledger", variable="BC2OT_RECEIVER_SECRET", of_store=True)
    token: Secret | None = _setting("receiver.token", kinds.CREDENTIAL,
        "Bearer token that gives other machines access to `serve`'s `/readyz` and `/metrics`.")
    sync_every: timedelta = _setting("receiver.sync_every", kinds.duration(timedelta(days=1)),
        "How often `serve` runs a `sync`, for callbacks that never arrived. `0m`: only at startup "
        "and after errors.", default="15m")


# fmt: on


@dataclass(frozen=True)
class Notice:
    """A warning and its `hint`, an imperative without a full stop.

    `open_file` is set if the warning is that other users can read a file.
    """

    text: str
    hint: str
    open_file: Path | None = None

    @property
    def sentence(self) -> str:
        """The hint as a sentence."""
        return f"{self.hint[:1].upper()}{self.hint[1:]}."

    def __str__(self) -> str:
        return f"{self.text}: {self.hint}."


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one store.

    `store_name` is None for the store at the top of the file, `stores` are the names of the
    others, `source` is the file if there is one. `variables` are the environment variables in
    effect, which override the file; `filled_in` are those that the file names as `${NAME}`.
    `skip_statuses_at` is the file and line that set orders.skip_statuses.
    `warnings` are for the user. `secret_problem` says why the file with the receiver's secret
    cannot be used.
    """

    bigcommerce: BigCommerceSettings = BigCommerceSettings()
    onetribe: OneTribeSettings = OneTribeSettings()
    orders: OrderSettings = OrderSettings()
    delivery: DeliverySettings = DeliverySettings()
    sync: SyncSettings = SyncSettings()
    monitor: MonitorSettings = MonitorSettings()
    receiver: ReceiverSettings = ReceiverSettings()
    ledger: Location = _setting(
        "ledger",
        kinds.LEDGER,
        "File or PostgreSQL database that records what was sent.",
        unset=MISSING,
        default_note="`bc2ot/ledger.db` in your state directory",
        variable="BC2OT_LEDGER",
    )
    timezone: ZoneInfo = _setting(
        "timezone", kinds.TIMEZONE, "Time zone of dates without an offset.", default="UTC"
    )
    store_name: str | None = None
    stores: tuple[str, ...] = ()
    source: Path | None = None
    variables: tuple[str, ...] = ()
    filled_in: frozenset[str] = frozenset()
    warnings: tuple[Notice, ...] = ()
    secret_problem: Notice | None = None
    skip_statuses_at: str = ""

    def need_store_hash(self) -> str:
        """Return the store's hash. Raises ConfigurationError if it is not set."""
        return self._need(self.bigcommerce.store_hash or None, "bigcommerce.store_hash")

    def need_access_token(self) -> Secret:
        """Return the store's API token. Raises ConfigurationError if it is not set."""
        return self._need(self.bigcommerce.access_token, "bigcommerce.access_token")

    def need_onetribe_url(self) -> Secret:
        """Return One Tribe's URL. Raises ConfigurationError if it is not set."""
        return self._need(self.onetribe.url, "onetribe.url")

    def _need(self, value: T | None, name: str) -> T:
        if value is not None:
            return value
        if self.store_name is not None:  # variables must not override its identity
            raise ConfigurationError(
                f"{STORES}.{self.store_name}.{name} is not set.", hint=f"Set it in {self.source}."
            )
        place = "Set" if self.source is None else f"Set it in {self.source}, or set"
        hint = f"{place} the environment variable {SETTINGS[name].variable}."
        if self.stores:
            hint += f" Or choose a store of the file with --store: {', '.join(self.stores)}."
        raise ConfigurationError(f"{name} is not set.", hint=hint)


def build(section: type[T], values: Mapping[str, object], **others: object) -> T:
    """Return a `section` with `values` by dotted name, and `others` as its other fields."""
    arguments = dict(others)
    for one in fields(cast(Any, section)):
        setting = one.metadata.get("setting")
        if setting is not None and setting.name in values:
            arguments[one.name] = values[setting.name]
        elif is_dataclass(one.default):
            arguments[one.name] = build(type(one.default), values)
    return section(**arguments)


def _iter_settings(section: Any) -> Iterator[Setting]:
    for one in fields(section):
        if "setting" in one.metadata:
            yield one.metadata["setting"]
        elif is_dataclass(one.default):
            yield from _iter_settings(one.default)


SETTINGS: Mapping[str, Setting] = MappingProxyType({s.name: s for s in _iter_settings(Settings)})
"""Every setting by its dotted name, in the order of the file."""
