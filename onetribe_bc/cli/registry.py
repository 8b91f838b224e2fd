"""The commands by task, and what each does in a few words."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

GROUPS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "Set up": {
            "init": "Create the configuration and check it.",
            "doctor": "Check the setup and show how to fix problems.",
            "hooks": "List, create, change and delete webhooks.",
            "ledger": "Create, upgrade, move and inspect the ledger.",
            "completion": "Print a shell's completion script.",
        },
        "Send orders": {
            "sync": "For cron: send what changed and what is still owed.",
            "backfill": "Send every order in a date or ID range.",
            "push-order": "Fetch and send single orders.",
            "retry": "Send failed or unknown orders again.",
            "handle-callback": "Process one BigCommerce callback.",
            "serve": "Receive BigCommerce's callbacks and send their orders immediately.",
        },
        "See where orders stand": {
            "status": "Show what was delivered and what is owed.",
            "orders": "List orders by state, date, reason or run.",
            "history": "Show every attempt to send one order.",
            "reconcile": "Compare the store with the ledger.",
            "export": "Export proof of delivery, one line per order.",
        },
        "Try it out": {
            "demo": "Run the main job against simulated services.",
            "sandbox": "Simulate both services on this machine.",
        },
    }
)
"""In the order in which a new user needs them."""

COMMANDS: Mapping[str, str] = MappingProxyType(
    {name: summary for group in GROUPS.values() for name, summary in group.items()}
)
