"""bc2ot for Python: the clients, the settings, the ledger and the runs of the command line.

What is in `__all__` may be relied on; what is not may change. Each name is imported when it is
first used, so that `import onetribe_bc` costs nothing. The guide is docs/python.md.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onetribe_bc.api.bigcommerce import BigCommerceClient, OrderQuery
    from onetribe_bc.api.hooks import Hook
    from onetribe_bc.api.http import Timeouts
    from onetribe_bc.api.onetribe import OneTribeClient, Receipt
    from onetribe_bc.api.webhook import Callback, Verifier
    from onetribe_bc.clock import Clock, SystemClock
    from onetribe_bc.commands.backfill import backfill
    from onetribe_bc.commands.backfill import preview as preview_backfill
    from onetribe_bc.commands.callback import deliver_callback, make_verifier, take_callback
    from onetribe_bc.commands.hooks import Change as HookChange
    from onetribe_bc.commands.hooks import Listing as HookListing
    from onetribe_bc.commands.hooks import Outcome as HookOutcome
    from onetribe_bc.commands.hooks import create_hooks, list_hooks
    from onetribe_bc.commands.reconcile import Reconciliation, reconcile
    from onetribe_bc.commands.retry import choose_orders, retry
    from onetribe_bc.commands.sync import SyncPlan, plan_sync, sync
    from onetribe_bc.config.load import load as load_settings
    from onetribe_bc.config.load import store_names
    from onetribe_bc.config.settings import Settings
    from onetribe_bc.dates import Window
    from onetribe_bc.delivery.context import (
        Context,
        connect_bigcommerce,
        connect_onetribe,
        open_context,
        open_ledger,
        policy_of,
    )
    from onetribe_bc.delivery.report import Report, Summary
    from onetribe_bc.delivery.selection import OrderFilter, Selection, select
    from onetribe_bc.errors import (
        BadResponseError,
        Bc2otError,
        BusyError,
        ConfigurationError,
        CredentialsError,
        ExitCode,
        InputError,
        InterruptedRunError,
        LedgerError,
        NoConnectionError,
        NoResponseError,
        NotAuthenticError,
        NotFoundError,
        OneTribeUrlError,
        OrderRefusedError,
        RefusedError,
        RejectedError,
        RetryLaterError,
        ScopeError,
        UnreachableError,
    )
    from onetribe_bc.ids import IdRange
    from onetribe_bc.ledger.ledger import Ledger, Run, Status
    from onetribe_bc.ledger.rows import Attempt
    from onetribe_bc.ledger.states import Disposition, Entry, Policy, State
    from onetribe_bc.order import Order
    from onetribe_bc.secret import Secret

from onetribe_bc.version import __version__

__all__ = [
    "Attempt",
    "BadResponseError",
    "Bc2otError",
    "BigCommerceClient",
    "BusyError",
    "Callback",
    "Clock",
    "ConfigurationError",
    "Context",
    "CredentialsError",
    "Disposition",
    "Entry",
    "ExitCode",
    "Hook",
    "HookChange",
    "HookListing",
    "HookOutcome",
    "IdRange",
    "InputError",
    "InterruptedRunError",
    "Ledger",
    "LedgerError",
    "NoConnectionError",
    "NoResponseError",
    "NotAuthenticError",
    "NotFoundError",
    "OneTribeClient",
    "OneTribeUrlError",
    "Order",
    "OrderFilter",
    "OrderQuery",
    "OrderRefusedError",
    "Policy",
    "Receipt",
    "Reconciliation",
    "RefusedError",
    "RejectedError",
    "Report",
    "RetryLaterError",
    "Run",
    "ScopeError",
    "Secret",
    "Selection",
    "Settings",
    "State",
    "Status",
    "Summary",
    "SyncPlan",
    "SystemClock",
    "Timeouts",
    "UnreachableError",
    "Verifier",
    "Window",
    "__version__",
    "backfill",
    "choose_orders",
    "connect_bigcommerce",
    "connect_onetribe",
    "create_hooks",
    "deliver_callback",
    "list_hooks",
    "load_settings",
    "make_verifier",
    "open_context",
    "open_ledger",
    "plan_sync",
    "policy_of",
    "preview_backfill",
    "reconcile",
    "retry",
    "select",
    "store_names",
    "sync",
    "take_callback",
]

_NAMES = {
    "api.bigcommerce": "BigCommerceClient OrderQuery",
    "api.hooks": "Hook",
    "api.http": "Timeouts",
    "api.onetribe": "OneTribeClient Receipt",
    "api.webhook": "Callback Verifier",
    "clock": "Clock SystemClock",
    "commands.backfill": "backfill preview:preview_backfill",
    "commands.callback": "deliver_callback make_verifier take_callback",
    "commands.hooks": (
        "Change:HookChange Listing:HookListing Outcome:HookOutcome create_hooks list_hooks"
    ),
    "commands.reconcile": "Reconciliation reconcile",
    "commands.retry": "choose_orders retry",
    "commands.sync": "SyncPlan plan_sync sync",
    "config.load": "load:load_settings store_names",
    "config.settings": "Settings",
    "dates": "Window",
    "delivery.context": (
        "Context connect_bigcommerce connect_onetribe open_ledger open_context policy_of"
    ),
    "delivery.report": "Report Summary",
    "delivery.selection": "OrderFilter Selection select",
    "errors": (
        "BadResponseError Bc2otError BusyError ConfigurationError CredentialsError ExitCode "
        "InputError InterruptedRunError LedgerError NoConnectionError NoResponseError "
        "NotAuthenticError NotFoundError OneTribeUrlError OrderRefusedError RefusedError "
        "RejectedError RetryLaterError ScopeError UnreachableError"
    ),
    "ids": "IdRange",
    "ledger.ledger": "Ledger Run Status",
    "ledger.rows": "Attempt",
    "ledger.states": "Disposition Entry Policy State",
    "order": "Order",
    "secret": "Secret",
}
"""What each module gives; `inside:outside` where the name would say too little from outside."""

_HOMES = MappingProxyType(
    {
        name.rpartition(":")[2]: (module, name.partition(":")[0])
        for module, names in _NAMES.items()
        for name in names.split()
    }
)


def __getattr__(name: str) -> object:
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    value: object = getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
