from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from onetribe_bc.errors import ExitCode, InputError
from onetribe_bc.ids import IdRange, merge, parse_id_lines, parse_ids
from onetribe_bc.order import MAX_ORDER_ID

SMALL = st.integers(1, 40)


def _range(first: int, length: int, *, named: bool) -> IdRange:
    return IdRange(first, first, named=True) if named else IdRange(first, first + length)


RANGES = st.lists(st.builds(_range, SMALL, st.integers(0, 9), named=st.booleans()), max_size=12)


def covered(ranges: list[IdRange]) -> set[int]:
    return {n for item in ranges for n in range(item.first, item.last + 1)}


@given(RANGES)
def test_merging_keeps_the_set_ascending_and_without_overlaps(ranges: list[IdRange]) -> None:
    merged = merge(ranges)

    assert covered(merged) == covered(ranges)
    assert all(a.last < b.first for a, b in itertools.pairwise(merged))


@given(RANGES)
def test_a_named_id_stays_named_unless_a_range_holds_it(ranges: list[IdRange]) -> None:
    in_ranges = covered([item for item in ranges if not item.named])
    named = {item.first for item in ranges if item.named}

    assert {item.first for item in merge(ranges) if item.named} == named - in_ranges


@given(RANGES)
def test_merging_does_not_depend_on_the_order(ranges: list[IdRange]) -> None:
    assert merge(ranges) == merge(ranges[::-1]) == merge(merge(ranges))


@given(RANGES, st.sampled_from([",", " ", "\n", ", ", "\t", "\r\n", " , "]))
def test_ids_are_read_as_they_are_written(ranges: list[IdRange], separator: str) -> None:
    written = separator.join(
        str(item.first) if item.named else f"{item.first}-{item.last}" for item in ranges
    )

    assert parse_ids([written]) == merge(ranges)


@given(st.lists(st.one_of(st.text(), st.text("0123456789-, #\n\u0661")), max_size=3))
@example(["9" * 5_000])
@example(["-5"])
@example(["5-"])
@example(["1--3"])
@example(["\udc80"])
def test_any_text_is_ids_or_an_error_of_usage(texts: list[str]) -> None:
    parsed: list[IdRange] = []
    message = ""
    try:
        parsed = parse_ids(texts)
    except InputError as error:
        message = str(error)
    assert len(message) < 200
    assert all(1 <= item.first <= item.last <= MAX_ORDER_ID for item in parsed)


def test_comments_and_blank_lines_are_left_out() -> None:
    text = "# yesterday's\n218, 300 - 310\n\n   \n5 7\n #\n"
    assert parse_id_lines(text) == [
        IdRange(5, 5, named=True),
        IdRange(7, 7, named=True),
        IdRange(218, 218, named=True),
        IdRange(300, 310),
    ]


@pytest.mark.parametrize("text", ["0", "0-5", str(MAX_ORDER_ID + 1), "1" * 30])
def test_an_id_out_of_range_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(InputError, match="not an order id: ids are whole numbers from 1"):
        parse_ids([text])


def test_a_range_the_wrong_way_round_is_refused() -> None:
    with pytest.raises(InputError, match=r"The range 310-300 ends before it starts\."):
        parse_ids(["310-300"])


def test_what_is_no_id_is_named_with_an_example_of_what_is() -> None:
    with pytest.raises(InputError, match="'abc' is not an order id") as caught:
        parse_ids(["218,abc"])
    assert "218,300-310" in caught.value.hint
    assert caught.value.exit_code is ExitCode.USAGE


@pytest.mark.parametrize("text", ["#218", "'218'", '"218"', "218;", "# 218"[2:], '"#218"', "#218,"])
def test_an_id_may_be_written_as_people_write_it(text: str) -> None:
    assert parse_ids([text]) == parse_id_lines(text) == [IdRange(218, 218, named=True)]


@pytest.mark.parametrize("text", ["218 # not today", "# 218", "218 x", '""', "218,\u0661", "218.0"])
def test_nothing_in_an_argument_is_dropped_silently(text: str) -> None:
    with pytest.raises(InputError, match="is not an order id"):
        parse_ids([text])


@pytest.mark.parametrize("header", ["order_id", '"Order ID"', "id,state", "\ufeff# id"[1:] + "s"])
def test_a_header_row_is_named(header: str) -> None:
    if header.startswith("# "):
        assert parse_id_lines(f"{header}\n218")
        return
    with pytest.raises(InputError, match="a header: "):
        parse_id_lines(f"{header}\n218\n")


@given(st.lists(st.integers(1, MAX_ORDER_ID), min_size=1, max_size=20), st.data())
def test_every_id_of_a_list_is_found_however_it_is_written(
    ids: list[int], data: st.DataObject
) -> None:
    forms = ["{}", "#{}", "'{}'", '"{}"', '"#{}"']
    gaps = [",", ";", " ", "\n", ", ", "\t", "\r\n"]
    text = "".join(
        data.draw(st.sampled_from(forms)).format(each) + data.draw(st.sampled_from(gaps))
        for each in ids
    )
    assert [each.first for each in parse_id_lines(text)] == sorted(set(ids))
