from __future__ import annotations

import threading
from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onetribe_bc.clock import SystemClock
from onetribe_bc.errors import (
    EXCERPT_CHARACTERS,
    Bc2otError,
    ExitCode,
    InterruptedRunError,
    excerpt,
)
from onetribe_bc.secret import Secret, mask_url


@given(st.text())
def test_an_excerpt_is_one_short_printable_line(text: str) -> None:
    line = excerpt(text)
    assert len(line) <= EXCERPT_CHARACTERS
    assert line.isprintable()


def test_an_excerpt_keeps_words_and_replaces_what_cannot_be_shown() -> None:
    assert excerpt(" a\r\n\tb\x1b[31m \u202ec ") == "a b\ufffd[31m \ufffdc"


def test_the_exit_codes_are_those_that_scripts_rely_on() -> None:
    assert {code.name: int(code) for code in ExitCode} == {
        "DONE": 0,
        "INCOMPLETE": 1,
        "USAGE": 2,
        "CONFIGURATION": 3,
        "REFUSED": 4,
        "UNREACHABLE": 5,
        "BUSY": 6,
        "BUG": 70,
        "INTERRUPTED": 130,
    }


def _tree(kind: type[Bc2otError]) -> list[type[Bc2otError]]:
    return [kind, *(each for child in kind.__subclasses__() for each in _tree(child))]


def test_every_expected_error_has_an_exit_code_other_than_that_of_a_bug() -> None:
    kinds = [kind for kind in _tree(Bc2otError)[1:] if kind.__module__ == "onetribe_bc.errors"]
    assert len(kinds) > 10
    assert all(kind.exit_code is not ExitCode.BUG for kind in kinds)


def test_a_secret_shows_its_mask_however_it_is_written() -> None:
    secret = Secret("s3cr3t")
    shown = [repr(secret), str(secret), f"{secret}", f"{secret:>20}", f"{secret!r}", "%s" % secret]  # noqa: UP031
    assert not any("s3cr3t" in text for text in shown)
    assert secret.reveal() == "s3cr3t"
    assert secret
    assert not Secret("")
    assert secret == Secret("s3cr3t") != Secret("other")


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("https://api.example.com/direct/order/key", "https://api.example.com/direct/order/****"),
        ("https://api.example.com/direct/order/key/", "https://api.example.com/direct/order/****"),
        ("https://api.example.com:8443/key", "https://api.example.com:8443/****"),
        ("https://me:pass@api.example.com/a/key", "https://api.example.com/a/****"),
        ("https://api.example.com/a/key?t=key#key", "https://api.example.com/a/****?****"),
        ("https://api.example.com/", "https://api.example.com/"),
        ("https://api.example.com", "https://api.example.com"),
    ],
)
def test_an_address_is_shown_without_its_secrets(url: str, masked: str) -> None:
    assert mask_url(url) == masked


def test_the_systems_clock_tells_aware_utc_and_never_goes_back() -> None:
    clock = SystemClock()
    assert clock.now().tzinfo is UTC
    assert clock.monotonic() <= clock.monotonic()
    assert all(0 <= clock.random() < 1 for _ in range(100))
    assert not clock.stopping


def test_a_sleep_ends_by_itself() -> None:
    clock = SystemClock()
    clock.sleep(0.001)
    clock.sleep(-1.0)


def test_stopping_wakes_everyone_who_sleeps_and_lets_nobody_sleep_again() -> None:
    clock = SystemClock()
    interrupted: list[InterruptedRunError] = []

    def sleep() -> None:
        with pytest.raises(InterruptedRunError) as caught:
            clock.sleep(600)
        interrupted.append(caught.value)

    threads = [threading.Thread(target=sleep) for _ in range(3)]
    for thread in threads:
        thread.start()
    clock.stop()
    for thread in threads:
        thread.join(10)

    assert len(interrupted) == 3
    assert clock.stopping
    with pytest.raises(InterruptedRunError):
        clock.sleep(0)
