"""`bc2ot doctor`: run every check and print each finding with its fix."""

from __future__ import annotations

import shutil
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import groupby
from operator import attrgetter

import click

from onetribe_bc.cli.console import Console
from onetribe_bc.cli.context import Context
from onetribe_bc.cli.options import all_stores_option, command, json_option
from onetribe_bc.cli.running import until_stopped
from onetribe_bc.cli.signals import interruptible
from onetribe_bc.cli.stores import for_stores
from onetribe_bc.config import Settings
from onetribe_bc.doctor import Finding, Level, examine, failed, worst
from onetribe_bc.errors import ConfigurationError, ExitCode

_UNWRAPPED = 1_000_000
"""The width of lines in a pipe or a file."""


@command(
    "doctor",
    help="""Check configuration, credentials and scopes, clock, webhooks, One Tribe's URL (without
    sending an order) and the ledger, and show how to fix each problem.

    ok: no problem. note: good to know. warn: no action needed now. FAIL: needs a fix. The worst
    failure determines the exit code: 3 settings or ledger, 4 credentials or a URL, 5 unreachable,
    1 webhooks, sync or orders.

    --fix enables deactivated webhooks that point to One Tribe or your receiver, and makes your
    secret files private (mode 600). It deletes nothing.

    \b
    Examples:
      bc2ot doctor
      bc2ot doctor --fix
      bc2ot -q doctor || echo "needs attention"
      bc2ot doctor --json
    """,
)
@click.option("--fix", is_flag=True, help="Apply safe fixes, then check again.")
@all_stores_option
@json_option
def doctor(cli: Context, fix: bool, all_stores: bool, as_json: bool) -> int:
    def work(console: Console, settings: Settings) -> int:
        report = _Report(console, settings.bigcommerce.store_hash or None, as_json=as_json)
        with (
            interruptible(console) as clock,
            closing(examine(settings, clock, fix=fix)) as findings,
        ):
            return report.run(until_stopped(findings, clock), offer_fix=not fix)

    def unusable(console: Console, error: ConfigurationError) -> int:
        """Report that the settings cannot be loaded, as the only finding."""
        finding = failed("configuration.file", error)
        return _Report(console, None, as_json=as_json).run([finding], offer_fix=False)

    # The checks report the configuration's warnings.
    silent = replace(cli, warns=False)
    try:
        return for_stores(silent, work, all_stores=all_stores, as_json=as_json, unusable=unusable)
    except ConfigurationError as error:  # loading failed: within `work`, an error is a finding
        return unusable(cli.console(json=as_json), error)


class _Report:
    """Print findings under their groups, then a summary; with -q, only problems and fixes."""

    def __init__(self, console: Console, store_hash: str | None, *, as_json: bool) -> None:
        self._console = console
        self._store_hash = store_hash
        self._as_json = as_json
        self._found: list[Finding] = []
        self._width = shutil.get_terminal_size().columns if console.is_terminal else _UNWRAPPED

    def run(self, findings: Iterable[Finding], *, offer_fix: bool) -> int:
        """Print the findings as they are found, and return the exit code."""
        complete = False
        try:
            for group, of_group in groupby(findings, attrgetter("group")):
                self._print_group(group, of_group)
            complete = True
        finally:
            if self._as_json:
                self._console.json(self._document(complete=complete))
        self._console.info(_summary(self._found, offer_fix=offer_fix))
        return worst(self._found)

    def _print_group(self, group: str, findings: Iterable[Finding]) -> None:
        title = group
        for finding in findings:
            self._found.append(finding)
            harmless = finding.level in (Level.OK, Level.NOTE) and not finding.fixed
            if self._as_json or (self._console.quiet and harmless):
                continue
            if title:
                self._console.data(title)
                title = ""
            self._print_line(finding.level, finding.text)
            if finding.hint:
                self._print_line("", f"-> {finding.hint}")

    def _print_line(self, mark: str, text: str) -> None:
        line = textwrap.fill(
            " ".join(text.split()),
            self._width,
            initial_indent=f"  {mark:<4}  ",
            subsequent_indent=" " * 8,
            break_on_hyphens=False,
            break_long_words=False,
        )
        self._console.data(line)

    def _document(self, *, complete: bool) -> dict[str, object]:
        return {
            "store_hash": self._store_hash,
            "complete": complete,
            "exit_code": worst(self._found) if complete else ExitCode.INTERRUPTED,
            "findings": [
                {
                    "check": finding.check,
                    "level": finding.level.lower(),
                    "text": finding.text,
                    "mend": finding.hint,
                    "exit_code": finding.exit_code,
                    "fixable": finding.fix is not None,
                    "mended": finding.fixed,
                }
                for finding in self._found
            ],
        }


def _summary(findings: Sequence[Finding], *, offer_fix: bool) -> str:
    levels = Counter(finding.level for finding in findings)
    counted = ", ".join(f"{levels[level]} {level}" for level in reversed(Level) if levels[level])
    verdict = "Problems found" if levels[Level.FAIL] else "No failures"
    fixable = sum(finding.fix is not None for finding in findings)
    offer = f" To fix {fixable} of them, add --fix." if fixable and offer_fix else ""
    return f"{verdict}: {counted}.{offer}"
