from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onetribe_bc.api.bigcommerce import BigCommerceClient, OrderQuery
from onetribe_bc.dates import Window
from onetribe_bc.delivery.fetching import Page, iter_ids, iter_pages
from onetribe_bc.errors import NotFoundError, RefusedError, RetryLaterError, UnreachableError
from onetribe_bc.ids import IdRange, each_of, merge, parse_ids
from onetribe_bc.order import Order, parse_order
from onetribe_bc.sandbox import Fault, FaultKind, Sandbox, Service
from onetribe_bc.secret import Secret
from tests.clocks import FakeClock
from tests.conftest import SERVER_NOW, ClientFactory, SandboxFactory


class _Store:
    """A store of so many ids; lists leave out those that are archived. Counts requests."""

    def __init__(self, ids: set[int], archived: set[int]) -> None:
        self.ids = ids
        self.archived = archived
        self.lists = self.singles = 0

    def list_orders(
        self, query: OrderQuery, *, limit: int = 250, attempts: int | None = None
    ) -> list[Order]:
        self.lists += 1
        assert query.max_id is not None
        found = [n for n in self.ids - self.archived if query.min_id <= n <= query.max_id]
        return [_order(n) for n in sorted(found)[:250]]

    def get_order(self, order_id: int, *, lookups: int = 3, attempts: int | None = None) -> Order:
        self.singles += 1
        if order_id not in self.ids:
            raise NotFoundError("gone")
        return _order(order_id)


def _order(order_id: int) -> Order:
    return parse_order(json.dumps({"id": order_id}).encode())


def _ids_of(ranges: list[IdRange], *, named: bool) -> set[int]:
    return {n for r in ranges if r.named is named for n in range(r.first, r.last + 1)}


@st.composite
def _dense_or_sparse(draw: st.DrawFn) -> set[int]:
    runs = draw(
        st.lists(
            st.tuples(st.integers(1, 5_000), st.integers(1, 600), st.integers(1, 90)), max_size=5
        )
    )
    return {start + n * step for start, count, step in runs for n in range(count)}


@st.composite
def _wanted(draw: st.DrawFn, known: set[int]) -> list[IdRange]:
    anywhere = st.integers(1, 60_000)
    one = st.one_of(st.sampled_from(sorted(known)), anywhere) if known else anywhere
    singles = draw(st.lists(one, max_size=40))
    spans = draw(st.lists(st.tuples(one, st.integers(0, 2_000)), max_size=4))
    return merge(
        [IdRange(n, n, named=True) for n in singles] + [IdRange(n, n + s) for n, s in spans]
    )


@st.composite
def _searches(draw: st.DrawFn) -> tuple[set[int], set[int], list[IdRange]]:
    known = draw(_dense_or_sparse())
    archived = draw(st.sets(st.sampled_from(sorted(known)), max_size=5)) if known else set()
    return known, archived, draw(_wanted(known))


@given(_searches())
def test_every_requested_order_is_fetched_once_and_missing_ones_are_reported(
    search: tuple[set[int], set[int], list[IdRange]],
) -> None:
    known, archived, ranges = search
    store = _Store(known, archived)

    pages = list(iter_ids(cast(BigCommerceClient, store), ranges))

    named, spanned = _ids_of(ranges, named=True), _ids_of(ranges, named=False)
    found = [order.id for page in pages for order in page.orders]
    assert sorted(found) == sorted((named & known) | (spanned & known - archived))
    assert sorted(n for page in pages for n in page.missing) == sorted(named - known)
    for page in pages:
        page_ids = [order.id for order in page.orders]
        assert page_ids == sorted(page_ids)


@given(_searches())
def test_no_more_requests_than_singly_and_than_the_pages_of_what_is_between(
    search: tuple[set[int], set[int], list[IdRange]],
) -> None:
    known, archived, ranges = search
    store = _Store(known, archived)

    for _page in iter_ids(cast(BigCommerceClient, store), ranges):
        pass

    named = _ids_of(ranges, named=True)
    spans = [r for r in ranges if not r.named]
    not_listed = named - (known - archived)
    listed_in_spans = sum(
        -(-sum(1 for n in known - archived if r.first <= n <= r.last) // 250) + 1 for r in spans
    )
    # Singly: one request for each that was named. What a list lacks was asked for in vain once.
    assert store.singles + store.lists <= len(named) + len(not_listed) + listed_in_spans
    if ranges and not not_listed:
        between = sum(1 for n in known - archived if ranges[0].first <= n <= ranges[-1].last)
        gaps = sum(1 for a, b in itertools.pairwise(ranges) if b.first - a.last >= 250)
        assert store.singles + store.lists <= between // 250 + 2 * (gaps + 1) + len(spans)


def _fetch(client: BigCommerceClient, text: str) -> tuple[list[int], list[int]]:
    pages = list(iter_ids(client, parse_ids([text])))
    return (
        [order.id for page in pages for order in page.orders],
        [n for page in pages for n in page.missing],
    )


def test_ids_close_together_cost_one_list_and_a_lone_one_a_single_request(
    make_sandbox: SandboxFactory, make_bigcommerce: ClientFactory
) -> None:
    sandbox = make_sandbox(2_000)
    near = sandbox.store.ids()[:40:2]
    lone = sandbox.store.ids()[-1]

    found, missing = _fetch(make_bigcommerce(sandbox), ",".join(map(str, [*near, lone])))

    assert (found, missing) == ([*near, lone], [])
    assert [r.path.rpartition("/")[2] for r in sandbox.requests] == ["orders", str(lone)]


def test_a_named_order_that_is_not_there_is_missing_and_one_of_a_range_is_not(
    sandbox: Sandbox, bigcommerce: BigCommerceClient
) -> None:
    sandbox.store.remove(sandbox.store.ids()[1])
    present = list(sandbox.store.ids()[:4])
    gone = next(n for n in range(present[0], present[-1]) if n not in present)

    assert _fetch(bigcommerce, f"{gone}, {present[0]}, 99999") == ([present[0]], [gone, 99_999])
    assert _fetch(bigcommerce, f"{present[0]}-{present[-1]}") == (present, [])


def test_a_range_of_more_ids_than_a_page_holds_is_fetched_whole_and_each_order_once(
    make_sandbox: SandboxFactory, make_bigcommerce: ClientFactory
) -> None:
    sandbox = make_sandbox(0)
    every = [sandbox.store.add(id=n) for n in range(100, 701)]

    assert _fetch(make_bigcommerce(sandbox), "100-700") == (every, [])
    assert len(sandbox.requests) == 3


def test_a_server_that_fails_while_ids_are_fetched_stops_the_run(
    sandbox: Sandbox, bigcommerce: BigCommerceClient
) -> None:
    sandbox.faults.add("bigcommerce:5xx")
    with pytest.raises(RetryLaterError):
        _fetch(bigcommerce, "218")


def test_the_orders_of_a_query_come_by_the_page(
    make_sandbox: SandboxFactory, make_bigcommerce: ClientFactory
) -> None:
    sandbox = make_sandbox(600)
    pages = list(iter_pages(make_bigcommerce(sandbox), OrderQuery()))
    assert [len(page.orders) for page in pages] == [250, 250, 100]
    assert [o.id for page in pages for o in page.orders] == list(sandbox.store.ids())


@pytest.mark.parametrize("field", ["created", "modified"])
def test_where_the_date_filter_is_ignored_rows_outside_the_window_are_dropped_with_a_warning(
    make_sandbox: SandboxFactory,
    make_bigcommerce: ClientFactory,
    caplog: pytest.LogCaptureFixture,
    field: str,
) -> None:
    sandbox = make_sandbox(600)
    window = Window(SERVER_NOW - timedelta(days=20), SERVER_NOW - timedelta(days=10))
    options: dict[str, Any] = {field: window}
    query = OrderQuery(max_id=sandbox.store.ids()[-1], **options)
    client = make_bigcommerce(sandbox)
    right = [o.id for page in iter_pages(client, query) for o in page.orders]
    assert right
    assert caplog.records == []

    sandbox.faults.add(Fault("bigcommerce", "date_filter_ignored"))
    with caplog.at_level(logging.WARNING):
        got = [o.id for page in iter_pages(client, query) for o in page.orders]

    assert got == right
    assert len(caplog.records) == 1
    assert "orders that do not match the query" in caplog.text


# Orders that cannot be fetched


def strike(sandbox: Sandbox, kind: FaultKind, *ids: int, **options: Any) -> None:
    sandbox.faults.add(Fault(Service.BIGCOMMERCE, kind, order_ids=frozenset(ids), **options))


def fetched(pages: Iterable[Page]) -> tuple[list[int], list[int], list[int]]:
    """Return the ids of all orders, missing and unfetchable ones."""
    orders: list[int] = []
    missing: list[int] = []
    failed: list[int] = []
    for page in pages:
        orders += [order.id for order in page.orders]
        missing += page.missing
        failed += [order_id for order_id, _ in page.unfetchable]
    return orders, missing, failed


BAD = [
    FaultKind.UNFETCHABLE,
    FaultKind.ROW_NOT_UTF8,
    FaultKind.ROW_BROKEN_JSON,
    FaultKind.ROW_WITHOUT_ID,
]


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("places", [(0,), (299,), (100, 101, 102), (0, 150, 298, 299)])
def test_a_list_goes_on_past_orders_that_cannot_be_fetched(
    make_sandbox: SandboxFactory,
    make_bigcommerce: ClientFactory,
    kind: FaultKind,
    places: tuple[int, ...],
) -> None:
    sandbox = make_sandbox(300)
    every = list(sandbox.store.ids())
    bad = [every[place] for place in places]
    strike(sandbox, kind, *bad)
    orders, missing, failed = fetched(iter_pages(make_bigcommerce(sandbox), OrderQuery()))
    assert failed == bad
    assert orders == [i for i in every if i not in bad]
    assert missing == []
    assert len(sandbox.requests) < 80 * len(bad)


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("number", [1, 2, 40])
def test_named_orders_are_fetched_past_one_that_cannot_be(
    make_sandbox: SandboxFactory, make_bigcommerce: ClientFactory, kind: FaultKind, number: int
) -> None:
    sandbox = make_sandbox(60)
    every = list(sandbox.store.ids())[:number]
    strike(sandbox, kind, every[0])
    pages = iter_ids(make_bigcommerce(sandbox), each_of(every))
    assert fetched(pages) == (every[1:], [], every[:1])


@pytest.mark.parametrize("most", [1, 10, 100])
def test_lists_that_fail_above_a_size_are_fetched_in_smaller_ones(
    make_sandbox: SandboxFactory, make_bigcommerce: ClientFactory, most: int
) -> None:
    sandbox = make_sandbox(400)
    sandbox.faults.add(Fault(Service.BIGCOMMERCE, FaultKind.LONG_LIST, number=most))
    orders, _, failed = fetched(iter_pages(make_bigcommerce(sandbox), OrderQuery()))
    assert (tuple(orders), failed) == (sandbox.store.ids(), [])


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (FaultKind.STATUS, 500),
        (FaultKind.RESET, 0),
        (FaultKind.EMPTY, 404),
        (FaultKind.HTML, 404),
        (FaultKind.GARBLED, 0),
    ],
)
def test_if_nothing_can_be_fetched_the_run_stops_and_blames_no_order(
    make_sandbox: SandboxFactory, make_bigcommerce: ClientFactory, kind: FaultKind, status: int
) -> None:
    sandbox = make_sandbox(20)
    sandbox.faults.add(Fault(Service.BIGCOMMERCE, kind, status=status))
    client = make_bigcommerce(sandbox)
    for pages in (iter_pages(client, OrderQuery()), iter_ids(client, each_of([100, 101]))):
        with pytest.raises(UnreachableError):
            fetched(pages)
    assert len(sandbox.requests) < 30


@pytest.mark.parametrize("times", [5, 12, 14, 16, 17])
def test_an_order_that_can_be_fetched_again_at_any_moment_is_not_blamed(
    make_sandbox: SandboxFactory, make_bigcommerce: ClientFactory, times: int
) -> None:
    sandbox = make_sandbox(260)
    every = list(sandbox.store.ids())
    strike(sandbox, FaultKind.UNFETCHABLE, every[0], times=times)
    orders, missing, failed = fetched(iter_pages(make_bigcommerce(sandbox), OrderQuery()))
    assert (orders, missing, failed) == (every, [], [])


def test_an_outage_after_the_first_page_blames_no_order(
    make_sandbox: SandboxFactory, make_bigcommerce: ClientFactory
) -> None:
    sandbox = make_sandbox(300)
    pages = iter_pages(make_bigcommerce(sandbox), OrderQuery())
    next(pages)
    strike(sandbox, FaultKind.UNFETCHABLE, *sandbox.store.ids())
    blamed: list[int] = []
    with pytest.raises(UnreachableError):
        blamed.extend(order_id for page in pages for order_id, _ in page.unfetchable)
    assert blamed == []


def test_past_a_bad_order_a_short_failure_costs_a_second_attempt_and_no_smaller_pages(
    make_sandbox: SandboxFactory, make_bigcommerce: ClientFactory
) -> None:
    sandbox = make_sandbox(700)
    strike(sandbox, FaultKind.UNFETCHABLE, sandbox.store.ids()[0])
    sizes = []
    for page in iter_pages(make_bigcommerce(sandbox), OrderQuery()):
        sizes.append(len(page.orders))
        if len(sizes) == 2:
            sandbox.faults.add(Fault(Service.BIGCOMMERCE, FaultKind.STATUS, status=503, times=1))
    assert sizes[:3] == [0, 250, 250]


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_stop_the_run(
    make_sandbox: SandboxFactory, make_bigcommerce: ClientFactory, status: int
) -> None:
    sandbox = make_sandbox(20)
    sandbox.faults.add(Fault(Service.BIGCOMMERCE, FaultKind.STATUS, status=status, skip=1))
    with pytest.raises(RefusedError):
        fetched(iter_pages(make_bigcommerce(sandbox), OrderQuery()))


@settings(max_examples=15)
@given(st.sets(st.integers(0, 59), max_size=6), st.sampled_from(BAD))
def test_whichever_orders_are_bad_the_others_are_fetched(places: set[int], kind: FaultKind) -> None:
    with Sandbox(60, seed=7, now=SERVER_NOW, quota=None) as sandbox:
        every = list(sandbox.store.ids())
        bad = [every[place] for place in sorted(places)]
        if bad:
            strike(sandbox, kind, *bad)
        client = BigCommerceClient(
            store_hash=sandbox.store_hash,
            access_token=Secret(sandbox.access_token),
            api_url=sandbox.api_url,
            clock=FakeClock(),
        )
        orders, _, failed = fetched(iter_pages(client, OrderQuery()))
        client.close()
        assert (orders, failed) == ([i for i in every if i not in bad], bad)
