from __future__ import annotations

import json
import logging
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
import responses
from hypothesis import example, given
from hypothesis import strategies as st

from onetribe_bc.api.onetribe import OneTribeClient, Receipt, fingerprint
from onetribe_bc.api.quoting import error_text
from onetribe_bc.errors import (
    Bc2otError,
    ExitCode,
    NoResponseError,
    OneTribeUrlError,
    OrderRefusedError,
    RetryLaterError,
)
from onetribe_bc.order import Order, parse_order
from onetribe_bc.sandbox import Fault, Sandbox
from onetribe_bc.secret import Secret
from tests.clocks import FakeClock
from tests.conftest import TribeFactory

KEY = "k3y%20of-the_merchant"
URL = f"https://api.example.com/direct/webhook/big-commerce/order/{KEY}"
LATER = "Sun, 01 Mar 2026 12:00:30 GMT"
PERSON = {
    "first_name": "Zo\u00eb",
    "last_name": "O'Hara & Sons",
    "company": "Canopy\\Understorey",
    "street_1": "12 Birch/Beech Row",
    "city": "\u68ee\u753a",
    "state": "OK",
    "zip": 97001,
    "phone": "+1555",
    "email": "zoe@example.com",
    "form_fields": [{"name": "Delivery Instructions", "value": ["Ring twice", True, 12.5]}],
}


def person(*, ensure_ascii: bool = True, **fields: object) -> Order:
    row = {"id": 7, "billing_address": PERSON, "staff_notes": "Zweite\r\n Zeile", **fields}
    return parse_order(json.dumps(row, ensure_ascii=ensure_ascii).encode())


@pytest.fixture
def client(make_onetribe: TribeFactory) -> OneTribeClient:
    """A client for a URL to which `responses` responds."""
    return make_onetribe(URL)


@pytest.fixture
def example_order(data: Path) -> Order:
    return parse_order((data / "order_218.json").read_bytes())


def refused(
    body: bytes | str, order: Order | None = None, *, status: int = 422, **headers: str
) -> Bc2otError:
    """Return the error for such a response at FakeClock's start."""
    client = OneTribeClient(Secret(URL), clock=FakeClock())
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with responses.RequestsMock() as wire:
        wire.post(URL, status=status, body=body, headers=named)
        with pytest.raises(Bc2otError) as caught:
            client.send(order or person(), idempotency_key="k")
    client.close()
    return caught.value


def kept(body: bytes | str, order: Order | None = None) -> str:
    """Return the text that is kept of a response that refuses an order."""
    error = refused(body, order)
    assert isinstance(error, OrderRefusedError)
    return error.text


def test_an_order_arrives_byte_for_byte_in_one_post(
    sandbox: Sandbox, onetribe: OneTribeClient, example_order: Order
) -> None:
    """Nothing reads the payload in and writes it out again on the way."""
    assert onetribe.send(example_order, idempotency_key="bc2ot-1") == Receipt(
        200, '{"success":true,"order_id":218}'
    )

    (received,) = sandbox.onetribe.received
    assert received.body == example_order.body
    assert received.headers["Content-Type"] == "application/json"
    assert received.headers["Idempotency-Key"] == "bc2ot-1"


@pytest.mark.parametrize(
    "fault",
    [
        *(Fault("onetribe", "status", status=status) for status in (200, 201, 202, 204)),
        *(Fault("onetribe", kind) for kind in ("empty", "garbled", "truncated", "cut_json")),
        Fault("onetribe", "drip", delay_s=0.03),
    ],
    ids=lambda fault: f"{fault.kind} {fault.status}",
)
def test_any_2xx_delivers_whatever_its_body(
    sandbox: Sandbox, make_onetribe: TribeFactory, fault: Fault
) -> None:
    sandbox.faults.add(fault)
    client = make_onetribe(sandbox.onetribe_url, read_s=0.05 if fault.kind == "drip" else 10)
    assert client.send(person(), idempotency_key="k").status == (fault.status or 200)
    assert sandbox.onetribe.counts() == {7: 1}


@pytest.mark.parametrize(
    ("kind", "status", "error"),
    [
        ("status", 302, OneTribeUrlError),
        ("status", 404, OneTribeUrlError),
        ("status", 422, OrderRefusedError),
        ("status", 429, RetryLaterError),
        ("5xx", 0, RetryLaterError),
        ("html", 502, RetryLaterError),
        ("reset", 0, NoResponseError),
        ("lost_reply", 0, NoResponseError),
    ],
)
def test_a_failed_post_is_not_retried(
    sandbox: Sandbox, onetribe: OneTribeClient, kind: str, status: int, error: type[Exception]
) -> None:
    sandbox.faults.add(Fault("onetribe", kind, status=status))
    with pytest.raises(error):
        onetribe.send(person(), idempotency_key="k")
    assert len(sandbox.onetribe.received) == 1


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_a_redirect_stops_the_run_because_the_url_is_wrong(status: int) -> None:
    error = refused("", status=status, Location="https://elsewhere.example.com/")
    assert isinstance(error, OneTribeUrlError)
    assert error.exit_code is ExitCode.REFUSED
    assert "never followed" in str(error)
    assert "elsewhere" not in str(error)


@pytest.mark.parametrize("status", [401, 403, 404, 405, 410])
def test_a_wrong_url_or_key_stops_the_run(status: int) -> None:
    error = refused("", status=status)
    assert isinstance(error, OneTribeUrlError)
    assert "stay owed" in error.hint


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
@pytest.mark.parametrize(("retry_after", "wait_s"), [("7", 7.0), (LATER, 30.0), ("", None)])
def test_an_overloaded_one_tribe_is_retried_when_it_says(
    status: int, retry_after: str, wait_s: float | None
) -> None:
    error = refused("its reason", status=status, Retry_After=retry_after)
    assert isinstance(error, RetryLaterError)
    assert (error.status, error.text, error.retry_after_s) == (status, "its reason", wait_s)


@pytest.mark.parametrize("status", [400, 402, 406, 409, 413, 415, 418, 422, 451])
def test_any_other_4xx_is_about_this_order_only(status: int) -> None:
    error = refused("its reason", status=status)
    assert isinstance(error, OrderRefusedError)
    assert (error.status, error.text) == (status, "its reason")
    assert str(error) == f"One Tribe responded with {status}: it refuses this order"


ECHOES: dict[str, Callable[[str], str]] = {
    "plain": lambda value: f"Thanks, {value}!",
    "upper case": lambda value: f"THANKS, {value.upper()}!",
    "JSON": lambda value: json.dumps({"message": value}, ensure_ascii=False),
    "JSON with escapes": lambda value: json.dumps({"message": value}),
    "JSON as PHP writes it": lambda value: json.dumps({"message": value}).replace("/", "\\/"),
    "HTML": lambda value: f"<p>{value.replace('&', '&amp;').replace(chr(39), '&#39;')}</p>",
}


@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
@pytest.mark.parametrize(
    "value",
    ["Zo\u00eb", "O'Hara & Sons", "Canopy\\Understorey", "12 Birch/Beech Row", "\u68ee\u753a",
     "97001", "+1555", "Ring twice", "zoe@example.com", "Zweite\r\n Zeile"],
)  # fmt: skip
@pytest.mark.parametrize("ensure_ascii", [True, False])
def test_customer_data_is_masked_in_every_spelling(
    echo: Callable[[str], str], value: str, ensure_ascii: bool
) -> None:
    text = kept(echo(value), person(ensure_ascii=ensure_ascii))
    seen = text.casefold()
    assert "****" in text
    for part in (value, json.dumps(value)[1:-1], " ".join(value.split())):
        assert part.casefold() not in seen


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("BOOKED, and state OK", "BOOKED, and state ****"),
        ("We wrote to jane@example.org about it", "We wrote to **** about it"),
        ("We wrote to jane%40example.org about it", "We wrote to **** about it"),
        ("We wrote to <jane@example.org> about it", "We wrote to about it"),
        (f"No merchant {KEY} here", "No merchant **** here"),
        (f"No merchant {KEY.upper()} here", "No merchant **** here"),
        ("No merchant k3y of-the_merchant here", "No merchant **** here"),
    ],
)
def test_whole_short_words_email_addresses_and_the_merchant_key_are_masked(
    said: str, shown: str
) -> None:
    assert kept(said).endswith(shown)


@given(st.text(), st.text(max_size=50), st.sampled_from(["", "\\", "\\u", "\\ud83c"]))
@example("a" * 65_536, "x", "")
@example("@" * 65_536, "x", "")
@example("\ud800", "\\ud800", "\\udfff")
@example("\u0130", "i\u0307", "")
def test_any_response_about_any_order_is_kept_short(said: str, name: str, odd: str) -> None:
    order = parse_order(
        json.dumps({"id": 1, "billing_address": {"first_name": name}, "staff_notes": [1]}).encode()
    )
    text = kept((said + odd).encode("utf-8", "replace"), order)
    assert len(text) <= 200
    assert text.isprintable()


def test_neither_key_nor_customer_is_in_logs_reprs_and_errors(
    sandbox: Sandbox,
    onetribe: OneTribeClient,
    example_order: Order,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    shown = []
    onetribe.send(example_order, idempotency_key="k")
    for kind in ("reset", "status=1@301", "status=1@401", "status=1@422", "5xx"):
        sandbox.faults.replace([f"onetribe:{kind}"])
        with pytest.raises(Bc2otError) as caught:
            onetribe.send(example_order, idempotency_key="k")
        shown += [repr(caught.value), str(caught.value)]
    shown += [caplog.text, repr(onetribe), repr(vars(onetribe)), onetribe.masked_url]
    assert "POST /direct/webhook/big-commerce/order/**** 200" in caplog.text
    for text in shown:
        assert sandbox.merchant_key not in text
        assert "Jane" not in text


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://api.example.com/a/key", "https://api.example.com/a/key/", True),
        ("https://api.example.com/a/key", "HTTPS://API.EXAMPLE.COM:443/a/key", True),
        ("http://127.0.0.1/a/key", "http://127.0.0.1:80/a/key", True),
        ("https://api.example.com/a/key", "https://api.example.com/a/Key", False),
        ("https://api.example.com/a/key", "https://api.example.com:8443/a/key", False),
        ("https://api.example.com/a/key", "https://staging.example.com/a/key", False),
    ],
)
def test_two_spellings_of_a_url_are_one_destination(one: str, other: str, same: bool) -> None:
    first, second = fingerprint(Secret(one)), fingerprint(Secret(other))
    assert (first == second) is same
    assert len(first) == 16


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ('{"id":"ot_1","order_id":218,"name":"Zoë"}', '{"id":"ot_1","order_id":218}'),
        ('{"data":{"uuid":"0b9f-11","email":"zoe@example.com"}}', '{"uuid":"0b9f-11"}'),
        ('{"success":true,"message":"Thanks, Zoë!"}', '{"success":true}'),
        ('{"id":"Zoe"}', ""),
        ('{"customerId":"zoe@example.com"}', ""),
        ('{"reference":"Zo-e"}', ""),
        ('["Zoë"]', ""),
        ("Thanks, Zoë!", ""),
        ("<p>Thanks</p>", ""),
    ],
)
def test_of_an_accepted_order_only_ids_are_kept(
    client: OneTribeClient, body: str, text: str
) -> None:
    with responses.RequestsMock() as wire:
        wire.post(URL, body=body)
        assert client.send(person(), idempotency_key="k").text == text


@pytest.mark.parametrize(
    "said",
    [
        "Zoe\u0308", "ZOE", "zo\u00e9", "Zo%C3%AB", "Zo%25C3%25AB", "&Zcaron;o&euml; Zo&#235;",
        "Z o \u00eb", "Z-o-\u00eb", "Z\u200bo\u00eb", "O Hara", "OHARA, Sons", "Row Beech Birch 12",
        "(1) 555", "1-5-5-5", "97 001", "ring, twice", "Rufen: +49 30 901820", "Gift for Grandma",
        "zoe (at example.com): zoe@example.com",
    ],
)  # fmt: skip
def test_the_customers_data_is_masked_in_other_spellings(said: str) -> None:
    order = person(form_fields=[{"name": "Card", "value": "Gift for Grandma"}])
    text = kept(json.dumps({"error": f"bad: {said}", "stack": said}), order)
    plain = "".join(c for c in unicodedata.normalize("NFKD", text).casefold() if c.isalnum())
    assert plain.startswith("bad")
    for word in ("zoe", "hara", "sons", "birch", "beech", "1555", "97001", "twice", "grandma"):
        assert word not in plain
    assert "901820" not in plain


@pytest.mark.parametrize(
    ("name", "said"),
    [("\u0141ukasz", "lukasz"), ("S\u00f8ren", "SOREN"), ("\u0110or\u0111e", "Dorde"),
     ("\u00c6gir", "aegir"), ("Soren", "s\u00f8ren"), ("Stra\u00dfe", "STRASSE")],
)  # fmt: skip
def test_a_name_is_masked_as_people_write_it_without_its_letters(name: str, said: str) -> None:
    order = person(form_fields=[{"name": "Name", "value": name}])
    assert error_text(f"bad: {said}".encode(), order=order.body) == "bad: ****"


@given(st.sampled_from(["Zo\u00eb", "Canopy", "Understorey", "Hara"]), st.data())
def test_a_name_is_masked_whatever_separates_its_letters(name: str, data: st.DataObject) -> None:
    gap = st.sampled_from(["", " ", "-", "\u200b", "\u00ad", ".", "_"])
    said = "".join(letter + data.draw(gap) for letter in name)
    text = error_text(said.encode(), order=person().body)
    assert not any(letter.isalpha() for letter in text)
