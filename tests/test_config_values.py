"""Which values are valid, and that no error shows one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onetribe_bc.config.sources import KEYS, SECTIONS
from tests.configuring import FULL, Desk, desk_fixture  # noqa: F401

TOKEN = "s3cr3t0rd1n4ry4cc3sst0k3n0f31ch"
ONETRIBE = "https://api.example.com/direct/webhook/big-commerce/order/"


def nested(name: str, value: str) -> str:
    """Return the dotted `name` as YAML, one key a line."""
    *sections, last = name.split(".")
    lines = ["  " * depth + f"{section}:" for depth, section in enumerate(sections)]
    return "\n".join([*lines, "  " * len(sections) + f"{last}: {value}"])


# Values and their limits


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("delivery.workers", "0", "must be a whole number from 1 to 64"),
        ("delivery.workers", "65", "must be a whole number from 1 to 64"),
        ("delivery.workers", "8.0", "must be a whole number"),
        ("delivery.workers", "many", "must be a whole number"),
        ("delivery.workers", "true", "must be a whole number"),
        ("delivery.workers", "٣", "must be a whole number"),
        ("delivery.workers", "[1]", "must be one value, not a list"),
        ("delivery.workers", "{a: 1}", "must be a value, without keys"),
        ("delivery.workers", "", "is empty"),
        ("delivery.workers", "''", "is empty"),
        ("delivery.attempts", "21", "must be a whole number from 1 to 20"),
        ("bigcommerce.reserve", "0.91", "must be a number from 0 to 0.9"),
        ("bigcommerce.reserve", "-0.1", "must be a number from 0 to 0.9"),
        ("bigcommerce.reserve", ".nan", "must be a number from 0 to 0.9"),
        ("delivery.timeout.connect", "0", "must be seconds, above 0 and up to 600"),
        ("delivery.timeout.read", "601", "must be seconds, above 0 and up to 600"),
        ("delivery.timeout.read", ".inf", "must be seconds"),
        ("delivery.timeout", "5", "must be a section of keys with values"),
        ("delivery.on_unknown", "wait", "must be one of resend, hold"),
        ("orders.resend", "on_change", "must be one of never, on-change"),
        ("orders.skip_statuses", "Incomplete", "must be a list"),
        ("orders.skip_statuses", "", "is empty"),
        ("orders.skip_statuses", "[15]", "takes status ids from 0 to 14"),
        ("orders.skip_statuses", "[[0]]", "must be a value, without keys or lists"),
        ("orders.skip_statuses", "['']", "is empty"),
        ("orders.channels", "1", "must be a list"),
        ("orders.channels", "[0]", "takes channel ids"),
        ("orders.channels", "[1, web]", "takes channel ids"),
        ("orders.not_before", "2026-02-30", "must be a date such as 2026-01-31"),
        ("orders.not_before", "20260201", "must be a date"),
        ("orders.not_before", "7d", "must be a date"),
        ("ledger", '"a\\nb"', "must be a path"),
        ("ledger", "~other/x", "starts with a ~ that cannot be resolved"),
        ("bigcommerce.store_hash", "abc-123", "must be a store hash such as abc123, or the API"),
        ("bigcommerce.api_url", "https://h/stores/abc/v3", "must end before /stores"),
        *(
            ("onetribe.url", url, "lacks the merchant key")
            for url in ("https://h", "https://h/", ONETRIBE, ONETRIBE.rstrip("/"))
        ),
        ("bigcommerce.access_token", '"a\\nb"', "contains a space, a line break or a non-ASCII"),
        ("bigcommerce.access_token", "a b", "contains a space, a line break or a non-ASCII"),
        ("bigcommerce.access_token", "tökén", "contains a space, a line break or a non-ASCII"),
        ("bigcommerce.access_token", "!token", "needs quotes: its value starts with !"),
    ],
)
def test_an_invalid_value_is_an_error_with_file_line_key_and_the_valid_form(
    desk: Desk, name: str, value: str, expected: str
) -> None:
    line = name.count(".") + 1
    message = desk.refusal(nested(name, value))
    assert message.startswith(f"{desk.file}, line {line}: {name} {expected}")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("delivery.workers", "1"),
        ("delivery.workers", "'64'"),
        ("delivery.attempts", "20"),
        ("bigcommerce.reserve", "0"),
        ("bigcommerce.reserve", "0.9"),
        ("delivery.timeout.connect", "0.001"),
        ("delivery.timeout.read", "600"),
        ("delivery.on_unknown", "hold"),
        ("orders.resend", "on-change"),
        ("orders.channels", "[1, '664179', 1]"),
        ("orders.channels", "[]"),
        ("orders.not_before", "2026-02-01"),
        ("delivery", "{workers: &n 3, attempts: *n}"),
    ],
)
def test_values_at_the_limits_are_accepted(desk: Desk, name: str, value: str) -> None:
    desk.load(nested(name, value))


def test_statuses_are_names_or_ids_and_the_merchants_own_names_are_kept(desk: Desk) -> None:
    loaded = desk.load("orders: {skip_statuses: [incomplete, 5, AWAITING  payment, My Own, 0, 5]}")
    assert loaded.orders.skip_statuses == ("Incomplete", 5, "Awaiting Payment", "My Own", 0)


@pytest.mark.parametrize(
    ("pasted", "store_hash"),
    [
        ("https://api.bigcommerce.com/stores/abc123/v3/", "abc123"),
        ("stores/abc123", "abc123"),
        ("https://store-abc123.mybigcommerce.com/manage", "abc123"),
        ("store-abc123", "abc123"),
        ("store-abc123-1.mybigcommerce.com", "abc123"),
        *((digits, digits) for digits in ("0123", "1e5", "0x1f", "123456")),
    ],
)
def test_the_store_hash_is_text_or_part_of_a_url_or_path(
    desk: Desk, pasted: str, store_hash: str
) -> None:
    loaded = desk.load(nested("bigcommerce.store_hash", pasted))
    assert loaded.need_store_hash() == store_hash


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://api.example.com/key", "must use https://"),
        ("http://127.0.0.1.example.com/key", "must use https://"),
        ("http://128.0.0.1/key", "must use https://"),
        ("ftp://api.example.com/key", "starts with https://"),
        ("api.example.com/key", "starts with https://"),
        ("https:///key", "starts with https://"),
        ("https://h:0/key", "starts with https://"),
        ("https://h:99999/key", "must be a URL"),
        ("https://[::1/key", "must be a URL"),
        ("https://user:password@h/key", "without a user or password"),
        ("http://localhost@h/key", "must use https://"),
        ("https://h/key?x=1", "without ? or #"),
        ("'https://h/key#x'", "without ? or #"),
        ("'https://h/key?'", "without ? or #"),
        ("https://h/a key", "contains a character that is invalid in a URL"),
        ("https://h/<merchant key>", "contains a character that is invalid in a URL"),
        ('"https://h/key\\n"', "contains a character that is invalid in a URL"),
        ("'https://h\\\\@evil/key'", "contains a character that is invalid in a URL"),
    ],
)
@pytest.mark.parametrize("name", ["onetribe.url", "bigcommerce.api_url"])
def test_an_unsafe_or_invalid_url_is_refused(desk: Desk, name: str, url: str, problem: str) -> None:
    message = desk.refusal(nested(name, url))
    assert f"{name} " in message
    assert problem in message
    assert "key" not in message.replace("keys", "")


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com:8443/order/key",
        "http://127.0.0.1:8080/order/key",
        "http://127.9.9.9/key",
        "http://localhost/key",
        "http://LOCALHOST/key",
        "http://[::1]:80/key",
    ],
)
def test_https_anywhere_and_http_on_loopback_are_accepted(desk: Desk, url: str) -> None:
    loaded = desk.load(nested("onetribe.url", url))
    assert loaded.need_onetribe_url().reveal() == url
    loaded = desk.load(nested("bigcommerce.api_url", url))
    assert loaded.bigcommerce.api_url == url


@pytest.mark.parametrize(
    ("zone", "near"),
    [
        ("london", "did you mean Europe/London?"),
        ("europe/berlin", "did you mean Europe/Berlin?"),
        ("New York", "did you mean America/New_York?"),
        ("Europe/Lodnon", "did you mean Europe/London"),
        ("utc", "did you mean UTC?"),
        ("+02:00", "such as UTC or Europe/London."),
        ("../etc/passwd", "such as UTC or Europe/London."),
        ("America", "such as UTC or Europe/London."),
        ("/etc", "such as UTC or Europe/London."),
    ],
)
def test_an_unknown_time_zone_is_an_error_with_similar_ones(
    desk: Desk, zone: str, near: str
) -> None:
    assert near in desk.refusal(nested("timezone", zone))


def test_paths_are_relative_to_the_file_or_to_the_home_directory(desk: Desk) -> None:
    assert desk.load("ledger: data/x.db").ledger == desk.cwd / "data" / "x.db"
    assert desk.load("ledger: ~/x.db").ledger == desk.directories.home / "x.db"
    assert desk.load("ledger: /x.db").ledger == Path("/x.db")


# Variables in values


def test_variables_are_expanded_anywhere_in_a_value(desk: Desk) -> None:
    desk.environ = {"HOST": "api.example.com", "KEY": "my$$key", "N": "7", "S": "Declined"}
    loaded = desk.load(
        "onetribe: {url: 'https://${HOST}/order/a$$b-${KEY}'}\n"
        "delivery: {workers: '${N}'}\n"
        "orders:\n  skip_statuses:\n    - ${S}\n"
        "ledger: state/${N}.db\n"
    )
    assert loaded.need_onetribe_url().reveal() == "https://api.example.com/order/a$b-my$$key"
    assert loaded.delivery.workers == 7
    assert loaded.orders.skip_statuses == ("Declined",)
    assert loaded.ledger == desk.cwd / "state" / "7.db"


@pytest.mark.parametrize("environ", [{}, {"TOKEN": ""}])
def test_an_unset_variable_is_an_error_with_the_key(desk: Desk, environ: dict[str, str]) -> None:
    desk.environ = environ
    message = desk.refusal(nested("bigcommerce.access_token", "x${TOKEN}"))
    assert "line 2: bigcommerce.access_token takes the environment variable TOKEN" in message


@pytest.mark.parametrize("value", ["${", "${}", "${A B}", "${A-x}", "x${A"])
def test_an_invalid_reference_is_an_error(desk: Desk, value: str) -> None:
    desk.environ = {"A": "x"}
    assert "must have a variable name and } after ${" in desk.refusal(
        nested("bigcommerce.access_token", f"'{value}'")
    )


# Secrets in files


@pytest.mark.parametrize("content", ["token", "token\n", "token\r\n"])
def test_a_secret_is_read_from_its_file_without_the_line_end(desk: Desk, content: str) -> None:
    desk.environ = {"NAME": "token"}
    desk.write(content, desk.cwd / "secrets" / "token")
    loaded = desk.load(nested("bigcommerce.client_secret_file", "secrets/${NAME}"))
    assert loaded.bigcommerce.client_secret is not None
    assert loaded.bigcommerce.client_secret.reveal() == "token"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"one\ntwo\n", "with more than one line"),
        (b"one\rtwo", "with more than one line"),
        (b"\xff\xfe", "is UTF-16, not UTF-8"),
        ("s3cr3t".encode("utf-16-be"), "is UTF-16, not UTF-8"),
        (b"s3cr3t\xe9", "is not UTF-8"),
        (b"s3cr3t b", "an HTTP header cannot carry"),
        (b"s3cr3t" * 4_000, "larger than 16384 bytes"),
    ],
)
def test_an_unusable_secret_file_is_an_error(desk: Desk, content: bytes, problem: str) -> None:
    desk.write(content, desk.cwd / "token")
    message = desk.refusal(nested("bigcommerce.access_token_file", "token"))
    assert message.startswith(f"{desk.file}, line 2")
    assert "bigcommerce.access_token_file " in message
    assert problem in message
    assert "two" not in message
    assert "s3cr3t" not in message


def test_a_secret_file_that_is_missing_or_a_directory_is_an_error(desk: Desk) -> None:
    assert "cannot be read: No such file" in desk.refusal(nested("onetribe.url_file", TOKEN))
    assert TOKEN not in desk.refusal()
    assert "cannot be read: Is a directory" in desk.refusal(nested("onetribe.url_file", "."))


def test_a_secret_and_its_file_together_are_an_error(desk: Desk) -> None:
    message = desk.refusal("onetribe:\n  url: https://h/key\n  url_file: x")
    assert "line 3: onetribe.url_file is redundant: set onetribe.url or" in message


def test_a_secret_may_come_through_a_pipe(desk: Desk) -> None:
    pipe, end = os.pipe()
    os.write(end, b"token\n")
    os.close(end)
    loaded = desk.load(nested("bigcommerce.access_token_file", f"/dev/fd/{pipe}"))
    os.close(pipe)
    assert loaded.need_access_token().reveal() == "token"
    assert loaded.warnings == ()


# The file as a whole


@pytest.mark.parametrize(
    ("content", "line", "key"),
    [
        ("workers: 3", 1, "workers is not a known key; did you mean delivery.workers?"),
        ("timezone: UTC\ndelivry:\n  workers: 3", 2, "delivry is not a known key; did you mean"),
        ("delivery:\n  worker: 3", 2, "delivery.worker is not a known key; did you mean delivery."),
        ("delivery: {read: 3}", 1, "delivery.read is not a known key; did you mean delivery.timeo"),
        ("delivery.workers: 3", 1, "delivery.workers must be nested"),
        ("store-hash: x", 1, "store-hash is not a known key; did you mean bigcommerce.store_hash?"),
        ("onetribe: {URL: x}", 1, "onetribe.URL is not a known key; did you mean onetribe.url?"),
        ("colour: red", 1, "colour is not a known key."),
        ("<<: {workers: 3}", 1, "<< is not supported"),
        ("timezone: UTC\ntimezone: UTC", 2, "timezone is set twice"),
        ("delivery:\n  workers: 3\n  workers: 3", 3, "delivery.workers is set twice"),
        ("[a]: 3", 1, "the configuration has a key that is not a plain word"),
        ("- a\n- b", 1, "the configuration must be a section of keys with values"),
        ("just text", 1, "the configuration must be a section of keys with values"),
        ("bigcommerce: store_hash:abc", 1, "bigcommerce must be a section of keys with values"),
        ("stores: {uk: {workers: 3}}", 1, "stores.uk.workers is not a known key; did you mean st"),
        ("stores:\n  uk:\n    stores: {}", 3, "stores.uk.stores cannot be inside a store"),
        ("stores: [uk]", 1, "stores must be a section of keys with values"),
        ("stores: {a b: {}}", 1, "stores.**** (a key that may be a secret) must be a store's name"),
        ("stores: {'': {}}", 1, "stores.**** (a key that may be a secret) must be"),
        ("stores: &a {uk: *a}", 1, "stores.uk.uk is not a known key"),
        ("delivery: &a {timeout: *a}", 1, "delivery.timeout.timeout is not a known key"),
    ],
)
def test_an_unknown_key_is_an_error_with_file_line_and_the_nearest_key(
    desk: Desk, content: str, line: int, key: str
) -> None:
    assert f"{desk.file}, line {line}: {key}" in desk.refusal(content)


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        ("a:\n\tb: s3cr3t", 2, "indent with spaces, not tabs"),
        ("a: b: s3cr3t", 1, "quote a value that contains a colon"),
        ("a: @s3cr3t", 1, "quote a value that starts with @, % or `"),
        ("a: *s3cr3t", 1, "quote a value that starts with *"),
        ("a: {b: ${s3cr3t}}", 1, "a bracket is not closed, or a value inside it needs quotes"),
        ("a: 's3cr3t", 1, "a quote is not closed"),
        ('a: "\\s3cr3t"', 1, "write a backslash in double quotes as"),
        ("a: 1\ns3cr3t\nb: 2", 2, "a key has no colon"),
        ("a:\n  b: 1\n c: s3cr3t", 3, "indented differently"),
        ("a: 1\n---\nb: s3cr3t", 2, "contains more than one document"),
        ("a: !s3cr3t!x y", 1, "the file is not YAML"),
        ("a: 1\nb: s3cr3t\x07", 2, "the file contains a control character"),
        (b"a: 1\nb: s3cr3t\xff", 2, "the file is not UTF-8"),
        ("a: 1".encode("utf-16"), 1, "the file is UTF-16, not UTF-8"),
    ],
)
def test_an_invalid_file_is_an_error_with_the_line_and_without_its_text(
    desk: Desk, content: str | bytes, line: int, problem: str
) -> None:
    message = desk.refusal(content)
    assert f"{desk.file}, line " in message
    assert problem in message
    assert "s3cr3t" not in message
    assert abs(int(message.partition(", line ")[2].partition(":")[0]) - line) <= 1


def test_a_byte_order_mark_is_ignored(desk: Desk) -> None:
    assert desk.load("\ufeff" + FULL).need_store_hash() == "abc123"


def test_an_unreadable_file_is_an_error(desk: Desk) -> None:
    desk.file.mkdir()
    assert f"Cannot read the configuration file {desk.file}: Is a directory" in desk.refusal()
    desk.file.rmdir()
    assert "it is larger than" in desk.refusal("#" * 300_000)


@pytest.mark.parametrize("opening", ["[", "- ", "{a: ", "a:\n"])
def test_a_file_that_is_nested_too_deeply_is_an_error(desk: Desk, opening: str) -> None:
    lines = [" " * depth + opening if "\n" in opening else opening for depth in range(700)]
    message = desk.refusal("".join(lines))
    assert message.startswith(f"{desk.file}, line ")


def test_nested_aliases_cost_nothing(desk: Desk) -> None:
    bomb = ["delivery:", "  workers: &a0 [x, x]"]
    bomb += [f"  w{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40)]
    assert "may be a secret" in desk.refusal("\n".join(bomb))


# No secret in any error


@given(
    name=st.sampled_from([*KEYS, *sorted(SECTIONS), "stores", "stores.uk", "colour"]),
    shape=st.sampled_from(
        ["{}", "[{}]", "{{{}: 1}}", "{{a: {}}}", "'{}'", "x {}", "*{}", "!{}", "@{}", "%{}", "&{}",
         '"\\{}', "${{{} }}", "https://u:{}@h/x", "https://h/{}?x", "~{}/x", "{}\n{}: 1", "|\n {}",
         "{} \x07", "- {}", "[{}", "'{}", "x: {}"]
    ),
)  # fmt: skip
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300
)
def test_no_error_shows_a_token_in_the_wrong_place(desk: Desk, name: str, shape: str) -> None:
    assert TOKEN not in desk.message(nested(name, shape.format(TOKEN, TOKEN)))


@given(content=st.text() | st.text(alphabet="a:{}[]-&*!|>'\"%@`#\n\t $,?~"))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_file_either_loads_or_raises_a_bc2ot_error(desk: Desk, content: str) -> None:
    message = desk.message(content.encode("utf-8", "surrogatepass"))
    assert not message or str(desk.file) in message
