"""The WSGI application: which callbacks it records, and what clients learn."""

from __future__ import annotations

import io
import logging
import random
import string
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from onetribe_bc.api.webhook import MAX_CALLBACK_BYTES
from onetribe_bc.delivery.report import Report
from onetribe_bc.errors import ConfigurationError, InputError
from onetribe_bc.ledger.states import Disposition
from onetribe_bc.location import Location
from onetribe_bc.sandbox import Sandbox
from onetribe_bc.sandbox.sandbox import CLIENT_SECRET
from onetribe_bc.web import create_application
from onetribe_bc.web.access_log import REFUSALS_LOGGED, AccessLog
from onetribe_bc.web.app import Application
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
    """The application over a receiver that has stopped delivering, so that the inbox keeps what
    is recorded.
    """
    with site.serving() as service:
        service.clock.stop()
        assert service.receiver.join(30)
        yield service.application


@pytest.fixture
def application(site: Site) -> Iterator[Application]:
    with at_rest(site) as application:
        yield application


def recorded(site: Site) -> int:
    return len(site.inbox()) + len(site.query("SELECT 1 FROM orders"))


# Recorded


def test_a_callback_is_in_the_ledger_before_its_empty_200_response(
    site: Site, application: Application
) -> None:
    reply = post(application, callback(218))
    assert reply == Reply(200, {"Content-Length": "0"}, b"")
    assert site.inbox() == {218: 1}
    assert site.states() == {"pending": 1}


@pytest.mark.parametrize("proofs", [(signed,), (with_secret,), (signed, with_secret)])
def test_a_signature_or_the_shared_secret_proves_a_callback(
    site: Site, application: Application, proofs: Sequence[Callable[..., dict[str, str]]]
) -> None:
    body = callback(218)
    headers: dict[str, str] = {}
    for proof in proofs:
        headers |= proof(body) if proof is signed else proof()
    assert post(application, body, headers).status == 200
    assert site.inbox() == {218: 1}


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON"])
def test_the_content_type_may_have_parameters(application: Application, content_type: str) -> None:
    assert post(application, callback(218), content_type=content_type).status == 200


def test_a_chunked_body_is_read_to_its_end(site: Site, application: Application) -> None:
    chunked: dict[str, Any] = {"CONTENT_LENGTH": None, "wsgi_input_terminated": True}
    assert post(application, callback(218), **chunked).status == 200
    assert post(application, b" " * (MAX_CALLBACK_BYTES + 1), **chunked).status == 413
    assert site.inbox() == {218: 1}


@pytest.mark.parametrize("path", ["/hooks", "/hooks/"])
def test_a_slash_at_the_end_of_the_path_makes_no_difference(site: Site, path: str) -> None:
    site.path = path
    with at_rest(site) as application:
        for order_id, given in enumerate(("/hooks", "/hooks/"), start=218):
            assert post(application, callback(order_id), path=given).status == 200
        assert post(application, callback(1), path="/hooks/x").status == 404
        assert monitor(application, "/healthz/").status == 200
    assert set(site.inbox()) == {218, 219}


@pytest.mark.parametrize(
    ("scope", "fields"),
    [
        ("store/product/updated", {}),
        ("store/order/metafield/created", {"data": {"type": "metafield", "id": 3}}),
        ("store/hook/deliveryException", {"producer": None, "data": {"code": 90002}}),
        ("store/information/updated", {"producer": "stores/another1"}),
    ],
)
def test_an_authentic_callback_that_changes_no_order_gets_200_and_is_ignored(
    site: Site, application: Application, scope: str, fields: dict[str, Any]
) -> None:
    assert post(application, callback(218, scope, **fields)).status == 200
    assert post(application, callback(218, scope, **fields), {}).status == 401
    assert recorded(site) == 0


def test_a_byte_order_mark_before_a_callback_is_ignored(
    site: Site, application: Application
) -> None:
    body = b"\xef\xbb\xbf" + callback(218)
    assert post(application, body, signed(body)).status == 200
    assert site.inbox() == {218: 1}


# Refused


REFUSALS: dict[str, tuple[int, dict[str, Any]]] = {
    "unknown path": (404, {"path": "/admin"}),
    "path of another kind": (404, {"path": "//x"}),
    "GET": (405, {"method": "GET"}),
    "unknown method": (405, {"method": "BREW"}),
    "no length": (411, {"CONTENT_LENGTH": None}),
    "length not in ASCII digits": (400, {"CONTENT_LENGTH": "\u0661"}),
    "length far too large": (413, {"CONTENT_LENGTH": "9" * 5000}),
    "body too large": (413, {"body": b" " * (MAX_CALLBACK_BYTES + 1)}),
    "body cut off": (400, {"CONTENT_LENGTH": "4096"}),
    "no content type": (415, {"content_type": None}),
    "form": (415, {"content_type": "application/x-www-form-urlencoded"}),
    "no proof": (401, {"headers": {}}),
    "wrong secret": (401, {"headers": with_secret("x")}),
    "signature of a different body": (401, {"headers": lambda: signed(callback(219))}),
    "signed long ago": (401, {"headers": lambda: signed(callback(218), age_s=301)}),
    "right secret, wrong signature": (401, {"headers": lambda: signed(b"x") | with_secret()}),
    "not JSON": (400, {"body": b"{"}),
    "not UTF-8": (400, {"body": b"\xff\xfe{}"}),
    "no order": (400, {"body": callback(None)}),
    "a different store": (403, {"body": callback(218, producer="stores/other1")}),
}  # fmt: skip
"""Each with its status and what differs from a valid callback."""


@pytest.mark.parametrize("name", REFUSALS)
def test_an_invalid_request_gets_an_empty_4xx_and_leaves_no_trace_in_the_ledger(
    site: Site, application: Application, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    status, different = REFUSALS[name]
    # Signatures are of the moment.
    different = {key: value() if callable(value) else value for key, value in different.items()}
    with caplog.at_level(logging.DEBUG, "onetribe_bc.web"):
        reply = post(application, **{"body": callback(218), **different})
    assert (reply.status, reply.body) == (status, b"")
    assert set(reply.headers) <= {"Content-Length", "Allow"}
    assert recorded(site) == 0
    assert "Traceback" not in caplog.text


def test_a_405_names_the_allowed_methods(application: Application) -> None:
    assert post(application, b"", method="PUT").headers["Allow"] == "POST"
    assert post(application, b"", path="/healthz").headers["Allow"] == "GET, HEAD"


def test_unauthenticated_clients_learn_nothing_about_store_and_scope(
    application: Application,
) -> None:
    for body in (callback(1, producer="stores/x"), callback(1, "store/product/updated"), b"{"):
        assert post(application, body, {}).status == 401


def test_a_body_cut_off_by_the_client_is_refused(site: Site, application: Application) -> None:
    class Broken(io.BytesIO):
        def read(self, _size: int | None = -1) -> bytes:
            raise ConnectionResetError

    assert post(application, callback(218), wsgi_input=Broken()).status == 400
    assert recorded(site) == 0


def test_without_verification_only_this_machine_may_post(site: Site) -> None:
    site.verify = False
    with at_rest(site) as application:
        assert post(application, callback(218), {}).status == 401
        assert post(application, callback(218), {}, **LOCAL).status == 200
        for header in ("Forwarded", "Via", "X-Forwarded-For", "X-Real-IP"):
            assert post(application, callback(219), {header: "::1"}, **LOCAL).status == 401
    assert site.inbox() == {218: 1}


OF_A_PAGE = [
    {"Host": "rebound.example"},
    {"Host": "rebound.example:8080"},
    {"Host": "127.0.0.1.rebound.example"},
    {"Host": "[::1"},
    {"Host": "127.0.0.1:8080", "Origin": "https://evil.example"},
    {"Host": "127.0.0.1:8080", "Origin": "null"},
    {"Host": "localhost", "Origin": "http://localhost:3000"},
    {"Host": "localhost", "Sec-Fetch-Site": "cross-site"},
]
"""What browsers send for a web page that is open on this machine."""


@pytest.mark.parametrize("headers", OF_A_PAGE)
def test_a_web_page_open_on_this_machine_counts_as_elsewhere(
    site: Site, headers: dict[str, str]
) -> None:
    site.verify = False
    with at_rest(site) as application:
        assert post(application, callback(218), headers, **LOCAL).status == 401
        for path in ("/readyz", "/metrics"):
            assert monitor(application, path, headers=headers, **LOCAL).status == 404
    assert recorded(site) == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8080", "localhost:1", "[::1]:8080"])
def test_programs_on_this_machine_may_use_any_of_its_loopback_names(
    application: Application, host: str
) -> None:
    assert monitor(application, "/metrics", headers={"Host": host}, **LOCAL).status == 200


def test_a_receiver_without_any_secret_does_not_start(site: Site) -> None:
    site.shared_secret = site.client_secret = None
    with pytest.raises(ConfigurationError, match="No secret is set") as caught, site.serving():
        pass
    assert "hooks create --receiver" in caught.value.hint


@pytest.mark.parametrize("path", ["", "bigcommerce", "/a b", "/a?b", "/\xe9", "/a\n", "/metrics"])
def test_an_invalid_path_is_refused(site: Site, path: str) -> None:
    site.path = path
    with pytest.raises(InputError), site.serving():
        pass


# Ledger unavailable, shutdown, bugs


def test_a_callback_gets_503_while_the_ledger_is_locked_and_after_it_is_closed(
    sandbox: Sandbox, location: Location
) -> None:
    site = Site(sandbox, location)
    with at_rest(site) as application:
        with site.locked():
            application.ledger_timeout_s = 0.05
            assert post(application, callback(218)) == Reply(503, {"Content-Length": "0"}, b"")
        application.ledger_timeout_s = 30
        assert post(application, callback(218)).status == 200
    application.draining = False
    assert post(application, callback(219)).status == 503


def test_a_stopping_receiver_answers_503_to_authentic_callbacks_only(
    site: Site, application: Application
) -> None:
    application.draining = True
    assert post(application, callback(218)).status == 503
    assert post(application, callback(218), {}).status == 401
    assert ask(application, environ_of(method="GET", path="/readyz", **LOCAL)).status == 503
    assert recorded(site) == 0


def test_a_bug_is_a_503_without_a_traceback(
    application: Application, caplog: pytest.LogCaptureFixture
) -> None:
    environ = environ_of(callback(218), with_secret())
    environ["CONTENT_TYPE"] = None
    with caplog.at_level(logging.INFO, "onetribe_bc.web"):
        assert ask(application, environ) == Reply(503, {"Content-Length": "0"}, b"")
        until(lambda: "bug: AttributeError" in caplog.text)
    assert "Traceback" not in caplog.text


# Monitoring


def monitor(application: Application, path: str, method: str = "GET", **more: Any) -> Reply:
    headers = more.pop("headers", {})
    return ask(application, environ_of(b"", headers, method=method, path=path, **more))


def test_healthz_is_open_to_anyone(application: Application) -> None:
    reply = monitor(application, "/healthz")
    assert (reply.status, reply.body) == (200, b"alive\n")
    head = monitor(application, "/healthz", "HEAD")
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", "6")


@pytest.mark.parametrize("path", ["/readyz", "/metrics"])
def test_readyz_and_metrics_need_the_token_on_this_machine_too(site: Site, path: str) -> None:
    site.token = "token-of-tests"
    with site.serving() as service:
        seen = service.application
        assert monitor(seen, path, **LOCAL).status == 404
        assert monitor(seen, path).status == 404
        for scheme in ("Bearer", "bearer"):
            given = {"Authorization": f"{scheme} token-of-tests"}
            assert monitor(seen, path, headers=given).status == 200
        for wrong in ("Bearer x", "Bearer \xff", "Basic token-of-tests", "token-of-tests", ""):
            assert monitor(seen, path, headers={"Authorization": wrong}).status == 404
        assert monitor(seen, path, "POST", headers=given).status == 405
        assert monitor(seen, path, "POST").status == 404


@pytest.mark.parametrize("path", ["/readyz", "/metrics"])
def test_without_a_token_readyz_and_metrics_need_this_machine(
    application: Application, path: str
) -> None:
    for address, status in (("127.0.0.1", {200, 503}), ("::1", {200, 503}), ("", {404})):
        assert monitor(application, path, REMOTE_ADDR=address).status in status
    assert monitor(application, path).status == 404
    proxied = {"X-Forwarded-For": "127.0.0.1"}
    assert monitor(application, path, headers=proxied, **LOCAL).status == 404


def test_without_a_configured_token_no_bearer_token_is_accepted(application: Application) -> None:
    for given in ("Bearer", "Bearer ", "Bearer None"):
        assert monitor(application, "/metrics", headers={"Authorization": given}).status == 404


def test_readyz_names_the_problem(application: Application) -> None:
    reply = monitor(application, "/readyz", **LOCAL)
    assert (reply.status, reply.body) == (503, b"the workers are not running\n")


def test_metrics_count_callbacks_refusals_and_deliveries(site: Site) -> None:
    with site.serving() as service:
        seen = service.application
        seen.status_age = timedelta(0)
        post(seen, callback(218))
        post(seen, callback(1, "store/order/message/created", data={"type": "order", "id": 1}))
        post(seen, callback(218), {})
        post(seen, callback(218), path="/?\"'\n")
        until(lambda: site.sandbox.onetribe.counts() == {218: 1})

        def text() -> str:
            return monitor(seen, "/metrics", **LOCAL).body.decode()

        until(lambda: 'bc2ot_delivered_orders_total{store="sandbox1"} 1.0' in text())
        until(lambda: "bc2ot_last_success_timestamp_seconds" in text())
        lines = text().splitlines()
    store = 'store="sandbox1"'
    for line in (
        f"bc2ot_callbacks_accepted_total{{{store}}} 1.0",
        f'bc2ot_callbacks_refused_total{{reason="signature missing",{store}}} 1.0',
        f'bc2ot_callbacks_refused_total{{reason="unknown path",{store}}} 1.0',
        f'bc2ot_delivery_latency_seconds_bucket{{le="+Inf",{store}}} 1.0',
        f"bc2ot_delivery_latency_seconds_count{{{store}}} 1.0",
        f"bc2ot_waiting_orders{{{store}}} 0.0",
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


def test_metrics_repeat_the_ledgers_figures_for_30_seconds(site: Site) -> None:
    with site.serving() as service:
        seen = service.application
        assert seen.status_age == timedelta(seconds=30)
        before = monitor(seen, "/metrics", **LOCAL).body
        assert b"bc2ot_owed_orders" in before
    text = monitor(seen, "/metrics", **LOCAL).body  # the ledger is closed by now
    assert b"bc2ot_owed_orders" in text
    seen.status_age = timedelta(0)
    assert b"bc2ot_owed_orders" not in monitor(seen, "/metrics", **LOCAL).body


# The log


def test_each_callback_and_each_delivery_is_logged(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "onetribe_bc.web"), site.serving() as service:
        post(service.application, callback(218))
        body = callback(1, "store/order/message/created", data={"type": "order", "id": 1})
        post(service.application, body)
        until(lambda: "delivered" in caplog.text)
    assert "Callback store/order/created for order 218: recorded." in caplog.messages
    assert any(
        m.startswith("Callback store/order/message/created: ignored") for m in caplog.messages
    )
    assert any(
        m.startswith("Order 218: delivered, ") and m.endswith(" s after its callback.")
        for m in caplog.messages
    )


def test_a_failed_order_is_logged_without_the_text_of_the_response(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.sandbox.faults.add("onetribe:status=1@422")
    with caplog.at_level(logging.INFO, "onetribe_bc.web"), site.serving() as service:
        post(service.application, callback(218))
        until(lambda: "Order 218: failed. Why: bc2ot history 218" in caplog.messages)


def test_refused_requests_cannot_fill_the_log(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    with caplog.at_level(logging.INFO, "onetribe_bc.web"), site.serving(clock) as service:
        seen = service.application
        for number in range(200):
            post(seen, callback(218), {"X-Bc2ot-Secret": f"evil\r\n{number}"})
            post(seen, b"", path=f"/evil{number}")
        clock.advance(61)
        post(seen, callback(218), {})
    refusals = [message for message in caplog.messages if message.startswith("Refused ")]
    assert len(refusals) == REFUSALS_LOGGED + 2
    assert any(
        m.startswith("Refused 390 more requests: 4") and "404 unknown path: 195" in m
        for m in refusals
    )
    assert "evil" not in caplog.text


def test_a_stuck_log_delays_nobody_and_the_dropped_lines_are_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    go_on = threading.Event()

    class Stuck(logging.Handler):
        def emit(self, _record: logging.LogRecord) -> None:
            go_on.wait(30)

    logger, handler = logging.getLogger("onetribe_bc.web.access_log"), Stuck()
    logger.addHandler(handler)
    try:
        with caplog.at_level(logging.INFO, logger.name):
            access_log = AccessLog(FakeClock(), max_waiting_lines=5)
            for order_id in range(1, 101):
                access_log.settle(Report(order_id, Disposition.DELIVERED), None)
            go_on.set()
            access_log.close()
    finally:
        logger.removeHandler(handler)
    written = [message for message in caplog.messages if "delivered" in message]
    (dropped,) = [message for message in caplog.messages if "the writer fell behind" in message]
    assert dropped.startswith(f"Dropped {100 - len(written)} log lines")
    assert len(written) < 10


# Another WSGI server


def test_create_application_takes_its_configuration_from_the_environment(
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


# Random requests


_SEED = callback(218)
_ALPHABET = string.printable + "\x00\xff\u20ac"
_STATUSES = {200, 400, 401, 403, 404, 405, 411, 413, 415}


def _mutated(dice: random.Random, text: bytes) -> bytes:
    """`text` with a few bytes changed, added, repeated or removed."""
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
    """A random request, and whether it may pass as authentic."""
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
    """Whether the headers prove the body, computed without the receiver's code."""
    length = environ["CONTENT_LENGTH"]
    whole = environ["wsgi.input"].getvalue()
    body = whole[: int(length)] if length.isascii() and length.isdigit() else whole
    shared = headers.get("X-Bc2ot-Secret") == SHARED_SECRET
    told = headers.get("webhook-timestamp", "")
    due = signature(CLIENT_SECRET.encode(), headers.get("webhook-id", ""), told, body)
    return shared or due.rstrip("=")[:40] in headers.get("webhook-signature", "")


def test_of_twenty_thousand_random_requests_only_authentic_ones_are_recorded(
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
