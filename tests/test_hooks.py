"""`bc2ot hooks`, from the command line to the wire."""

from __future__ import annotations

import io
import json
import os
import signal
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import responses

from onetribe_bc.api.hooks import (
    check_header,
    check_scope,
    mask_destination,
    nearest_scope,
    same_destination,
)
from onetribe_bc.cli.app import run
from onetribe_bc.errors import InputError
from onetribe_bc.sandbox import Fault, Sandbox
from onetribe_bc.secret import Secret
from tests.shell import Outcome

CREATED = "store/order/created"
UPDATED = "store/order/updated"
OWN = "https://hooks.example.com/orders"
KEY = "kEy-0f-the-merchant"
ONETRIBE = f"https://api.onetribe.example/direct/webhook/big-commerce/order/{KEY}"
MASKED = "https://api.onetribe.example/direct/webhook/big-commerce/order/****"
OTHER_PATH = f"https://api.onetribe.example/api/direct/webhook/shopify/order/{KEY}"
HEADER_VALUE = "s3cret-of-the-hook"
VERSIONS = pytest.mark.parametrize("version", ["v3", "v2"])


Cli = Callable[..., Outcome]


@pytest.fixture
def cli(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> Cli:
    """Run a command line against the sandbox; no secret may be in what it prints."""
    environment = {
        **sandbox.environment(),
        "BC2OT_ONETRIBE_URL": ONETRIBE,
        "HOOK_SECRET": HEADER_VALUE,
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    def call(*arguments: str) -> Outcome:
        result = Outcome(run(arguments), *capsysbinary.readouterr())
        for secret in (KEY, HEADER_VALUE, sandbox.access_token):
            assert secret not in result.out + result.err
        return result

    return call


class Keyboard(io.StringIO):
    """A terminal at which someone types."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def type_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda text: monkeypatch.setattr(sys, "stdin", Keyboard(text))


def posts(sandbox: Sandbox, *methods: str) -> int:
    return sum(record.method in (methods or ("POST",)) for record in sandbox.requests)


@pytest.fixture
def stores(monkeypatch: pytest.MonkeyPatch) -> str:
    """The store's URL at BigCommerce, for tests with made-up responses."""
    monkeypatch.setenv("BC2OT_API_URL", "https://api.bigcommerce.com")
    return "https://api.bigcommerce.com/stores/sandbox1"


# create


@VERSIONS
def test_create_creates_a_webhook_to_one_tribe(sandbox: Sandbox, cli: Cli, version: str) -> None:
    result = cli("hooks", "create", "--api-version", version)

    (hook,) = sandbox.hooks.all()
    assert result.code == 0
    assert (hook.scope, hook.destination, hook.is_active) == (CREATED, ONETRIBE, True)
    assert result.out == f"created: webhook {hook.id}, {CREATED} to {MASKED}\n"
    assert "a minute" in result.err
    assert "bc2ot backfill" in result.err
    assert "Check Integration" in result.err
    assert any(f"/{version}/hooks" in record.path for record in sandbox.requests)


@VERSIONS
def test_create_again_changes_nothing(sandbox: Sandbox, cli: Cli, version: str) -> None:
    cli("hooks", "create", "--api-version", version)
    result = cli("hooks", "create", "--api-version", version)

    assert result.code == 0
    assert result.out.startswith("unchanged: webhook ")
    assert result.err == ""
    assert len(sandbox.hooks.all()) == 1
    assert posts(sandbox, "POST", "PUT") == 1


def test_create_accepts_several_scopes_without_duplicates(sandbox: Sandbox, cli: Cli) -> None:
    sandbox.hooks.add(CREATED, ONETRIBE)
    scopes = ("--scope", CREATED, "--scope", UPDATED, "--scope", UPDATED)
    result = cli("hooks", "create", *scopes, "--json")

    assert [(h["change"], h["scope"]) for h in result.json["hooks"]] == [
        ("unchanged", CREATED),
        ("created", UPDATED),
    ]
    assert result.json["hooks"][0]["is_onetribe"] is True
    assert result.json["complete"] is True
    assert len(sandbox.hooks.all()) == 2


def test_create_to_another_destination_does_not_mention_the_integration_check(
    sandbox: Sandbox, cli: Cli
) -> None:
    result = cli("hooks", "create", "--destination", OWN)

    assert result.out == f"created: webhook {sandbox.hooks.all()[0].id}, {CREATED} to {OWN}\n"
    assert "Check Integration" not in result.err


def test_create_updates_headers_and_activity(sandbox: Sandbox, cli: Cli) -> None:
    hook = sandbox.hooks.add(CREATED, ONETRIBE, headers={"X-Old": "1"})
    result = cli("hooks", "create", "--inactive", "--header", "X-Secret=a ${HOOK_SECRET}")

    assert result.code == 0
    assert "updated" in result.out
    assert "(changed: is_active, headers)" in result.out
    changed = sandbox.hooks.get(hook.id)
    assert changed.headers == {"X-Secret": f"a {HEADER_VALUE}"}
    assert changed.is_active is False
    again = cli("hooks", "create", "--inactive", "--header", "x-secret=a ${HOOK_SECRET}")
    assert again.out.startswith("unchanged")


def test_create_without_headers_keeps_the_existing_ones(sandbox: Sandbox, cli: Cli) -> None:
    hook = sandbox.hooks.add(CREATED, ONETRIBE, headers={"X-Old": "1"})

    assert cli("hooks", "create").out.startswith("unchanged")
    assert sandbox.hooks.get(hook.id).headers == {"X-Old": "1"}


# create --receiver

SECRET = "X-Bc2ot-Secret"


def kept_secret(sandbox: Sandbox, folder: Path) -> str:
    (file,) = folder.iterdir()
    assert file.name == f"receiver-secret-{sandbox.store_hash}"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    return file.read_text().rstrip("\n")


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The ledger's folder, which is not there yet."""
    monkeypatch.setenv("BC2OT_LEDGER", str(tmp_path / "state" / "ledger.db"))
    return tmp_path / "state"


@VERSIONS
def test_webhooks_to_a_receiver_carry_a_secret_that_is_created_and_kept(
    sandbox: Sandbox, cli: Cli, state: Path, version: str
) -> None:
    umask = os.umask(0)
    try:
        result = cli("hooks", "create", "--receiver", OWN, "--api-version", version)
    finally:
        os.umask(umask)

    secret = kept_secret(sandbox, state)
    assert result.code == 0
    assert len(secret) >= 43
    assert [(h.scope, h.destination, h.headers) for h in sandbox.hooks.all()] == [
        (scope, OWN, {SECRET: secret}) for scope in (CREATED, UPDATED)
    ]
    assert f"kept it in {state}/receiver-secret-{sandbox.store_hash}" in result.err
    assert "must be able to read it" in result.err
    assert "bc2ot serve" in result.err
    assert secret not in result.out + result.err


def test_webhooks_to_a_receiver_are_created_once_and_keep_their_secret(
    sandbox: Sandbox, cli: Cli, state: Path
) -> None:
    cli("hooks", "create", "--receiver", OWN)
    secret = kept_secret(sandbox, state)
    result = cli("hooks", "create", "--receiver", OWN)

    assert result.out.count("unchanged: webhook") == 2
    assert result.err == ""
    assert kept_secret(sandbox, state) == secret
    assert posts(sandbox, "POST", "PUT") == 2


def test_a_webhook_with_another_secret_is_updated_and_keeps_its_other_headers(
    sandbox: Sandbox, cli: Cli, state: Path
) -> None:
    hook = sandbox.hooks.add(CREATED, OWN, headers={"x-bc2ot-secret": "old", "X-Own": "1"})
    result = cli("hooks", "create", "--receiver", OWN, "--scope", CREATED)

    assert "(changed: headers)" in result.out
    assert sandbox.hooks.get(hook.id).headers == {
        "X-Own": "1",
        SECRET: kept_secret(sandbox, state),
    }


def test_a_configured_secret_is_used_and_none_is_created(
    sandbox: Sandbox, cli: Cli, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BC2OT_RECEIVER_SECRET", HEADER_VALUE)
    headers = ("--header", "X-Mine=${HOOK_SECRET}")
    cli("hooks", "create", "--receiver", OWN, "--scope", UPDATED, *headers)

    (hook,) = sandbox.hooks.all()
    assert hook.headers == {"X-Mine": HEADER_VALUE, SECRET: HEADER_VALUE}
    assert not state.exists()
    shown = cli("hooks", "show", str(hook.id)).out
    assert f"{SECRET}=****" in shown


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((OWN, "--destination", OWN), "remove --destination"),
        ((OWN, "--header", "x-bc2ot-secret=${HOOK_SECRET}"), "sets the header X-Bc2ot-Secret"),
        ((OWN, "--scope", "junk"), "not a valid scope"),
        (("http://127.0.0.1:8080/",), "https only"),
    ],
)
def test_invalid_options_with_a_receiver_are_reported_before_a_secret_is_created(
    sandbox: Sandbox, cli: Cli, state: Path, arguments: tuple[str, ...], reason: str
) -> None:
    cli("hooks", "create", "--receiver", *arguments).says(2, reason)
    assert not state.exists()
    assert sandbox.requests == ()


def test_a_secret_that_cannot_be_read_is_not_replaced(
    sandbox: Sandbox, cli: Cli, state: Path
) -> None:
    state.mkdir()
    file = state / f"receiver-secret-{sandbox.store_hash}"
    file.write_text("")
    cli("hooks", "create", "--receiver", OWN).says(
        3, "does not contain a secret on one line: delete it", f"to {file}"
    )
    assert file.read_text() == ""
    assert sandbox.requests == ()


@VERSIONS
def test_create_enables_a_deactivated_webhook(sandbox: Sandbox, cli: Cli, version: str) -> None:
    hook = sandbox.hooks.add(CREATED, ONETRIBE)
    sandbox.hooks.deactivate(hook.id)
    result = cli("hooks", "create", "--api-version", version)

    assert result.out.startswith(f"updated: webhook {hook.id}")
    assert sandbox.hooks.get(hook.id).status == "active"


@pytest.mark.parametrize(
    ("destination", "foreign", "change"),
    [("https://Hooks.Example.com:443/orders", False, "unchanged"), (OWN, True, "created")],
)
def test_create_finds_other_spellings_and_ignores_webhooks_of_other_accounts(
    sandbox: Sandbox, cli: Cli, destination: str, foreign: bool, change: str
) -> None:
    sandbox.hooks.add(CREATED, destination, foreign=foreign)

    assert cli("hooks", "create", "--destination", OWN).out.startswith(change)


def test_a_returned_destination_that_differs_is_reported_and_corrected_by_the_next_create(
    sandbox: Sandbox, cli: Cli
) -> None:
    sandbox.hooks.answer_destination = OTHER_PATH
    result = cli("hooks", "create")

    shown = "https://api.onetribe.example/api/direct/webhook/shopify/order/****"
    result.says(
        1,
        f"asked BigCommerce for the destination {MASKED}, and it returned {shown}.",
        "hooks update",
    )
    assert result.out.startswith("created")
    again = cli("hooks", "create").says(0)
    assert "(changed: destination)" in again.out
    assert [hook.destination for hook in sandbox.hooks.all()] == [ONETRIBE]


def test_a_differing_field_is_named_in_json(sandbox: Sandbox, cli: Cli) -> None:
    sandbox.hooks.answer_destination = OTHER_PATH
    assert cli("hooks", "create", "--json").json["hooks"][0]["differs"] == ["destination"]


def test_a_difference_only_in_the_masked_key_is_reported(sandbox: Sandbox, cli: Cli) -> None:
    sandbox.hooks.answer_destination = f"{ONETRIBE}x"
    cli("hooks", "create").says(1, "they differ in what is masked")


def test_a_lost_response_is_not_followed_by_a_second_post(sandbox: Sandbox, cli: Cli) -> None:
    sandbox.faults.add(Fault("bigcommerce", "lost_reply", method="POST"))
    result = cli("hooks", "create", "--json")

    assert result.code == 5
    assert "Run it again" in result.err
    assert result.json["complete"] is False
    assert result.json["hooks"] == []
    assert posts(sandbox) <= 1
    sandbox.faults.clear()
    assert cli("hooks", "create").out.startswith("unchanged")
    assert len(sandbox.hooks.all()) == 1


def test_a_webhook_refused_for_the_quota_is_not_reported_as_possibly_created(
    sandbox: Sandbox, cli: Cli
) -> None:
    wait = (("Retry-After", "0"),)
    sandbox.faults.add(Fault("bigcommerce", "status", method="POST", status=429, headers=wait))

    assert "may exist now" not in cli("hooks", "create").says(5).err


def test_ten_webhooks_of_a_scope_are_reported_before_any_is_created(
    sandbox: Sandbox, cli: Cli
) -> None:
    for number in range(10):
        sandbox.hooks.add(UPDATED, f"{OWN}/{number}")
    cli("hooks", "create", "--scope", CREATED, "--scope", UPDATED).says(
        2, f"10 webhooks for {UPDATED}"
    )
    assert posts(sandbox) == 0
    assert cli("hooks", "create", "--scope", UPDATED, "--destination", f"{OWN}/3").code == 0


def test_bigcommerces_refusal_comes_with_its_reason_and_its_limits(
    sandbox: Sandbox, cli: Cli
) -> None:
    # Another program may create the tenth webhook between the check and the request.
    body = json.dumps({"title": f"Too many: {ONETRIBE} {HEADER_VALUE}"}).encode()
    sandbox.faults.add(Fault("bigcommerce", "status", method="POST", status=422, body=body))
    cli("hooks", "create", "--header", "X-Secret=${HOOK_SECRET}").says(
        2, f"Too many: {MASKED} ****", "10 webhooks for a scope"
    )


@pytest.mark.parametrize(
    ("scope", "code", "is_typo"),
    [("store/orders/created", 2, True), ("store/customer/created", 0, False)],
)
def test_a_probable_typo_in_a_scope_about_orders_is_reported(
    sandbox: Sandbox, cli: Cli, scope: str, code: int, is_typo: bool
) -> None:
    result = cli("hooks", "create", "--scope", scope).says(code)

    assert ("did you mean store/order/created?" in result.err) is is_typo
    assert ("BigCommerce responded with 422" in result.err) is is_typo


@pytest.mark.parametrize("scope", ["order/created", "junk", "store/", "store/order/created\n", ""])
def test_an_invalid_scope_is_a_usage_error(sandbox: Sandbox, cli: Cli, scope: str) -> None:
    assert cli("hooks", "create", "--scope", scope).code == 2
    assert sandbox.requests == ()


@pytest.mark.parametrize(
    ("destination", "reason"),
    [
        ("http://hooks.example.com/orders", "https only"),
        ("https://hooks.example.com:8443/orders", "port 443 only"),
        ("https://me:pw@hooks.example.com/", "user"),
        ("hooks", "not a URL"),
        ("${NOT_SET}", "NOT_SET is not set"),
        ("${not a name}", "Expected a variable name"),
    ],
)
def test_an_invalid_destination_is_refused_before_any_request(
    sandbox: Sandbox, cli: Cli, destination: str, reason: str
) -> None:
    for command in (("create",), ("update", "7")):
        result = cli("hooks", *command, "--destination", destination)
        assert result.code == 2
        assert reason in result.err
    assert sandbox.requests == ()


def test_a_one_tribe_url_that_bigcommerce_cannot_call_is_named_as_the_default(
    sandbox: Sandbox, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BC2OT_ONETRIBE_URL", sandbox.onetribe_url)
    result = cli("hooks", "create")

    assert result.code == 2
    assert "onetribe.url is http://127.0.0.1" in result.err
    assert sandbox.merchant_key not in result.err
    assert "--destination" in result.err


def test_a_key_in_an_option_is_reported_as_visible_to_others(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = cli("hooks", "create", "--destination", ONETRIBE)
    assert "list of processes" in typed.err

    monkeypatch.setenv("ELSEWHERE", ONETRIBE)
    named = cli("hooks", "create", "--destination", "${ELSEWHERE}")
    assert "list of processes" not in named.err
    assert named.out.startswith("unchanged")


def test_a_header_value_in_an_option_is_reported_as_visible_to_others(
    sandbox: Sandbox, cli: Cli
) -> None:
    cli("hooks", "create", "--header", "X-Shop=$$5=a").says(0, "'X-Shop=${NAME}'")
    assert sandbox.hooks.all()[0].headers == {"X-Shop": "$5=a"}


@pytest.mark.parametrize(
    "header",
    [
        HEADER_VALUE,
        f"={HEADER_VALUE}",
        f"X Secret={HEADER_VALUE}",
        "X-Secret=",
        "X-Secret= ",
        f"X-Secret={HEADER_VALUE}\r\nX-More: 1",
        f"X-Secret={HEADER_VALUE}é",
        "X-Secret=${NOT_SET}",
        f"X-Secret=${{{HEADER_VALUE}",
    ],
)
def test_an_invalid_header_is_refused_without_quoting_it(
    sandbox: Sandbox, cli: Cli, header: str
) -> None:
    result = cli("hooks", "create", "--header", header)

    assert result.code == 2
    assert sandbox.requests == ()


def test_a_header_given_twice_is_refused(cli: Cli) -> None:
    cli("hooks", "create", "--header", "A=${HOOK_SECRET}", "--header", "a=${HOOK_SECRET}").says(
        2, "given twice"
    )


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_token_that_bigcommerce_refuses_ends_it(sandbox: Sandbox, cli: Cli, status: int) -> None:
    sandbox.faults.add(f"bigcommerce:status@{status}")

    cli("hooks", "create").says(4)


# list and show


@VERSIONS
def test_list_shows_what_the_token_sees_with_secrets_masked(
    sandbox: Sandbox, cli: Cli, version: str
) -> None:
    first = sandbox.hooks.add(CREATED, ONETRIBE, headers={"X-Secret": HEADER_VALUE})
    second = sandbox.hooks.add(UPDATED, OWN, is_active=False)
    foreign = sandbox.hooks.add(UPDATED, OWN, foreign=True)
    result = cli("hooks", "list", "--api-version", version)

    lines = result.out.splitlines()[2:]
    assert result.code == 0
    assert [line.split()[:4] for line in lines] == [
        [str(first.id), CREATED, MASKED, "active"],
        [str(second.id), UPDATED, OWN, "inactive"],
    ]
    assert "X-Secret" in lines[0]
    assert "2026-03-01 12:00:00 +00:00" in lines[0]
    assert str(foreign.id) not in result.out
    assert result.err == ""


def test_list_as_json_has_every_field(sandbox: Sandbox, cli: Cli) -> None:
    hook = sandbox.hooks.add(CREATED, ONETRIBE, headers={"X-Secret": HEADER_VALUE})
    sandbox.hooks.block(f"{ONETRIBE}", time_left_s=90)
    document = cli("hooks", "list", "--json").json

    assert document == {
        "store_hash": sandbox.store_hash,
        "hooks": [
            {
                "id": hook.id,
                "scope": CREATED,
                "destination": MASKED,
                "is_onetribe": True,
                "is_active": True,
                "status": "active",
                "headers": {"X-Secret": "****"},
                "created_at": "2026-03-01T12:00:00+00:00",
                "updated_at": "2026-03-01T12:00:00+00:00",
            }
        ],
        "blocked_domains": [{"destination": MASKED, "time_left_s": 90, "reasons": ["HTTP 500"]}],
    }


def test_list_filters_by_scope_destination_and_activity(sandbox: Sandbox, cli: Cli) -> None:
    first = sandbox.hooks.add(CREATED, ONETRIBE)
    second = sandbox.hooks.add(UPDATED, ONETRIBE, is_active=False)
    third = sandbox.hooks.add(CREATED, OWN)

    def ids(*options: str) -> list[int]:
        document = cli("hooks", "list", "--json", *options).json
        return [hook["id"] for hook in document["hooks"]]

    assert ids("--scope", CREATED) == [first.id, third.id]
    assert ids("--destination", "${BC2OT_ONETRIBE_URL}") == [first.id, second.id]
    assert ids("--inactive") == [second.id]
    assert ids("--active", "--scope", CREATED, "--destination", OWN) == [third.id]
    assert all(KEY not in str(record.query) for record in sandbox.requests)


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_list_reports_what_bigcommerce_deactivated_or_blocked(
    sandbox: Sandbox, cli: Cli, options: tuple[str, ...]
) -> None:
    hook = sandbox.hooks.add(CREATED, ONETRIBE)
    sandbox.hooks.deactivate(hook.id)
    sandbox.hooks.block("hooks.example.com", time_left_s=90)
    result = cli("hooks", "list", *options)

    assert "deactivated" in result.out
    assert f"bc2ot hooks enable {hook.id}" in result.err
    assert "hooks.example.com again in the next 90 s" in result.err
    assert "HTTP 500" in result.err


@pytest.mark.parametrize("command", [("list",), ("show", "20172984")])
def test_a_failure_of_the_admin_endpoint_does_not_hide_the_webhooks(
    sandbox: Sandbox, cli: Cli, command: tuple[str, ...]
) -> None:
    sandbox.hooks.add(CREATED, OWN)
    sandbox.faults.add(Fault("bigcommerce", "status", status=403, path="hooks/admin"))
    result = cli("hooks", *command)

    assert result.code == 0
    assert OWN in result.out
    assert "Warning: deactivated webhooks may be shown as inactive" in result.err


def test_an_empty_list_mentions_other_accounts_hooks(sandbox: Sandbox, cli: Cli) -> None:
    sandbox.hooks.add(CREATED, ONETRIBE, foreign=True)
    result = cli("hooks", "list")

    assert result.code == 0
    assert result.out == ""
    assert "only the webhooks that its own API account created" in result.err


@VERSIONS
def test_show_shows_one_hook(sandbox: Sandbox, cli: Cli, version: str) -> None:
    hook = sandbox.hooks.add(CREATED, ONETRIBE, headers={"X-Secret": HEADER_VALUE})
    text = cli("hooks", "show", str(hook.id), "--api-version", version)
    document = cli("hooks", "show", str(hook.id), "--api-version", version, "--json").json

    assert f"destination  {MASKED}" in text.out
    assert "X-Secret=****" in text.out
    assert document["destination"] == MASKED
    assert document["status"] == "active"


@responses.activate
def test_remote_text_cannot_reach_the_terminal(cli: Cli, stores: str) -> None:
    odd = {"id": 7, "scope": "store/\x1b[2J[/x]", "destination": "https://[bad/\x1b", "headers": {}}
    responses.get(f"{stores}/v3/hooks", json={"data": [odd], "meta": {}})
    responses.get(f"{stores}/v3/hooks/admin", json={"data": {}})
    result = cli("hooks", "list")

    assert result.code == 0
    assert "\x1b" not in result.out
    assert "[/x]" in result.out
    assert "****" in result.out


# update, enable, disable


@VERSIONS
def test_update_changes_what_is_given(sandbox: Sandbox, cli: Cli, version: str) -> None:
    hook = sandbox.hooks.add(CREATED, OWN, headers={"X-Old": "1"})
    fields = ("--scope", UPDATED, "--destination", "${BC2OT_ONETRIBE_URL}", "--inactive")
    header = ("--header", "X-Secret=${HOOK_SECRET}")
    result = cli("hooks", "update", str(hook.id), *fields, *header, "--api-version", version)

    changed = sandbox.hooks.get(hook.id)
    assert result.code == 0
    assert "(changed: scope, destination, is_active, headers)" in result.out
    assert ", inactive" in result.out
    assert (changed.scope, changed.destination, changed.is_active) == (UPDATED, ONETRIBE, False)
    assert changed.headers == {"X-Secret": HEADER_VALUE}


def test_update_without_a_difference_sends_nothing(sandbox: Sandbox, cli: Cli) -> None:
    hook = sandbox.hooks.add(CREATED, OWN)
    result = cli("hooks", "update", str(hook.id), "--scope", CREATED, "--active", "--json")

    assert result.json["hooks"][0]["change"] == "unchanged"
    assert posts(sandbox, "PUT") == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("hooks", "update", "7"), "--scope"),
        (("hooks", "delete", "7"), "--yes"),
        (("--no-input", "hooks", "delete", "7"), "--yes"),
        (("hooks", "delete", "--yes"), "--all"),
        (("hooks", "delete", "7", "--all", "--yes"), "--all"),
    ],
)
def test_an_incomplete_or_contradictory_command_is_a_usage_error(
    sandbox: Sandbox,
    cli: Cli,
    type_in: Callable[[str], None],
    arguments: tuple[str, ...],
    words: str,
) -> None:
    if "--no-input" in arguments:
        type_in("y\n")
    cli(*arguments).says(2, words)
    assert sandbox.requests == ()


def test_update_reports_why_bigcommerce_refuses(sandbox: Sandbox, cli: Cli) -> None:
    sandbox.hooks.add(UPDATED, OWN)
    hook = sandbox.hooks.add(CREATED, OWN)
    cli("hooks", "update", str(hook.id), "--scope", UPDATED).says(
        2, "A webhook with this scope and destination exists"
    )


@VERSIONS
@pytest.mark.parametrize(
    "command", [("show",), ("update", "--active"), ("enable",), ("disable",), ("delete", "--yes")]
)
def test_an_id_that_the_token_cannot_see_is_reported_as_possibly_another_accounts(
    sandbox: Sandbox, cli: Cli, command: tuple[str, ...], version: str
) -> None:
    foreign = sandbox.hooks.add(CREATED, OWN, foreign=True)
    cli("hooks", *command, str(foreign.id), "--api-version", version).says(
        1, f"no webhook {foreign.id}", "own API account"
    )
    assert foreign in sandbox.hooks.all()


@VERSIONS
def test_disable_and_enable_change_the_activity(sandbox: Sandbox, cli: Cli, version: str) -> None:
    ids = [sandbox.hooks.add(scope, OWN).id for scope in (CREATED, UPDATED)]
    words = [*map(str, ids), "--api-version", version]

    assert cli("hooks", "disable", *words).code == 0
    assert [hook.is_active for hook in sandbox.hooks.all()] == [False, False]
    sandbox.hooks.deactivate(ids[0])
    result = cli("hooks", "enable", *words)
    assert result.out.count("updated: ") == 2
    assert [hook.status for hook in sandbox.hooks.all()] == ["active", "active"]
    assert cli("hooks", "enable", *words).out.count("unchanged: ") == 2


@responses.activate
def test_enable_updates_a_deactivated_webhook_that_is_reported_as_active(
    cli: Cli, stores: str
) -> None:
    hook = {"id": 7, "scope": CREATED, "destination": OWN, "is_active": True, "headers": None}
    admin = {"hooks_list": [{"id": 7, "status": "deactivated"}]}
    responses.get(f"{stores}/v3/hooks/admin", json={"data": admin})
    responses.get(f"{stores}/v3/hooks/7", json={"data": hook})
    sent = responses.put(f"{stores}/v3/hooks/7", json={"data": hook})

    assert cli("hooks", "enable", "7").out.startswith("updated")
    assert sent.call_count == 1


@responses.activate
def test_a_hook_that_stays_inactive_is_reported(cli: Cli, stores: str) -> None:
    hook = {"id": 7, "scope": CREATED, "destination": OWN, "is_active": False, "headers": None}
    responses.get(f"{stores}/v2/hooks/7", json=hook)
    responses.put(f"{stores}/v2/hooks/7", json=hook)
    cli("hooks", "enable", "7", "--api-version", "v2").says(
        1, "asked BigCommerce for the is_active True, and it returned False"
    )


def test_each_id_is_tried_and_failures_are_reported_by_id(sandbox: Sandbox, cli: Cli) -> None:
    hook = sandbox.hooks.add(CREATED, OWN)
    result = cli("hooks", "disable", "5", str(hook.id), "6", "--json")

    assert result.code == 1
    assert [(h["change"], h["id"]) for h in result.json["hooks"]] == [
        ("failed", 5),
        ("updated", hook.id),
        ("failed", 6),
    ]
    assert "no webhook 5" in result.json["hooks"][0]["problem"]
    assert "no webhook 6" in result.err


def test_an_interrupt_between_two_hooks_stops_after_the_first(sandbox: Sandbox, cli: Cli) -> None:
    ids = [sandbox.hooks.add(scope, OWN).id for scope in (CREATED, UPDATED)]
    sandbox.on_request = lambda request: (
        os.kill(os.getpid(), signal.SIGINT) if request.method == "DELETE" else None
    )
    result = cli("hooks", "delete", "--yes", *map(str, ids))

    assert result.code == 130
    assert [hook.id for hook in sandbox.hooks.all()] == ids[1:]


# delete


@VERSIONS
def test_delete_shows_and_asks_first(
    sandbox: Sandbox, cli: Cli, type_in: Callable[[str], None], version: str
) -> None:
    hook = sandbox.hooks.add(CREATED, ONETRIBE)
    arguments = ("hooks", "delete", str(hook.id), "--api-version", version)

    type_in("n\n")
    result = cli(*arguments)
    assert result.code == 0
    assert f"webhook {hook.id}, {CREATED} to {MASKED}" in result.err
    assert "Nothing was deleted" in result.err
    assert sandbox.hooks.all() == (hook,)

    type_in("y\n")
    result = cli(*arguments)
    assert result.code == 0
    assert result.out == f"deleted: webhook {hook.id}, {CREATED} to {MASKED}\n"
    assert sandbox.hooks.all() == ()


def test_only_a_yes_deletes_and_invisible_webhooks_need_none(
    sandbox: Sandbox, cli: Cli, type_in: Callable[[str], None]
) -> None:
    hook = sandbox.hooks.add(CREATED, OWN)
    type_in("")

    cli("hooks", "delete", "5").says(1)
    cli("hooks", "delete", str(hook.id)).says(130)
    assert sandbox.hooks.all() == (hook,)


def test_delete_all_deletes_only_what_the_token_sees(sandbox: Sandbox, cli: Cli) -> None:
    for scope in (CREATED, UPDATED, "store/product/updated"):
        sandbox.hooks.add(scope, OWN)
    foreign = sandbox.hooks.add(CREATED, OWN, foreign=True)
    result = cli("hooks", "delete", "--all", "--yes", "--json")

    assert result.code == 0
    assert [hook["change"] for hook in result.json["hooks"]] == ["deleted"] * 3
    assert sandbox.hooks.all() == (foreign,)
    again = cli("hooks", "delete", "--all", "--yes")
    assert again.code == 0
    assert "no webhook to delete" in again.err


def test_delete_all_shows_every_webhook_and_asks(
    sandbox: Sandbox, cli: Cli, type_in: Callable[[str], None]
) -> None:
    ids = [sandbox.hooks.add(scope, OWN).id for scope in (CREATED, UPDATED)]
    type_in("y\n")
    result = cli("hooks", "delete", "--all")

    assert all(str(hook_id) in result.err for hook_id in ids)
    assert "Delete 2 webhooks?" in result.err
    assert sandbox.hooks.all() == ()


def test_a_delete_with_a_lost_response_counts_as_deleted(sandbox: Sandbox, cli: Cli) -> None:
    hook = sandbox.hooks.add(CREATED, OWN)
    sandbox.faults.add(Fault("bigcommerce", "lost_reply", method="DELETE", times=1))

    assert cli("hooks", "delete", str(hook.id), "--yes").code == 0
    assert sandbox.hooks.all() == ()


@pytest.mark.parametrize(
    "command", ["create", "list", "show", "update", "enable", "disable", "delete"]
)
def test_the_help_of_each_command_has_an_example_on_a_line_of_its_own(
    cli: Cli, command: str
) -> None:
    result = cli("hooks", command, "--help")

    assert result.code == 0
    assert f"\n    bc2ot hooks {command}" in result.out
    assert "\\b" not in result.out


# values


@pytest.mark.parametrize(
    ("destination", "shown"),
    [
        (OWN, OWN),
        (ONETRIBE, MASKED),
        (f"{ONETRIBE}/", f"{MASKED}/"),
        (OTHER_PATH, "https://api.onetribe.example/api/direct/webhook/shopify/order/****"),
        (
            "https://other.example/direct/webhook/x/short",
            "https://other.example/direct/webhook/x/****",
        ),
        (f"https://proxy.example/{KEY}/orders", "https://proxy.example/****/orders"),
        (f"https://proxy.example/a{KEY}", "https://proxy.example/****"),
        (
            "https://hooks.example.com/catch/0123456789abcdef/x?token=1#f",
            "https://hooks.example.com/catch/****/x?****",
        ),
        ("https://me:pw@hooks.example.com/a", "https://hooks.example.com/a"),
        ("a-long-name.hooks.example.com", "a-long-name.hooks.example.com"),
        ("https://[bad", "****"),
    ],
)
def test_a_destination_is_shown_without_its_keys(destination: str, shown: str) -> None:
    assert mask_destination(destination, Secret(ONETRIBE)) == shown


def test_two_spellings_of_one_destination_are_equal() -> None:
    assert same_destination("https://A.example", "https://a.example:443/")
    assert not same_destination("https://a.example/x", "https://a.example/X")
    assert not same_destination("https://[bad", "https://a.example/")


@pytest.mark.parametrize(
    ("scope", "near"),
    [
        (CREATED, None),
        ("store/cart/created", None),
        ("store", None),
        ("store/order/statusupdated", "store/order/statusUpdated"),
        ("store/oder/created", CREATED),
        ("store/order", "store/order/*"),
    ],
)
def test_a_mistyped_order_scope_is_recognized(scope: str, near: str | None) -> None:
    assert nearest_scope(scope) == near


def test_scopes_and_headers_are_checked_by_form() -> None:
    check_scope("store/cart/lineItem/*")
    check_scope("store/channel/12/order/created")
    check_header("X-Secret", "two words, ~")
    with pytest.raises(InputError, match="not a valid scope"):
        check_scope("store/*")
