"""`bc2ot hooks`, from the command line to the wire."""

from __future__ import annotations

import json
import os
import signal
import stat
from dataclasses import dataclass
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
from onetribe_bc.errors import InputError
from onetribe_bc.sandbox import Fault, Sandbox
from onetribe_bc.sandbox.hooks import HookStore
from onetribe_bc.secret import Secret
from tests.shell import Outcome, Shell, shell_fixture  # noqa: F401

CREATED = "store/order/created"
UPDATED = "store/order/updated"
OWN = "https://hooks.example.com/orders"
KEY = "kEy-0f-the-merchant"
ONETRIBE = f"https://api.onetribe.example/direct/webhook/big-commerce/order/{KEY}"
MASKED = "https://api.onetribe.example/direct/webhook/big-commerce/order/****"
OTHER_PATH = f"https://api.onetribe.example/api/direct/webhook/shopify/order/{KEY}"
HEADER_VALUE = "s3cret-of-the-hook"
SECRET = "X-Bc2ot-Secret"
VERSIONS = pytest.mark.parametrize("version", ["v3", "v2"])


@dataclass
class Cli:
    """Runs `bc2ot hooks` against a sandbox; no secret may be in what it prints."""

    shell: Shell

    def __call__(self, *arguments: str) -> Outcome:
        result = self.shell.run("hooks", *arguments)
        assert not [secret for secret in (KEY, HEADER_VALUE) if secret in result.out + result.err]
        return result

    @property
    def sandbox(self) -> Sandbox:
        return self.shell.sandbox

    @property
    def hooks(self) -> HookStore:
        return self.shell.sandbox.hooks

    def sent(self, *methods: str) -> int:
        """The number of requests that change something."""
        return sum(record.method in methods for record in self.sandbox.requests)


@pytest.fixture
def cli(shell: Shell) -> Cli:
    shell.set(BC2OT_ONETRIBE_URL=ONETRIBE, HOOK_SECRET=HEADER_VALUE)
    return Cli(shell)


@pytest.fixture
def stores(cli: Cli) -> str:
    """The store's URL at BigCommerce, for tests with made-up responses."""
    cli.shell.set(BC2OT_API_URL="https://api.bigcommerce.com")
    return "https://api.bigcommerce.com/stores/sandbox1"


# create


@VERSIONS
def test_create_creates_a_webhook_to_one_tribe_once(cli: Cli, version: str) -> None:
    result = cli("create", "--api-version", version)
    result.says(0, "a minute", "bc2ot backfill", "Check Integration")
    (hook,) = cli.hooks.all()
    assert (hook.scope, hook.destination, hook.is_active) == (CREATED, ONETRIBE, True)
    assert result.out == f"created: webhook {hook.id}, {CREATED} to {MASKED}\n"
    assert any(f"/{version}/hooks" in record.path for record in cli.sandbox.requests)
    again = cli("create", "--api-version", version)
    assert (again.code, again.err) == (0, "")
    assert again.out.startswith("unchanged: webhook ")
    assert (len(cli.hooks.all()), cli.sent("POST", "PUT")) == (1, 1)


def test_create_accepts_several_scopes_without_duplicates(cli: Cli) -> None:
    cli.hooks.add(CREATED, ONETRIBE)
    scopes = ("--scope", CREATED, "--scope", UPDATED, "--scope", UPDATED)
    found = cli("create", *scopes, "--json").json
    assert [(h["change"], h["scope"]) for h in found["hooks"]] == [
        ("unchanged", CREATED),
        ("created", UPDATED),
    ]
    assert (found["hooks"][0]["is_onetribe"], found["complete"]) == (True, True)
    assert len(cli.hooks.all()) == 2


def test_create_to_another_destination_does_not_mention_the_integration_check(cli: Cli) -> None:
    result = cli("create", "--destination", OWN)
    assert result.out == f"created: webhook {cli.hooks.all()[0].id}, {CREATED} to {OWN}\n"
    assert "Check Integration" not in result.err


def test_create_updates_activity_and_headers_only_if_given(cli: Cli) -> None:
    hook = cli.hooks.add(CREATED, ONETRIBE, headers={"X-Old": "1"})
    assert cli("create").out.startswith("unchanged")
    assert cli.hooks.get(hook.id).headers == {"X-Old": "1"}
    result = cli("create", "--inactive", "--header", "X-Secret=a ${HOOK_SECRET}").says(0)
    assert result.out.startswith("updated")
    assert "(changed: is_active, headers)" in result.out
    changed = cli.hooks.get(hook.id)
    assert (changed.headers, changed.is_active) == ({"X-Secret": f"a {HEADER_VALUE}"}, False)
    again = cli("create", "--inactive", "--header", "x-secret=a ${HOOK_SECRET}")
    assert again.out.startswith("unchanged")


# create --receiver


def kept_secret(cli: Cli, folder: Path) -> str:
    (file,) = folder.iterdir()
    assert file.name == f"receiver-secret-{cli.sandbox.store_hash}"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    return file.read_text().rstrip("\n")


@pytest.fixture
def state(cli: Cli, tmp_path: Path) -> Path:
    """The ledger's folder, which is not there yet."""
    cli.shell.set(BC2OT_LEDGER=str(tmp_path / "state" / "ledger.db"))
    return tmp_path / "state"


@VERSIONS
def test_webhooks_to_a_receiver_carry_a_secret_that_is_created_once_and_kept(
    cli: Cli, state: Path, version: str
) -> None:
    umask = os.umask(0)
    try:
        result = cli("create", "--receiver", OWN, "--api-version", version)
    finally:
        os.umask(umask)
    secret = kept_secret(cli, state)
    assert len(secret) >= 43
    assert [(h.scope, h.destination, h.headers) for h in cli.hooks.all()] == [
        (scope, OWN, {SECRET: secret}) for scope in (CREATED, UPDATED)
    ]
    kept = f"kept it in {state}/receiver-secret-{cli.sandbox.store_hash}"
    assert secret not in result.says(0, kept, "must be able to read it", "bc2ot serve").err
    assert secret not in result.out
    again = cli("create", "--receiver", OWN, "--api-version", version)
    assert (again.out.count("unchanged: webhook"), again.err) == (2, "")
    assert (kept_secret(cli, state), cli.sent("POST", "PUT")) == (secret, 2)


def test_a_webhook_with_another_secret_is_updated_and_keeps_its_other_headers(
    cli: Cli, state: Path
) -> None:
    hook = cli.hooks.add(CREATED, OWN, headers={"x-bc2ot-secret": "old", "X-Own": "1"})
    assert "(changed: headers)" in cli("create", "--receiver", OWN, "--scope", CREATED).out
    assert cli.hooks.get(hook.id).headers == {"X-Own": "1", SECRET: kept_secret(cli, state)}


def test_a_configured_secret_is_used_and_none_is_created(cli: Cli, state: Path) -> None:
    cli.shell.set(BC2OT_RECEIVER_SECRET=HEADER_VALUE)
    headers = ("--header", "X-Mine=${HOOK_SECRET}")
    cli("create", "--receiver", OWN, "--scope", UPDATED, *headers)
    (hook,) = cli.hooks.all()
    assert hook.headers == {"X-Mine": HEADER_VALUE, SECRET: HEADER_VALUE}
    assert not state.exists()
    assert f"{SECRET}=****" in cli("show", str(hook.id)).out


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
    cli: Cli, state: Path, arguments: tuple[str, ...], reason: str
) -> None:
    cli("create", "--receiver", *arguments).says(2, reason)
    assert not state.exists()
    assert cli.sandbox.requests == ()


def test_a_secret_that_cannot_be_read_is_not_replaced(cli: Cli, state: Path) -> None:
    state.mkdir()
    file = state / f"receiver-secret-{cli.sandbox.store_hash}"
    file.write_text("")
    reason = "does not contain a secret on one line: delete it"
    cli("create", "--receiver", OWN).says(3, reason, f"to {file}")
    assert file.read_text() == ""
    assert cli.sandbox.requests == ()


# create: what exists, what BigCommerce returns, and its limits


@VERSIONS
def test_create_enables_a_deactivated_webhook(cli: Cli, version: str) -> None:
    hook = cli.hooks.add(CREATED, ONETRIBE)
    cli.hooks.deactivate(hook.id)
    assert cli("create", "--api-version", version).out.startswith(f"updated: webhook {hook.id}")
    assert cli.hooks.get(hook.id).status == "active"


@pytest.mark.parametrize(
    ("destination", "foreign", "change"),
    [
        ("https://Hooks.Example.com:443/orders", False, "unchanged"),
        (f"{OWN}/", False, "unchanged"),
        (OWN, True, "created"),
    ],
)
def test_create_finds_other_spellings_and_ignores_webhooks_of_other_accounts(
    cli: Cli, destination: str, foreign: bool, change: str
) -> None:
    cli.hooks.add(CREATED, destination, foreign=foreign)
    assert cli("create", "--destination", OWN).out.startswith(change)


def test_create_to_one_tribe_takes_a_slash_at_the_end_for_the_same_url(
    sandbox: Sandbox, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = sandbox.hooks.add(CREATED, f"{ONETRIBE}/")
    monkeypatch.setenv("BC2OT_ONETRIBE_URL", f"{ONETRIBE}/")

    assert cli("create").out.startswith(f"unchanged: webhook {hook.id}")
    assert cli("list", "--json").json["hooks"][0]["is_onetribe"] is True
    assert len(sandbox.hooks.all()) == 1


def test_update_adds_a_slash_that_a_receiver_may_need(sandbox: Sandbox, cli: Cli) -> None:
    hook = sandbox.hooks.add(CREATED, OWN)

    result = cli("update", str(hook.id), "--destination", f"{OWN}/")
    assert "(changed: destination)" in result.out
    assert sandbox.hooks.get(hook.id).destination == f"{OWN}/"


def test_a_returned_destination_that_differs_is_reported_and_corrected_by_the_next_create(
    cli: Cli,
) -> None:
    cli.hooks.answer_destination = OTHER_PATH
    result = cli("create", "--json")
    shown = "https://api.onetribe.example/api/direct/webhook/shopify/order/****"
    result.says(1, f"for the destination {MASKED}, and it returned {shown}.", "hooks update")
    assert result.json["hooks"][0]["differs"] == ["destination"]
    assert "(changed: destination)" in cli("create").says(0).out
    assert [hook.destination for hook in cli.hooks.all()] == [ONETRIBE]


def test_a_difference_only_in_the_masked_key_is_reported(cli: Cli) -> None:
    cli.hooks.answer_destination = f"{ONETRIBE}x"
    cli("create").says(1, "they differ in what is masked")


def test_a_lost_response_is_not_followed_by_a_second_post(cli: Cli) -> None:
    cli.sandbox.faults.add(Fault("bigcommerce", "lost_reply", method="POST"))
    result = cli("create", "--json").says(5, "Run it again")
    assert (result.json["complete"], result.json["hooks"]) == (False, [])
    assert cli.sent("POST") <= 1
    cli.sandbox.faults.clear()
    assert cli("create").out.startswith("unchanged")
    assert len(cli.hooks.all()) == 1


def test_a_webhook_refused_for_the_quota_is_not_reported_as_possibly_created(cli: Cli) -> None:
    wait = (("Retry-After", "0"),)
    cli.sandbox.faults.add(Fault("bigcommerce", "status", method="POST", status=429, headers=wait))
    assert "may exist now" not in cli("create").says(5).err


def test_ten_webhooks_of_a_scope_are_reported_before_any_is_created(cli: Cli) -> None:
    for number in range(10):
        cli.hooks.add(UPDATED, f"{OWN}/{number}")
    cli("create", "--scope", CREATED, "--scope", UPDATED).says(2, f"10 webhooks for {UPDATED}")
    assert cli.sent("POST") == 0
    assert cli("create", "--scope", UPDATED, "--destination", f"{OWN}/3").code == 0


def test_bigcommerces_refusal_comes_with_its_reason_and_its_limits(cli: Cli) -> None:
    # Another program may create the tenth webhook between the check and the request.
    body = json.dumps({"title": f"Too many: {ONETRIBE} {HEADER_VALUE}"}).encode()
    cli.sandbox.faults.add(Fault("bigcommerce", "status", method="POST", status=422, body=body))
    result = cli("create", "--header", "X-Secret=${HOOK_SECRET}")
    result.says(2, f"Too many: {MASKED} ****", "10 webhooks for a scope")


@pytest.mark.parametrize(
    ("scope", "code", "is_typo"),
    [("store/orders/created", 2, True), ("store/customer/created", 0, False)],
)
def test_a_probable_typo_in_a_scope_about_orders_is_reported(
    cli: Cli, scope: str, code: int, is_typo: bool
) -> None:
    result = cli("create", "--scope", scope).says(code)
    assert ("did you mean store/order/created?" in result.err) is is_typo
    assert ("BigCommerce responded with 422" in result.err) is is_typo


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_token_that_bigcommerce_refuses_ends_it(cli: Cli, status: int) -> None:
    cli.sandbox.faults.add(f"bigcommerce:status@{status}")
    cli("create").says(4)


# Invalid values: before any request, and without quoting a secret


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
def test_an_invalid_destination_is_refused(cli: Cli, destination: str, reason: str) -> None:
    for command in (("create",), ("update", "7")):
        cli(*command, "--destination", destination).says(2, reason)
    assert cli.sandbox.requests == ()


INVALID_HEADERS = [
    HEADER_VALUE,
    f"={HEADER_VALUE}",
    f"X Secret={HEADER_VALUE}",
    "X-Secret=",
    "X-Secret= ",
    f"X-Secret={HEADER_VALUE}\r\nX-More: 1",
    f"X-Secret={HEADER_VALUE}é",
    "X-Secret=${NOT_SET}",
    f"X-Secret=${{{HEADER_VALUE}",
]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        *((("create", "--header", header), "") for header in INVALID_HEADERS),
        (("create", *["--header", "A=${HOOK_SECRET}", "--header", "a=${HOOK_SECRET}"]), "twice"),
        (("create", "--scope", "order/created"), "not a valid scope"),
        (("create", "--scope", "store/order/created\n"), "not a valid scope"),
        (("create", "--scope", ""), "not a valid scope"),
        (("update", "7"), "--scope"),
        (("delete", "7"), "--yes"),
        (("delete", "--yes"), "--all"),
        (("delete", "7", "--all", "--yes"), "--all"),
    ],
)
def test_invalid_or_contradictory_options_are_refused(
    cli: Cli, arguments: tuple[str, ...], words: str
) -> None:
    cli(*arguments).says(2, words)
    assert cli.sandbox.requests == ()


def test_a_one_tribe_url_that_bigcommerce_cannot_call_is_named_as_the_default(cli: Cli) -> None:
    cli.shell.set(BC2OT_ONETRIBE_URL=cli.sandbox.onetribe_url)
    cli("create").says(2, "onetribe.url is http://127.0.0.1", "--destination")


def test_a_key_or_header_value_in_an_option_is_reported_as_visible_to_others(cli: Cli) -> None:
    cli("create", "--destination", ONETRIBE).says(0, "list of processes")
    cli.shell.set(ELSEWHERE=ONETRIBE)
    named = cli("create", "--destination", "${ELSEWHERE}")
    assert "list of processes" not in named.err
    assert named.out.startswith("unchanged")
    cli("create", "--header", "X-Shop=$$5=a").says(0, "'X-Shop=${NAME}'")
    assert cli.hooks.all()[0].headers == {"X-Shop": "$5=a"}


# list and show


@VERSIONS
def test_list_shows_what_the_token_sees_with_secrets_masked(cli: Cli, version: str) -> None:
    first = cli.hooks.add(CREATED, ONETRIBE, headers={"X-Secret": HEADER_VALUE})
    second = cli.hooks.add(UPDATED, OWN, is_active=False)
    foreign = cli.hooks.add(UPDATED, OWN, foreign=True)
    result = cli("list", "--api-version", version)
    lines = result.out.splitlines()[2:]
    assert (result.code, result.err) == (0, "")
    assert [line.split()[:4] for line in lines] == [
        [str(first.id), CREATED, MASKED, "active"],
        [str(second.id), UPDATED, OWN, "inactive"],
    ]
    assert "X-Secret" in lines[0]
    assert "2026-03-01 12:00:00 +00:00" in lines[0]
    assert str(foreign.id) not in result.out


def test_list_as_json_has_every_field(cli: Cli) -> None:
    hook = cli.hooks.add(CREATED, ONETRIBE, headers={"X-Secret": HEADER_VALUE})
    cli.hooks.block(f"{ONETRIBE}", time_left_s=90)
    shown = {
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
    assert cli("list", "--json").json == {
        "store_hash": cli.sandbox.store_hash,
        "hooks": [shown],
        "blocked_domains": [{"destination": MASKED, "time_left_s": 90, "reasons": ["HTTP 500"]}],
    }
    assert cli("show", str(hook.id), "--json").json == shown


@VERSIONS
def test_show_shows_one_webhook(cli: Cli, version: str) -> None:
    hook = cli.hooks.add(CREATED, ONETRIBE, headers={"X-Secret": HEADER_VALUE})
    result = cli("show", str(hook.id), "--api-version", version).out
    assert f"destination  {MASKED}" in result
    assert "X-Secret=****" in result


def test_list_filters_by_scope_destination_and_activity(cli: Cli) -> None:
    first = cli.hooks.add(CREATED, ONETRIBE)
    second = cli.hooks.add(UPDATED, ONETRIBE, is_active=False)
    third = cli.hooks.add(CREATED, OWN)

    def ids(*options: str) -> list[int]:
        return [hook["id"] for hook in cli("list", "--json", *options).json["hooks"]]

    assert ids("--scope", CREATED) == [first.id, third.id]
    assert ids("--destination", "${BC2OT_ONETRIBE_URL}") == [first.id, second.id]
    assert ids("--inactive") == [second.id]
    assert ids("--active", "--scope", CREATED, "--destination", OWN) == [third.id]
    assert all(KEY not in str(record.query) for record in cli.sandbox.requests)


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_list_reports_what_bigcommerce_deactivated_or_blocked(
    cli: Cli, options: tuple[str, ...]
) -> None:
    hook = cli.hooks.add(CREATED, ONETRIBE)
    cli.hooks.deactivate(hook.id)
    cli.hooks.block("hooks.example.com", time_left_s=90)
    result = cli("list", *options)
    assert "deactivated" in result.out
    blocked = "hooks.example.com again in the next 90 s"
    result.says(0, f"bc2ot hooks enable {hook.id}", blocked, "HTTP 500")


@pytest.mark.parametrize("command", [("list",), ("show", "20172984")])
def test_a_failure_of_the_admin_endpoint_does_not_hide_the_webhooks(
    cli: Cli, command: tuple[str, ...]
) -> None:
    cli.hooks.add(CREATED, OWN)
    cli.sandbox.faults.add(Fault("bigcommerce", "status", status=403, path="hooks/admin"))
    result = cli(*command).says(0, "Warning: deactivated webhooks may be shown as inactive")
    assert OWN in result.out


def test_an_empty_list_mentions_webhooks_of_other_accounts(cli: Cli) -> None:
    cli.hooks.add(CREATED, ONETRIBE, foreign=True)
    result = cli("list").says(0, "only the webhooks that its own API account created")
    assert result.out == ""


@responses.activate
def test_remote_text_cannot_reach_the_terminal(cli: Cli, stores: str) -> None:
    odd = {"id": 7, "scope": "store/\x1b[2J[/x]", "destination": "https://[bad/\x1b", "headers": {}}
    responses.get(f"{stores}/v3/hooks", json={"data": [odd], "meta": {}})
    responses.get(f"{stores}/v3/hooks/admin", json={"data": {}})
    result = cli("list").says(0).out
    assert "\x1b" not in result
    assert "[/x]" in result
    assert "****" in result


# update, enable, disable


@VERSIONS
def test_update_changes_what_is_given(cli: Cli, version: str) -> None:
    hook = cli.hooks.add(CREATED, OWN, headers={"X-Old": "1"})
    fields = ("--scope", UPDATED, "--destination", "${BC2OT_ONETRIBE_URL}", "--inactive")
    header = ("--header", "X-Secret=${HOOK_SECRET}")
    result = cli("update", str(hook.id), *fields, *header, "--api-version", version).says(0)
    assert ", inactive (changed: scope, destination, is_active, headers)" in result.out
    changed = cli.hooks.get(hook.id)
    assert (changed.scope, changed.destination, changed.is_active) == (UPDATED, ONETRIBE, False)
    assert changed.headers == {"X-Secret": HEADER_VALUE}


def test_update_without_a_difference_sends_nothing(cli: Cli) -> None:
    hook = cli.hooks.add(CREATED, OWN)
    result = cli("update", str(hook.id), "--scope", CREATED, "--active", "--json")
    assert result.json["hooks"][0]["change"] == "unchanged"
    assert cli.sent("PUT") == 0


def test_update_reports_why_bigcommerce_refuses(cli: Cli) -> None:
    cli.hooks.add(UPDATED, OWN)
    hook = cli.hooks.add(CREATED, OWN)
    result = cli("update", str(hook.id), "--scope", UPDATED)
    result.says(2, "A webhook with this scope and destination exists")


@VERSIONS
@pytest.mark.parametrize(
    "command", [("show",), ("update", "--active"), ("enable",), ("disable",), ("delete", "--yes")]
)
def test_an_id_that_the_token_cannot_see_is_reported_as_possibly_another_accounts(
    cli: Cli, command: tuple[str, ...], version: str
) -> None:
    foreign = cli.hooks.add(CREATED, OWN, foreign=True)
    result = cli(*command, str(foreign.id), "--api-version", version)
    result.says(1, f"no webhook {foreign.id}", "own API account")
    assert foreign in cli.hooks.all()


@VERSIONS
def test_disable_and_enable_change_the_activity(cli: Cli, version: str) -> None:
    ids = [cli.hooks.add(scope, OWN).id for scope in (CREATED, UPDATED)]
    words = [*map(str, ids), "--api-version", version]
    cli("disable", *words).says(0)
    assert [hook.is_active for hook in cli.hooks.all()] == [False, False]
    cli.hooks.deactivate(ids[0])
    assert cli("enable", *words).out.count("updated: ") == 2
    assert [hook.status for hook in cli.hooks.all()] == ["active", "active"]
    assert cli("enable", *words).out.count("unchanged: ") == 2


@responses.activate
def test_enable_updates_a_deactivated_webhook_that_is_reported_as_active(
    cli: Cli, stores: str
) -> None:
    hook = {"id": 7, "scope": CREATED, "destination": OWN, "is_active": True, "headers": None}
    admin = {"hooks_list": [{"id": 7, "status": "deactivated"}]}
    responses.get(f"{stores}/v3/hooks/admin", json={"data": admin})
    responses.get(f"{stores}/v3/hooks/7", json={"data": hook})
    sent = responses.put(f"{stores}/v3/hooks/7", json={"data": hook})
    assert cli("enable", "7").out.startswith("updated")
    assert sent.call_count == 1


@responses.activate
def test_a_webhook_that_stays_inactive_is_reported(cli: Cli, stores: str) -> None:
    hook = {"id": 7, "scope": CREATED, "destination": OWN, "is_active": False, "headers": None}
    responses.get(f"{stores}/v2/hooks/7", json=hook)
    responses.put(f"{stores}/v2/hooks/7", json=hook)
    result = cli("enable", "7", "--api-version", "v2")
    result.says(1, "for the is_active True, and it returned False")


def test_each_id_is_tried_and_failures_are_reported_by_id(cli: Cli) -> None:
    hook = cli.hooks.add(CREATED, OWN)
    result = cli("disable", "5", str(hook.id), "6", "--json").says(1, "no webhook 6")
    assert [(h["change"], h["id"]) for h in result.json["hooks"]] == [
        ("failed", 5),
        ("updated", hook.id),
        ("failed", 6),
    ]
    assert "no webhook 5" in result.json["hooks"][0]["problem"]


def test_an_interrupt_between_two_webhooks_stops_after_the_first(cli: Cli) -> None:
    ids = [cli.hooks.add(scope, OWN).id for scope in (CREATED, UPDATED)]
    cli.sandbox.on_request = lambda request: (
        os.kill(os.getpid(), signal.SIGINT) if request.method == "DELETE" else None
    )
    cli("delete", "--yes", *map(str, ids)).says(130)
    assert [hook.id for hook in cli.hooks.all()] == ids[1:]


# delete


@VERSIONS
def test_delete_shows_and_asks_first(cli: Cli, version: str) -> None:
    hook = cli.hooks.add(CREATED, ONETRIBE)
    command = ("hooks", "delete", str(hook.id), "--api-version", version)
    shown = f"webhook {hook.id}, {CREATED} to {MASKED}"
    with cli.shell.terminal(*command, columns=200) as terminal:
        terminal.sees(shown).answers("Delete 1 webhook?", "n").sees("Nothing was deleted").ends(0)
    with cli.shell.terminal(*command) as terminal:
        terminal.sees("Delete 1 webhook?").leaves("\x04").ends(130)
    cli.shell.run("--no-input", *command).says(2, "--yes")
    assert cli.hooks.all() == (hook,)
    with cli.shell.terminal(*command, columns=200) as terminal:
        terminal.answers("Delete 1 webhook?", "y").sees(f"deleted: {shown}").ends(0)
        assert KEY not in terminal.shown
    assert cli.hooks.all() == ()


def test_without_a_visible_webhook_delete_asks_nothing(cli: Cli) -> None:
    with cli.shell.terminal("hooks", "delete", "5") as terminal:
        terminal.sees("no webhook 5").ends(1)


def test_delete_all_deletes_only_what_the_token_sees(cli: Cli) -> None:
    for scope in (CREATED, UPDATED, "store/product/updated"):
        cli.hooks.add(scope, OWN)
    foreign = cli.hooks.add(CREATED, OWN, foreign=True)
    result = cli("delete", "--all", "--yes", "--json").says(0)
    assert [hook["change"] for hook in result.json["hooks"]] == ["deleted"] * 3
    assert cli.hooks.all() == (foreign,)
    cli("delete", "--all", "--yes").says(0, "no webhook to delete")


def test_delete_all_shows_every_webhook_and_asks(cli: Cli) -> None:
    ids = [cli.hooks.add(scope, OWN).id for scope in (CREATED, UPDATED)]
    with cli.shell.terminal("hooks", "delete", "--all") as terminal:
        terminal.sees(str(ids[0])).sees(str(ids[1])).answers("Delete 2 webhooks?", "y").ends(0)
    assert cli.hooks.all() == ()


def test_a_delete_with_a_lost_response_counts_as_deleted(cli: Cli) -> None:
    hook = cli.hooks.add(CREATED, OWN)
    cli.sandbox.faults.add(Fault("bigcommerce", "lost_reply", method="DELETE", times=1))
    cli("delete", str(hook.id), "--yes").says(0)
    assert cli.hooks.all() == ()


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
    assert same_destination("https://a.example/x/?a=1", "https://a.example/x?a=1")
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
