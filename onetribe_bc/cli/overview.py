"""What `bc2ot` alone shows: the commands by task, and what makes sense next."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from onetribe_bc.config import Settings


@dataclass(frozen=True, slots=True)
class Step:
    """How things stand, in a sentence, and command lines with what each of them does."""

    situation: str
    commands: Sequence[tuple[str, str]]


BEGIN = Step(
    "Nothing is set up yet.",
    (
        ("bc2ot init", "asks for what it needs, checks it, and writes it down"),
        ("bc2ot demo", "shows all of it at work, with simulated services"),
    ),
)
MEND = Step(
    "The configuration cannot be used as it is.",
    (("bc2ot doctor", "says what is wrong, and how to mend it"),),
)
TRY = Step(
    "It is set up, and nothing was sent yet.",
    (
        ("bc2ot doctor", "checks that all is well"),
        ("bc2ot backfill --since 30d --dry-run", "says what would be sent"),
    ),
)
LOOK = Step(
    "It is set up and in use, and something waits for you.",
    (("bc2ot doctor", "says what, and how to mend it"),),
)
KEEP_UP = Step(
    "It is set up and in use, but no sync has sent what is new.",
    (("bc2ot sync --since 30d", "sends what changed; cron can run it from then on"),),
)
GO_ON = Step(
    "It is set up and in use.",
    (("bc2ot status", "shows what was delivered and what is owed"),),
)


def show_overview(context: click.Context) -> None:
    """Print it. Looks at the configuration and whether there is a ledger, and changes nothing."""
    group = context.command
    assert isinstance(group, click.Group)  # noqa: S101 - only the group shows its commands
    formatter = context.make_formatter()
    formatter.write_text((group.help or "").partition("\n")[0])
    group.format_commands(context, formatter)
    step = next_step()
    formatter.write_paragraph()
    formatter.write_text(step.situation)
    with formatter.section("Next"):
        for command, about in step.commands:
            formatter.write_text(command)
            with formatter.indentation():
                formatter.write_text(about)
    formatter.write_paragraph()
    formatter.write_text("bc2ot COMMAND --help explains a command, with examples.")
    click.echo(formatter.getvalue().rstrip("\n"))


def next_step() -> Step:
    """What someone should do next, as far as this machine's files and variables tell."""
    from pathlib import Path

    from onetribe_bc.config import UserDirectories, load
    from onetribe_bc.config.paths import find_file
    from onetribe_bc.config.settings import SETTINGS
    from onetribe_bc.errors import Bc2otError

    try:
        cwd, directories = Path.cwd(), UserDirectories.of_user()
        named = os.environ.get(SETTINGS["bigcommerce.store_hash"].variable)
        if not named and find_file(None, os.environ, cwd, directories) is None:
            return BEGIN
        settings = load(path=None, environ=os.environ, cwd=cwd, directories=directories)
    except (Bc2otError, OSError):
        return MEND
    store = settings.bigcommerce
    if not settings.stores and not (
        store.store_hash and store.access_token and settings.onetribe.url
    ):
        return MEND
    return _in_use(settings) if settings.ledger.exists() else TRY


def _in_use(settings: Settings) -> Step:
    """What the ledger tells, by the judgement of `doctor`."""
    from onetribe_bc.clock import SystemClock
    from onetribe_bc.doctor.finding import CHECK_ERRORS, Level
    from onetribe_bc.doctor.ledger import check_ledger
    from onetribe_bc.ledger.peek import peek

    try:
        look = peek(settings.ledger, settings.bigcommerce.store_hash)
        findings = list(check_ledger(settings, look, now=SystemClock().now()))
    except CHECK_ERRORS:
        return LOOK
    if any(finding.level in (Level.WARN, Level.FAIL) for finding in findings):
        return LOOK
    if any(one.check == "ledger.sync" and one.level is Level.NOTE for one in findings):
        return KEEP_UP
    return GO_ON
