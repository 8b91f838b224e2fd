"""Whether a callback is BigCommerce's: known signatures, and strangers who try."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onetribe_bc.api.webhook import SECRET_HEADER, SIGNATURE_HEADERS, Verifier
from onetribe_bc.errors import NotAuthenticError
from onetribe_bc.secret import Secret

CLIENT = "client-secret-of-the-api-account"
SHARED = "shared-secret-of-the-hook"
BODY = b'{"scope": "store/order/created", "note": "\xc3\xa9"}'
HEADER_TEXT = st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: raw.decode("latin-1"))


def verifier(*, client: str | None = CLIENT, shared: str | None = SHARED) -> Verifier:
    return Verifier(
        client_secret=Secret(client) if client else None,
        shared_secret=Secret(shared) if shared else None,
    )


def signature(body: bytes, at: int, *, message: str = "msg_1", secret: str = CLIENT) -> str:
    """By the Standard Webhooks specification, and not by the library that checks it."""
    signed = f"{message}.{at}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(secret.encode(), signed, hashlib.sha256)).decode()


def signed(body: bytes = BODY, *, age_s: float = 0, secret: str = CLIENT) -> dict[str, str]:
    at = int(time.time() - age_s)
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(at),
        "webhook-signature": signature(body, at, secret=secret),
    }


def told(value: str = SHARED) -> dict[str, str]:
    return {SECRET_HEADER: value}


def reason(headers: object, body: bytes = BODY, by: Verifier | None = None) -> str:
    with pytest.raises(NotAuthenticError) as caught:
        (by or verifier()).check(headers, body)  # type: ignore[arg-type]
    assert str(caught.value) == "The callback is not authentic."
    assert caught.value.hint == ""
    return caught.value.reason


# The published vector


class FrozenDatetime(datetime):
    """The library's clock, at the time of the published example."""

    @classmethod
    def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
        return datetime.fromtimestamp(1614265330, UTC)


KEY = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PUBLISHED = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}


def published_verifier() -> Verifier:
    return verifier(client=base64.b64decode(KEY).decode("utf-8", "surrogateescape"), shared=None)


def test_the_published_example_is_authentic_in_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("standardwebhooks.webhooks.datetime", FrozenDatetime)
    published_verifier().check(PUBLISHED, b'{"test": 2432232314}')
    assert reason(PUBLISHED, b'{"test": 2432232315}', published_verifier()) == "signature wrong"


def test_the_published_example_is_too_old_today() -> None:
    assert reason(PUBLISHED, b'{"test": 2432232314}', published_verifier()) == "timestamp"


# Signatures


def test_a_callback_signed_with_the_client_secret_is_authentic() -> None:
    verifier(shared=None).check(signed(), BODY)


@pytest.mark.parametrize("age_s", [290, -290])
def test_a_signature_holds_for_five_minutes_both_ways(age_s: int) -> None:
    verifier().check(signed(age_s=age_s), BODY)


@pytest.mark.parametrize("age_s", [310, -310, 10**6])
def test_a_signature_does_not_hold_for_longer(age_s: int) -> None:
    assert reason(signed(age_s=age_s)) == "timestamp"


def test_one_of_several_signatures_is_enough() -> None:
    # As while a secret is changed: the sender signs with the old and the new one.
    headers = signed()
    other = signed(secret="the-secret-before")["webhook-signature"]
    for line in (f"{other} {headers['webhook-signature']}", f"v2,AAAA v1a,x= {headers['webhook-signature']} {other}"):  # fmt: skip  # noqa: E501
        verifier().check({**headers, "webhook-signature": line}, BODY)
    assert reason({**headers, "webhook-signature": f"{other} {other}"}) == "signature wrong"


def test_another_accounts_secret_is_none() -> None:
    assert reason(signed(secret="another")) == "signature wrong"


@pytest.mark.parametrize("part", ["webhook-id", "webhook-timestamp"])
def test_no_part_of_a_signature_may_be_changed_or_left_out(part: str) -> None:
    headers = signed()
    other = str(int(headers[part]) + 1) if part == "webhook-timestamp" else "msg_2"
    assert reason({**headers, part: other}) == "signature wrong"
    assert reason({**headers, part: ""}) == "signature missing"
    del headers[part]
    assert reason(headers) == "signature missing"


@pytest.mark.parametrize(
    "line",
    ["v1", "v1,", "v1,=", "v1,é", "v1,a,b", ",", " ", "\udcff", "v1,A", "v2,AAAA", "x" * 9999],
)
def test_a_malformed_signature_is_a_wrong_one(line: str) -> None:
    assert reason({**signed(), "webhook-signature": line}) == "signature wrong"


@pytest.mark.parametrize("at", ["x", "nan", "inf", "1e400", "-1e30", "\ud800", "0x10", "9" * 400])
def test_a_malformed_time_is_no_time(at: str) -> None:
    assert reason({**signed(), "webhook-timestamp": at}) in ("signature wrong", "timestamp")


def test_a_body_that_is_not_text_is_not_authentic() -> None:
    assert reason(signed(b"\xff"), b"\xff") == "signature wrong"


def test_header_names_come_in_any_case() -> None:
    verifier().check({name.title(): value for name, value in signed().items()}, BODY)
    verifier().check({SECRET_HEADER.upper(): SHARED}, BODY)


# The shared secret


def test_a_callback_with_the_shared_secret_is_authentic() -> None:
    verifier(client=None).check(told(), BODY)


@pytest.mark.parametrize(
    "value", ["", SHARED[:-1], f"{SHARED}x", SHARED.upper(), "é", "\udcff", "\0"]
)
def test_another_secret_is_wrong(value: str) -> None:
    assert reason(told(value), by=verifier(client=None)) == "secret wrong"


# Both


def test_one_of_two_ways_is_enough() -> None:
    verifier().check(told(), BODY)
    verifier().check(signed(), BODY)
    verifier().check(signed() | told(), BODY)


def test_what_is_there_must_be_right() -> None:
    assert reason(signed() | told("wrong")) == "secret wrong"
    assert reason(signed(secret="wrong") | told()) == "signature wrong"


def test_leaving_everything_out_gets_nobody_in() -> None:
    assert reason({}) == "signature missing"
    assert reason({}, by=verifier(shared=None)) == "signature missing"
    assert reason({}, by=verifier(client=None)) == "secret missing"


def test_a_way_that_is_not_configured_counts_for_nothing() -> None:
    assert reason(signed(), by=verifier(client=None)) == "secret missing"
    assert reason(told(), by=verifier(shared=None)) == "signature missing"
    verifier(client=None).check(signed(secret="wrong") | told(), BODY)


def test_with_nothing_configured_nothing_is_authentic() -> None:
    nothing = Verifier(client_secret=Secret(""), shared_secret=None)
    assert not nothing.is_configured
    assert reason(signed() | told(""), by=nothing) == "secret missing"
    assert verifier(client=None).is_configured
    assert verifier(shared=None).is_configured


def test_a_header_given_twice_must_say_the_same_twice() -> None:
    verifier().check([*told().items(), *told().items()], BODY)
    verifier().check([*told().items(), ("Accept", "a"), ("accept", "b")], BODY)
    assert reason([*told().items(), (SECRET_HEADER, "x")]) == "header given twice"
    assert reason({SECRET_HEADER: SHARED, SECRET_HEADER.lower(): "x"}) == "header given twice"


# Strangers


@settings(max_examples=300)
@given(
    st.dictionaries(
        st.sampled_from([*SIGNATURE_HEADERS, SECRET_HEADER, "Webhook-Id", "accept"]), HEADER_TEXT
    ),
    st.binary(max_size=100),
)
def test_whatever_a_stranger_sends_is_refused_and_never_crashes(
    headers: dict[str, str], body: bytes
) -> None:
    for by in (verifier(), verifier(client=None), verifier(shared=None)):
        reason(headers, body, by)


@settings(max_examples=300, suppress_health_check=[HealthCheck.filter_too_much])
@given(st.data())
def test_a_signed_callback_that_was_changed_in_any_way_is_refused(data: st.DataObject) -> None:
    headers = signed()
    part = data.draw(st.sampled_from(["body", *SIGNATURE_HEADERS]))
    if part == "body":
        body = data.draw(st.binary(max_size=80).filter(lambda raw: raw != BODY))
        reason(headers, body, verifier(shared=None))
        return
    value = headers[part]
    place = data.draw(st.integers(0, len(value) - 1))
    character = data.draw(st.characters().filter(lambda c: c != value[place]))
    changed = value[:place] + character + value[place + 1 :]
    try:
        verifier(shared=None).check({**headers, part: changed}, BODY)
    except NotAuthenticError:
        return
    # Some spellings stand for the same bytes in base64, or for the same number.
    assert part != "webhook-id"
    assert meaning(part, changed) == meaning(part, value)


def meaning(part: str, value: str) -> object:
    if part == "webhook-timestamp":
        return int(float(value))
    return [
        base64.b64decode(one.split(",")[1]) for one in value.split(" ") if one.startswith("v1,")
    ]
