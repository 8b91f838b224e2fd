"""What `bc2ot doctor` said, and stores for it to examine."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest

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


@pytest.fixture(name="sandbox")
def sandbox_fixture(make_sandbox: SandboxFactory) -> Sandbox:
    """At the real time: doctor compares clocks."""
    return make_sandbox(example=True, now=None)


@dataclass
class Told:
    """What doctor said, to people and to programs."""

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

    def finds(self, check: str, level: str, *words: str, code: int = 0, mend: str = "") -> Row:
        """Exactly one such finding, with these words, told to people just so."""
        found = self.rows(check, level)
        assert len(found) == 1, (found, self.text.out)
        row: Row = found[0]
        for word in words:
            assert word in row["text"], (word, row["text"])
        assert mend in row["mend"], (mend, row["mend"])
        assert row["exit_code"] == code
        mark = "FAIL" if level == "fail" else level
        assert f"  {mark:<4}  {row['text']}\n" in self.text.out
        if row["mend"]:
            assert f"        -> {row['mend']}\n" in self.text.out
        assert self.document["exit_code"] == self.code
        return row

    @property
    def troubles(self) -> set[str]:
        return {row["check"] for row in self.document["findings"] if row["level"] != "ok"}


def ask(shell: Shell, *options: str) -> Told:
    """Asked twice, since doctor changes nothing: once for people, once for programs."""
    text = shell.run("doctor", *options)
    programs = shell.run("doctor", "--json", *options)
    assert text.code == programs.code
    assert programs.err.startswith(("Nothing has to be mended now", "Something has to be"))
    for row in programs.json["findings"]:
        assert row["mend"] or row["level"] in ("ok", "note"), row
    return Told(text, programs.json)


def mend(shell: Shell) -> Told:
    """Once only: the second time there is nothing left to mend."""
    programs = shell.run("doctor", "--fix", "--json")
    return Told(shell.run("doctor"), programs.json)


@pytest.fixture(name="well")
def well_fixture(shell: Shell) -> Shell:
    """All is well: a hook to One Tribe, and a sync just now."""
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
    """No hook yet; a sync just now."""
    shell.run("sync", "--since", "2000-01-01").says(0)
    return shell
