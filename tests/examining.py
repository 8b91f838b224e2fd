"""Run `bc2ot doctor`, assert on its findings, and set up stores for it."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest

from onetribe_bc.errors import WORST_FIRST
from onetribe_bc.sandbox import Sandbox
from onetribe_bc.sandbox.hooks import Hook
from tests.conftest import SandboxFactory
from tests.shell import Outcome, Shell

CREATED, UPDATED, ANY = "store/order/created", "store/order/updated", "store/order/*"
RECEIVER = "https://hooks.example.com/bc"
SECRET = "s3cret-0f-the-receiver"
HEADERS = {"x-bc2ot-secret": SECRET}
DAY_S = 86_400
Row = dict[str, Any]
Damage = Callable[[Shell], object]
"""Brings a store into the state to be reported."""

_FINDING = re.compile(
    r"(?P<level>\w+)(?: (?P<code>\d))? (?P<check>[\w.]+)(?:: (?P<words>.*?))?(?: -> (?P<hint>.*))?"
)


@pytest.fixture(name="sandbox")
def sandbox_fixture(make_sandbox: SandboxFactory) -> Sandbox:
    """A sandbox at the real time: doctor compares clocks."""
    return make_sandbox(example=True, now=None)


def _steady(text: str) -> str:
    """Return `text` without the seconds that pass between two runs."""
    return re.sub(r"\d+ seconds?", "some seconds", text)


@dataclass
class Report:
    """One report of doctor, as text and as JSON."""

    text: Outcome
    document: Any

    @property
    def code(self) -> int:
        return self.text.code

    def rows(self, check: str, *levels: str) -> list[Row]:
        return [
            row
            for row in self.document["findings"]
            if row["check"] == check and (not levels or row["level"] in levels)
        ]

    def finds(self, check: str, level: str, *words: str, code: int = 0, hint: str = "") -> Row:
        """Assert that there is exactly one such finding, with these words, in text and JSON."""
        found = self.rows(check, level)
        assert len(found) == 1, (found, self.text.out)
        row: Row = found[0]
        for word in words:
            assert word in row["text"], (word, row["text"])
        assert hint in row["mend"], (hint, row["mend"])
        assert row["exit_code"] == code
        mark = "FAIL" if level == "fail" else level
        assert _steady(f"  {mark:<4}  {row['text']}\n") in _steady(self.text.out)
        if row["mend"]:
            assert f"        -> {row['mend']}\n" in self.text.out
        assert self.document["exit_code"] == self.code
        return row

    def shows(self, *findings: str) -> None:
        """Assert each finding, and that the worst of them decides the exit code.

        A finding reads "fail 4 check: words … more words -> hint"; only failures have a code.
        """
        codes = [0]
        for text in findings:
            parsed = _FINDING.fullmatch(text)
            assert parsed is not None, text
            level, code, check, words, hint = parsed.groups(default="")
            codes.append(int(code or 0))
            self.finds(check, level, *words.split(" … "), code=codes[-1], hint=hint)
        assert self.code == min(codes, key=[*map(int, WORST_FIRST)].index), self.text.out

    @property
    def problems(self) -> set[str]:
        return {row["check"] for row in self.document["findings"] if row["level"] != "ok"}


def ask(shell: Shell, *options: str) -> Report:
    """Run doctor twice, for text and for JSON: it changes nothing."""
    text = shell.run("doctor", *options)
    programs = shell.run("doctor", "--json", *options)
    assert text.code == programs.code
    assert programs.err.startswith(("No failures", "Problems found")), programs.err
    for row in programs.json["findings"]:
        assert row["mend"] or row["level"] in ("ok", "note"), row
    return Report(text, programs.json)


def fix(shell: Shell) -> Report:
    """Run doctor with --fix once, then without."""
    programs = shell.run("doctor", "--fix", "--json")
    return Report(shell.run("doctor"), programs.json)


@pytest.fixture(name="well")
def well_fixture(shell: Shell) -> Shell:
    """A store without problems: a webhook to One Tribe, and a sync just now."""
    shell.sandbox.hooks.add(CREATED, shell.sandbox.onetribe_url)
    shell.run("sync", "--since", "2000-01-01").says(0)
    return shell


def hook(shell: Shell, scope: str = CREATED, destination: str | None = None, **given: Any) -> Hook:
    to = shell.sandbox.onetribe_url if destination is None else destination
    return shell.sandbox.hooks.add(scope, to, **given)


def change(shell: Shell, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(shell.ledger)) as connection:
        connection.execute(statement, values)
        connection.commit()


@pytest.fixture(name="synced")
def synced_fixture(shell: Shell) -> Shell:
    """A store with a sync just now and no webhook."""
    shell.run("sync", "--since", "2000-01-01").says(0)
    return shell
