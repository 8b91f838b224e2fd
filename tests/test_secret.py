from __future__ import annotations

import pytest

from onetribe_bc.secret import Secret, mask_url


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
