"""Several stores: one chosen, or all in turn, where a failure of one does not stop the others."""

from __future__ import annotations

import json
from typing import Any

import pytest

from onetribe_bc.sandbox import Sandbox
from tests.conftest import SandboxFactory
from tests.shell import Shell, shell_fixture  # noqa: F401

SINCE = ("--since", "2000-01-01")


@pytest.fixture
def uk(make_sandbox: SandboxFactory) -> Sandbox:
    return make_sandbox(15, seed=9)


def section(sandbox: Sandbox, **bigcommerce: Any) -> dict[str, Any]:
    return {
        "bigcommerce": {
            "store_hash": sandbox.store_hash,
            "access_token": sandbox.access_token,
            "api_url": sandbox.api_url,
            **bigcommerce,
        },
        "onetribe": {"url": sandbox.onetribe_url},
    }


@pytest.fixture
def two(shell: Shell, uk: Sandbox) -> Shell:
    """A store at the top of the file, and another named uk. One ledger for both."""
    shell.unset_all()
    shell.configure(**section(shell.sandbox), ledger="ledger.db", stores={"uk": section(uk)})
    return shell


def eligible(sandbox: Sandbox) -> set[int]:
    return {i for i in sandbox.store.ids() if sandbox.store.row(i).status_id != 0}


def test_a_store_is_chosen_by_name(two: Shell, uk: Sandbox) -> None:
    two.run("--store", "uk", "sync", *SINCE).says(0)
    assert set(uk.onetribe.counts()) == eligible(uk)
    assert two.sandbox.onetribe.counts() == {}
    two.run("--store", "u", "sync").says(3, "uk")


def test_all_stores_are_synced_in_turn(two: Shell, uk: Sandbox) -> None:
    two.run("sync", *SINCE, "--all-stores").says(0, "Store (top of the file):", "Store uk:")
    assert set(uk.onetribe.counts()) == eligible(uk)
    assert set(two.sandbox.onetribe.counts()) == eligible(two.sandbox)
    result = two.run("-q", "sync", "--all-stores")
    assert (result.code, result.stdout, result.stderr) == (0, b"", b"")


@pytest.mark.parametrize(
    ("fault", "code"),
    [("bigcommerce:status@401", 4), ("bigcommerce:status@503", 5), ("onetribe:status@422*1", 1)],
)
def test_a_problem_of_one_store_does_not_stop_the_other_and_the_worst_exit_code_counts(
    two: Shell, uk: Sandbox, fault: str, code: int
) -> None:
    two.sandbox.faults.add(fault)
    result = two.run("-q", "sync", *SINCE, "--all-stores")
    result.says(code)
    assert len(result.lines) == 1
    assert set(uk.onetribe.counts()) == eligible(uk)
    uk.store.complete(next(i for i in uk.store.ids() if uk.store.row(i).status_id == 0))
    uk.faults.add("onetribe:status@422")
    result = two.run("--log-format", "json", "sync", *SINCE, "--all-stores").says(code, "422")
    for line in result.lines:
        assert set(json.loads(line)) == {"time", "level", "logger", "message"}


def test_an_invalid_setting_of_one_store_affects_only_that_store(two: Shell, uk: Sandbox) -> None:
    broken = section(two.sandbox, access_token="${NOT_SET_ANYWHERE}")
    two.configure(**broken, ledger="ledger.db", stores={"uk": section(uk)})
    two.run("sync", *SINCE, "--all-stores").says(3, "NOT_SET_ANYWHERE")
    assert set(uk.onetribe.counts()) == eligible(uk)


def test_wrong_usage_is_no_bug(two: Shell) -> None:
    for command in ("sync", "reconcile"):
        two.run(command, "--since", "nonsense", "--all-stores").says(2, "nonsense")
        two.run("--store", "uk", command, "--all-stores").says(2, "contradict")


def test_without_any_store_it_fails(shell: Shell) -> None:
    shell.unset_all()
    shell.configure(timezone="UTC")
    shell.run("-q", "sync", "--all-stores").says(3, "store_hash is not set")


def test_the_top_of_the_file_need_not_be_a_store(two: Shell, uk: Sandbox) -> None:
    two.configure(ledger="ledger.db", stores={"uk": section(uk)})
    result = two.run("status", "--all-stores").says(0, "Store uk:")
    assert "top of the file" not in result.err


@pytest.mark.parametrize("command", [["sync", *SINCE], ["status"], ["reconcile"]])
def test_json_of_all_stores_is_one_list(two: Shell, uk: Sandbox, command: list[str]) -> None:
    two.run("sync", *SINCE, "--all-stores").says(0)
    result = two.run(*command, "--all-stores", "--json")
    assert result.code == 0, result.err
    assert [(one["store"], one["exit_code"], one["error"]) for one in result.json] == [
        (None, 0, None),
        ("uk", 0, None),
    ]
    assert all(one["store_hash"] == uk.store_hash for one in result.json)


def test_lists_of_all_stores_name_the_store_in_each_line(two: Shell, uk: Sandbox) -> None:
    two.run("sync", *SINCE, "--all-stores").says(0)
    here, there = len(two.sandbox.store), len(uk.store)
    table = two.run("orders", "--all-stores").says(0, "Store uk:").out.splitlines()
    stores = ["store", *[two.sandbox.store_hash] * here, *["uk"] * there]
    assert [line.split()[0] for line in table] == stores
    lines = two.run("orders", "--all-stores", "--json", "--limit", "1").out.splitlines()
    assert [json.loads(line)["store"] for line in lines] == [None, "uk"]
    exported = two.run("export", "--all-stores").says(0).out.splitlines()
    columns = [line.split(",")[-2:] for line in exported]
    assert columns[0] == ["store_hash", "destination"]
    assert sorted(map(columns.count, map(list, {*map(tuple, columns)}))) == [1, there, here]


def test_json_reports_a_store_that_failed(two: Shell) -> None:
    two.sandbox.faults.add("bigcommerce:status@401")
    first, second = two.run("reconcile", "--all-stores", "--json").says(4).json
    assert first["exit_code"] == 4
    assert "401" in first["error"]
    assert second["missing"] > 0


def test_reconcile_of_all_stores_finds_the_gap_of_one(two: Shell, uk: Sandbox) -> None:
    two.run("sync", *SINCE, "--all-stores").says(0)
    two.run("reconcile", "--all-stores").says(0)
    uk.store.complete(next(i for i in uk.store.ids() if uk.store.row(i).status_id == 0))
    two.run("reconcile", "--all-stores").says(1, "1 gap.")
    two.run("reconcile", "--all-stores", "--fix").says(0)


def test_an_interrupt_ends_all_of_it(two: Shell, uk: Sandbox) -> None:
    gate = two.sandbox.faults.hold("onetribe", times=None)
    process = two.start("sync", *SINCE, "--all-stores")
    gate.wait_arrival()
    process.terminate()
    assert process.stderr is not None
    while b"Finishing" not in process.stderr.readline():
        assert process.poll() is None
    gate.open()
    assert two.finish(process).code == 130
    assert uk.onetribe.counts() == {}
