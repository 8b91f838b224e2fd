"""The application that callbacks are posted to: what it takes in, and what it tells strangers."""

from __future__ import annotations

import io
import logging
import random
import string
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from onetribe_bc.api.webhook import MAX_CALLBACK_BYTES
from onetribe_bc.delivery.report import Report
from onetribe_bc.errors import ConfigurationError, InputError
from onetribe_bc.ledger.states import Disposition
from onetribe_bc.sandbox import Sandbox
from onetribe_bc.sandbox.sandbox import CLIENT_SECRET
from onetribe_bc.web import app as app_module
from onetribe_bc.web import create_application
from onetribe_bc.web.app import Application
from onetribe_bc.web.journal import REFUSALS_TOLD, Journal
from tests.callbacks import (
    SHARED_SECRET,
    Reply,
    Site,
    ask,
    callback,
    environ_of,
    post,
    signature,
    signed,
    until,
    with_secret,
)
from tests.clocks import FakeClock

LOCAL: dict[str, Any] = {"REMOTE_ADDR": "127.0.0.1"}


@pytest.fixture
def site(sandbox: Sandbox, tmp_path: Path) -> Site:
    return Site(sandbox, tmp_path / "ledger.db")


@contextmanager
def at_rest(site: Site) -> Iterator[Application]:
    """The application over a receiver that delivers nothing any more, so that what is taken in
    stays where it is.
    """
    with site.serving() as service:
        service.clock.stop()
        assert service.receiver.join(30)
        yield service.application


@pytest.fixture
def application(site: Site) -> Iterator[Application]:
    with at_rest(site) as application:
        yield application


def taken_in(site: Site) -> int:
    return len(site.inbox()) + len(site.query("SELECT 1 FROM orders"))


# What is taken in


def test_a_callback_is_in_the_ledger_when_it_is_answered_with_an_empty_200(
    site: Site, application: Application
) -> None:
    reply = post(application, callback(218))
    assert reply == Reply(200, {"Content-Length": "0"}, b"")
    assert site.inbox() == {218: 1}
    assert site.states() == {"pending": 1}


@pytest.mark.parametrize(
    "headers",
    [
        with_secret(),
        {"age_s": 0},
        {"age_s": 280},
        {"age_s": -280},
        {"age_s": 0, **with_secret()},
    ],
)
def test_signature_and_shared_secret_each_prove_that_it_is_bigcommerces(
    site: Site, application: Application, headers: dict[str, Any]
) -> None:
    if (age_s := headers.pop("age_s", None)) is not None:
        headers |= signed(callback(218), age_s=age_s)
    assert post(application, callback(218), headers).status == 200
    assert site.inbox() == {218: 1}


@pytest.mark.parametrize(
    "body",
    [
        callback("218"),
        callback(218, store_id=1025646),
        callback(218, producer="stores/SANDBOX1"),
        callback(218, something_new={"a": [1]}),
        callback(218, "store/channel/1/order/updated"),
        callback(7, "store/order/transaction/created",
                 data={"type": "transaction", "id": 7, "order_id": 218}),
    ],
)  # fmt: skip
def test_all_that_bigcommerce_may_vary_is_taken_in(
    site: Site, application: Application, body: bytes
) -> None:
    assert post(application, body).status == 200
    assert site.inbox() == {218: 1}


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON"])
def test_the_content_type_may_have_parameters(application: Application, content_type: str) -> None:
    assert post(application, callback(218), content_type=content_type).status == 200


def test_a_body_without_a_length_is_read_to_its_end(site: Site, application: Application) -> None:
    chunked: dict[str, Any] = {"CONTENT_LENGTH": None, "wsgi_input_terminated": True}
    assert post(application, callback(218), **chunked).status == 200
    assert post(application, b" " * (MAX_CALLBACK_BYTES + 1), **chunked).status == 413
    assert site.inbox() == {218: 1}


def test_events_that_change_nothing_of_an_order_are_answered_200_and_ignored(
    site: Site, application: Application
) -> None:
    body = callback(218, "store/order/metafield/created", data={"type": "metafield", "id": 3})
    assert post(application, body).status == 200
    assert taken_in(site) == 0


def test_the_path_of_the_hook_can_be_another(site: Site) -> None:
    site.path = "/bigcommerce"
    with at_rest(site) as application:
        assert post(application, callback(218), path="/bigcommerce").status == 200
        assert post(application, callback(218), path="/").status == 404
        assert post(application, callback(218), path="/bigcommerce/").status == 404


# What is not


def altered(name: str, value: str) -> dict[str, str]:
    """The headers of a good callback, but for one."""
    return {**signed(callback(218)), name: value}


REFUSALS: dict[str, tuple[int, dict[str, Any]]] = {
    "unknown path": (404, {"path": "/admin"}),
    "path of another kind": (404, {"path": "//"}),
    "GET": (405, {"method": "GET"}),
    "a method of its own": (405, {"method": "BREW"}),
    "no length": (411, {"CONTENT_LENGTH": None}),
    "length is no number": (400, {"CONTENT_LENGTH": "-1"}),
    "length is no ASCII number": (400, {"CONTENT_LENGTH": "\u0661"}),
    "length far too large": (413, {"CONTENT_LENGTH": "9" * 5000}),
    "body too large": (413, {"body": b" " * (MAX_CALLBACK_BYTES + 1)}),
    "body cut off": (400, {"CONTENT_LENGTH": "4096"}),
    "no content type": (415, {"content_type": None}),
    "form": (415, {"content_type": "application/x-www-form-urlencoded"}),
    "nothing to prove it": (401, {"headers": {}}),
    "wrong secret": (401, {"headers": with_secret("x")}),
    "empty secret": (401, {"headers": with_secret("")}),
    "secret given twice": (401, {"headers": with_secret(f"{SHARED_SECRET}, {SHARED_SECRET}")}),
    "secret not ASCII": (401, {"headers": with_secret("\xe9\xff")}),
    "signed by another": (401, {"headers": signed(callback(218), secret="another")}),
    "signed for another body": (401, {"headers": signed(callback(219))}),
    "signed long ago": (401, {"headers": signed(callback(218), age_s=301)}),
    "signed in the future": (401, {"headers": signed(callback(218), age_s=-3000)}),
    "right signature, wrong secret": (401, {"headers": altered("X-Bc2ot-Secret", "x")}),
    "right secret, wrong signature": (401, {"headers": {**signed(b"x"), **with_secret()}}),
    "timestamp is no number": (401, {"headers": altered("webhook-timestamp", "soon")}),
    "timestamp is not finite": (401, {"headers": altered("webhook-timestamp", "1e999")}),
    "signature is no base64": (401, {"headers": altered("webhook-signature", "v1,\xff")}),
    "signature has no version": (401, {"headers": altered("webhook-signature", "abc")}),
    "no JSON": (400, {"body": b"{"}),
    "not UTF-8": (400, {"body": b"\xff\xfe{}"}),
    "deeply nested": (400, {"body": b"[" * 60_000}),
    "no object": (400, {"body": b"[]"}),
    "no scope": (400, {"body": b"{}"}),
    "no order": (400, {"body": callback(None)}),
    "an id below 1": (400, {"body": callback(-1)}),
    "an id beyond all": (400, {"body": callback(10**30)}),
    "an id that is true": (400, {"body": callback(True)}),
    "another store": (403, {"body": callback(218, producer="stores/other1")}),
    "another scope": (422, {"body": callback(218, "store/product/updated")}),
    "a scope with orders elsewhere": (422, {"body": callback(218, "store/customer/order/made")}),
    "a scope that looks like one of ours": (422, {"body": callback(218, "store/orders/created")}),
}  # fmt: skip
"""Each with its status, and what is different from a good callback."""


@pytest.mark.parametrize("name", REFUSALS)
def test_what_is_no_callback_gets_its_4xx_and_leaves_nothing_behind(
    site: Site, application: Application, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    status, different = REFUSALS[name]
    with caplog.at_level(logging.DEBUG, "onetribe_bc.web"):
        reply = post(application, **{"body": callback(218), **different})
    assert (reply.status, reply.body) == (status, b"")
    assert set(reply.headers) <= {"Content-Length", "Allow"}
    assert taken_in(site) == 0
    assert "Traceback" not in caplog.text


def test_a_wrong_method_is_told_the_right_one(application: Application) -> None:
    assert post(application, b"", method="PUT").headers["Allow"] == "POST"
    assert post(application, b"", path="/healthz").headers["Allow"] == "GET, HEAD"


def test_store_and_scope_are_told_to_nobody_who_cannot_prove_who_they_are(
    application: Application,
) -> None:
    for body in (callback(1, producer="stores/x"), callback(1, "store/product/updated"), b"{"):
        assert post(application, body, {}).status == 401


def test_a_body_that_breaks_off_is_refused(site: Site, application: Application) -> None:
    class Broken(io.BytesIO):
        def read(self, _size: int | None = -1) -> bytes:
            raise ConnectionResetError

    assert post(application, callback(218), wsgi_input=Broken()).status == 400
    assert taken_in(site) == 0


def test_without_checks_only_this_machine_may_post(site: Site) -> None:
    site.verify = False
    with at_rest(site) as application:
        assert post(application, callback(218), {}).status == 401
        assert post(application, callback(218), {}, **LOCAL).status == 200
        for header in ("Forwarded", "Via", "X-Forwarded-For", "X-Real-IP"):
            assert post(application, callback(219), {header: "::1"}, **LOCAL).status == 401
    assert site.inbox() == {218: 1}


def test_a_receiver_that_can_check_nothing_does_not_start(site: Site) -> None:
    site.shared_secret = site.client_secret = None
    with pytest.raises(ConfigurationError, match="from a stranger's") as caught, site.serving():
        pass
    assert "hooks create --receiver" in caught.value.hint


@pytest.mark.parametrize("path", ["", "bigcommerce", "/a b", "/a?b", "/\xe9", "/a\n", "/metrics"])
def test_a_path_that_no_callback_can_come_on_is_refused(site: Site, path: str) -> None:
    site.path = path
    with pytest.raises(InputError), site.serving():
        pass


# When it cannot be kept


def test_what_the_ledger_does_not_take_is_put_off_with_503(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_module, "TAKE_IN_S", 0.05)
    with at_rest(site) as application:
        other = site.connect()
        other.execute("BEGIN IMMEDIATE")
        assert post(application, callback(218)) == Reply(503, {"Content-Length": "0"}, b"")
        other.execute("ROLLBACK")
        monkeypatch.undo()
        assert post(application, callback(218)).status == 200
    with site.serving() as service:
        pass
    assert post(service.application, callback(219)).status == 503  # it is draining
    service.application.draining = False
    assert post(service.application, callback(219)).status == 503  # and its ledger is closed


def test_nothing_of_a_request_that_was_put_off_stays_in_memory(site: Site) -> None:
    class Body(io.BytesIO):
        """A stream that can be watched."""

    with site.serving() as service:
        pass
    service.application.draining = False
    body = Body(callback(218))
    gone = weakref.ref(body)
    environ = environ_of(callback(218), with_secret()) | {"wsgi.input": body}
    assert ask(service.application, environ).status == 503  # its ledger is closed
    del environ, body
    assert gone() is None


def test_a_draining_receiver_takes_nothing_in_and_still_tells_strangers_nothing(
    site: Site, application: Application
) -> None:
    application.draining = True
    assert post(application, callback(218)).status == 503
    assert post(application, callback(218), {}).status == 401
    assert ask(application, environ_of(method="GET", path="/readyz", **LOCAL)).status == 503
    assert taken_in(site) == 0


def test_a_bug_is_a_503_without_a_trace(
    application: Application, caplog: pytest.LogCaptureFixture
) -> None:
    environ = environ_of(callback(218), with_secret())
    environ["CONTENT_TYPE"] = None
    with caplog.at_level(logging.INFO, "onetribe_bc.web"):
        assert ask(application, environ) == Reply(503, {"Content-Length": "0"}, b"")
        until(lambda: "bug: AttributeError" in caplog.text)
    assert "Traceback" not in caplog.text


# How the receiver is


def look(application: Application, path: str, method: str = "GET", **more: Any) -> Reply:
    headers = more.pop("headers", {})
    return ask(application, environ_of(b"", headers, method=method, path=path, **more))


def test_anyone_may_ask_whether_it_is_alive(application: Application) -> None:
    reply = look(application, "/healthz")
    assert (reply.status, reply.body) == (200, b"alive\n")
    head = look(application, "/healthz", "HEAD")
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", "6")


@pytest.mark.parametrize("path", ["/readyz", "/metrics"])
def test_the_rest_is_for_this_machine_or_who_has_the_token(site: Site, path: str) -> None:
    site.token = "token-of-tests"
    with site.serving() as service:
        seen = service.application
        assert look(seen, path, **LOCAL).status == 200
        assert look(seen, path, REMOTE_ADDR="::1").status == 200
        assert look(seen, path).status == 404
        assert look(seen, path, REMOTE_ADDR="").status == 404
        assert look(seen, path, headers={"X-Forwarded-For": "127.0.0.1"}, **LOCAL).status == 404
        for scheme in ("Bearer", "bearer"):
            given = {"Authorization": f"{scheme} token-of-tests"}
            assert look(seen, path, headers=given).status == 200
        for wrong in ("Bearer x", "Bearer \xff", "Basic token-of-tests", "token-of-tests", ""):
            assert look(seen, path, headers={"Authorization": wrong}).status == 404
        assert look(seen, path, "POST", **LOCAL).status == 405
        assert look(seen, path, "POST").status == 404


def test_without_a_token_none_opens_it(application: Application) -> None:
    for given in ("Bearer", "Bearer ", "Bearer None"):
        assert look(application, "/metrics", headers={"Authorization": given}).status == 404


def test_readyz_tells_what_is_wrong_in_a_few_words(application: Application) -> None:
    reply = look(application, "/readyz", **LOCAL)
    assert (reply.status, reply.body) == (503, b"the workers are not running\n")


def test_metrics_count_what_came_and_what_became_of_it(site: Site) -> None:
    with site.serving() as service:
        seen = service.application
        post(seen, callback(218))
        post(seen, callback(1, "store/order/message/created", data={"type": "order", "id": 1}))
        post(seen, callback(218), {})
        post(seen, callback(218), path="/?\"'\n")
        until(lambda: site.sandbox.onetribe.counts() == {218: 1})

        def text() -> str:
            return look(seen, "/metrics", **LOCAL).body.decode()

        until(lambda: 'bc2ot_delivered_orders_total{store="sandbox1"} 1' in text())
        until(lambda: "bc2ot_last_success_timestamp_seconds" in text())
        lines = text().splitlines()
    store = 'store="sandbox1"'
    for line in (
        f"bc2ot_callbacks_accepted_total{{{store}}} 1",
        f'bc2ot_callbacks_refused_total{{{store},reason="signature missing"}} 1',
        f'bc2ot_callbacks_refused_total{{{store},reason="unknown path"}} 1',
        f'bc2ot_delivery_latency_seconds_bucket{{{store},le="+Inf"}} 1',
        f"bc2ot_delivery_latency_seconds_count{{{store}}} 1",
        f"bc2ot_waiting_orders{{{store}}} 0",
        f"bc2ot_owed_orders{{{store}}} 0.000",
        f"bc2ot_unknown_orders{{{store}}} 0.000",
        f"bc2ot_failed_orders{{{store}}} 0.000",
        f"bc2ot_oldest_owed_age_seconds{{{store}}} 0.000",
        "# TYPE bc2ot_delivery_latency_seconds histogram",
    ):
        assert line in lines
    assert any(line.startswith("bc2ot_callbacks_ignored_total{") for line in lines)
    assert len({line for line in lines if line.startswith("# TYPE")}) == sum(
        line.startswith("# TYPE") for line in lines
    )


def test_metrics_leave_out_what_the_ledger_cannot_tell(site: Site) -> None:
    with site.serving() as service:
        pass
    text = look(service.application, "/metrics", **LOCAL).body.decode()
    assert "bc2ot_callbacks_accepted_total" in text
    assert "bc2ot_owed_orders" not in text


# The log


def test_the_log_has_a_line_for_each_callback_and_each_delivery(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "onetribe_bc.web"), site.serving() as service:
        post(service.application, callback(218))
        body = callback(1, "store/order/message/created", data={"type": "order", "id": 1})
        post(service.application, body)
        until(lambda: "delivered" in caplog.text)
    assert "Callback store/order/created for order 218: taken in." in caplog.messages
    assert any(
        m.startswith("Callback store/order/message/created: ignored") for m in caplog.messages
    )
    assert any(
        m.startswith("Order 218: delivered, ") and m.endswith(" s after its callback.")
        for m in caplog.messages
    )


def test_orders_in_trouble_are_told_without_anyones_words(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.sandbox.faults.add("onetribe:status=1@422")
    with caplog.at_level(logging.INFO, "onetribe_bc.web"), site.serving() as service:
        post(service.application, callback(218))
        until(lambda: "Order 218: failed. Why: bc2ot history 218" in caplog.messages)


def test_strangers_cannot_fill_the_log(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    with caplog.at_level(logging.INFO, "onetribe_bc.web"), site.serving(clock) as service:
        seen = service.application
        for number in range(200):
            post(seen, callback(218), {"X-Bc2ot-Secret": f"evil\r\n{number}"})
            post(seen, b"", path=f"/evil{number}")
        until(lambda: len(caplog.messages) >= REFUSALS_TOLD)
        clock.advance(61)
        post(seen, callback(218), {})
    assert len(caplog.messages) == REFUSALS_TOLD + 2
    assert any(
        m.startswith("Refused 390 more requests: 4") and "404 unknown path: 195" in m
        for m in caplog.messages
    )
    assert "evil" not in caplog.text


def test_a_log_that_is_stuck_holds_nobody_up_and_tells_what_is_missing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onetribe_bc.web.journal.LINES_AHEAD", 5)
    go_on = threading.Event()

    class Stuck(logging.Handler):
        def emit(self, _record: logging.LogRecord) -> None:
            go_on.wait(30)

    logger, handler = logging.getLogger("onetribe_bc.web.journal"), Stuck()
    logger.addHandler(handler)
    try:
        with caplog.at_level(logging.INFO, logger.name):
            journal = Journal(FakeClock())
            for order_id in range(1, 101):
                journal.settle(Report(order_id, Disposition.DELIVERED), None)
            go_on.set()
            journal.close()
    finally:
        logger.removeHandler(handler)
    told = [message for message in caplog.messages if "delivered" in message]
    (missing,) = [m for m in caplog.messages if "the log did not keep up" in m]
    assert missing.startswith(f"{100 - len(told)} lines are missing here")
    assert len(told) < 10


# Another WSGI server


def test_other_servers_make_the_application_from_environment_and_files(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[Any] = []
    monkeypatch.setattr("atexit.register", ends.append)
    for name, value in site.sandbox.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("BC2OT_LEDGER", str(site.ledger))
    application = create_application(path="/hook")
    assert post(application, callback(218), signed(callback(218)), path="/hook").status == 200
    until(lambda: site.sandbox.onetribe.counts() == {218: 1})
    (end,) = ends
    end()
    assert post(application, callback(218), signed(callback(218)), path="/hook").status == 503


# Everything else


_SEED = callback(218)
_ALPHABET = string.printable + "\x00\xff\u20ac"
_STATUSES = {200, 400, 401, 403, 404, 405, 411, 413, 415, 422}


def _mutated(dice: random.Random, text: bytes) -> bytes:
    """A few bytes changed, added, doubled or left out."""
    changed = bytearray(text)
    for _ in range(dice.randrange(1, 6)):
        at = dice.randrange(len(changed) + 1)
        match dice.randrange(4):
            case 0:
                changed[at:at] = dice.randbytes(dice.randrange(1, 4))
            case 1:
                del changed[at : at + dice.randrange(1, 9)]
            case 2:
                changed[at:at] = changed[at : at + dice.randrange(1, 30)]
            case 3 if at < len(changed):
                changed[at] = dice.randrange(256)
    return bytes(changed)


def _odd(dice: random.Random, *known: str) -> str:
    if dice.random() < 0.5:
        return dice.choice(known)
    return "".join(dice.choices(_ALPHABET, k=dice.randrange(0, 40)))


def _stray(dice: random.Random) -> tuple[dict[str, Any], bool]:
    """A request, and whether it could pass for BigCommerce's."""
    body = _SEED if dice.random() < 0.2 else _mutated(dice, _SEED)
    good = signed(body if dice.random() < 0.3 else _mutated(dice, body))
    headers = {name: value for name, value in good.items() if dice.random() < 0.9}
    for name in list(headers):
        if dice.random() < 0.2:
            headers[name] = _odd(dice, headers[name], "v1," + "A" * 43 + "=", "0", "-1", "nan", "")
    if dice.random() < 0.3:
        headers["X-Bc2ot-Secret"] = _odd(dice, SHARED_SECRET, SHARED_SECRET[:-1], "")
    environ = environ_of(
        body,
        headers,
        method=_odd(dice, "POST") or "X" if dice.random() < 0.1 else "POST",
        path=_odd(dice, "/", "/metrics", "/readyz") if dice.random() < 0.1 else "/",
        content_type=_odd(dice, "application/json") if dice.random() < 0.2 else "application/json",
    )
    if dice.random() < 0.1:
        environ["CONTENT_LENGTH"] = _odd(dice, "0", "70000", "1e3", " 5", "+7")
    return environ, _is_authentic(headers, environ)


def _is_authentic(headers: dict[str, str], environ: dict[str, Any]) -> bool:
    """By what the headers say, worked out in another way than the receiver does."""
    length = environ["CONTENT_LENGTH"]
    whole = environ["wsgi.input"].getvalue()
    body = whole[: int(length)] if length.isascii() and length.isdigit() else whole
    shared = headers.get("X-Bc2ot-Secret") == SHARED_SECRET
    told = headers.get("webhook-timestamp", "")
    due = signature(CLIENT_SECRET.encode(), headers.get("webhook-id", ""), told, body)
    return shared or due.rstrip("=")[:40] in headers.get("webhook-signature", "")


def test_twenty_thousand_odd_requests_break_nothing_and_get_nothing_in(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    dice = random.Random(20261124)
    seen: dict[int, int] = {}
    accepted = 0
    with at_rest(site) as application, caplog.at_level(logging.DEBUG, "onetribe_bc.web"):
        for _ in range(20_000):
            environ, authentic = _stray(dice)
            reply = ask(application, environ)
            assert reply.status in _STATUSES, environ
            assert reply.body == b"" or environ["PATH_INFO"] in ("/healthz",)
            seen[reply.status] = seen.get(reply.status, 0) + 1
            if reply.status == 200:
                accepted += 1
                assert authentic, environ
    assert accepted > 100
    assert set(seen) >= {200, 400, 401, 404, 405, 413, 415}
    assert not caplog.records or "Traceback" not in caplog.text
