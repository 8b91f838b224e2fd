"""The commands by task. Each command's module is imported when the command is used."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Registered(NamedTuple):
    """A command: its module below `cli`, and what it does in a few words."""

    module: str
    summary: str


GROUPS: Mapping[str, Mapping[str, Registered]] = MappingProxyType(
    {
        "Set up": {
            "init": Registered("init", "Create the configuration and check it."),
            "doctor": Registered("doctor", "Check the setup and show how to fix problems."),
            "hooks": Registered("hooks", "List, create, change and delete webhooks."),
            "ledger": Registered("ledger", "Create, upgrade, move and inspect the ledger."),
            "completion": Registered("completion", "Print a shell's completion script."),
        },
        "Send orders": {
            "sync": Registered("sync", "For cron: send what changed and what is still owed."),
            "backfill": Registered("backfill", "Send every order in a date or ID range."),
            "push-order": Registered("push_order", "Fetch and send single orders."),
            "retry": Registered("retry", "Send failed or unknown orders again."),
            "handle-callback": Registered("handle_callback", "Process one BigCommerce callback."),
            "serve": Registered(
                "serve", "Receive BigCommerce's callbacks and send their orders immediately."
            ),
        },
        "See where orders stand": {
            "status": Registered("status", "Show what was delivered and what is owed."),
            "history": Registered("status", "Show every attempt to send one order."),
            "reconcile": Registered("reconcile", "Compare the store with the ledger."),
            "export": Registered("status", "Export proof of delivery, one line per order."),
        },
        "Try it out": {
            "demo": Registered("demo", "Run the main job against simulated services."),
            "sandbox": Registered("sandbox", "Simulate both services on this machine."),
        },
    }
)
"""In the order in which a new user needs them."""

COMMANDS: Mapping[str, Registered] = MappingProxyType(
    {name: registered for group in GROUPS.values() for name, registered in group.items()}
)
