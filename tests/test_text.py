from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onetribe_bc.text import EXCERPT_CHARACTERS, excerpt, span


@given(st.text())
def test_an_excerpt_is_one_short_printable_line(text: str) -> None:
    line = excerpt(text)
    assert len(line) <= EXCERPT_CHARACTERS
    assert line.isprintable()


def test_an_excerpt_keeps_words_and_replaces_unprintable_characters() -> None:
    assert excerpt(" a\r\n\tb\x1b[31m \u202ec ") == "a b\ufffd[31m \ufffdc"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0 seconds"),
        (1, "1 second"),
        (119, "119 seconds"),
        (120, "2 minutes"),
        (47 * 3600, "47 hours"),
        (48 * 3600, "2 days"),
    ],
)
def test_a_span_is_in_the_largest_unit_that_it_has_two_of(seconds: int, words: str) -> None:
    assert span(timedelta(seconds=seconds)) == words
