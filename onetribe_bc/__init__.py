"""bc2ot for Python: the clients, the settings, the ledger and the runs of the command line.

What is in `__all__` may be relied on; what is not may change. Each name is imported when it is
first used, so that `import onetribe_bc` costs nothing. The guide is docs/python.md.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from onetribe_bc.version import __version__

if TYPE_CHECKING:
    from onetribe_bc.api.authenticity import Verifier
    from onetribe_bc.api.bigcommerce import BigCommerceClient, OrderQuery
    from onetribe_bc.api.callback import Callback
    from onetribe_bc.api.hook import Hook
    from onetribe_bc.api.onetribe import OneTribeClient, Receipt
    from onetribe_bc.api.transport import Timeouts
    from onetribe_bc.clock import Clock, SystemClock
    from onetribe_bc.config.loading import load as load_settings
    from onetribe_bc.config.loading import store_names
    from onetribe_bc.config.settings import Settings
    from onetribe_bc.dates import Window
    from onetribe_bc.delivery import Kind, Report
    from onetribe_bc.errors import (
        AddressError,
        Bc2otError,
        BrokenAnswerError,
        BusyError,
        ConfigurationError,
        CredentialsError,
        ExitCode,
        InputError,
        InterruptedRunError,
        LedgerError,
        NoAnswerError,
        NoConnectionError,
        NotAuthenticError,
        NotFoundError,
        OrderRefusedError,
        RefusedError,
        RejectedError,
        ScopeError,
        TryAgainError,
        UnreachableError,
    )
    from onetribe_bc.ids import IdRange
    from onetribe_bc.ledger.entry import Entry, Policy, State
    from onetribe_bc.ledger.inventory import Inventory, Run, Status
    from onetribe_bc.ledger.rows import Attempt
    from onetribe_bc.order import Order
    from onetribe_bc.runs.backfill import backfill
    from onetribe_bc.runs.backfill import preview as preview_backfill
    from onetribe_bc.runs.callback import deliver_callback, make_verifier, take_callback
    from onetribe_bc.runs.hooks import Change as HookChange
    from onetribe_bc.runs.hooks import Listing as HookListing
    from onetribe_bc.runs.hooks import Outcome as HookOutcome
    from onetribe_bc.runs.hooks import create_hooks, list_hooks
    from onetribe_bc.runs.reconcile import Finding, Reconciliation, Standing
    from onetribe_bc.runs.reconcile import iter_findings as reconcile
    from onetribe_bc.runs.retry import choose_orders, retry
    from onetribe_bc.runs.selection import Request, Selection, resolve_statuses, select
    from onetribe_bc.runs.services import (
        Services,
        connect_bigcommerce,
        connect_onetribe,
        open_inventory,
        open_services,
        policy_of,
    )
    from onetribe_bc.runs.sync import SyncPlan, plan_sync, sync
    from onetribe_bc.runs.tally import Tally
    from onetribe_bc.secret import Secret

__all__ = [
    "AddressError",
    "Attempt",
    "Bc2otError",
    "BigCommerceClient",
    "BrokenAnswerError",
    "BusyError",
    "Callback",
    "Clock",
    "ConfigurationError",
    "CredentialsError",
    "Entry",
    "ExitCode",
    "Finding",
    "Hook",
    "HookChange",
    "HookListing",
    "HookOutcome",
    "IdRange",
    "InputError",
    "InterruptedRunError",
    "Inventory",
    "Kind",
    "LedgerError",
    "NoAnswerError",
    "NoConnectionError",
    "NotAuthenticError",
    "NotFoundError",
    "OneTribeClient",
    "Order",
    "OrderQuery",
    "OrderRefusedError",
    "Policy",
    "Receipt",
    "Reconciliation",
    "RefusedError",
    "RejectedError",
    "Report",
    "Request",
    "Run",
    "ScopeError",
    "Secret",
    "Selection",
    "Services",
    "Settings",
    "Standing",
    "State",
    "Status",
    "SyncPlan",
    "SystemClock",
    "Tally",
    "Timeouts",
    "TryAgainError",
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
    "open_inventory",
    "open_services",
    "plan_sync",
    "policy_of",
    "preview_backfill",
    "reconcile",
    "resolve_statuses",
    "retry",
    "select",
    "store_names",
    "sync",
    "take_callback",
]

_NAMES = {
    "api.authenticity": "Verifier",
    "api.bigcommerce": "BigCommerceClient OrderQuery",
    "api.callback": "Callback",
    "api.hook": "Hook",
    "api.onetribe": "OneTribeClient Receipt",
    "api.transport": "Timeouts",
    "clock": "Clock SystemClock",
    "config.loading": "load:load_settings store_names",
    "config.settings": "Settings",
    "dates": "Window",
    "delivery": "Kind Report",
    "errors": (
        "AddressError Bc2otError BrokenAnswerError BusyError ConfigurationError CredentialsError "
        "ExitCode InputError InterruptedRunError LedgerError NoAnswerError NoConnectionError "
        "NotAuthenticError NotFoundError OrderRefusedError RefusedError RejectedError ScopeError "
        "TryAgainError UnreachableError"
    ),
    "ids": "IdRange",
    "ledger.entry": "Entry Policy State",
    "ledger.inventory": "Inventory Run Status",
    "ledger.rows": "Attempt",
    "order": "Order",
    "runs.backfill": "backfill preview:preview_backfill",
    "runs.callback": "deliver_callback make_verifier take_callback",
    "runs.hooks": (
        "Change:HookChange Listing:HookListing Outcome:HookOutcome create_hooks list_hooks"
    ),
    "runs.reconcile": "Finding Reconciliation Standing iter_findings:reconcile",
    "runs.retry": "choose_orders retry",
    "runs.selection": "Request Selection resolve_statuses select",
    "runs.services": (
        "Services connect_bigcommerce connect_onetribe open_inventory open_services policy_of"
    ),
    "runs.sync": "SyncPlan plan_sync sync",
    "runs.tally": "Tally",
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
