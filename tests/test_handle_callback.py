"""`bc2ot handle-callback`: one callback, one order, and an exit code for a queue."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from onetribe_bc.api.webhook import SECRET_HEADER
from onetribe_bc.sandbox import Fault, FaultKind, Gate, Service
from tests.callbacks import CREATED, callback, signed
from tests.shell import Outcome, Shell, shell_fixture  # noqa: F401

SHARED = "shared-secret-of-the-hook"


def handle(shell: Shell, body: bytes, *arguments: str) -> Outcome:
    return shell.run("handle-callback", *arguments, stdin=body)


def trusted(shell: Shell, order_id: object = 218, **changes: Any) -> Outcome:
    return handle(shell, callback(order_id, **changes), "--trusted")


@pytest.fixture
def shared(shell: Shell) -> Shell:
    """Only the shared secret is set."""
    shell.set(BC2OT_CLIENT_SECRET=None, BC2OT_RECEIVER_SECRET=SHARED)
    return shell


@contextmanager
def held_up(shell: Shell, *arguments: str) -> Iterator[None]:
    """Run another process whose first order gets no response from One Tribe until the end."""
    gate = Gate()
    hold = Fault(Service.ONETRIBE, FaultKind.HOLD, times=1, gate=gate)
    shell.sandbox.faults.replace([hold])
    other = shell.start(*arguments)
    try:
        assert gate.arrived.wait(30)
        yield
    finally:
        gate.open()
    assert shell.finish(other).code == 0


# Delivery


def test_the_order_is_fetched_and_sent(shell: Shell) -> None:
    told = trusted(shell)
    told.says(0, "store/order/created, order 218.", "1 order seen: 1 delivered.")
    assert shell.sandbox.onetribe.counts() == {218: 1}
    assert shell.sandbox.onetribe.received[0].body == shell.sandbox.store.raw(218)
    assert shell.state(218)["state"] == "delivered"


def test_the_same_callback_twice_sends_once_and_then_costs_no_request(shell: Shell) -> None:
    trusted(shell)
    before = len(shell.sandbox.requests)
    trusted(shell).says(0, "1 already delivered")
    trusted(shell, "218", scope="store/order/updated").says(0, "1 already delivered")
    assert shell.sandbox.onetribe.counts() == {218: 1}
    assert len(shell.sandbox.requests) == before


def test_with_on_change_a_changed_order_is_sent_again(shell: Shell) -> None:
    shell.configure(orders={"resend": "on-change"})
    trusted(shell)
    trusted(shell).says(0, "1 already delivered")
    shell.sandbox.store.modify(218, staff_notes="changed")
    trusted(shell, scope="store/order/updated").says(0, "1 delivered")
    assert shell.sandbox.onetribe.counts() == {218: 2}


def test_an_incomplete_order_is_skipped_with_exit_code_0(shell: Shell) -> None:
    shell.sandbox.store.modify(218, status_id=0)
    trusted(shell).says(0, "1 skipped (1 status Incomplete)")
    shell.sandbox.store.complete(218)
    trusted(shell, scope="store/order/statusUpdated").says(0, "1 delivered")


@pytest.mark.parametrize(
    ("scope", "why"),
    [
        ("store/product/updated", "it is not about orders"),
        ("store/order/message/created", "messages and metafields"),
    ],
)
def test_other_scopes_are_ignored_with_a_reason(shell: Shell, scope: str, why: str) -> None:
    trusted(shell, scope=scope).says(0, f"Ignored {scope}", why)
    assert shell.sandbox.requests == ()
    told = handle(shell, callback(218, scope), "--trusted", "--json")
    assert (told.code, told.json["seen"], told.json["order_id"]) == (0, 0, None)
    assert why in told.json["ignored"]
    assert not shell.ledger.exists()


def test_json_reports_the_delivery(shell: Shell) -> None:
    found = handle(shell, callback(218), "--trusted", "--json").json
    assert (found["delivered"], found["complete"], found["ignored"]) == (1, True, None)
    assert (found["store_hash"], found["scope"]) == (shell.sandbox.store_hash, CREATED)
    assert found["order_id"] == 218


def test_a_callback_may_come_from_a_file_and_quiet_prints_nothing_on_success(shell: Shell) -> None:
    shell.write(callback(218), name="callback.json")
    told = shell.run("-q", "handle-callback", "callback.json", "--trusted")
    assert (told.code, told.stdout, told.stderr) == (0, b"", b"")
    assert shell.sandbox.onetribe.counts() == {218: 1}


def test_it_works_while_another_run_holds_the_store(shell: Shell) -> None:
    with held_up(shell, "backfill", "--to-id", "217"):
        trusted(shell).says(0, "1 delivered")


def test_a_callback_wrapped_by_a_queue_is_unwrapped(shell: Shell) -> None:
    body = callback(218)
    event = {"detail-type": "bigCommerceWebhook", "detail": json.loads(body)}
    handle(shell, json.dumps(event).encode(), "--trusted").says(0, "1 delivered")
    push = {"message": {"data": base64.b64encode(body).decode()}, "subscription": "s"}
    handle(shell, json.dumps(push).encode(), "--trusted").says(0, "1 already delivered")


# Authenticity


def test_headers_may_come_from_options_or_from_a_file_as_lines_or_as_json(shell: Shell) -> None:
    body = callback(218)
    headers = {"Host": "example.com", **signed(body)}
    options = [f"--header={name}: {value}" for name, value in headers.items()]
    handle(shell, body, *options).says(0, "1 delivered")
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    shell.write(f"\ufeff{lines}\r\n", name="lines")
    shell.write(json.dumps(headers), name="headers.json")
    handle(shell, body, "--headers-file", "lines").says(0, "1 already delivered")
    handle(shell, body, "--headers-file", "headers.json").says(0, "1 already delivered")
    shell.write(body, name="callback.json")
    files = ("callback.json", "--headers-file", "-")
    shell.run("handle-callback", *files, stdin=lines.encode()).says(0, "1 already delivered")


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"webhook-signature": "v1,AAAA"}, "its body was changed in transit"),
        ({"webhook-timestamp": "1614265330"}, "more than five minutes ago"),
        ({"webhook-signature": ""}, "has no signature"),
    ],
)
def test_a_forged_callback_is_refused_for_good_and_nothing_is_done(
    shell: Shell, changed: dict[str, str], why: str
) -> None:
    body = callback(218)
    shell.write(json.dumps({**signed(body), **changed}), name="headers")
    handle(shell, body, "--headers-file", "headers").says(2, "not authentic", why)
    assert shell.sandbox.requests == ()
    assert not shell.ledger.exists()


def test_the_shared_secret_is_enough_and_a_warning_names_one_in_the_process_list(
    shared: Shell,
) -> None:
    shared.set(SEEN=SHARED)
    told = handle(shared, callback(218), "--header", f"{SECRET_HEADER.lower()}: ${{SEEN}}")
    told.says(0, "1 delivered")
    assert "Warning" not in told.err
    told = handle(shared, callback(218), "--header", f"{SECRET_HEADER}:{SHARED}")
    told.says(0, "already delivered", "Warning: other users of this machine can see the value of")
    assert SHARED not in told.err


def test_a_wrong_or_missing_secret_is_refused(shared: Shell) -> None:
    shared.set(SEEN="x")
    told = handle(shared, callback(218), "--header", f"{SECRET_HEADER}:${{SEEN}}")
    told.says(2, "not authentic", "X-Bc2ot-Secret is wrong")
    handle(shared, callback(218), "--header", "host:a").says(2, "has no header X-Bc2ot-Secret")
    twice = ("--header", f"{SECRET_HEADER}:{SHARED}", "--header", f"{SECRET_HEADER}:x")
    handle(shared, callback(218), *twice).says(2, "passed twice")


@pytest.mark.parametrize("quiet", [(), ("-q",)])
@pytest.mark.parametrize("headers", [(), ("--header", "host:example.com")])
def test_without_a_secret_only_trusted_takes_a_callback(
    shell: Shell, headers: tuple[str, ...], quiet: tuple[str, ...]
) -> None:
    shell.set(BC2OT_CLIENT_SECRET=None)
    told = handle(shell, callback(218), *headers, *quiet)
    told.says(3, "No secret is set to verify this callback with.", "--trusted")
    assert shell.sandbox.requests == ()
    trusted(shell).says(0, "1 delivered")


@pytest.mark.parametrize("content", [b"", b"a\nb\n", b"\xff\xfes\0", b"x" * 2000, None])
def test_a_receivers_secret_that_cannot_be_used_is_no_reason_to_verify_less(
    shell: Shell, content: bytes | None
) -> None:
    shell.set(BC2OT_CLIENT_SECRET=None)
    file = shell.ledger.with_name(f"receiver-secret-{shell.sandbox.store_hash}")
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    for given in ((), ("--header", f"{SECRET_HEADER}:x")):
        handle(shell, callback(218), "-q", *given).says(3, str(file))
    shell.run("serve", "-q", "--listen", "127.0.0.1:0").says(3, str(file))
    assert shell.sandbox.requests == ()


def test_a_byte_order_mark_before_the_receivers_secret_is_ignored(shell: Shell) -> None:
    shell.set(BC2OT_CLIENT_SECRET=None, SENT=SHARED)
    file = f"receiver-secret-{shell.sandbox.store_hash}"
    shell.write(b"\xef\xbb\xbf" + SHARED.encode() + b"\r\n", name=file)
    handle(shell, callback(218), "--header", f"{SECRET_HEADER}:${{SENT}}").says(0, "1 delivered")


# Exit code 2


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{" + b" " * 70_000 + b"}", "larger than 65,536 bytes"),
        (b'{"scope": "[/x]\\u001b[31m"}', "scope is invalid"),
        (callback(218, producer="stores/another1"), "store another1, not sandbox1"),
    ],
)
def test_an_invalid_callback_is_refused(shell: Shell, body: bytes, why: str) -> None:
    handle(shell, body, "--trusted").says(2, why)
    assert shell.sandbox.requests == ()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--trusted", "--header", "a:b"), "--trusted verifies nothing"),
        (("--headers-file", "-"), "both come from stdin"),
        (("--header", "webhook-id"), "a header without a name or a colon"),
        (("--header", ":v"), "a header without a name or a colon"),
    ],
)
def test_wrong_usage_is_reported(shell: Shell, arguments: tuple[str, ...], why: str) -> None:
    handle(shell, callback(218), *arguments).says(2, why)
    assert shell.sandbox.requests == ()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--header", "a:${NOT_SET}"), "NOT_SET is not set"),
        (("--header", "a:${"), "Expected a variable name"),
        (("--headers-file", "not-there"), "Cannot read the headers file"),
        (("--headers-file", "."), "Cannot read the headers file"),
        (("not-there",), "Cannot read the callback"),
        ((".",), "Cannot read the callback"),
        ((), "cannot be verified without its headers"),
    ],
)
def test_mistakes_of_the_caller_keep_the_callback_in_the_queue(
    shell: Shell, arguments: tuple[str, ...], why: str
) -> None:
    handle(shell, callback(218), *arguments).says(3, why)
    assert shell.sandbox.requests == ()


@pytest.mark.parametrize("value", ["${BC2OT_RECEIVER_SECRET}", "${OF_THE_FILE}", "x${OF_THE_FILE}"])
def test_a_header_that_names_a_variable_of_the_configuration_is_not_expanded(
    shared: Shell, value: str
) -> None:
    # A function may pass a request's header with --header: anybody may have written it.
    if "OF_THE_FILE" in value:
        shared.set(OF_THE_FILE=SHARED, BC2OT_RECEIVER_SECRET=None)
        shared.configure(receiver={"secret": "${OF_THE_FILE}"})
    told = handle(shared, callback(218), "--header", f"{SECRET_HEADER}:{value}")
    told.says(2, "--header cannot use", "--headers-file")
    assert shared.sandbox.requests == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("POST / HTTP/1.1", "a header without a name or a colon"),
        ("\0a:b", "is UTF-16, not UTF-8"),
        ("[]", "a header without a name or a colon"),
        ('{"a": ["b"]}', "not a string"),
        ('{"a": null}', "not a string"),
        ('{"a": ', "starts like a JSON object"),
        ('{"a":' * 5000, "starts like a JSON object"),
    ],
)
def test_an_invalid_headers_file_is_reported(shell: Shell, text: str, why: str) -> None:
    shell.write(text, name="headers")
    told = handle(shell, callback(218), "--headers-file", "headers")
    told.says(3, why, "NAME: VALUE")
    assert shell.sandbox.requests == ()


# Retries


def test_a_refused_order_is_to_be_retried_until_one_tribe_accepts_it(shell: Shell) -> None:
    shell.sandbox.faults.add("onetribe:status@422#218")
    trusted(shell).says(1, "1 failed")
    trusted(shell).says(1, "1 failed before")
    assert shell.sandbox.onetribe.counts() == {}
    shell.sandbox.faults.clear()
    shell.sandbox.store.modify(218, staff_notes="mended")
    trusted(shell, scope="store/order/updated").says(0, "1 delivered")


def test_an_order_whose_response_was_lost_is_to_be_retried(shell: Shell) -> None:
    shell.sandbox.faults.add("onetribe:lost_reply#218")
    trusted(shell).says(1, "1 unknown")
    shell.sandbox.faults.clear()
    trusted(shell).says(0, "1 delivered", "1 possible duplicate")


def test_an_order_that_another_run_is_sending_is_to_be_retried(shell: Shell) -> None:
    with held_up(shell, "push-order", "218"):
        trusted(shell).says(1, "Order 218 still owed: another run is sending it")
    trusted(shell).says(0, "1 already delivered")
    assert shell.sandbox.onetribe.counts() == {218: 1}


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("bigcommerce:status@401", 4),
        ("onetribe:status@404", 4),
        ("bigcommerce:5xx", 5),
        ("bigcommerce:status@400", 5),
    ],
)
def test_problems_other_than_the_callbacks_never_give_exit_code_2(
    shell: Shell, fault: str, code: int
) -> None:
    shell.sandbox.faults.add(fault)
    assert trusted(shell).code == code
    shell.sandbox.faults.clear()
    trusted(shell).says(0, "1 delivered")


def test_a_mistake_in_the_configuration_keeps_the_callback_in_the_queue(shell: Shell) -> None:
    shell.configure(orders={"skip_statuses": ["Nonsense"]})
    trusted(shell).says(3, "no order status 'Nonsense'")
    shell.ledger.write_bytes(b"this is no ledger" * 500)
    trusted(shell).says(3)


# The ledger, when the queue drops the callback


def test_an_order_that_showed_up_late_is_sent_by_a_sync_without_another_callback(
    shell: Shell,
) -> None:
    shell.run("sync").says(0)
    trusted(shell, 99999).says(1, "Order 99999 not in the store")
    assert shell.sandbox.onetribe.counts() == {}
    assert shell.state(99999)["state"] == "pending"
    _make_due(shell)
    shell.sandbox.store.add(id=99999, status_id=11)
    shell.run("sync").says(0, "1 delivered")
    assert shell.sandbox.onetribe.counts() == {99999: 1}
    assert _inbox(shell) == []


@pytest.mark.parametrize("fault", ["bigcommerce:5xx", "bigcommerce:status@401"])
def test_an_order_that_could_not_be_fetched_is_sent_by_a_sync(shell: Shell, fault: str) -> None:
    shell.run("sync").says(0)
    shell.sandbox.faults.add(fault)
    assert trusted(shell).code in (4, 5)
    assert shell.state(218)["state"] == "pending"
    shell.sandbox.faults.clear()
    shell.run("sync").says(0, "1 delivered")
    assert shell.sandbox.onetribe.counts() == {218: 1}


def test_with_on_change_a_change_that_could_not_be_fetched_stays_in_the_inbox(shell: Shell) -> None:
    shell.configure(orders={"resend": "on-change"})
    trusted(shell).says(0)
    shell.sandbox.store.modify(218, staff_notes="changed")
    shell.sandbox.faults.add("bigcommerce:5xx")
    assert trusted(shell).code == 5
    shell.sandbox.faults.clear()
    shell.run("sync").says(0)
    assert _inbox(shell) == [218]
    _make_due(shell)
    shell.run("sync").says(0, "1 delivered")
    assert (shell.sandbox.onetribe.counts(), _inbox(shell)) == ({218: 2}, [])


def test_a_processed_order_leaves_the_inbox(shell: Shell) -> None:
    trusted(shell).says(0)
    shell.sandbox.faults.add("onetribe:status@422")
    refused = next(i for i in shell.sandbox.store.ids() if shell.sandbox.store.row(i).status_id)
    trusted(shell, refused).says(1)
    assert _inbox(shell) == []


def _inbox(shell: Shell) -> list[int]:
    with closing(sqlite3.connect(shell.ledger)) as ledger:
        return [row[0] for row in ledger.execute("SELECT order_id FROM callbacks")]


def _make_due(shell: Shell) -> None:
    """Make every order in the inbox due."""
    with closing(sqlite3.connect(shell.ledger)) as ledger, ledger:
        ledger.execute("UPDATE callbacks SET due_at = received_at")
