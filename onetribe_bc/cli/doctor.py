"""`bc2ot doctor`: run every check and print each finding with its fix."""

from __future__ import annotations

import shutil
import textwrap
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace

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

_INDENT = 2
_MARK = 4
"""The width of the level before each finding."""
_NARROWEST = 30
"""On narrower terminals, leave wrapping to the terminal."""


@command(
    "doctor",
    help="""Check configuration, credentials and scopes, clock, webhooks, One Tribe's URL (without
    sending an order) and the ledger, and show how to fix each problem.

    ok: no problem. note: good to know. warn: no action needed now. FAIL: needs a fix. The worst
    failure decides the exit code: 3 settings or ledger, 4 credentials or a URL, 5 unreachable,
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
        return _examine(console, settings, fix=fix, as_json=as_json)

    def unusable(console: Console, error: ConfigurationError) -> int:
        return _show_unusable(console, error, as_json=as_json)

    # The checks report the configuration's warnings.
    silent = replace(cli, warns=False)
    try:
        return for_stores(silent, work, all_stores=all_stores, as_json=as_json, unusable=unusable)
    except ConfigurationError as error:  # of the settings: in `work` an error is a finding
        return unusable(cli.console(json=as_json), error)


def _examine(console: Console, settings: Settings, *, fix: bool, as_json: bool) -> int:
    found: list[Finding] = []
    complete = False
    try:
        with (
            interruptible(console) as clock,
            closing(examine(settings, clock, fix=fix)) as findings,
        ):
            shown = _Shown(console, as_json=as_json)
            for finding in until_stopped(findings, clock):
                found.append(finding)
                shown.add(finding)
        complete = True
    finally:
        if as_json:
            store_hash = settings.bigcommerce.store_hash or None
            console.json(_as_json(found, store_hash=store_hash, complete=complete))
    console.info(_summary(found, fixed=fix))
    return worst(found)


def _show_unusable(console: Console, error: ConfigurationError, *, as_json: bool) -> int:
    """Report that the settings cannot be loaded, as the only finding."""
    finding = failed("configuration.file", error)
    _Shown(console, as_json=as_json).add(finding)
    if as_json:
        console.json(_as_json([finding], store_hash=None, complete=True))
    console.info(_summary([finding], fixed=False))
    return worst([finding])


class _Shown:
    """Print findings under their groups; with -q, only problems and fixes."""

    def __init__(self, console: Console, *, as_json: bool) -> None:
        self._console = console
        self._silent = as_json
        self._group = ""
        width = shutil.get_terminal_size().columns if console.is_terminal else 0
        self._width = width if width >= _NARROWEST else 0

    def add(self, finding: Finding) -> None:
        harmless = finding.level in (Level.OK, Level.NOTE) and not finding.fixed
        if self._silent or (self._console.quiet and harmless):
            return
        if finding.group != self._group:
            self._group = finding.group
            self._console.data(self._group)
        self._line(f"{finding.level:<{_MARK}}", finding.text)
        if finding.hint:
            self._line(" " * _MARK, f"-> {finding.hint}")

    def _line(self, mark: str, text: str) -> None:
        """Print `text` after `mark`, wrapped on a terminal."""
        begin = f"{' ' * _INDENT}{mark}  "
        line = " ".join(text.split())
        if self._width:
            line = textwrap.fill(
                line,
                self._width,
                initial_indent=begin,
                subsequent_indent=" " * len(begin),
                break_on_hyphens=False,
                break_long_words=False,
            )
        else:
            line = f"{begin}{line}"
        self._console.data(line)


def _summary(findings: Iterable[Finding], *, fixed: bool) -> str:
    found = list(findings)
    levels = Counter(finding.level for finding in found)
    counted = ", ".join(
        f"{levels[level]} {level}"
        for level in (Level.FAIL, Level.WARN, Level.NOTE, Level.OK)
        if levels[level]
    )
    verdict = "Problems found" if levels[Level.FAIL] else "No failures"
    fixable = sum(finding.fix is not None for finding in found)
    offer = f" To fix {fixable} of them, add --fix." if fixable and not fixed else ""
    return f"{verdict}: {counted}.{offer}"


def _as_json(
    findings: Iterable[Finding], *, store_hash: str | None, complete: bool
) -> dict[str, object]:
    found = list(findings)
    return {
        "store_hash": store_hash,
        "complete": complete,
        "exit_code": worst(found) if complete else ExitCode.INTERRUPTED,
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
            for finding in found
        ],
    }
