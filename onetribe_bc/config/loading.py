"""From file, environment and options to the settings of one store."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path

from onetribe_bc.config import keys
from onetribe_bc.config.finding import ConfigurationFile, find_file, nothing_found
from onetribe_bc.config.layers import environment_layer, option_layer
from onetribe_bc.config.places import Homes, Layer
from onetribe_bc.config.receiver_secret import read_receiver_secret, receiver_secret_file
from onetribe_bc.config.settings import (
    BigCommerceSettings,
    DeliverySettings,
    MonitorSettings,
    OneTribeSettings,
    OrderSettings,
    ReceiverSettings,
    Settings,
    SyncSettings,
)
from onetribe_bc.config.values import Values
from onetribe_bc.errors import ConfigurationError
from onetribe_bc.secret import Secret
from onetribe_bc.text import excerpt


def load(
    *,
    path: Path | None,
    environ: Mapping[str, str],
    cwd: Path,
    store: str | None = None,
    overrides: Mapping[str, object] | None = None,
    homes: Homes | None = None,
) -> Settings:
    """The settings of one store: options over environment over file over defaults.

    `path` is the file asked for, if one was; otherwise it is looked for (see `find_file`). `cwd` is
    absolute. `store` names one of the file's `stores`; None is the store at the file's top.
    `overrides` are options by dotted name (`delivery.workers`), None where not given. `homes`
    are the user's folders.

    Raises ConfigurationError for whatever is wrong in files, variables or their lack, and
    InputError for an option's value.
    """
    homes = homes or Homes.of_user()
    variables = environment_layer(environ, cwd)
    file = find_file(path, environ, cwd, homes)
    if not variables and (file is None or not (file.top or file.stores)):
        raise nothing_found(file, cwd, homes)
    layers = [file.top] if file else []
    if store is not None:
        layers.append(_choose(store, file))
        _refuse_mixing(store, variables)
    layers += [variables, option_layer(overrides or {}, cwd)]
    values = Values(
        given={name: given for layer in layers for name, given in layer.items()},
        environ=environ,
        homes=homes,
        warnings=list(file.warnings) if file else [],
    )
    store_hash, ledger = values.of(keys.STORE_HASH), values.ledger()
    return Settings(
        store_name=store,
        bigcommerce=BigCommerceSettings(
            store_hash=store_hash,
            access_token=values.of(keys.ACCESS_TOKEN),
            client_secret=values.of(keys.CLIENT_SECRET),
            api_url=values.of(keys.API_URL),
            reserve=values.of(keys.RESERVE),
        ),
        onetribe=OneTribeSettings(url=values.of(keys.ONETRIBE_URL)),
        orders=OrderSettings(
            skip_statuses=values.of(keys.SKIP_STATUSES),
            resend=values.of(keys.RESEND),
        ),
        delivery=DeliverySettings(
            workers=values.of(keys.WORKERS),
            attempts=values.of(keys.ATTEMPTS),
            connect_timeout_s=values.of(keys.CONNECT_TIMEOUT),
            read_timeout_s=values.of(keys.READ_TIMEOUT),
            on_unknown=values.of(keys.ON_UNKNOWN),
        ),
        sync=SyncSettings(overlap=values.of(keys.SYNC_OVERLAP)),
        monitor=MonitorSettings(
            url=values.of(keys.MONITOR_URL), textfile=values.path(keys.MONITOR_TEXTFILE)
        ),
        receiver=ReceiverSettings(
            secret=values.of(keys.RECEIVER_SECRET) or _kept_secret(values, ledger, store_hash),
            token=values.of(keys.RECEIVER_TOKEN),
            sync_every=values.of(keys.RECEIVER_SYNC_EVERY),
        ),
        ledger=ledger,
        timezone=values.timezone(),
        warnings=tuple(values.warnings),
        source=file.path if file else None,
        variables=tuple(keys.BY_NAME[name].variable for name in variables),
        stores=tuple(file.stores) if file else (),
    )


def store_names(
    *,
    path: Path | None,
    environ: Mapping[str, str],
    cwd: Path,
    homes: Homes | None = None,
) -> tuple[str, ...]:
    """The names of the file's `stores`, in its order; none without a file.

    Raises ConfigurationError as `load` does for a file that cannot be read.
    """
    file = find_file(path, environ, cwd, homes or Homes.of_user())
    return tuple(file.stores) if file else ()


def _kept_secret(values: Values, ledger: Path, store_hash: str) -> Secret | None:
    """What `hooks create --receiver` made for the store, if it did."""
    if not store_hash:
        return None
    secret, warning = read_receiver_secret(receiver_secret_file(ledger, store_hash))
    if warning is not None:
        values.warnings.append(warning)
    return secret


def _choose(store: str, file: ConfigurationFile | None) -> Layer:
    """What the file gives for the store of that name."""
    if file is None:
        raise ConfigurationError(
            "--store needs a configuration file, and there is none.",
            hint="Leave --store out, or describe the store under stores: in a file.",
        )
    if store in file.stores:
        return file.stores[store]
    near = difflib.get_close_matches(store, file.stores, n=1)
    known = ", ".join(file.stores) or "none"
    raise ConfigurationError(
        f'{file.path} has no store "{excerpt(store)}"'
        + (f"; did you mean {near[0]}?" if near else "."),
        hint=f"Its stores: {known}. Without --store, the one at the top of the file is meant.",
    )


def _refuse_mixing(store: str, variables: Layer) -> None:
    """A variable meant for one store would send another store's orders to it."""
    mixed = [key.variable for key in keys.KEYS if key.of_store and key.name in variables]
    if mixed:
        raise ConfigurationError(
            f"--store {store} takes the store from the file, while the environment sets "
            f"{', '.join(mixed)}: one store's orders could go out as another's.",
            hint="Unset the variables, or leave --store out. In the file, ${NAME} can take "
            "variables with other names.",
        )
