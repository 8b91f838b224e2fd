"""A sync reports to a ping URL and a file of metrics; neither can fail it."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from onetribe_bc.sandbox import Sandbox
from tests.shell import Outcome, Shell, shell_fixture  # noqa: F401
from tests.wire import WireServer, answer, read_request

TOKEN = "0f3a-ping-token-nobody-may-see"
SINCE = ("--since", "2000-01-01")
HOLD = {"on_unknown": "hold"}
ONE_COPY = {"max_copies": 1}
NAMES = {
    "bc2ot_last_success_timestamp_seconds",
    "bc2ot_owed_orders",
    "bc2ot_unknown_orders",
    "bc2ot_failed_orders",
    "bc2ot_oldest_owed_age_seconds",
}


class Pings:
    """A ping service: the paths that were requested, and the status it responds with."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.status = 200
        self.url = ""

    def play(self, connection: socket.socket) -> None:
        while got := read_request(connection):
            self.calls.append(got.split(b" ")[1].decode())
            connection.sendall(answer(status=f"{self.status} Status"))


@pytest.fixture
def pings() -> Iterator[Pings]:
    pings = Pings()
    with WireServer(pings.play) as server:
        pings.url = f"{server.url}/{TOKEN}"
        yield pings


def sync(shell: Shell, *arguments: str) -> Outcome:
    told = shell.run(*arguments, "sync", *SINCE)
    assert TOKEN.encode() not in told.stdout + told.stderr
    return told


def samples(path: Path) -> dict[tuple[str, str], float]:
    """The value of each gauge, by name and store."""
    families = list(text_string_to_metric_families(path.read_text()))
    assert all(family.type == "gauge" and family.documentation for family in families)
    found = [sample for family in families for sample in family.samples]
    assert len({(one.name, one.labels["store"]) for one in found}) == len(found)
    return {(one.name, one.labels["store"]): one.value for one in found}


# Pings


def test_the_url_is_pinged_at_the_start_and_after_success(shell: Shell, pings: Pings) -> None:
    shell.configure(monitor={"url": pings.url})
    sync(shell, "-q").says(0)
    assert pings.calls == [f"/{TOKEN}/start", f"/{TOKEN}"]


@pytest.mark.parametrize(
    ("fault", "code"),
    [("onetribe:status@422*1", 1), ("onetribe:status@503", 5), ("bigcommerce:status@401", 4)],
)
def test_a_failure_is_reported(shell: Shell, pings: Pings, fault: str, code: int) -> None:
    shell.configure(monitor={"url": pings.url})
    shell.sandbox.faults.add(fault)
    sync(shell).says(code)
    assert pings.calls == [f"/{TOKEN}/start", f"/{TOKEN}/fail"]


@pytest.mark.parametrize(
    ("fault", "delivery", "trouble"),
    [
        ("onetribe:status@422#218", {}, "1 refused by One Tribe (bc2ot retry --failed)"),
        ("onetribe:lost_reply#218", HOLD, "1 unknown and held (bc2ot retry --unknown)"),
        ("onetribe:lost_reply#218", ONE_COPY, "1 unknown and held (bc2ot retry --unknown)"),
        ("bigcommerce:unfetchable#218", {}, "1 that cannot be fetched (bc2ot history ID)"),
    ],
)
def test_trouble_that_stands_is_a_failure_until_it_is_resolved(
    shell: Shell, pings: Pings, fault: str, delivery: dict[str, object], trouble: str
) -> None:
    shell.configure(monitor={"url": pings.url}, delivery=delivery, sync={"overlap": "0h"})
    shell.sandbox.faults.add(fault)
    sync(shell).says(1)
    pings.calls.clear()
    shell.run("sync").says(0, f"Orders that need attention: {trouble}.")
    assert pings.calls == [f"/{TOKEN}/start", f"/{TOKEN}/fail"]
    shell.sandbox.faults.clear()
    shell.run("push-order", "218", "--force").says(0)
    pings.calls.clear()
    assert "need you" not in shell.run("sync").says(0).err
    assert pings.calls == [f"/{TOKEN}/start", f"/{TOKEN}"]


def test_a_ledger_that_cannot_be_used_is_a_failure_too(shell: Shell, pings: Pings) -> None:
    shell.configure(monitor={"url": pings.url})
    shell.ledger.write_bytes(b"no database at all, by far not" * 100)
    sync(shell).says(3, "damaged")
    assert pings.calls == [f"/{TOKEN}/start", f"/{TOKEN}/fail"]


def test_a_failing_ping_never_fails_the_run(shell: Shell, pings: Pings) -> None:
    shell.configure(monitor={"url": pings.url})
    for pings.status in (301, 404, 500):
        sync(shell).says(0, f"The ping URL (monitor.url) responded with {pings.status}.")
    assert sync(shell, "-q").says(0).err == ""
    shell.configure(monitor={"url": f"http://127.0.0.1:9/{TOKEN}"})
    assert TOKEN not in sync(shell, "-vv").says(0, "Could not reach the ping URL (mon").err


def test_a_sync_that_finds_the_store_busy_reports_no_outcome(shell: Shell, pings: Pings) -> None:
    gate = shell.sandbox.faults.hold("onetribe", times=None)
    process = shell.start("backfill", "--yes")
    gate.wait_arrival()
    shell.configure(monitor={"url": pings.url, "textfile": "metrics.prom"})
    sync(shell).says(6)
    assert pings.calls == [f"/{TOKEN}/start"]
    assert not (shell.folder / "metrics.prom").exists()
    gate.open()
    shell.finish(process)


# Metrics


def test_the_metrics_parse_and_match_the_ledger(shell: Shell) -> None:
    path = shell.folder / "metrics.prom"
    shell.configure(monitor={"textfile": str(path)}, delivery={"on_unknown": "hold"})
    unknown = next(i for i in shell.sandbox.store.ids() if shell.sandbox.store.row(i).status_id)
    shell.sandbox.faults.add("onetribe:status@422#218")
    shell.sandbox.faults.add(f"onetribe:lost_reply#{unknown}")
    sync(shell, "-q").says(1)
    found = samples(path)
    assert {name for name, _ in found} == NAMES
    own = {name: found[name, "sandbox1"] for name in NAMES}
    assert own["bc2ot_owed_orders"] == own["bc2ot_unknown_orders"] == 1
    assert own["bc2ot_failed_orders"] == 1
    assert own["bc2ot_oldest_owed_age_seconds"] >= 0
    assert own["bc2ot_last_success_timestamp_seconds"] > 1.7e9
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [p.name for p in shell.folder.glob("*metrics*")] == [path.name]
    assert not list(shell.folder.glob(".metrics*"))


def test_a_failed_sync_leaves_the_last_success_as_it_was(shell: Shell) -> None:
    path = shell.folder / "metrics.prom"
    shell.configure(monitor={"textfile": str(path)})
    key = ("bc2ot_last_success_timestamp_seconds", "sandbox1")
    shell.sandbox.faults.add("onetribe:status@503")
    sync(shell).says(5)
    assert key not in samples(path)
    assert samples(path)["bc2ot_owed_orders", "sandbox1"] == shell.eligible
    shell.sandbox.faults.clear()
    sync(shell).says(0)
    before = samples(path)[key]
    shell.sandbox.faults.add("bigcommerce:status@503")
    sync(shell).says(5)
    assert samples(path)[key] == before


def test_stores_that_share_a_file_keep_each_others_metrics(shell: Shell) -> None:
    path = shell.folder / "metrics.prom"
    path.write_text(
        "# HELP bc2ot_owed_orders What.\n# TYPE bc2ot_owed_orders gauge\n"
        'bc2ot_owed_orders{store="other"} 5.000\nbc2ot_owed_orders{store="sandbox1"} 9.000\n'
    )
    shell.configure(monitor={"textfile": str(path)})
    sync(shell).says(0)
    found = samples(path)
    assert found["bc2ot_owed_orders", "other"] == 5
    assert found["bc2ot_owed_orders", "sandbox1"] == 0


def fifo(path: Path) -> None:
    os.mkfifo(path)


def profile(path: Path) -> None:
    path.write_text("# Set the path.\nexport PATH=$HOME/bin:$PATH\n")


def other_exporter(path: Path) -> None:
    path.write_text("# HELP bc2ot_owed_orders What.\nnode_load1 0.5\n")


def link(path: Path) -> None:
    profile(path.with_name("profile"))
    path.symlink_to(path.with_name("profile"))


def folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("make", [fifo, profile, other_exporter, link, folder])
def test_only_a_regular_file_of_metrics_is_replaced(
    shell: Shell, make: Callable[[Path], None]
) -> None:
    path = shell.folder / "metrics.prom"
    make(path)
    before = path.lstat()
    shell.configure(monitor={"textfile": str(path)})
    sync(shell).says(0, "Cannot write the metrics to")
    assert (path.lstat().st_ino, path.lstat().st_size) == (before.st_ino, before.st_size)
    assert not list(shell.folder.glob(".metrics*"))


def test_metrics_that_cannot_be_written_are_a_warning(shell: Shell) -> None:
    shell.configure(monitor={"textfile": str(shell.folder / "nowhere/metrics.prom")})
    sync(shell).says(0, "Cannot write the metrics to")


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "REQUESTS_CA_BUNDLE"])
def test_no_ping_ends_a_sync(shell: Shell, variable: str) -> None:
    broken = {"HTTPS_PROXY": "http://u:p[x@proxy:1", "REQUESTS_CA_BUNDLE": "/nowhere.pem"}
    shell.set(**{variable: broken[variable]})
    shell.configure(monitor={"url": "https://hc.invalid/secret-of-the-ping"})
    told = sync(shell).says(0, "Could not reach the ping URL")
    assert "secret-of-the-ping" not in told.err


def test_readers_never_see_half_a_file(shell: Shell) -> None:
    path = shell.folder / "metrics.prom"
    shell.configure(monitor={"textfile": str(path)})
    sync(shell)
    first = path.stat().st_ino
    with path.open() as reader:
        sync(shell)
        assert reader.read().count("# TYPE") == len(NAMES)
    assert path.stat().st_ino != first


def test_the_ping_of_another_store_is_its_own(shell: Shell, pings: Pings, sandbox: Sandbox) -> None:
    shell.unset_all()
    store = {"store_hash": sandbox.store_hash, "access_token": sandbox.access_token}
    shell.configure(
        bigcommerce={"api_url": sandbox.api_url},
        onetribe={"url": sandbox.onetribe_url},
        ledger=str(shell.ledger),
        stores={"uk": {"bigcommerce": store, "monitor": {"url": f"{pings.url}/uk"}}},
    )
    assert shell.run("--store", "uk", "sync").code == 0
    assert pings.calls == [f"/{TOKEN}/uk/start", f"/{TOKEN}/uk"]
