"""`bc2ot ledger`, and other commands with a ledger in PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from onetribe_bc.errors import ExitCode
from onetribe_bc.location import PostgresUrl
from tests.postgres import PostgresServer
from tests.shell import Shell, shell_fixture  # noqa: F401

MakePostgres = Callable[[], PostgresUrl]


@pytest.fixture
def url(make_postgres: MakePostgres) -> PostgresUrl:
    return make_postgres()


def test_every_command_works_on_postgresql(shell: Shell, url: PostgresUrl) -> None:
    shell.set(BC2OT_LEDGER=url.url.reveal())
    assert shell.run("ledger", "create").out.startswith("There is already a ledger postgresql://")
    assert shell.run("backfill", "--yes").code == ExitCode.DONE
    assert shell.run("sync").code == ExitCode.DONE
    assert shell.run("push-order", "218").code == ExitCode.DONE
    status = json.loads(shell.run("status", "--json").out)
    assert status["states"]["delivered"] == len(shell.sandbox.onetribe.received)
    assert shell.run("history", "218").code == ExitCode.DONE
    assert shell.run("reconcile").code == ExitCode.DONE
    assert shell.run("retry", "--failed").code == ExitCode.DONE
    assert len(shell.run("export").out.splitlines()) == 1 + sum(status["states"].values())
    doctor = shell.run("doctor")
    assert f"The ledger {url} is sound" in doctor.out
    info = json.loads(shell.run("ledger", "info", "--json").out)
    assert (info["engine"], info["version"], info["live_runs"]) == ("postgresql", 3, [])
    assert info["stores"][0]["orders"] == sum(status["states"].values())


def test_create_makes_the_tables_and_upgrade_has_nothing_to_do(
    shell: Shell, postgres: PostgresServer
) -> None:
    postgres.execute("CREATE DATABASE fresh")
    try:
        shell.set(BC2OT_LEDGER=postgres.url("fresh"))
        refused = shell.run("sync", "--since", "7d")
        assert refused.code == ExitCode.CONFIGURATION
        assert "bc2ot ledger create" in refused.err
        assert shell.run("ledger", "upgrade").code == ExitCode.CONFIGURATION
        assert shell.run("ledger", "create").out.startswith("Created the ledger postgresql://")
        assert "has version 3" in shell.run("ledger", "upgrade").out
        assert shell.run("sync", "--since", "7d").code == ExitCode.DONE
    finally:
        postgres.execute("DROP DATABASE fresh WITH (FORCE)")


def test_a_ledger_in_a_file_is_created_inspected_and_moved(shell: Shell, url: PostgresUrl) -> None:
    assert shell.run("ledger", "info").code == ExitCode.CONFIGURATION
    assert shell.run("ledger", "create", "--role", "x").code == ExitCode.USAGE
    assert shell.run("ledger", "create").out.startswith("Created the ledger")
    assert "Nothing is missing" in shell.run("ledger", "accept").out
    assert shell.run("backfill", "--yes").code == ExitCode.DONE
    sent = len(shell.sandbox.onetribe.received)
    assert "(sqlite), version 3" in shell.run("ledger", "info").out
    shell.set(BC2OT_LEDGER=url.url.reveal())
    moved = shell.run("ledger", "copy", "--from", str(shell.ledger))
    assert moved.code == ExitCode.DONE
    assert f"Moved the ledger {shell.ledger} to {url}" in moved.out
    assert shell.run("backfill", "--yes").code == ExitCode.DONE
    assert len(shell.sandbox.onetribe.received) == sent
    shell.set(BC2OT_LEDGER=str(shell.ledger))
    forgotten = shell.run("sync")
    assert forgotten.code == ExitCode.CONFIGURATION
    assert f"was moved to {url}" in forgotten.err


@pytest.mark.parametrize(
    "source", ["postgresql://me:hunter2@db/x", "postgresql://db/x?password=hunter2"]
)
def test_a_password_is_not_an_argument(shell: Shell, source: str) -> None:
    refused = shell.run("ledger", "copy", "--from", source)
    assert refused.code == ExitCode.USAGE
    assert "'${OLD_LEDGER}'" in refused.err
    assert "hunter2" not in refused.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mysql://user:hunter2@db/x", "must be a path or a postgresql:// URL"),
        ("postgresql://user:hunter2@db.example.com", "names no database"),
        ("postgresql://user:hunter2@db.example.com/x?sslmode=prefer", "does not verify"),
        ("postgresql://user:hunter#2@db.example.com/x", "%23"),
    ],
)
def test_a_location_that_cannot_be_used_is_refused_without_being_quoted(
    shell: Shell, text: str, words: str
) -> None:
    shell.set(BC2OT_LEDGER=text)
    refused = shell.run("status")
    assert refused.code == ExitCode.CONFIGURATION
    assert words in refused.err
    assert "hunter" not in refused.err


def test_a_shared_ledger_has_no_file_beside_it_for_the_receivers_secret(
    shell: Shell, url: PostgresUrl
) -> None:
    shell.set(BC2OT_LEDGER=url.url.reveal())
    refused = shell.run("hooks", "create", "--receiver", "https://shop.example/bc")
    assert refused.code == ExitCode.CONFIGURATION
    assert "receiver.secret is not set" in refused.err
