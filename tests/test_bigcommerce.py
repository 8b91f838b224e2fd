from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import responses
from hypothesis import example, given
from hypothesis import strategies as st

from onetribe_bc.api.bigcommerce import ApiVersion, BigCommerceClient, OrderQuery
from onetribe_bc.api.hooks import mask_destination
from onetribe_bc.api.http import Timeouts
from onetribe_bc.api.onetribe import OneTribeClient
from onetribe_bc.api.quoting import error_text
from onetribe_bc.commands.hooks import Webhooks
from onetribe_bc.dates import Window
from onetribe_bc.delivery.fetching import iter_pages
from onetribe_bc.errors import (
    BadResponseError,
    Bc2otError,
    CredentialsError,
    ExitCode,
    NoConnectionError,
    NoResponseError,
    NotFoundError,
    RefusedError,
    RejectedError,
    RetryLaterError,
    ScopeError,
    UnreachableError,
    WrongStoreError,
)
from onetribe_bc.order import parse_order
from onetribe_bc.sandbox import ORDERS_SCOPE, Fault, Quota, Request, Sandbox
from onetribe_bc.secret import Secret
from tests.clocks import FakeClock
from tests.conftest import SERVER_NOW, ClientFactory, SandboxFactory

API = "https://api.bigcommerce.com/stores/abc123"
ALL = OrderQuery()


@pytest.fixture
def client(clock: FakeClock) -> BigCommerceClient:
    """A client for BigCommerce's own URL, to which `responses` responds."""
    return BigCommerceClient(store_hash="abc123", access_token=Secret("t0ken-value"), clock=clock)


def ids(client: BigCommerceClient, query: OrderQuery = ALL) -> list[int]:
    return [order.id for page in iter_pages(client, query) for order in page.orders]


def strike(sandbox: Sandbox, kind: str, **options: Any) -> None:
    sandbox.faults.add(Fault("bigcommerce", kind, **options))


# One order


def test_an_order_comes_byte_for_byte_as_bigcommerce_sent_it_singly_and_in_a_list(
    make_sandbox: SandboxFactory, make_bigcommerce: ClientFactory
) -> None:
    """No schema drops unknown fields on the way."""
    sandbox = make_sandbox(300, example=True)
    client = make_bigcommerce(sandbox)
    listed = [order for page in iter_pages(client, ALL) for order in page.orders]
    assert {order.id: order.body for order in listed} == {
        order_id: sandbox.store.raw(order_id) for order_id in sandbox.store.ids()
    }
    assert client.get_order(218) == next(order for order in listed if order.id == 218)


def test_a_missing_order_is_requested_three_times(
    sandbox: Sandbox, bigcommerce: BigCommerceClient, clock: FakeClock
) -> None:
    with pytest.raises(NotFoundError, match="BigCommerce has no order 99999") as caught:
        bigcommerce.get_order(99_999)
    assert "incomplete order is deleted" in caught.value.hint
    assert [record.status for record in sandbox.requests] == [404, 404, 404]
    assert clock.slept == [0.5, 1.0]


def test_an_order_that_lags_behind_its_callback_is_found(
    sandbox: Sandbox, bigcommerce: BigCommerceClient
) -> None:
    strike(sandbox, "status", status=404, times=2)
    assert bigcommerce.get_order(218).id == 218


@responses.activate
def test_a_different_order_than_requested_is_an_error(client: BigCommerceClient) -> None:
    responses.get(f"{API}/v2/orders/7", body=b'{"id":8}')
    with pytest.raises(BadResponseError, match="responded with order 8, not 7"):
        client.get_order(7)


# Failures


FAILURES: dict[str, type[UnreachableError]] = {
    **dict.fromkeys(("5xx", "bare_429", "html"), RetryLaterError),
    **dict.fromkeys(("reset", "lost_reply"), NoResponseError),
    **dict.fromkeys(("empty", "garbled", "truncated", "cut_json"), BadResponseError),
    **dict.fromkeys(("object_for_list", "row_without_id", "not_ascending"), BadResponseError),
}


@pytest.mark.parametrize("kind", FAILURES)
def test_a_failure_during_a_run_is_retried_and_no_order_is_skipped(
    make_sandbox: SandboxFactory, make_bigcommerce: ClientFactory, kind: str
) -> None:
    """A 500, a 429 or a broken body in mid-run once lost orders, with an exit code of 0."""
    sandbox = make_sandbox(600)
    strike(sandbox, kind, skip=1, times=4, status=200 if kind == "html" else 0)
    assert tuple(ids(make_bigcommerce(sandbox))) == sandbox.store.ids()


@pytest.mark.parametrize("kind", FAILURES)
def test_a_persistent_failure_stops_after_five_attempts(
    sandbox: Sandbox, bigcommerce: BigCommerceClient, clock: FakeClock, kind: str
) -> None:
    strike(sandbox, kind)
    with pytest.raises(FAILURES[kind]):
        bigcommerce.list_orders(ALL)
    assert len(sandbox.requests) == 5
    assert [round(s, 3) for s in clock.slept if s > 0.1] == [0.5, 1.0, 2.0, 4.0]


def test_a_silent_server_is_retried(sandbox: Sandbox, make_bigcommerce: ClientFactory) -> None:
    gate = sandbox.faults.hold("bigcommerce", times=1)
    client = make_bigcommerce(sandbox, timeouts=Timeouts(connect_s=5, read_s=0.2))
    assert client.get_order(218).id == 218
    gate.open()


def test_without_a_connection_the_run_stops(clock: FakeClock, sandbox: Sandbox) -> None:
    sandbox.stop()
    client = BigCommerceClient(
        store_hash="abc123", access_token=Secret("t"), clock=clock, api_url=sandbox.api_url
    )
    with pytest.raises(NoConnectionError):
        client.get_order(218)
    assert len(clock.slept) == 4


def test_the_last_page_is_a_204_without_a_body(
    sandbox: Sandbox, bigcommerce: BigCommerceClient
) -> None:
    """The final 204 once crashed with a JSON decode error."""
    assert tuple(ids(bigcommerce)) == sandbox.store.ids()
    assert [record.status for record in sandbox.requests] == [200, 204]


# Refusals


NOT_THE_API = "not the API's own response"
MESSAGES: list[tuple[int, str, type[Bc2otError], str]] = [
    (401, '[{"message":"Unauthorized"}]', CredentialsError,
     "Orders: BigCommerce responded with 401 (Unauthorized). The access token is not valid"),
    (401, "<h1>Sign in to the proxy</h1>", RefusedError, "Sign in to the proxy"),
    (403, '[{"message":"Store is suspended"}]', RefusedError, "suspended"),
    (403, '{"title":"IP address not allowed"}', RefusedError, "IP address not allowed"),
    (403, "<title>Attention Required! | Cloudflare</title>", RefusedError, "Cloudflare"),
    (403, '{"title":"You lack a required scope"}', ScopeError, "the scope"),
    (403, "", ScopeError, "the scope"),
    (403, '{"fault":{"faultstring":"quota"}}', RefusedError, "responded with 403"),
    (403, "\ufeff <!doctype html><h1>No</h1>", RefusedError, "a web page"),
    (404, '[{"status":404}]', WrongStoreError, "no store abc123 with such an API. Check store_ha"),
    (404, "\n<!DOCTYPE html><p>Not found</p>", BadResponseError, NOT_THE_API),
    (404, "default backend - 404", BadResponseError, NOT_THE_API),
    (404, "", BadResponseError, NOT_THE_API),
    *((n, "", RetryLaterError, str(n)) for n in (408, 425, 429, 500, 502, 503, 504, 520)),
    *((n, '[{"message":"The field"}]', RejectedError, "The field") for n in (400, 409, 422)),
    *((n, "", BadResponseError, "Check bigcommerce.api_url") for n in (301, 302, 307)),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "error", "message"), MESSAGES)
@responses.activate
def test_each_status_has_its_error(
    client: BigCommerceClient, status: int, body: str, error: type[Bc2otError], message: str
) -> None:
    responses.get(f"{API}/v2/orders", status=status, body=body)
    with pytest.raises(error) as caught:
        client.list_orders(ALL)
    assert type(caught.value) is error
    assert message in f"{caught.value} {caught.value.hint}"
    assert ("scope" in str(caught.value)) is (error is ScopeError)
    is_transient = isinstance(caught.value, UnreachableError)
    assert len(responses.calls) == (5 if is_transient else 1)


@pytest.mark.parametrize(
    ("call", "scope"),
    [
        (lambda client: client.get_order(218), ORDERS_SCOPE),
        (lambda client: client.list_orders(ALL), ORDERS_SCOPE),
        (lambda client: client.count_orders(ALL), ORDERS_SCOPE),
        (lambda client: client.order_statuses(), ORDERS_SCOPE),
        (lambda client: client.store(), "store_v2_information_read_only"),
    ],
)
def test_a_403_names_the_scope_that_is_missing(
    sandbox: Sandbox,
    bigcommerce: BigCommerceClient,
    call: Callable[[BigCommerceClient], object],
    scope: str,
) -> None:
    sandbox.scopes.clear()
    with pytest.raises(ScopeError, match=scope):
        call(bigcommerce)
    assert len(sandbox.requests) == 1


# Quota


def test_a_429_is_waited_out_until_the_reset_in_its_headers(clock: FakeClock) -> None:
    """The headers of a 429 are read before anything is raised, and their times are in ms."""
    with Sandbox(
        5, seed=7, now=SERVER_NOW, quota=Quota(10, 30.0), monotonic=clock.monotonic
    ) as sandbox:
        client = BigCommerceClient(
            store_hash=sandbox.store_hash,
            access_token=Secret(sandbox.access_token),
            clock=clock,
            api_url=sandbox.api_url,
        )
        sandbox.eat_quota(10)
        clock.advance(12.0)
        order = client.get_order(sandbox.store.ids()[0])
        client.close()
        statuses = [record.status for record in sandbox.requests]

    assert order.body == sandbox.store.raw(order.id)
    assert statuses == [429, 200]
    assert 30.0 <= clock.monotonic() < 31.0


def quota_headers(*, left: int, window_ms: str = "30000", reset_ms: str = "") -> dict[str, str]:
    return {
        "X-Rate-Limit-Time-Window-Ms": window_ms,
        "X-Rate-Limit-Time-Reset-Ms": reset_ms or window_ms,
        "X-Rate-Limit-Requests-Quota": "150",
        "X-Rate-Limit-Requests-Left": str(left),
    }


@pytest.mark.parametrize(
    ("status", "headers", "wait_s"),
    [
        (429, quota_headers(left=0, reset_ms="8500"), 8.55),
        (429, quota_headers(left=100, reset_ms="8500"), 8.55),
        (429, {"X-Retry-After": "15"}, 15.0),
        (429, {"X-Retry-After": "12", "Retry-After": "99"}, 12.0),
        (503, {"Retry-After": "90"}, 90.0),
        (503, {"Retry-After": "0"}, 0.5),
        (503, {"Retry-After": "-5"}, 0.5),
        (503, {"Retry-After": "Sun, 01 Mar 2020 12:00:00 GMT"}, 0.5),
    ],
)
@responses.activate
def test_what_bigcommerce_asks_for_is_the_least_to_wait(
    client: BigCommerceClient,
    clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
    status: int,
    headers: dict[str, str],
    wait_s: float,
) -> None:
    responses.get(f"{API}/v2/orders/7", status=status, headers=headers)
    responses.get(f"{API}/v2/orders/7", body=b'{"id":7}')
    assert client.get_order(7).id == 7
    assert clock.monotonic() == pytest.approx(wait_s)
    reported = f"BigCommerce asks to wait: trying again in {wait_s:.1f} s"
    assert (reported in caplog.text) is (wait_s >= 10)


@responses.activate
def test_a_quota_that_other_apps_always_use_up_stops_the_run_eventually(
    client: BigCommerceClient, clock: FakeClock
) -> None:
    responses.get(f"{API}/v2/orders/7", status=429, headers=quota_headers(left=0))
    with pytest.raises(RetryLaterError):
        client.get_order(7)
    assert len(responses.calls) == 20
    assert clock.monotonic() > 19 * 30.0


@pytest.mark.parametrize("ms", ["1e15", "9" * 30, "1e300"])
@responses.activate
def test_an_endless_quota_is_waited_for_ten_minutes_and_then_checked(
    clock: FakeClock, ms: str
) -> None:
    client = BigCommerceClient(
        store_hash="abc123", access_token=Secret("t0ken-value"), clock=clock, patience_s=600
    )
    headers = quota_headers(left=0, window_ms=ms)
    responses.get(f"{API}/v2/orders/7", body=b'{"id":7}', headers=headers)
    for _ in range(3):
        client.get_order(7)
    assert clock.monotonic() < 1_300
    client.close()


@pytest.mark.parametrize("name", ["Retry-After", "X-Retry-After"])
@responses.activate
def test_rather_than_wait_longer_than_two_minutes_a_run_ends(
    client: BigCommerceClient, clock: FakeClock, name: str
) -> None:
    responses.get(f"{API}/v2/orders/7", status=503, headers={name: "3600"})
    with pytest.raises(RetryLaterError, match="It asks to wait 3,600 s") as caught:
        client.get_order(7)
    assert caught.value.exit_code is ExitCode.UNREACHABLE
    assert clock.slept == []


def test_a_bare_429_backs_off_with_jitter_and_pauses_all_requests(
    sandbox: Sandbox, bigcommerce: BigCommerceClient, clock: FakeClock
) -> None:
    clock.chance = 0.75
    strike(sandbox, "bare_429", times=3)
    bigcommerce.get_order(218)
    assert clock.slept == pytest.approx([0.75, 1.5, 3.0])


@pytest.mark.parametrize("others", [0, 1])
def test_240_orders_by_8_threads_on_a_small_quota(
    clock: FakeClock, make_bigcommerce: ClientFactory, others: int
) -> None:
    """Alone, no request gets a 429; with another app that uses as much, all are fetched, too."""
    quota = Quota(60, 30.0)
    with Sandbox(240, seed=7, now=SERVER_NOW, quota=quota, monotonic=clock.monotonic) as sandbox:
        client = make_bigcommerce(sandbox, reserve=0.1)

        def eat(_request: Request) -> None:
            sandbox.eat_quota(others)

        sandbox.on_request = eat
        with ThreadPoolExecutor(8) as pool:
            fetched = list(pool.map(client.get_order, sandbox.store.ids()))
        statuses = [record.status for record in sandbox.requests]
        client.close()

    assert [order.id for order in fetched] == list(sandbox.store.ids())
    assert statuses.count(200) == 240
    if not others:
        assert len(statuses) == 240
    windows = 240 * (1 + others) / 54
    assert clock.monotonic() > 30.0 * (int(windows) - 1)


# Lists


def test_a_thousand_orders_cost_six_requests_at_the_most(
    make_sandbox: SandboxFactory, make_bigcommerce: ClientFactory
) -> None:
    sandbox = make_sandbox(1_000)
    client = make_bigcommerce(sandbox)
    assert client.count_orders(ALL) == 1_000
    query = OrderQuery(max_id=sandbox.store.ids()[-1])
    assert len(ids(client, query)) == 1_000
    assert len(sandbox.requests) <= 6


def test_each_page_starts_after_the_last_id_without_page_numbers(
    make_sandbox: SandboxFactory, make_bigcommerce: ClientFactory
) -> None:
    """Numbered pages lose orders when others leave the list between two of them."""
    sandbox = make_sandbox(300)
    ids(make_bigcommerce(sandbox))
    second = sandbox.store.ids()[250]
    queries = [record.query for record in sandbox.requests]
    assert queries[0] == "sort=id%3Aasc&limit=250"
    assert queries[1].startswith("min_id=")
    assert sandbox.store.ids()[249] < int(queries[1][7:].partition("&")[0]) <= second
    assert not any("page=" in query for query in queries)


@pytest.mark.parametrize(
    "rows",
    [
        [5, 5], [5, 4], [3, 9], [9, 21],
    ],
    ids=["twice", "backwards", "below", "above"],
)  # fmt: skip
@responses.activate
def test_ids_that_do_not_ascend_in_the_requested_range_are_refused(
    client: BigCommerceClient, rows: list[int]
) -> None:
    """A row out of order would make the next page start in the wrong place, or forever again."""
    responses.get(f"{API}/v2/orders", json=[{"id": n} for n in rows])
    with pytest.raises(BadResponseError, match=f"at id {rows[1] if rows[0] > 3 else 3}:"):
        client.list_orders(OrderQuery(min_id=4, max_id=20))


def test_nothing_is_requested_beyond_the_last_id(
    sandbox: Sandbox, bigcommerce: BigCommerceClient
) -> None:
    last = sandbox.store.ids()[-1]
    assert ids(bigcommerce, OrderQuery(min_id=last + 1, max_id=last)) == []
    assert sandbox.requests == ()


def test_the_filters_go_out_with_full_dates_encoded_once(
    sandbox: Sandbox, bigcommerce: BigCommerceClient
) -> None:
    since = datetime(2026, 2, 20, 13, 30, tzinfo=UTC)
    query = OrderQuery(
        created=Window(since, None),
        modified=Window(None, since + timedelta(days=2)),
        status_id=11,
        channel_id=1,
    )
    bigcommerce.list_orders(query)
    assert sandbox.requests[0].query == (
        "status_id=11&channel_id=1&min_date_created=2026-02-20T13%3A30%3A00%2B00%3A00&"
        "max_date_modified=2026-02-22T13%3A30%3A00%2B00%3A00&sort=id%3Aasc&limit=250"
    )


def test_a_windows_first_and_last_second_are_in_it() -> None:
    """An order modified in the very second of the bookmark is not lost."""
    second = datetime(2026, 2, 20, 13, 30, tzinfo=UTC)
    order = parse_order(b'{"id":7,"date_modified":"Fri, 20 Feb 2026 13:30:00 +0000"}')
    assert OrderQuery(modified=Window(second, second)).matches(order)
    assert not OrderQuery(modified=Window(second + timedelta(seconds=1), None)).matches(order)
    assert not OrderQuery(modified=Window(None, second - timedelta(seconds=1))).matches(order)
    # A row matches as far as it has the fields.
    anything = Window(SERVER_NOW, None)
    assert OrderQuery(created=anything, channel_id=3).matches(order)
    assert not OrderQuery(status_id=3).matches(order)
    assert not OrderQuery(channel_id=3).matches(parse_order(b'{"id":7,"channel_id":4}'))


# The rest of the API


def test_statuses_name_and_time_of_a_store_are_read(
    sandbox: Sandbox, bigcommerce: BigCommerceClient
) -> None:
    statuses = bigcommerce.order_statuses()
    assert len(statuses) == 15
    assert "Awaiting Fulfillment" in statuses[11]
    assert bigcommerce.store()["name"] == "Sandbox Store"
    assert abs(bigcommerce.time() - SERVER_NOW) < timedelta(minutes=1)


def test_the_servers_time_is_that_of_its_last_response(
    sandbox: Sandbox, bigcommerce: BigCommerceClient
) -> None:
    assert bigcommerce.server_time is None
    sandbox.clock.offset_s = 7_200
    bigcommerce.get_order(218)
    assert bigcommerce.server_time is not None
    ahead = bigcommerce.server_time - SERVER_NOW
    assert timedelta(hours=2) <= ahead < timedelta(hours=2, minutes=1)


@pytest.mark.parametrize("date", ["", "yesterday", "Fri, 31 Dec 9999 23:59:59 -0100"])
@responses.activate
def test_an_invalid_date_header_is_ignored(client: BigCommerceClient, date: str) -> None:
    responses.get(f"{API}/v2/orders/7", body=b'{"id":7}', headers={"Date": date})
    client.get_order(7)
    assert client.server_time is None


@pytest.mark.parametrize("statuses", ["", ',"statuses":null', ',"statuses":[]'])
@responses.activate
def test_a_count_without_statuses_is_a_count(client: BigCommerceClient, statuses: str) -> None:
    responses.get(f"{API}/v2/orders/count", body=f'{{"count":7{statuses}}}')
    count = client.count_by_status(ALL)
    assert (count.total, count.by_status, count.only([10])) == (7, {}, count)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("v2/orders/count", b"[]"),
        ("v2/orders/count", b'{"count":true}'),
        ("v2/orders/count", b'{"count":"seven"}'),
        ("v2/orders/count", b'{"count":7'),
        ("v2/orders/count", b'{"count":7,"statuses":[7]}'),
        ("v2/orders/count", b'{"count":7,"statuses":[{"id":10}]}'),
        ("v2/order_statuses", b"{}"),
        ("v2/order_statuses", b"[7]"),
        ("v2/order_statuses", b'[{"name":"x"}]'),
        ("v2/store", b"[]"),
        ("v2/store", b"[" * 100_000),
        ("v3/hooks", b'{"data":{}}'),
    ],
)
@responses.activate
def test_whole_responses_of_the_wrong_shape_are_errors_and_not_retried(
    client: BigCommerceClient, path: str, body: bytes
) -> None:
    responses.get(f"{API}/{path}", body=body)
    ask: dict[str, Callable[[], object]] = {
        "v2/orders/count": lambda: client.count_orders(ALL),
        "v2/order_statuses": client.order_statuses,
        "v2/store": client.store,
        "v3/hooks": client.list_hooks,
    }
    with pytest.raises(BadResponseError):
        ask[path]()
    is_whole = body not in (b'{"count":7', b"[" * 100_000)
    assert len(responses.calls) == (1 if is_whole else 5)


# Webhooks of other kinds

ROWS: list[dict[str, object]] = [
    {"id": 1, "scope": "store/order/created", "destination": "arn:aws:events:us-east-1::x/y"},
    {"id": "2", "scope": "store/order/created", "destination": {"kind": "event_bridge"}},
    {"id": 3, "scope": None, "destination": None, "headers": ["a"]},
    {"id": 4, "scope": "s", "destination": "http://[broken", "headers": None},
    {"uuid": "x", "destination": 5},
]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 204),
        (b'{"data":[]}', 200),
        (b'{"data":[],"meta":{"pagination":7}}', 200),
        (b'{"data":[],"meta":{"pagination":{"total_pages":Infinity}}}', 200),
    ],
)
@responses.activate
def test_a_list_without_webhooks_is_empty(
    client: BigCommerceClient, body: bytes, status: int
) -> None:
    responses.get(f"{API}/v3/hooks", body=body, status=status)
    assert client.list_hooks() == []


@responses.activate
def test_a_hook_of_a_new_kind_is_listed_as_it_is(client: BigCommerceClient) -> None:
    responses.get(f"{API}/v3/hooks", json={"data": [*ROWS, "no row"], "meta": {}})
    hooks = client.list_hooks()
    assert [hook.id for hook in hooks] == [1, 2, 3, 4, 0]
    shown = [mask_destination(hook.destination) for hook in hooks]
    assert shown[:2] == ["arn:aws:events:us-east-1::x/y", '{"kind": "event_bridge"}']
    assert len(responses.calls) == 1


@pytest.mark.parametrize("total", [10**9, "10000", 3])
@responses.activate
def test_pages_of_hooks_are_followed_only_while_they_bring_new_ones(
    client: BigCommerceClient, total: object
) -> None:
    page = {"data": ROWS[:1], "meta": {"pagination": {"total_pages": total}}}
    responses.get(f"{API}/v3/hooks", json=page)
    assert len(client.list_hooks()) == 1
    assert len(responses.calls) == 2


@responses.activate
def test_endless_pages_of_new_hooks_end(client: BigCommerceClient) -> None:
    numbers = itertools.count(1)

    def page(_request: object) -> tuple[int, dict[str, str], str]:
        row = {**ROWS[0], "id": next(numbers)}
        return 200, {}, json.dumps({"data": [row], "meta": {"pagination": {"total_pages": 10**9}}})

    responses.add_callback("GET", f"{API}/v3/hooks", page)
    assert len(client.list_hooks()) < 100


@responses.activate
def test_without_the_admin_list_the_hooks_are_listed_and_it_is_said(
    client: BigCommerceClient,
) -> None:
    responses.get(f"{API}/v3/hooks", json={"data": ROWS[:1], "meta": {}})
    responses.get(f"{API}/v3/hooks/admin", status=404, json={"title": "Not found"})
    listing = Webhooks(client).list()
    assert [hook.id for hook in listing.hooks] == [1]
    assert "does not report deactivated webhooks" in listing.problem


@pytest.mark.parametrize("left", [10**18, "99999999999999999", -5, None, "soon", 1.5])
@responses.activate
def test_a_blocked_domains_time_is_bounded(client: BigCommerceClient, left: object) -> None:
    blocked = {"destination": "https://a.example.com", "time_left": left, "reasons": "x"}
    responses.get(f"{API}/v3/hooks/admin", json={"data": {"blocked_domains": [blocked]}})
    (domain,) = client.hooks_admin().blocked_domains
    assert 0 <= domain.time_left_s <= 365 * 86_400


@responses.activate
def test_a_store_has_one_spelling(clock: FakeClock) -> None:
    client = BigCommerceClient(store_hash="ABC123", access_token=Secret("t0ken"), clock=clock)
    responses.get(f"{API}/v2/orders/7", body=b'{"id":7}')
    assert (client.store_hash, client.get_order(7).id) == ("abc123", 7)
    client.close()


# Webhooks


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_hooks_are_created_changed_and_deleted_in_either_version(
    sandbox: Sandbox, bigcommerce: BigCommerceClient, version: ApiVersion
) -> None:
    api: dict[str, Any] = {"api_version": version}
    made = bigcommerce.create_hook(
        scope="store/order/created",
        destination="https://hooks.example.com/a",
        headers={"X-Shared": "s3cret-value"},
        **api,
    )
    assert bigcommerce.get_hook(made.id, **api) == made
    bigcommerce.update_hook(made.id, {"is_active": False}, **api)
    wants: list[tuple[dict[str, Any], int]] = [
        ({}, 1),
        ({"is_active": True}, 0),
        ({"scope": "store/order/*"}, 0),
    ]
    for wanted, found in wants:
        assert len(bigcommerce.list_hooks(**wanted, **api)) == found
    bigcommerce.delete_hook(made.id, **api)
    assert bigcommerce.list_hooks(**api) == []
    with pytest.raises(NotFoundError):
        bigcommerce.get_hook(made.id, **api)


def test_hooks_are_listed_over_all_pages(client: BigCommerceClient) -> None:
    def row(n: int) -> dict[str, object]:
        return {"id": n, "scope": "store/order/*", "destination": "https://h.example.com/"}

    with responses.RequestsMock() as wire:
        for page in (1, 2):
            wire.get(
                f"{API}/v3/hooks",
                json={"data": [row(page)], "meta": {"pagination": {"total_pages": 2}}},
                match=[responses.matchers.query_param_matcher({"page": page, "limit": 250})],
            )
        assert [hook.id for hook in client.list_hooks()] == [1, 2]


@pytest.mark.parametrize("kind", ["5xx", "lost_reply", "reset", "cut_json"])
def test_a_hook_that_may_have_been_created_is_not_created_again(
    sandbox: Sandbox, bigcommerce: BigCommerceClient, kind: str
) -> None:
    strike(sandbox, kind, method="POST", times=1)
    with pytest.raises(UnreachableError):
        bigcommerce.create_hook(scope="store/order/*", destination="https://h.example.com/")
    assert len(sandbox.requests) == 1


def test_a_hook_is_created_after_a_429(sandbox: Sandbox, bigcommerce: BigCommerceClient) -> None:
    strike(sandbox, "bare_429", method="POST", times=2)
    bigcommerce.create_hook(scope="store/order/*", destination="https://h.example.com/")
    assert len(sandbox.requests) == 3


def test_a_deletion_without_a_response_is_retried_and_succeeds(
    sandbox: Sandbox, bigcommerce: BigCommerceClient
) -> None:
    hook = bigcommerce.create_hook(scope="store/order/*", destination="https://h.example.com/")
    strike(sandbox, "lost_reply", method="DELETE", times=1)
    bigcommerce.delete_hook(hook.id)
    with pytest.raises(NotFoundError):
        bigcommerce.delete_hook(hook.id)


# Secrets


def test_the_token_goes_to_bigcommerce_only(
    sandbox: Sandbox, bigcommerce: BigCommerceClient, onetribe: OneTribeClient
) -> None:
    order = bigcommerce.get_order(218)
    onetribe.send(order, idempotency_key="k")
    assert sandbox.requests[0].headers["X-Auth-Token"] == sandbox.access_token
    headers = sandbox.onetribe.received[0].headers
    assert "X-Auth-Token" not in headers
    assert sandbox.access_token not in str(dict(headers))


@responses.activate
def test_a_token_quoted_by_bigcommerce_is_masked(
    client: BigCommerceClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    said = {"status": 500, "title": "The token t0ken-value is odd", "errors": {"t0ken-value": 1}}
    responses.get(f"{API}/v2/orders/7", status=500, json=said)
    with pytest.raises(RetryLaterError) as caught:
        client.get_order(7)
    assert "The token **** is odd" in str(caught.value)
    assert "t0ken-value" not in caplog.text + repr(caught.value) + repr(client) + repr(vars(client))


def test_no_log_line_has_the_token_or_customer_data(
    sandbox: Sandbox, bigcommerce: BigCommerceClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    strike(sandbox, "5xx", times=1)
    order = bigcommerce.get_order(218)
    ids(bigcommerce)
    assert "GET /stores/sandbox1/v2/orders/218 200" in caplog.text
    assert "Trying again in" in caplog.text
    assert sandbox.access_token not in caplog.text
    assert json.loads(order.body)["billing_address"]["email"] not in caplog.text


# Quotations


V3 = {"status": 422, "title": "Invalid", "type": "x", "errors": {"scope": "is unknown"}}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'[{"status":404,"message":"The requested resource was not found."}]',
         "The requested resource was not found."),
        (json.dumps(V3).encode(), "Invalid; scope: is unknown"),
        (b'{"title":"T","errors":[]}', "T"),
        (b'{"message":null}', ""),
        (b"[]", ""),
        (b"null", ""),
        (b'"text"', "text"),
        (b'[{"message":"One"},{"message":"Two"}]', "One; Two"),
        (b'{"title":"T","detail":"D","errors":["E","F"]}', "T; D; E; F"),
        (b'[{"status":400,"details":{"field":"is bad"}}]', "field: is bad"),
        (b'{"error":{"message":"inner"}}', "inner"),
        (b"<title>Attention</title><style>a{b}</style><h1>Blocked</h1><p>Ray 1</p>",
         "Attention; Blocked"),
        (b"<img src='data:image/png;base64,AAAA'><p>Down</p><style>unclosed{", "Down"),
        (b'{"message":"Jane jane@example.com +1 555 123 4567"}', "Jane **** ****"),
        (b"", ""),
        (b"<html><style>x{}</style><h1>502 Bad\n Gateway</h1></html>", "502 Bad Gateway"),
        (b'[{"status":500,"mess', '[{"status":500,"mess'),
        (b"\xff\xfe\x01", "\N{REPLACEMENT CHARACTER}" * 3),
    ],
)  # fmt: skip
def test_an_error_is_quoted_in_words(body: bytes, said: str) -> None:
    assert error_text(body) == said


@given(st.one_of(st.binary(), st.text().map(str.encode)))
@example(b"[" * 100_000)
@example(b"<" * 100_000)
@example(b"<style" * 20_000)
@example(b'{"message":' + b"9" * 5_000 + b"}")
def test_at_most_200_characters_of_any_error_are_quoted(body: bytes) -> None:
    said = error_text(body)
    assert len(said) <= 200
    assert said.isprintable()
