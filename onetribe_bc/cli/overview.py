"""What `bc2ot` alone prints: the commands by task, and the next step."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import click

from onetribe_bc.clock import SystemClock
from onetribe_bc.config import Settings, UserDirectories, load
from onetribe_bc.config.paths import find_file
from onetribe_bc.config.settings import SETTINGS
from onetribe_bc.doctor.finding import CHECK_ERRORS, Level
from onetribe_bc.doctor.ledger import check_ledger, inspect_file
from onetribe_bc.errors import Bc2otError


class Step(NamedTuple):
    """The current situation, and its commands with what each does."""

    situation: str
    commands: Mapping[str, str]


_DOCTOR = {"bc2ot doctor": "reports each problem with its fix"}
SET_UP = Step(
    "Nothing is set up yet.",
    {
        "bc2ot init": "asks for the settings, checks them and writes the configuration",
        "bc2ot demo": "runs the main job against simulated services",
    },
)
FIX = Step("The configuration is incomplete or invalid.", _DOCTOR)
TRY = Step(
    "bc2ot is set up and has sent nothing yet.",
    {
        "bc2ot doctor": "checks the setup",
        "bc2ot backfill --since 30d --dry-run": "shows what would be sent",
    },
)
INSPECT = Step("bc2ot is set up and in use, and something needs your attention.", _DOCTOR)
SCHEDULE = Step(
    "bc2ot is set up and in use, but no sync has sent new orders.",
    {"bc2ot sync --since 30d": "sends what changed; schedule it with cron from then on"},
)
CONTINUE = Step(
    "bc2ot is set up and in use.",
    {"bc2ot status": "shows what was delivered and what is owed"},
)


def show_overview(context: click.Context) -> None:
    """Print the commands and the next step; changes nothing."""
    group = context.command
    assert isinstance(group, click.Group)  # noqa: S101 - only the group shows its commands
    formatter = context.make_formatter()
    formatter.write_text((group.help or "").partition("\n")[0])
    group.format_commands(context, formatter)
    step = next_step()
    formatter.write_paragraph()
    formatter.write_text(step.situation)
    with formatter.section("Next"):
        for command, effect in step.commands.items():
            formatter.write_text(command)
            with formatter.indentation():
                formatter.write_text(effect)
    formatter.write_paragraph()
    formatter.write_text("bc2ot COMMAND --help explains a command, with examples.")
    click.echo(formatter.getvalue().rstrip("\n"))


def next_step() -> Step:
    """Return the next step, chosen by the environment, the configuration file and the ledger."""
    try:
        cwd, directories = Path.cwd(), UserDirectories.of_user()
        store_hash = os.environ.get(SETTINGS["bigcommerce.store_hash"].variable)
        if not store_hash and find_file(None, os.environ, cwd, directories) is None:
            return SET_UP
        settings = load(path=None, environ=os.environ, cwd=cwd, directories=directories)
    except (Bc2otError, OSError):
        return FIX
    store = settings.bigcommerce
    if not settings.stores and not (
        store.store_hash and store.access_token and settings.onetribe.url
    ):
        return FIX
    ledger = settings.ledger
    return TRY if isinstance(ledger, Path) and not ledger.exists() else _in_use(settings)


def _in_use(settings: Settings) -> Step:
    """Return the next step, chosen by what `doctor` finds in the ledger."""
    try:
        findings = list(check_ledger(settings, inspect_file(settings), SystemClock()))
    except CHECK_ERRORS:
        return INSPECT
    if any(finding.level in (Level.WARN, Level.FAIL) for finding in findings):
        return INSPECT
    if any(one.check == "ledger.sync" and one.level is Level.NOTE for one in findings):
        return SCHEDULE
    return CONTINUE
