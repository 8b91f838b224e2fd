"""What `bc2ot doctor` reports about webhooks and receivers."""

from __future__ import annotations

import json
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from onetribe_bc.api.http import Timeouts
from onetribe_bc.doctor import Finding, Level
from onetribe_bc.doctor.receiver import check_receiver
from onetribe_bc.sandbox import Fault, Sandbox
from onetribe_bc.sandbox.hooks import Hook
from onetribe_bc.web.server import Server, listen
from tests.callbacks import Site
from tests.examining import (  # noqa: F401
    ANY,
    CREATED,
    DAY_S,
    HEADERS,
    RECEIVER,
    SECRET,
    UPDATED,
    ask,
    change,
    fix,
    hook,
    sandbox_fixture,
    synced_fixture,
    well_fixture,
)
from tests.shell import Shell, shell_fixture  # noqa: F401
from tests.test_http import certificate, tls  # noqa: F401
from tests.wire import WireServer, answer, hang_up


def test_the_hint_is_to_create_a_hook_if_one_can_be_created(synced: Shell) -> None:
    """The sandbox's One Tribe has no https URL, so no webhook can point to it."""
    ask(synced).finds("hooks.present", "warn", hint="no webhook can point to that onetribe.url")
    synced.set(BC2OT_ONETRIBE_URL="https://127.0.0.1/direct/webhook/big-commerce/order/k")
    ask(synced).finds("hooks.present", "warn", hint="bc2ot hooks create")
    synced.set(BC2OT_ONETRIBE_URL=None)
    ask(synced).finds("hooks.present", "warn", hint="bc2ot hooks create")


def test_at_the_limit_the_hint_is_to_delete_a_hook_first(
    synced: Shell,
) -> None:
    synced.set(BC2OT_ONETRIBE_URL="https://127.0.0.1/direct/webhook/big-commerce/order/k")
    made = [hook(synced, CREATED, f"https://h{i}.example.com/x") for i in range(10)]
    report = ask(synced)
    report.finds("hooks.present", "warn", hint="Delete one of the 10 first (bc2ot hooks delete ID)")
    first, *_ = report.rows("hooks.destination", "warn")
    advice = f"bc2ot hooks delete {made[0].id}; then bc2ot hooks create"
    assert first["mend"].endswith(advice)


def test_a_missing_hook_is_a_warning_since_cron_delivers_too(synced: Shell) -> None:
    hook(synced, "store/cart/created")
    hook(synced, foreign=True)
    report = ask(synced)
    report.shows("warn hooks.present: This token sees no webhook … from cron")
    assert report.problems == {"hooks.present"}


@pytest.mark.parametrize(
    ("deactivated", "words"), [(False, "inactive"), (True, "by BigCommerce … 90 days")]
)
def test_fix_enables_an_inactive_hook(synced: Shell, deactivated: bool, words: str) -> None:
    made = hook(synced, is_active=deactivated)
    if deactivated:
        synced.sandbox.hooks.deactivate(made.id)
    report = ask(synced)
    report.shows(f"fail 1 hooks.active: {words} -> bc2ot hooks enable {made.id}")
    assert report.rows("hooks.active", "fail")[0]["fixable"]
    assert synced.sandbox.hooks.get(made.id).status != "active"

    fixed = fix(synced)
    assert fixed.code == 0
    first, second = fixed.rows("hooks.active")
    assert (first["mended"], first["level"]) == (True, "ok")
    assert first["text"].startswith(f"fixed: Webhook {made.id} ")
    assert first["text"].endswith("is enabled again.")
    assert (second["mended"], second["level"]) == (False, "ok")
    assert fixed.document["exit_code"] == 0
    assert synced.sandbox.hooks.get(made.id).status == "active"


def test_a_failed_fix_is_reported_and_the_failure_still_counts(synced: Shell) -> None:
    hook(synced, is_active=False)
    synced.sandbox.faults.add(Fault("bigcommerce", "status", status=422, method="PUT"))
    report = synced.run("doctor", "--fix")
    assert report.code == 1
    assert "  warn  could not be fixed: " in report.out
    assert "is inactive" in report.out


def test_fix_never_enables_a_hook_that_points_elsewhere(synced: Shell) -> None:
    made = hook(synced, destination="https://elsewhere.example.com/hook", is_active=False)
    ask(synced).shows(
        "warn hooks.destination: https://elsewhere.example.com/hook) points neither "
        f"… it is inactive -> bc2ot hooks delete {made.id}",
        "warn hooks.present",
    )
    fix(synced)
    assert not synced.sandbox.hooks.get(made.id).is_active


@pytest.mark.parametrize("is_active", [True, False])
def test_a_hook_to_another_path_of_the_same_merchant_is_a_failure_and_never_enabled(
    synced: Shell, is_active: bool
) -> None:
    other = synced.sandbox.onetribe_url.replace(
        "/direct/webhook/big-commerce/", "/direct/webhook/x/"
    )
    made = hook(synced, destination=other, is_active=is_active)
    report = ask(synced, "--fix")
    report.shows(
        "fail 1 hooks.destination: /direct/webhook/x/order/**** … different path "
        "-> bc2ot hooks create --scope 'store/order/created'"
    )
    assert report.problems == {"hooks.destination"}
    assert synced.sandbox.hooks.get(made.id).is_active is is_active


def test_a_hook_with_another_merchant_key_is_a_failure(synced: Shell) -> None:
    key = synced.sandbox.merchant_key
    old = synced.sandbox.onetribe_url.replace(key, "an-older-key")
    made = hook(synced, destination=old)
    report = ask(synced)
    assert report.code == 1
    row = report.finds(
        "hooks.destination",
        "fail",
        "merchant key or path differs",
        code=1,
        hint=f"delete {made.id}",
    )
    assert "an-older-key" not in row["text"]


@pytest.mark.parametrize(
    "scopes",
    [
        (ANY, CREATED),
        (CREATED, ANY),
        (CREATED, CREATED),
        (CREATED, "store/channel/7/order/created"),
        ("store/order/metafield/*", "store/order/metafield/updated"),
    ],
)
@pytest.mark.parametrize("path", ["/big-commerce/", "/x/"])
def test_duplicate_hooks_to_one_merchant_are_a_failure(
    synced: Shell, scopes: tuple[str, str], path: str
) -> None:
    first = hook(synced, scopes[0])
    url = synced.sandbox.onetribe_url.replace("/big-commerce/", path)
    second = hook(synced, scopes[1], url)
    ask(synced).finds(
        "hooks.duplicate",
        "fail",
        f"Webhook {second.id} ",
        f"duplicates webhook {first.id}. ",
        code=1,
        hint=f"bc2ot hooks delete {second.id}",
    )


def test_hooks_of_different_events_are_no_duplicates(synced: Shell) -> None:
    hook(synced, CREATED)
    hook(synced, UPDATED)
    hook(synced, "store/channel/7/order/archived")
    hook(synced, "store/channel/8/order/archived")
    assert ask(synced).problems == set()


@pytest.mark.parametrize("to_onetribe", [True, False])
def test_a_hook_whose_destination_differs_only_by_a_slash_is_a_duplicate(
    synced: Shell, to_onetribe: bool
) -> None:
    destination = synced.sandbox.onetribe_url if to_onetribe else RECEIVER
    headers = {} if to_onetribe else HEADERS
    one = hook(synced, destination=destination, headers=headers)
    hook(synced, destination=f"{destination}/", headers=headers)
    report = ask(synced)
    (row,) = report.rows("hooks.duplicate")
    assert f"duplicates webhook {one.id}." in row["text"]
    assert report.rows("hooks.destination") == []


def test_fix_does_not_enable_a_hook_that_another_one_covers(synced: Shell) -> None:
    off = hook(synced, is_active=False)
    on = hook(synced, ANY)
    ask(synced).shows(f"note hooks.active: not needed: webhook {on.id} -> delete {off.id}")
    fix(synced)
    assert not synced.sandbox.hooks.get(off.id).is_active


def test_ten_hooks_for_a_scope_are_the_limit(well: Shell) -> None:
    for number in range(9):
        hook(well, destination=f"https://a{number}.example.com/")
    ask(well).shows("warn hooks.limit: 10 webhooks for store/order/created -> hooks list --scope")


def test_a_blocked_domain_is_reported_with_its_time_left(well: Shell) -> None:
    well.sandbox.hooks.block("https://elsewhere.example.com/a", 60)
    well.sandbox.hooks.block("https://[broken", 60)
    report = ask(well)
    assert (report.code, len(report.rows("hooks.blocked", "note"))) == (0, 2)
    well.sandbox.hooks.block("127.0.0.1", 180)
    ask(well).shows("fail 1 hooks.blocked: 127.0.0.1 for another 3 minutes … HTTP 500 -> 2xx")


def test_without_the_list_of_deactivated_hooks_the_rest_is_checked(well: Shell) -> None:
    well.sandbox.faults.add(Fault("bigcommerce", "status", status=403, path="/hooks/admin"))
    ask(well).shows("note hooks.list: Deactivated … cannot be listed", "ok hooks.active")


def aged(shell: Shell, days: float) -> Hook:
    """Add a hook that was last changed so long ago."""
    shell.sandbox.clock.offset_s = -days * DAY_S
    made = hook(shell)
    shell.sandbox.clock.offset_s = 0
    return made


@pytest.mark.parametrize(("days", "words"), [(76.5, "in 13 days"), (91, "at any time")])
def test_a_hook_close_to_90_idle_days_is_a_warning(shell: Shell, days: float, words: str) -> None:
    made = aged(shell, days)
    ask(shell).shows(
        f"warn hooks.idle: idle for {int(days)} days … {words} -> bc2ot hooks enable {made.id}"
    )


def test_an_old_hook_is_idle_only_if_the_ledger_has_no_newer_order(synced: Shell) -> None:
    aged(synced, 80)
    assert ask(synced).rows("hooks.idle") == []
    ago_ms = 76 * DAY_S * 1000
    change(synced, "UPDATE orders SET first_seen_at = first_seen_at - ?", ago_ms)
    report = ask(synced)
    report.finds("hooks.idle", "warn", "idle for 76 days")


# The receiver

PUBLIC_HOST = "localhost.example.com"


@pytest.fixture
def receiver(
    synced: Shell,
    tls: ssl.SSLContext,  # noqa: F811
    certificate: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    """Start a receiver on this machine that DNS knows as localhost.example.com."""
    monkeypatch.setenv("NO_PROXY", "*")
    resolve = socket.getaddrinfo
    servers: list[WireServer] = []

    def lookup(host: str, port: Any, *rest: Any, **named: Any) -> list[Any]:
        if host == PUBLIC_HOST and servers:
            return resolve("127.0.0.1", servers[0].port, *rest, **named)
        if host.endswith("example.com"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolve(host, port, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    synced.set(BC2OT_RECEIVER_SECRET=SECRET)

    def start(status: str = "401 Unauthorized", *, trusted: bool = True) -> Hook:
        if trusted:
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        server = WireServer([answer(b"", status=status)], tls)
        servers.append(server.__enter__())
        return hook(synced, destination=f"https://{PUBLIC_HOST}/bc", headers=HEADERS)

    yield start
    for server in servers:
        assert not any(SECRET.encode() in request for request in server.requests)
        server.__exit__(None, None, None)


def test_a_receiver_is_probed_over_tls(synced: Shell, receiver: Any) -> None:
    receiver()
    report = ask(synced)
    # The receiver is on this machine.
    report.shows(
        "ok hooks.active",
        "warn hooks.receiver: responds at 127.0.0.1 … inside -> from the internet",
    )
    assert report.rows("hooks.secret") == []


@pytest.mark.parametrize(
    ("destination", "finding"),
    [
        ("https://[broken", "fail 1 hooks.receiver: invalid URL -> hooks create --receiver"),
        (RECEIVER, "fail 1 hooks.receiver: hooks.example.com … (DNS) -> DNS record"),
    ],
)
def test_an_invalid_or_unknown_host_of_a_receiver_is_a_failure(
    synced: Shell,
    receiver: Any,
    destination: str,
    finding: str,
) -> None:
    hook(synced, destination=destination, headers=HEADERS)
    ask(synced).shows(finding)


@pytest.mark.parametrize(
    ("status", "finding"),
    [
        ("301 Moved", "fail 1 hooks.receiver: 301 … 2xx -> hooks create --receiver"),
        ("404 Not Found", "fail 1 hooks.receiver: does not accept callbacks there -> --path"),
        ("405 Method Not Allowed", "fail 1 hooks.receiver: does not accept callbacks there"),
        ("200 OK", "warn hooks.receiver: verifies nothing -> bc2ot handle-callback"),
        ("403 Forbidden", "warn hooks.receiver: would respond with 401"),
        ("", "fail 1 hooks.receiver: TLS failed or its certificate -> CA certificates"),
        ("502 Bad Gateway", "warn hooks.receiver: responds with 502 -> bc2ot serve"),
    ],
)
def test_unexpected_statuses_and_an_untrusted_certificate_of_the_receiver_are_reported(
    synced: Shell, receiver: Any, status: str, finding: str
) -> None:
    receiver(status or "401 Unauthorized", trusted=bool(status))
    ask(synced).shows(finding)


def check(url: str, address: str = "93.184.216.34") -> Finding:
    return check_receiver(url, RECEIVER, Timeouts(), resolve=lambda _host: [address])


def test_bc2ots_own_receiver_passes_the_check(sandbox: Sandbox, tmp_path: Path) -> None:
    site = Site(sandbox, tmp_path / "ledger.db")
    with (
        site.serving() as service,
        listen("127.0.0.1", 0) as bound,
        Server(service.application, bound) as server,
    ):
        for path, level in (("/", Level.OK), ("/elsewhere", Level.FAIL)):
            assert check(f"{server.url}{path}").level is level
    assert not site.states()


@pytest.mark.parametrize(
    ("address", "level", "words"),
    [
        ("93.184.216.34", Level.OK, "responds over TLS"),
        ("2606:2800:21f:cb07::1", Level.OK, "responds over TLS"),
        ("10.1.2.3", Level.WARN, "at 10.1.2.3"),
    ],
)
def test_a_receiver_at_a_private_address_is_a_warning(
    address: str, level: Level, words: str
) -> None:
    with WireServer([answer(b"", status="401 Unauthorized")]) as server:
        found = check(server.url, address)
    assert found.level is level
    assert words in found.text
    assert server.requests[0].startswith(b"POST / HTTP/1.1")
    assert b"Content-Type: application/json" in server.requests[0]


def test_a_receiver_that_hangs_up_is_a_failure() -> None:
    with WireServer(hang_up) as server:
        found = check(server.url)
    assert found.level is Level.FAIL
    assert f"127.0.0.1:{server.port}" in found.text
    assert "bc2ot serve" in found.hint


def test_fix_enables_a_hook_to_a_receiver(synced: Shell, receiver: Any) -> None:
    made = receiver()
    synced.sandbox.hooks.deactivate(made.id)
    assert ask(synced).code == 1
    fix(synced)
    assert synced.sandbox.hooks.get(made.id).is_active


def test_duplicate_hooks_to_a_receiver_are_a_warning(synced: Shell, receiver: Any) -> None:
    first = receiver()
    hook(synced, ANY, first.destination, headers=HEADERS)
    report = ask(synced)
    report.shows("warn hooks.duplicate: still sends each order once -> bc2ot hooks delete")
    assert len(report.rows("hooks.receiver")) == 1


def test_a_hook_with_a_secret_different_from_the_configured_one_is_a_failure(
    synced: Shell, receiver: Any
) -> None:
    receiver()
    synced.set(BC2OT_RECEIVER_SECRET="an0ther-secret")
    report = ask(synced)
    assert report.code == 1
    report.finds("hooks.secret", "fail", "different secret", code=1, hint="hooks create --receiver")
    assert SECRET not in report.text.out + json.dumps(report.document)
    synced.set(BC2OT_RECEIVER_SECRET=None)
    ask(synced).finds("hooks.secret", "note", "none to compare")
