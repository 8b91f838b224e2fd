from __future__ import annotations

import http.client
import json
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from onetribe_bc.sandbox import Fault, Gate, Sandbox
from tests.sandbox.client import Answer, Client, api, onetribe

Ask = Callable[[], Answer]
LEFT = "X-Rate-Limit-Requests-Left"


@pytest.fixture(params=["bigcommerce", "onetribe"])
def service(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def ask(service: str, sandbox: Sandbox, bigcommerce: Client, tribe: Client) -> Ask:
    """One request that succeeds when nothing is wrong; on either side it is about order 218."""
    raw = sandbox.store.raw(218)
    if service == "bigcommerce":
        return lambda: bigcommerce.get("/v2/orders/218")
    return lambda: tribe.send("POST", "", raw)


def filed(sandbox: Sandbox) -> int:
    return sandbox.onetribe.counts().get(218, 0)


def statuses(ask: Ask, times: int) -> list[int]:
    return [ask().status for _ in range(times)]


def test_server_errors_come_in_all_kinds_and_nothing_is_filed(
    sandbox: Sandbox, service: str, ask: Ask
) -> None:
    sandbox.faults.add(f"{service}:5xx")

    assert set(statuses(ask, 60)) == {500, 502, 503, 504}
    assert filed(sandbox) == 0


def test_a_rate_strikes_about_that_often(sandbox: Sandbox, service: str, ask: Ask) -> None:
    sandbox.faults.add(f"{service}:status=0.5@503")

    assert 8 < statuses(ask, 40).count(503) < 32


def test_a_fault_strikes_as_often_as_times_and_skips_some_first(
    sandbox: Sandbox, service: str, ask: Ask
) -> None:
    fault = sandbox.faults.add(Fault(service, "status", status=500, times=2, skip=1))
    assert sandbox.faults.active() == (fault,)

    assert statuses(ask, 5) == [200, 500, 500, 200, 200]
    assert sandbox.faults.active() == ()
    assert fault.struck == 2


def test_a_fault_may_be_limited_to_orders(sandbox: Sandbox, service: str, ask: Ask) -> None:
    sandbox.faults.add(f"{service}:status@422#219,300")
    assert ask().status == 200

    sandbox.faults.add(f"{service}:status@422#218")
    assert ask().status == 422


def test_a_fault_may_be_limited_to_a_method_or_path(bigcommerce: Client, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("bigcommerce", "status", status=500, path="/hooks"))
    sandbox.faults.add(Fault("bigcommerce", "status", status=503, method="POST"))

    assert bigcommerce.get("/v2/time").status == 200
    assert bigcommerce.get("/v3/hooks").status == 500
    assert bigcommerce.send("POST", "/v2/time").status == 503


def test_a_status_may_have_headers_and_a_body(sandbox: Sandbox, service: str, ask: Ask) -> None:
    sandbox.faults.add(
        Fault(
            service,
            "status",
            status=429,
            headers=(("Retry-After", "7"),),
            body=b"slow down",
            times=1,
        )
    )
    sandbox.faults.add(
        Fault(service, "status", status=301, headers=(("Location", "http://127.0.0.1/x"),))
    )
    busy, moved = ask(), ask()

    assert (busy.status, busy.headers["Retry-After"], busy.body) == (429, "7", b"slow down")
    assert (moved.status, moved.headers["Location"]) == (301, "http://127.0.0.1/x")
    assert filed(sandbox) == 0


PAGE = b"<!DOCTYPE html>"


@pytest.mark.parametrize(
    ("spec", "status", "header", "body", "times_filed"),
    [
        ("status@202", 202, "Content-Type: application/json", b"{", 1),
        ("html", 502, "Content-Type: text/html", PAGE, 0),
        ("html@200", 200, "Content-Type: text/html", PAGE, 1),
        ("gateway", 504, "Content-Type: text/html", PAGE, 1),
        ("gateway@502", 502, "Content-Type: text/html", PAGE, 1),
        ("empty", 200, "Content-Length: 0", b"", 1),
        ("empty@404", 404, "Content-Length: 0", b"", 0),
        ("retry_after", 503, "Retry-After: 0", b"", 0),
        ("retry_after@1e15", 503, f"Retry-After: {10**15}", b"", 0),
    ],
)
def test_a_response_is_replaced_before_or_after_the_order_is_filed(
    sandbox: Sandbox,
    service: str,
    ask: Ask,
    spec: str,
    status: int,
    header: str,
    body: bytes,
    times_filed: int,
) -> None:
    sandbox.faults.add(f"{service}:{spec}")
    answer = ask()

    assert answer.status == status
    assert header in [f"{name}: {value}" for name, value in answer.headers.items()]
    assert answer.body.startswith(body)
    assert filed(sandbox) == (times_filed if service == "onetribe" else 0)


def test_a_truncated_body_ends_before_its_length(sandbox: Sandbox, service: str, ask: Ask) -> None:
    sandbox.faults.add(f"{service}:truncated*1")
    with pytest.raises(http.client.IncompleteRead):
        ask()

    assert ask().status == 200
    assert filed(sandbox) == (2 if service == "onetribe" else 0)


def test_cut_json_has_the_length_of_what_is_left(sandbox: Sandbox, service: str, ask: Ask) -> None:
    whole = ask().body
    sandbox.faults.add(f"{service}:cut_json")

    assert ask().body == whole[: len(whole) // 2]


def test_a_garbled_body_is_broken_json_or_broken_utf8(
    sandbox: Sandbox, service: str, ask: Ask
) -> None:
    sandbox.faults.add(f"{service}:garbled")
    kinds = Counter[str]()
    for _ in range(20):
        answer = ask()
        assert answer.status == 200
        with pytest.raises(ValueError, match=r"codec|Invalid|Expecting") as caught:
            answer.json()
        kinds[type(caught.value).__name__] += 1

    assert set(kinds) == {"UnicodeDecodeError", "JSONDecodeError"}


def test_a_reset_comes_before_the_work(sandbox: Sandbox, service: str, ask: Ask) -> None:
    sandbox.faults.add(f"{service}:reset*1")
    with pytest.raises(ConnectionResetError):
        ask()

    assert filed(sandbox) == 0
    assert ask().status == 200
    log = sandbox.requests if service == "bigcommerce" else sandbox.onetribe.requests
    assert [record.status for record in log] == [None, 200]


def test_a_lost_reply_comes_after_the_work(sandbox: Sandbox, tribe: Client) -> None:
    sandbox.faults.add("onetribe:lost_reply")
    with pytest.raises(ConnectionResetError):
        tribe.send("POST", "", {"id": 218})

    (received,) = sandbox.onetribe.received
    assert (received.filed, received.answered) == (True, None)


def test_a_bare_429_has_no_quota_headers(service: str) -> None:
    with Sandbox(orders=0, example=True) as sandbox:
        sandbox.faults.add(f"{service}:bare_429*1")
        with api(sandbox) as bigcommerce, onetribe(sandbox) as tribe:
            client = bigcommerce if service == "bigcommerce" else tribe
            answer = client.send("POST", "", {"id": 218})
            sandbox.faults.add("bigcommerce:5xx")
            after = bigcommerce.get("/v2/time")  # other errors keep them

    assert answer.status == 429
    assert LEFT not in answer.headers
    assert "Retry-After" not in answer.headers
    assert LEFT in after.headers


def test_a_dripping_body_arrives_whole(sandbox: Sandbox, service: str, ask: Ask) -> None:
    whole = ask().body
    sandbox.faults.add(f"{service}:drip@0")

    assert ask().body == whole
    assert ask().body == whole  # on the same connection


def test_a_slow_response_may_also_be_an_error(sandbox: Sandbox, service: str, ask: Ask) -> None:
    sandbox.faults.add(f"{service}:slow@0.001")
    sandbox.faults.add(Fault(service, "slow", delay_s=0, after=True))
    assert ask().status == 200

    sandbox.faults.add(f"{service}:status@500")
    assert ask().status == 500


@pytest.mark.parametrize("after", [False, True])
def test_a_request_is_held_until_its_gate_opens(
    sandbox: Sandbox, tribe: Client, *, after: bool
) -> None:
    gate = sandbox.faults.hold("onetribe", after=after)
    answers: list[Answer] = []
    sender = threading.Thread(target=lambda: answers.append(tribe.send("POST", "", {"id": 218})))
    sender.start()
    gate.wait_arrival()
    assert answers == []
    assert filed(sandbox) == (1 if after else 0)
    (received,) = sandbox.onetribe.received
    assert received.answered is None

    gate.open()
    sender.join()
    assert answers[0].status == 200
    assert filed(sandbox) == 1


@pytest.mark.parametrize("how", ["clear", "stop"])
def test_held_requests_are_released_on_clear_and_stop(
    sandbox: Sandbox, bigcommerce: Client, how: str
) -> None:
    gate = Gate()
    sandbox.faults.add(Fault("bigcommerce", "hold", gate=gate))
    outcome: list[object] = []

    def send() -> None:
        try:
            outcome.append(bigcommerce.get("/v2/time").status)
        except (OSError, http.client.HTTPException) as error:
            outcome.append(error)

    sender = threading.Thread(target=send)
    sender.start()
    gate.wait_arrival()
    if how == "clear":
        sandbox.faults.clear()
    else:
        sandbox.stop()
    sender.join()

    assert len(outcome) == 1


@pytest.mark.parametrize(
    ("kind", "spoiled"),
    [
        ("object_for_list", lambda rows: {"orders": rows}),
        ("not_ascending", lambda rows: rows[::-1]),
        (
            "row_without_id",
            lambda rows: [*rows[:-1], {k: v for k, v in rows[-1].items() if k != "id"}],
        ),
    ],
)
def test_a_list_fault_alters_lists_only(
    sandbox: Sandbox, bigcommerce: Client, kind: str, spoiled: Callable[[Any], Any]
) -> None:
    rows = bigcommerce.get("/v2/orders", limit=5).json()
    sandbox.faults.add(f"bigcommerce:{kind}")

    assert bigcommerce.get("/v2/orders", limit=5).json() == spoiled(rows)
    assert bigcommerce.get("/v2/orders", page=99).status == 204
    assert bigcommerce.get("/v2/orders/218").json()["id"] == 218
    assert bigcommerce.get("/v2/orders/count").status == 200


def test_date_filters_may_be_ignored(sandbox: Sandbox, bigcommerce: Client) -> None:
    params = {"min_date_modified": "2030-01-01T00:00:00Z", "max_id": 218, "limit": 250}
    assert bigcommerce.get("/v2/orders", **params).status == 204
    sandbox.faults.add("bigcommerce:date_filter_ignored")

    rows = json.loads(bigcommerce.get("/v2/orders", **params).body)
    assert [row["id"] for row in rows] == [each for each in sandbox.store.ids() if each <= 218]


def test_a_fault_strikes_the_same_requests_again_whatever_else_does() -> None:
    def struck(*others: str) -> list[bool]:
        with Sandbox(orders=0, seed=1, example=True, quota=None) as sandbox:
            sandbox.faults.replace(["onetribe:status=0.5@503", *others])
            with onetribe(sandbox) as tribe:
                return [tribe.send("POST", "", {"id": 218}).status == 503 for _ in range(40)]

    assert struck() == struck("onetribe:status=0.5@422")
