"""What `bc2ot doctor` tells of hooks, and of the way to a receiver."""

from __future__ import annotations

import json
import socket
import ssl
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from onetribe_bc.api.http import Timeouts
from onetribe_bc.doctor import Level, Outside
from onetribe_bc.doctor.outside import probe
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
    hook,
    mend,
    sandbox_fixture,
    synced_fixture,
    well_fixture,
)
from tests.shell import Shell, shell_fixture  # noqa: F401
from tests.test_http import certificate, tls  # noqa: F401
from tests.wire import WireServer, answer, hang_up


def test_a_missing_hook_is_a_warning_since_cron_delivers_too(synced: Shell) -> None:
    hook(synced, "store/cart/created")
    hook(synced, foreign=True)
    told = ask(synced)
    assert told.code == 0
    told.finds("hooks.present", "warn", "that this token can see", "from cron")
    assert told.troubles == {"hooks.present"}


def test_a_hook_is_advised_where_one_can_be_made(synced: Shell) -> None:
    """The sandbox's One Tribe has no https address, and so no hook can lead there."""
    ask(synced).finds("hooks.present", "warn", mend="no hook can lead to that onetribe.url")
    synced.set(BC2OT_ONETRIBE_URL="https://127.0.0.1/direct/webhook/big-commerce/order/k")
    ask(synced).finds("hooks.present", "warn", mend="bc2ot hooks create")
    synced.set(BC2OT_ONETRIBE_URL=None)
    ask(synced).finds("hooks.present", "warn", mend="bc2ot hooks create")


def test_where_there_is_no_room_for_a_hook_the_advice_is_to_make_some_first(
    synced: Shell,
) -> None:
    synced.set(BC2OT_ONETRIBE_URL="https://127.0.0.1/direct/webhook/big-commerce/order/k")
    made = [hook(synced, CREATED, f"https://h{i}.example.com/x") for i in range(10)]
    told = ask(synced)
    told.finds("hooks.present", "warn", mend="Delete one of the 10 first (bc2ot hooks delete ID)")
    first, *_ = told.rows("hooks.destination", "warn")
    mend_ = f"bc2ot hooks delete {made[0].id}; then bc2ot hooks create"
    assert first["mend"].endswith(mend_)


def test_an_inactive_hook_is_switched_on_again(synced: Shell) -> None:
    made = hook(synced, is_active=False)
    told = ask(synced)
    assert told.code == 1
    row = told.finds(
        "hooks.active", "fail", "inactive", code=1, mend=f"bc2ot hooks enable {made.id}"
    )
    assert row["fixable"]
    assert not synced.sandbox.hooks.get(made.id).is_active

    fixed = mend(synced)
    assert fixed.code == 0
    first, second = fixed.rows("hooks.active")
    assert (first["mended"], first["level"]) == (True, "ok")
    assert first["text"].startswith(f"mended: Hook {made.id} ")
    assert first["text"].endswith("is switched on again.")
    assert (second["mended"], second["level"]) == (False, "ok")
    assert fixed.document["exit_code"] == 0
    assert synced.sandbox.hooks.get(made.id).is_active


def test_a_hook_that_bigcommerce_deactivated_is_switched_on_again(synced: Shell) -> None:
    made = hook(synced)
    synced.sandbox.hooks.deactivate(made.id)
    told = ask(synced)
    assert told.code == 1
    told.finds("hooks.active", "fail", "deactivated by BigCommerce", "90 days", code=1)
    assert mend(synced).code == 0
    assert synced.sandbox.hooks.get(made.id).status == "active"


def test_what_cannot_be_mended_is_said_and_still_counts(synced: Shell) -> None:
    hook(synced, is_active=False)
    synced.sandbox.faults.add(Fault("bigcommerce", "status", status=422, method="PUT"))
    told = synced.run("doctor", "--fix")
    assert told.code == 1
    assert "  warn  could not be mended: " in told.out
    assert "is inactive" in told.out


def test_a_hook_that_leads_elsewhere_is_never_switched_on(synced: Shell) -> None:
    made = hook(synced, destination="https://elsewhere.example.com/hook", is_active=False)
    told = ask(synced)
    assert told.code == 0
    told.finds(
        "hooks.destination",
        "warn",
        "https://elsewhere.example.com/hook) leads neither",
        "it is inactive",
        mend=f"bc2ot hooks delete {made.id}",
    )
    told.finds("hooks.present", "warn")
    mend(synced)
    assert not synced.sandbox.hooks.get(made.id).is_active


def test_a_hook_to_another_path_of_the_same_merchant_is_a_failure(synced: Shell) -> None:
    sandbox = synced.sandbox
    other = sandbox.onetribe_url.replace("/direct/webhook/big-commerce/", "/direct/webhook/x/")
    hook(synced, destination=other)
    told = ask(synced)
    assert told.code == 1
    told.finds(
        "hooks.destination",
        "fail",
        "/direct/webhook/x/order/****",
        "other path",
        code=1,
        mend="bc2ot hooks create --scope 'store/order/created'",
    )


def test_a_switched_off_hook_to_another_path_is_corrected_before_it_is_switched_on(
    synced: Shell,
) -> None:
    other = synced.sandbox.onetribe_url.replace("/big-commerce/", "/x/")
    made = hook(synced, destination=other, is_active=False)
    told = ask(synced, "--fix")
    assert told.code == 1
    assert told.troubles == {"hooks.destination"}
    assert not synced.sandbox.hooks.get(made.id).is_active


def test_a_hook_with_another_merchant_key_is_a_failure(synced: Shell) -> None:
    key = synced.sandbox.merchant_key
    old = synced.sandbox.onetribe_url.replace(key, "an-older-key")
    made = hook(synced, destination=old)
    told = ask(synced)
    assert told.code == 1
    row = told.finds(
        "hooks.destination", "fail", "another merchant key", code=1, mend=f"delete {made.id}"
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
def test_two_hooks_that_tell_one_tribe_the_same_are_a_failure(
    synced: Shell, scopes: tuple[str, str]
) -> None:
    first, second = (hook(synced, scope) for scope in scopes)
    told = ask(synced)
    assert told.code == 1
    told.finds(
        "hooks.duplicate",
        "fail",
        f"Hook {second.id} ",
        f"hook {first.id} tells, too",
        code=1,
        mend=f"bc2ot hooks delete {second.id}",
    )


def test_two_hooks_of_different_events_are_none_too_many(synced: Shell) -> None:
    hook(synced, CREATED)
    hook(synced, UPDATED)
    hook(synced, "store/channel/7/order/archived")
    hook(synced, "store/channel/8/order/archived")
    assert ask(synced).troubles == set()


def test_the_same_merchant_by_another_path_is_told_twice_as_well(synced: Shell) -> None:
    hook(synced)
    hook(synced, destination=synced.sandbox.onetribe_url.replace("/big-commerce/", "/x/"))
    ask(synced).finds("hooks.duplicate", "fail", code=1)


def test_a_switched_off_hook_that_another_makes_up_for_stays_off(synced: Shell) -> None:
    off = hook(synced, is_active=False)
    on = hook(synced, ANY)
    told = ask(synced)
    assert told.code == 0
    told.finds("hooks.active", "note", f"not needed: hook {on.id}", mend=f"delete {off.id}")
    mend(synced)
    assert not synced.sandbox.hooks.get(off.id).is_active


def test_ten_hooks_for_a_scope_are_the_limit(well: Shell) -> None:
    for number in range(9):
        hook(well, destination=f"https://a{number}.example.com/")
    told = ask(well)
    assert told.code == 0
    told.finds("hooks.limit", "warn", "10 hooks for store/order/created", mend="hooks list --scope")


def test_a_blocked_domain_is_told_with_how_long(well: Shell) -> None:
    well.sandbox.hooks.block("127.0.0.1", 180)
    told = ask(well)
    assert told.code == 1
    told.finds(
        "hooks.blocked", "fail", "127.0.0.1 for another 3 minutes", "HTTP 500", code=1, mend="2xx"
    )


def test_a_blocked_domain_that_no_hook_of_ours_leads_to_is_a_note(well: Shell) -> None:
    well.sandbox.hooks.block("https://elsewhere.example.com/a", 60)
    well.sandbox.hooks.block("https://[broken", 60)
    told = ask(well)
    assert told.code == 0
    assert len(told.rows("hooks.blocked", "note")) == 2


def test_where_the_hooks_state_is_not_told_the_rest_is(well: Shell) -> None:
    well.sandbox.faults.add(Fault("bigcommerce", "status", status=403, path="/hooks/admin"))
    told = ask(well)
    assert told.code == 0
    told.finds("hooks.list", "note", "deactivated", "is not known")
    told.finds("hooks.active", "ok")


def aged(shell: Shell, days: float) -> Hook:
    """A hook that nobody has touched for so long."""
    shell.sandbox.clock.offset_s = -days * DAY_S
    made = hook(shell)
    shell.sandbox.clock.offset_s = 0
    return made


@pytest.mark.parametrize(("days", "words"), [(76.5, "in 13 days"), (91, "at any time")])
def test_a_hook_close_to_90_idle_days_is_a_warning(shell: Shell, days: float, words: str) -> None:
    made = aged(shell, days)
    told = ask(shell)
    assert told.code == 0
    told.finds(
        "hooks.idle",
        "warn",
        f"idle for {int(days)} days",
        words,
        mend=f"bc2ot hooks enable {made.id}",
    )


def test_neither_a_young_hook_nor_one_beside_new_orders_counts_as_idle(synced: Shell) -> None:
    aged(synced, 80)
    assert ask(synced).rows("hooks.idle") == []
    ago_ms = 76 * DAY_S * 1000
    change(synced, "UPDATE orders SET first_seen_at = first_seen_at - ?", ago_ms)
    told = ask(synced)
    told.finds("hooks.idle", "warn", "idle for 76 days")


# The way to a receiver

PUBLIC_HOST = "localhost.example.com"


@pytest.fixture
def receiver(
    synced: Shell,
    tls: ssl.SSLContext,  # noqa: F811
    certificate: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    """A receiver on this machine, which answers https://localhost.example.com as DNS has it."""
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


def test_the_way_to_a_receiver_is_followed_over_tls(synced: Shell, receiver: Any) -> None:
    receiver()
    told = ask(synced)
    assert told.code == 0
    told.finds("hooks.active", "ok")
    # Which here is this very machine.
    told.finds(
        "hooks.receiver", "warn", "answers, at 127.0.0.1", "inside", mend="from the internet"
    )
    assert told.rows("hooks.secret") == []


def test_a_certificate_that_nobody_vouches_for_closes_the_way(synced: Shell, receiver: Any) -> None:
    receiver(trusted=False)
    told = ask(synced)
    assert told.code == 1
    told.finds(
        "hooks.receiver", "fail", "TLS failed or its certificate", code=1, mend="CA certificates"
    )


def test_a_receiver_whose_name_nobody_knows_is_told(synced: Shell, receiver: Any) -> None:
    hook(synced, destination=RECEIVER, headers=HEADERS)
    told = ask(synced)
    assert told.code == 1
    told.finds("hooks.receiver", "fail", "hooks.example.com", "(DNS)", code=1, mend="DNS record")


def test_a_receiver_that_redirects_is_a_failure(synced: Shell, receiver: Any) -> None:
    receiver("301 Moved Permanently")
    told = ask(synced)
    assert told.code == 1
    told.finds("hooks.receiver", "fail", "301", "2xx", code=1, mend="hooks create --receiver")


def test_a_receiver_behind_a_proxy_that_finds_nobody_is_a_warning(
    synced: Shell, receiver: Any
) -> None:
    receiver("502 Bad Gateway")
    ask(synced).finds("hooks.receiver", "warn", "answers 502", mend="bc2ot serve")


@pytest.mark.parametrize(
    ("status", "level", "words"),
    [
        ("404 Not Found", "fail", "callbacks are not taken there"),
        ("405 Method Not Allowed", "fail", "callbacks are not taken there"),
        ("200 OK", "warn", "checks nothing"),
        ("403 Forbidden", "warn", "would answer 401"),
    ],
)
def test_a_receiver_that_would_not_take_callbacks_as_ours_does_is_told(
    synced: Shell, receiver: Any, status: str, level: str, words: str
) -> None:
    receiver(status)
    told = ask(synced)
    assert told.code == (level == "fail")
    told.finds("hooks.receiver", level, words, code=told.code)


def test_our_own_receiver_is_known_by_its_answer(sandbox: Sandbox, tmp_path: Path) -> None:
    site = Site(sandbox, tmp_path / "ledger.db")
    with (
        site.serving() as service,
        listen("127.0.0.1", 0) as bound,
        Server(service.application, bound) as server,
    ):
        for path, level in (("/", Level.OK), ("/elsewhere", Level.FAIL)):
            knocking = partial(probe, f"{server.url}{path}", Timeouts())
            outside = Outside(lambda _host: ["93.184.216.34"], lambda _url: knocking())  # noqa: B023
            assert outside.check(RECEIVER, RECEIVER).level is level
    assert not site.states()


def test_a_destination_that_is_no_address_is_told(synced: Shell, receiver: Any) -> None:
    hook(synced, destination="https://[broken", headers=HEADERS)
    told = ask(synced)
    assert told.code == 1
    told.finds("hooks.receiver", "fail", "no address", code=1, mend="hooks create --receiver")


@pytest.mark.parametrize(
    ("address", "level", "words"),
    [
        ("93.184.216.34", Level.OK, "answers over TLS"),
        ("2606:2800:21f:cb07::1", Level.OK, "answers over TLS"),
        ("10.1.2.3", Level.WARN, "at 10.1.2.3"),
    ],
)
def test_where_a_receiver_is_decides_whether_it_can_be_reached(
    address: str, level: Level, words: str
) -> None:
    with WireServer([answer(b"", status="401 Unauthorized")]) as server:
        outside = Outside(lambda _host: [address], lambda _url: probe(server.url, Timeouts()))
        found = outside.check(RECEIVER, RECEIVER)
    assert found.level is level
    assert words in found.text
    assert server.requests[0].startswith(b"POST / HTTP/1.1")
    assert b"Content-Type: application/json" in server.requests[0]


def test_a_receiver_that_hangs_up_is_told() -> None:
    with WireServer(hang_up) as server:
        outside = Outside(
            lambda _host: ["93.184.216.34"], lambda _url: probe(server.url, Timeouts())
        )
        found = outside.check(RECEIVER, RECEIVER)
    assert found.level is Level.FAIL
    told = f"cannot be reached: Sent the request to 127.0.0.1:{server.port} but got no response."
    assert told in found.text
    assert "bc2ot serve" in found.mend


def test_a_receivers_hook_is_switched_on_again(synced: Shell, receiver: Any) -> None:
    made = receiver()
    synced.sandbox.hooks.deactivate(made.id)
    assert ask(synced).code == 1
    mend(synced)
    assert synced.sandbox.hooks.get(made.id).is_active


def test_a_receiver_told_twice_is_a_warning_since_each_order_is_sent_once(
    synced: Shell, receiver: Any
) -> None:
    first = receiver()
    hook(synced, ANY, first.destination, headers=HEADERS)
    told = ask(synced)
    assert told.code == 0
    told.finds("hooks.duplicate", "warn", "sent once all the same", mend="bc2ot hooks delete")
    assert len(told.rows("hooks.receiver")) == 1


def test_a_hook_with_another_secret_than_ours_is_a_failure(synced: Shell, receiver: Any) -> None:
    receiver()
    synced.set(BC2OT_RECEIVER_SECRET="an0ther-secret")
    told = ask(synced)
    assert told.code == 1
    told.finds("hooks.secret", "fail", "another secret", code=1, mend="hooks create --receiver")
    assert SECRET not in told.text.out + json.dumps(told.document)
    synced.set(BC2OT_RECEIVER_SECRET=None)
    ask(synced).finds("hooks.secret", "note", "none is set here")
