from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from onetribe_bc.api.answers import bigcommerce_error, onetribe_error, remote_message
from onetribe_bc.api.http import Response
from onetribe_bc.errors import (
    BadResponseError,
    Bc2otError,
    CredentialsError,
    ExitCode,
    NotFoundError,
    OneTribeUrlError,
    OrderRefusedError,
    RejectedError,
    RetryLaterError,
    ScopeError,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = "Sun, 01 Mar 2026 12:00:30 GMT"


def answer(status: int, body: bytes = b"", **headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status, CaseInsensitiveDict(named), body)


def of_bigcommerce(given: Response) -> Bc2otError | None:
    return bigcommerce_error(given, what="Order 218", scope="Orders: read-only", now=NOW)


def of_onetribe(given: Response) -> Bc2otError | None:
    return onetribe_error(given, text="said so", now=NOW)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_good_on_either_side(status: int) -> None:
    assert of_onetribe(answer(status)) is None
    assert of_bigcommerce(answer(status)) is None


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_a_redirect_by_one_tribe_stops_the_run_since_the_address_is_wrong(status: int) -> None:
    """A redirected POST that answered 200 as a GET was once counted as delivered."""
    error = of_onetribe(answer(status, Location="https://elsewhere.example.com/"))
    assert isinstance(error, OneTribeUrlError)
    assert error.exit_code is ExitCode.REFUSED
    assert "never followed" in str(error)
    assert "elsewhere" not in str(error)


@pytest.mark.parametrize("status", [401, 403, 404, 405, 410])
def test_an_address_or_key_that_is_wrong_stops_the_run(status: int) -> None:
    error = of_onetribe(answer(status))
    assert isinstance(error, OneTribeUrlError)
    assert "stays owed" in error.hint


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
@pytest.mark.parametrize(("retry_after", "wait_s"), [("7", 7.0), (LATER, 30.0), ("", None)])
def test_one_tribe_is_tried_again_when_it_says(
    status: int, retry_after: str, wait_s: float | None
) -> None:
    error = of_onetribe(answer(status, Retry_After=retry_after))
    assert isinstance(error, RetryLaterError)
    assert (error.status, error.text, error.retry_after_s) == (status, "said so", wait_s)


@pytest.mark.parametrize("status", [400, 402, 406, 409, 413, 415, 418, 422, 451])
def test_any_other_4xx_of_one_tribe_is_about_this_order_alone(status: int) -> None:
    error = of_onetribe(answer(status))
    assert isinstance(error, OrderRefusedError)
    assert (error.status, error.text) == (status, "said so")
    assert str(error) == f"One Tribe answered {status}: it refuses this order"


def test_a_401_of_bigcommerce_is_about_the_token() -> None:
    error = of_bigcommerce(answer(401, b'[{"status":401,"message":"Unauthorized"}]'))
    assert isinstance(error, CredentialsError)
    assert error.exit_code is ExitCode.REFUSED
    assert "Order 218: BigCommerce answered 401 (Unauthorized)." in str(error)
    assert "access_token" in error.hint


def test_a_403_of_bigcommerce_names_the_scope_that_is_missing() -> None:
    error = of_bigcommerce(answer(403))
    assert isinstance(error, ScopeError)
    assert "lacks the scope Orders: read-only." in str(error)
    assert "Orders: read-only" in error.hint


def test_a_404_of_bigcommerce_is_about_what_was_asked_for() -> None:
    said = b'[{"status":404,"message":"The requested resource was not found."}]'
    assert isinstance(of_bigcommerce(answer(404, said)), NotFoundError)


def test_a_404_that_is_not_the_apis_own_makes_no_order_look_gone() -> None:
    page = b"\n<!DOCTYPE html><html><body>Not found</body></html>"
    for body in (page, b"default backend - 404", b""):
        assert isinstance(of_bigcommerce(answer(404, body)), BadResponseError)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 520])
def test_bigcommerce_is_tried_again(status: int) -> None:
    error = of_bigcommerce(answer(status))
    assert isinstance(error, RetryLaterError)
    assert (error.status, error.retry_after_s) == (status, None)
    assert error.exit_code is ExitCode.UNREACHABLE


def test_bigcommerces_own_retry_header_is_in_seconds_and_comes_first() -> None:
    error = of_bigcommerce(answer(429, X_Retry_After="12", Retry_After="99"))
    assert isinstance(error, RetryLaterError)
    assert error.retry_after_s == 12.0


@pytest.mark.parametrize("status", [400, 409, 422])
def test_what_bigcommerce_refuses_is_told_in_its_words(status: int) -> None:
    error = of_bigcommerce(answer(status, b'[{"status":400,"message":"The field is bad"}]'))
    assert isinstance(error, RejectedError)
    assert "The field is bad" in str(error)


@pytest.mark.parametrize("status", [101, 301, 302, 307])
def test_the_api_does_not_redirect(status: int) -> None:
    error = of_bigcommerce(answer(status))
    assert isinstance(error, BadResponseError)
    assert "api_url" in error.hint


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
        (b'"text"', ""),
        (b"", ""),
        (b"<html><style>x{}</style><h1>502 Bad\n Gateway</h1></html>", "502 Bad Gateway"),
        (b'[{"status":500,"mess', '[{"status":500,"mess'),
        (b"\xff\xfe\x01", "\N{REPLACEMENT CHARACTER}" * 3),
    ],
)  # fmt: skip
def test_an_error_is_quoted_in_words(body: bytes, said: str) -> None:
    assert remote_message(answer(500, body)) == said


@given(st.one_of(st.binary(), st.text().map(str.encode)))
@example(b"[" * 100_000)
@example(b"<" * 100_000)
@example(b"<style" * 20_000)
@example(b'{"message":' + b"9" * 5_000 + b"}")
def test_whatever_an_error_says_one_line_of_200_characters_is_quoted(body: bytes) -> None:
    said = remote_message(answer(500, body))
    assert len(said) <= 200
    assert said.isprintable()
