from __future__ import annotations

import sqlite3
from base64 import b64encode
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onetribe_bc.ledger.ledger import Seen
from onetribe_bc.ledger.writer import Database
from onetribe_bc.secret import MASK, Secret, mask_secrets, mask_url
from tests.clocks import FakeClock
from tests.delivering import make_book, make_order


def test_a_secret_is_masked_in_every_format() -> None:
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
def test_a_url_is_masked(url: str, masked: str) -> None:
    assert mask_url(url) == masked


@given(
    st.text(st.characters(codec="utf-8"), min_size=8, max_size=40), st.binary(), st.binary()
)  # fmt: skip
def test_a_secret_within_a_text_in_base64_is_masked(
    secret: str, before: bytes, after: bytes
) -> None:
    text = b64encode(before + secret.encode() + after).decode()
    masked = mask_secrets(text, [secret])
    assert masked != text
    assert len(masked.replace(MASK, "")) <= len(text) - len(secret.encode()) * 4 // 3 + 2


@pytest.mark.parametrize(
    "written",
    ["t0ken of/the store", "T0KEN OF/THE STORE", "t0ken%20of/the%20store",
     "dDBrZW4gb2YvdGhlIHN0b3Jl", "74306b656e206f662f7468652073746f7265"],
)  # fmt: skip
def test_a_secret_never_gets_into_the_ledger(tmp_path: Path, written: str) -> None:
    Secret("t0ken of/the store")
    with closing(Database(tmp_path / "ledger.db")) as database:
        ledger = make_book(database, FakeClock())
        with ledger.run("sync"):
            ledger.record([Seen(make_order(1), f"a reason with {written}")])
            ledger.inbox.defer([(2, f"an error with {written}")])
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        reasons = connection.execute("SELECT reason FROM orders ORDER BY order_id").fetchall()
    assert reasons == [("a reason with ****",), ("an error with ****",)]
