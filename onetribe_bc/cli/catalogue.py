"""What commands there are, by task; each is imported when it is needed."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Listed(NamedTuple):
    """A command: the module below `cli` and the name in it, and what it does in a few words."""

    module: str
    name: str
    about: str


GROUPS: Mapping[str, Mapping[str, Listed]] = MappingProxyType(
    {
        "Set up": {
            "init": Listed("init", "init", "Ask, check and write the configuration."),
            "doctor": Listed("doctor", "doctor", "Check everything, and say how to mend it."),
            "hooks": Listed("hooks", "hooks", "List, create, change and delete webhooks."),
            "completion": Listed("completion", "completion", "Print a shell's completion script."),
        },
        "Send orders": {
            "sync": Listed("sync", "sync", "For cron: send what changed, and all that is owed."),
            "backfill": Listed("backfill", "backfill", "Send every order of a date or id range."),
            "push-order": Listed("push_order", "push_order", "Fetch single orders and send them."),
            "retry": Listed("retry", "retry", "Send again what failed or is unknown."),
            "handle-callback": Listed(
                "handle_callback", "handle_callback", "Do what one BigCommerce callback asks."
            ),
            "serve": Listed(
                "serve", "serve", "Take BigCommerce's callbacks, and send their orders at once."
            ),
        },
        "See where they stand": {
            "status": Listed("status", "status", "Show what was delivered and what is owed."),
            "history": Listed("status", "history", "Show every attempt at one order."),
            "reconcile": Listed("reconcile", "reconcile", "Compare the store with the ledger."),
            "export": Listed("status", "export", "Write the proof: one line per order."),
        },
        "Try it out": {
            "demo": Listed("demo", "demo", "See it all work, against simulated services."),
            "sandbox": Listed("sandbox", "sandbox", "Simulate both services on this machine."),
        },
    }
)
"""The commands in the order in which a newcomer needs them."""

COMMANDS: Mapping[str, Listed] = MappingProxyType(
    {name: listed for group in GROUPS.values() for name, listed in group.items()}
)
