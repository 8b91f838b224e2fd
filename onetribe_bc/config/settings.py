"""The settings a run works with, as plain values; where they came from is `loading`'s concern."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal, TypeVar
from zoneinfo import ZoneInfo

from onetribe_bc.config.places import Notice
from onetribe_bc.errors import ConfigurationError
from onetribe_bc.secret import Secret, mask_url

T = TypeVar("T")

Resend = Literal["never", "on-change"]
OnUnknown = Literal["resend", "hold"]


@dataclass(frozen=True)
class BigCommerceSettings:
    """The store and how to reach it. `store_hash` is empty where none was given.

    `reserve` is the share (0 to 0.9) of the store's request quota left to its other apps.
    """

    store_hash: str
    access_token: Secret | None
    client_secret: Secret | None
    api_url: str = "https://api.bigcommerce.com"
    reserve: float = 0.1


@dataclass(frozen=True)
class OneTribeSettings:
    """Where orders go. The whole URL is a secret, since its path ends in the merchant key."""

    url: Secret | None

    @property
    def masked(self) -> str:
        """The URL with its key masked, to be shown; empty where none was given."""
        return mask_url(self.url.reveal()) if self.url else ""


@dataclass(frozen=True)
class OrderSettings:
    """Which orders are sent. `skip_statuses` holds status ids and names, the merchant's too."""

    skip_statuses: tuple[str | int, ...] = ("Incomplete",)
    resend: Resend = "never"


@dataclass(frozen=True)
class DeliverySettings:
    """How orders are sent. `attempts` counts the tries for one order within a run."""

    workers: int = 8
    attempts: int = 5
    connect_timeout_s: float = 5
    read_timeout_s: float = 30
    on_unknown: OnUnknown = "resend"


@dataclass(frozen=True)
class SyncSettings:
    """How far back `sync` looks, for changes that showed up late."""

    overlap: timedelta = timedelta(hours=48)


@dataclass(frozen=True)
class MonitorSettings:
    """Who is told of each `sync`: an address to call, a file of Prometheus metrics."""

    url: Secret | None = None
    textfile: Path | None = None


@dataclass(frozen=True)
class ReceiverSettings:
    """What takes BigCommerce's callbacks. `secret` is in a header of each of them; `token`
    opens what others than this machine may not see; `sync_every` is the beat of the safety net.
    """

    secret: Secret | None = None
    token: Secret | None = None
    sync_every: timedelta = timedelta(minutes=15)


@dataclass(frozen=True)
class Settings:
    """Everything that is set for one store.

    `store_name` is None for the store at the top of the file, `stores` names the others in it,
    `source` is the file if there was one, `variables` names those of the environment that count
    before it, and `warnings` are for the user to see.
    """

    store_name: str | None
    bigcommerce: BigCommerceSettings
    onetribe: OneTribeSettings
    orders: OrderSettings
    delivery: DeliverySettings
    ledger: Path
    timezone: ZoneInfo
    sync: SyncSettings = SyncSettings()
    monitor: MonitorSettings = MonitorSettings()
    receiver: ReceiverSettings = ReceiverSettings()
    warnings: tuple[Notice, ...] = ()
    source: Path | None = None
    variables: tuple[str, ...] = ()
    stores: tuple[str, ...] = ()

    def need_store_hash(self) -> str:
        """The store's hash. Raises ConfigurationError where none was given."""
        return self._need(
            self.bigcommerce.store_hash or None, "bigcommerce.store_hash", "BC2OT_STORE_HASH"
        )

    def need_access_token(self) -> Secret:
        """The store's API token. Raises ConfigurationError where none was given."""
        return self._need(
            self.bigcommerce.access_token, "bigcommerce.access_token", "BC2OT_ACCESS_TOKEN"
        )

    def need_onetribe_url(self) -> Secret:
        """One Tribe's URL. Raises ConfigurationError where none was given."""
        return self._need(self.onetribe.url, "onetribe.url", "BC2OT_ONETRIBE_URL")

    def _need(self, value: T | None, key: str, variable: str) -> T:
        if value is not None:
            return value
        hints = [f"Set the environment variable {variable}."]
        if self.source is not None:
            hints[0] = f"Set it in {self.source} or as {variable} in the environment."
        if self.store_name is not None:
            # Identity variables are refused together with a named store.
            key = f"stores.{self.store_name}.{key}"
            hints = [f"Set it in {self.source}."]
        elif self.stores:
            hints.append(
                f"Or choose one of the file's stores by --store: {', '.join(self.stores)}."
            )
        raise ConfigurationError(f"{key} is not set.", hint=" ".join(hints))
