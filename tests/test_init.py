"""`bc2ot init`: from questions, or from options, to a file that works."""

from __future__ import annotations

import os
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import responses
import yaml

from onetribe_bc.config import Settings, load
from onetribe_bc.sandbox import INFORMATION_SCOPE, ORDERS_SCOPE, Fault, FaultKind, Sandbox, Service
from onetribe_bc.sandbox.hooks import HookStore
from tests.shell import Shell, shell_fixture  # noqa: F401
from tests.terminal import Terminal
from tests.wire import WireServer, answer

HASH = "Store hash or API path"
HOW = "How [1] (hidden; or paste it right here):"
HOW_VARIABLE, HOW_FILE = HOW.replace("1", "2"), HOW.replace("1", "3")
TOKEN = "Access token (hidden"
URL = "One Tribe's URL (hidden"
WHERE = "Where [1]:"
WRONG_TOKEN = "0wr0ngt0ken0"
KEY = "s3cretmerchantkey"
HTTPS_URL = f"https://127.0.0.1:1/direct/webhook/big-commerce/order/{KEY}"
HOOK_URL = HTTPS_URL.replace(":1", "")
ONETRIBE = f"https://api.example.com/direct/webhook/big-commerce/order/{KEY}"

Open = Callable[..., AbstractContextManager[Terminal]]


@pytest.fixture
def open_init(shell: Shell) -> Open:
    """Start `init` on a terminal, with nothing but BigCommerce's URL in the environment.

    In the end, no secret may have been on the screen, and nothing on stdout.
    """
    shell.unset_all()
    shell.set(BC2OT_API_URL=shell.sandbox.api_url)

    @contextmanager
    def open_terminal(*arguments: str, columns: int = 80) -> Iterator[Terminal]:
        command = arguments or ("--config", "shop.yaml", "init")
        terminal = Terminal(*command, folder=shell.folder, environ=os.environ, columns=columns)
        with terminal:
            yield terminal
            shell.check(terminal.shown)
            assert WRONG_TOKEN not in terminal.shown
            assert KEY not in terminal.shown
            assert terminal.stdout == b""

    return open_terminal


def files(shell: Shell) -> list[str]:
    return sorted(path.name for path in shell.folder.iterdir() if path.name != "ledger.db")


def loaded(
    shell: Shell, file: Path | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """Load the written file, by default without the environment."""
    return load(path=file or shell.folder / "shop.yaml", environ=environ or {}, cwd=shell.folder)


def configuration(shell: Shell) -> dict[str, dict[str, str]]:
    document: dict[str, dict[str, str]] = yaml.safe_load((shell.folder / "shop.yaml").read_text())
    return document


def user_file() -> Path:
    return Path(os.environ["XDG_CONFIG_HOME"]) / "bc2ot" / "config.yaml"


def give_token(terminal: Terminal, sandbox: Sandbox) -> None:
    terminal.answers(HASH, sandbox.store_hash)
    terminal.answers(HOW, "1").answers_hidden(TOKEN, sandbox.access_token)


def give_store(terminal: Terminal, sandbox: Sandbox) -> None:
    give_token(terminal, sandbox)
    terminal.sees('OK: the store is "Sandbox Store"; the token reads its 21 orders.')


def give_onetribe(terminal: Terminal, url: str) -> None:
    terminal.answers(HOW, "1").answers_hidden(URL, url)


def no_input(*arguments: str) -> tuple[str, ...]:
    return ("--no-input", "--config", "shop.yaml", "init", *arguments)


def mock_onetribe(sandbox: Sandbox, url: str) -> responses.RequestsMock:
    mock = responses.RequestsMock()
    mock.add_passthru(sandbox.api_url)
    mock.add(responses.HEAD, url, status=405)
    return mock


# All questions


def test_init_writes_a_working_file(shell: Shell, open_init: Open) -> None:
    with open_init("init") as terminal:
        terminal.answers(WHERE, "")
        terminal.sees("1 of 3: the store").sees("Settings > Store-level API accounts")
        terminal.sees('"Orders: read-only"').sees('"Information & Settings: read-only"')
        api_path = f"https://api.bigcommerce.com/stores/{shell.sandbox.store_hash}/v3/"
        terminal.answers(HASH, api_path)
        terminal.answers(HOW, "").answers_hidden(TOKEN, shell.sandbox.access_token)
        terminal.sees('OK: the store is "Sandbox Store"; the token reads its 21 orders.')
        terminal.sees('copy "Payload URL" from')
        give_onetribe(terminal, shell.sandbox.onetribe_url)
        terminal.sees("OK: One Tribe is reachable at").sees("/big-commerce/order/****. No order")
        terminal.sees("the first one verifies the merchant key.")
        terminal.sees(
            "A webhook to One Tribe is not possible: BigCommerce calls webhooks over https only"
        )
        terminal.sees("Written, readable only by you:")
        terminal.sees("bc2ot doctor").sees("bc2ot backfill --since 30d --dry-run")
        terminal.sees("bc2ot sync --since 30d").sees("docs/scheduling.md")
        terminal.sees("*/5 * * * * /").sees(" -q sync").sees('"Check Integration"').ends(0)
    assert not shell.sandbox.onetribe.received
    assert stat.S_IMODE(user_file().stat().st_mode) == 0o600
    settings = loaded(shell, user_file())
    assert settings.need_store_hash() == shell.sandbox.store_hash
    assert settings.need_access_token().reveal() == shell.sandbox.access_token
    assert settings.need_onetribe_url().reveal() == shell.sandbox.onetribe_url
    assert settings.bigcommerce.api_url == shell.sandbox.api_url
    shell.set(BC2OT_API_URL=None, BC2OT_LEDGER=str(shell.ledger))
    shell.run("backfill", "--yes").says(0, "21 orders seen")


def test_with_a_sandboxs_variables_enter_answers_every_question(
    shell: Shell, open_init: Open
) -> None:
    """The file takes the secrets from the variables in which it found them."""
    shell.set(**shell.sandbox.environment())
    with open_init() as terminal:
        terminal.answers(f"{HASH} [{shell.sandbox.store_hash}]", "")
        terminal.answers(HOW_VARIABLE, "").answers("[BC2OT_ACCESS_TOKEN]", "")
        terminal.answers(HOW_VARIABLE, "").answers("[BC2OT_ONETRIBE_URL]", "")
        terminal.sees("Set and export BC2OT_ACCESS_TOKEN and BC2OT_ONETRIBE_URL").ends(0)
    assert configuration(shell)["bigcommerce"]["access_token"] == "${BC2OT_ACCESS_TOKEN}"
    assert configuration(shell)["onetribe"] == {"url": "${BC2OT_ONETRIBE_URL}"}
    shell.run("--config", "shop.yaml", "backfill", "--yes").says(0, "21 orders seen")


@pytest.mark.parametrize(
    ("option", "answer", "created"),
    [((), "", True), ((), "n", False), (("--no-hook",), None, False), (("--hook",), None, True)],
)
def test_a_webhook_is_created_after_the_file_unless_declined(
    shell: Shell, open_init: Open, option: tuple[str, ...], answer: str | None, created: bool
) -> None:
    with open_init("--config", "shop.yaml", "init", *option) as terminal:
        give_store(terminal, shell.sandbox)
        give_onetribe(terminal, HOOK_URL)
        terminal.answers("Keep it unchecked?", "y")
        if answer is not None:
            terminal.answers("Create the webhook? [Y/n]", answer)
        terminal.sees("Written")
        if created:
            terminal.sees("created: store/order/created to").sees("/order/****")
        terminal.ends(0)
    hooks = [(hook.scope, hook.destination) for hook in shell.sandbox.hooks.all()]
    assert hooks == [("store/order/created", HOOK_URL)] * created


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_it_works_on_a_narrow_and_on_a_dumb_terminal(
    shell: Shell, open_init: Open, environment: dict[str, str]
) -> None:
    shell.set(**environment)
    with open_init(columns=40) as terminal:
        give_store(terminal, shell.sandbox)
        give_onetribe(terminal, shell.sandbox.onetribe_url)
        terminal.sees("Next:").ends(0)
        prose = terminal.shown[: terminal.shown.index(HASH)]
        assert max(map(len, prose.splitlines())) <= 40


# Answers that are wrong, and then right


def test_an_invalid_store_hash_or_token_is_asked_for_again(shell: Shell, open_init: Open) -> None:
    with open_init() as terminal:
        terminal.answers(HASH, "").answers(HASH, "   ")
        terminal.answers(HASH, "my shop").sees(
            "Not accepted: the value must be a store hash such as abc123"
        )
        terminal.answers(HASH, f"\x1b[200~ {shell.sandbox.store_hash} \x1b[201~")
        terminal.answers(HOW, "1").answers_hidden(TOKEN, "")
        terminal.answers_hidden(TOKEN, f"{WRONG_TOKEN} and more").sees(
            "Not accepted: the value contains a space"
        )
        terminal.answers(HOW, "1").answers_hidden(TOKEN, f"  {shell.sandbox.access_token} ")
        terminal.sees("OK: the store").sees(HOW).leaves("\x03").ends(130)


def test_a_refused_token_is_asked_for_again_with_the_store_and_may_be_pasted_early(
    shell: Shell, open_init: Open
) -> None:
    with open_init() as terminal:
        terminal.answers(HASH, "another1")
        terminal.answers(HOW, "1").answers_hidden(TOKEN, shell.sandbox.access_token)
        terminal.sees("BigCommerce responded with 401").sees("not valid for this store")
        terminal.answers(HOW, "").answers_hidden("Enter keeps the previous one", WRONG_TOKEN)
        terminal.answers(f"{HASH} [another1]", shell.sandbox.store_hash)
        terminal.sees("BigCommerce responded with 401")
        shell.sandbox.scopes.discard(ORDERS_SCOPE)
        terminal.answers(HOW, shell.sandbox.access_token)  # pasted one question early
        terminal.answers(f"{HASH} [{shell.sandbox.store_hash}]", "")
        terminal.sees("lacks the scope Orders: read-only (store_v2_orders_read_only)")
        shell.sandbox.scopes.add(ORDERS_SCOPE)
        terminal.answers(HOW, "").answers_hidden("Enter keeps the previous one", "")
        terminal.answers(HASH, "").sees("OK: the store")
        terminal.answers(HOW, shell.sandbox.onetribe_url).sees("Written, readable only").ends(0)


def test_a_wrong_url_is_asked_for_again(shell: Shell, open_init: Open) -> None:
    redirect = answer(b"", "Location: https://elsewhere.example.com/", status="302 Found")
    with WireServer([redirect]) as server, open_init() as terminal:
        give_store(terminal, shell.sandbox)
        give_onetribe(terminal, f"api.example.com/order/{KEY}")
        terminal.sees("Not accepted: the value must be a URL that starts with https://")
        give_onetribe(terminal, "https://api.example.com/direct/webhook/big-commerce/order/")
        terminal.sees("Not accepted: the value lacks the merchant key")
        give_onetribe(terminal, f"{server.url}/{KEY}")
        terminal.sees("One Tribe responded with 302, a redirect: the URL is wrong")
        terminal.answers(HOW, "").answers_hidden(
            "Enter keeps the previous one", shell.sandbox.onetribe_url
        )
        terminal.sees("OK: One Tribe is reachable").ends(0)
    assert [request.split()[0] for request in server.requests] == [b"HEAD"]


def test_an_unreachable_url_is_kept_only_on_request(shell: Shell, open_init: Open) -> None:
    with open_init() as terminal:
        give_store(terminal, shell.sandbox)
        give_onetribe(terminal, HTTPS_URL)
        terminal.sees("No connection to 127.0.0.1").answers("Keep it unchecked? [y/N]", "")
        terminal.sees("Try again").answers(HOW, "").answers_hidden(
            "Enter keeps the previous one", ""
        )
        terminal.answers("Keep it unchecked?", "y")
        terminal.sees("this destination has port 1").sees("Written").ends(0)
    assert loaded(shell).need_onetribe_url().reveal() == HTTPS_URL


def test_with_an_unreachable_bigcommerce_no_webhook_is_created(
    shell: Shell, open_init: Open
) -> None:
    shell.set(BC2OT_API_URL="http://127.0.0.1:1")
    with open_init() as terminal:
        give_token(terminal, shell.sandbox)
        terminal.answers("Keep it unchecked?", "y")
        give_onetribe(terminal, shell.sandbox.onetribe_url)
        terminal.sees("To create a webhook later, run: bc2ot hooks create").ends(0)
    assert loaded(shell).bigcommerce.api_url == "http://127.0.0.1:1"


def test_the_file_has_the_name_of_a_variable_and_not_its_value(
    shell: Shell, open_init: Open
) -> None:
    shell.set(SHOP_TOKEN=shell.sandbox.access_token, SHOP_URL=shell.sandbox.onetribe_url)
    with open_init() as terminal:
        terminal.answers(HASH, shell.sandbox.store_hash)
        terminal.answers(HOW, "2").answers("Name of the variable", "no-name")
        terminal.sees("Not accepted: the value must be the name of a variable")
        terminal.answers(HOW, "2").answers("Name of the variable", "SHOP_TOKEM")
        terminal.answers("It is not set here. Keep it unchecked? [y/N]", "n")
        terminal.answers(HOW_VARIABLE, "").answers("[SHOP_TOKEM]", "${SHOP_TOKEN}")
        terminal.sees("OK: the store")
        terminal.answers(HOW, "2").answers("Name of the variable", "$SHOP_URL")
        terminal.sees("is reachable").sees("Set and export SHOP_TOKEN and SHOP_URL").ends(0)
    text = (shell.folder / "shop.yaml").read_text()
    assert "${SHOP_TOKEN}" in text
    assert "${SHOP_URL}" in text
    shell.check(text)


def test_a_variable_that_is_not_set_yet_can_be_kept(shell: Shell, open_init: Open) -> None:
    with open_init() as terminal:
        terminal.answers(HASH, shell.sandbox.store_hash)
        terminal.answers(HOW, "2").answers("Name of the variable", "LATER_TOKEN")
        terminal.answers("Keep it unchecked?", "y")
        terminal.answers(HOW, "2").answers("Name of the variable", "LATER_URL")
        terminal.answers("Keep it unchecked?", "y")
        terminal.sees("To create a webhook later").sees("Set and export LATER_TOKEN").ends(0)
    assert configuration(shell)["onetribe"] == {"url": "${LATER_URL}"}


def test_a_path_is_accepted_once_its_file_holds_a_valid_secret(
    shell: Shell, open_init: Open
) -> None:
    shell.write(shell.sandbox.access_token + "\n", name="token file")
    shell.write(shell.sandbox.onetribe_url, name="url", mode=0o644)
    shell.write("one\ntwo\n", name="two")
    shell.write("one two", name="odd")
    with open_init() as terminal:
        terminal.answers(HASH, shell.sandbox.store_hash)
        terminal.answers(HOW, "3").answers("Path of the file", "nowhere")
        terminal.sees("Not accepted: the value names a file that cannot be read: No such file")
        for answer, problem in (("two", "more than one line"), ("odd", "contains a space")):
            terminal.answers(HOW_FILE, "").answers("Path of the file", answer).sees(problem)
        terminal.answers(HOW_FILE, "").answers("/odd]", "token file")
        terminal.sees("OK: the store")
        terminal.answers(HOW, "3").answers("Path of the file", f"{shell.folder}/url")
        terminal.sees("other users of this machine").sees("is reachable").ends(0)
    assert configuration(shell)["bigcommerce"]["access_token_file"] == f"{shell.folder}/token file"
    assert configuration(shell)["onetribe"] == {"url_file": f"{shell.folder}/url"}
    assert loaded(shell).need_access_token().reveal() == shell.sandbox.access_token


def test_variables_that_override_the_file_are_named(shell: Shell, open_init: Open) -> None:
    shell.set(BC2OT_ACCESS_TOKEN="older-token", BC2OT_STORE_HASH="older1")
    with open_init() as terminal:
        terminal.answers(f"{HASH} [older1]", shell.sandbox.store_hash)
        terminal.answers(HOW_VARIABLE, "1").answers_hidden(TOKEN, shell.sandbox.access_token)
        give_onetribe(terminal, shell.sandbox.onetribe_url)
        terminal.sees("Warning: the environment sets BC2OT_STORE_HASH").sees("overrides the file")
        terminal.sees("Warning: the environment sets BC2OT_ACCESS_TOKEN").ends(0)


# Places


def test_the_working_directory_can_be_chosen(shell: Shell, open_init: Open) -> None:
    with open_init("init") as terminal:
        terminal.answers(WHERE, "2")
        give_store(terminal, shell.sandbox)
        give_onetribe(terminal, shell.sandbox.onetribe_url)
        terminal.sees("Next: bc2ot doctor").sees(f" -q --config {shell.folder}/bc2ot.yaml sync")
        terminal.ends(0)
    assert files(shell) == ["bc2ot.yaml"]


@pytest.mark.parametrize(
    ("variable", "option", "file", "in_steps", "for_cron"),
    [
        ("", "", "{user}", "", ""),
        ("", "a b/shop.yaml", "{cwd}/a b/shop.yaml", *["--config '{cwd}/a b/shop.yaml' "] * 2),
        ("~/one.yaml", "", "{home}/one.yaml", "", "--config {home}/one.yaml "),
        ("~nobody/x", "b.yaml", "{cwd}/b.yaml", *["--config {cwd}/b.yaml "] * 2),
    ],
)
def test_the_next_steps_name_a_file_that_is_not_found_by_itself(
    shell: Shell, variable: str, option: str, file: str, in_steps: str, for_cron: str
) -> None:
    known = {"cwd": shell.folder, "home": os.environ["HOME"], "user": user_file()}
    shell.set(BC2OT_CONFIG=variable)
    config = ("--config", option) if option else ()
    told = shell.run("--no-input", *config, "init").says(0)
    assert f"  bc2ot {in_steps.format(**known)}doctor\n" in told.err
    assert f" -q {for_cron.format(**known)}sync\n" in told.err
    loaded(shell, Path(file.format(**known)), os.environ)


def test_an_existing_file_is_replaced_only_on_request_and_kept_as_a_backup(
    shell: Shell, open_init: Open
) -> None:
    file = shell.write("timezone: UTC\n", name="shop.yaml", mode=0o644)
    with open_init() as terminal:
        terminal.sees("shop.yaml already exists.").answers("Replace it, and keep it as", "n")
        terminal.sees("Nothing was written.").ends(0)
    assert (files(shell), file.read_text()) == (["shop.yaml"], "timezone: UTC\n")
    with open_init() as terminal:
        terminal.answers("Replace it, and keep it as shop.yaml.bak? [y/N]", "y")
        give_store(terminal, shell.sandbox)
        give_onetribe(terminal, shell.sandbox.onetribe_url)
        terminal.sees("Previous file:").ends(0)
    backup = shell.folder / "shop.yaml.bak"
    assert backup.read_text() == "timezone: UTC\n"
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600


def test_a_script_overwrites_only_with_overwrite_and_never_a_backup(shell: Shell) -> None:
    file = shell.write("by hand", name="shop.yaml")
    shell.run(*no_input()).says(2, "shop.yaml already exists", "--overwrite", "shop.yaml.bak")
    assert file.read_text() == "by hand"
    assert not shell.sandbox.requests
    shell.run(*no_input("--overwrite")).says(0, "Previous file:", "shop.yaml.bak")
    shell.run(*no_input()).says(2, "keeps it as shop.yaml.bak.2")
    shell.run(*no_input("--overwrite")).says(0, "shop.yaml.bak.2")
    assert (shell.folder / "shop.yaml.bak").read_text() == "by hand"
    assert files(shell) == ["shop.yaml", "shop.yaml.bak", "shop.yaml.bak.2"]


# What to do next


def crontab_line(shell: Shell) -> str:
    """Return the command that `init` proposes for cron."""
    told = shell.run(*no_input("--no-check", "--overwrite")).says(0)
    (line,) = [line for line in told.lines if line.strip().startswith("*/5")]
    return line.split("* * * *")[1].strip()


def test_the_line_for_cron_has_the_whole_path(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = shell.folder / "my bin" / "bc2ot"
    program.parent.mkdir()
    program.touch(0o755)
    shell.set(PATH=str(program.parent))
    assert crontab_line(shell) == f"'{program}' -q --config {shell.folder}/shop.yaml sync"
    shell.set(PATH="my bin")
    assert crontab_line(shell).startswith(f"'{program}' -q")
    shell.set(PATH=str(shell.folder))
    assert crontab_line(shell).startswith(f"{sys.executable} -m onetribe_bc -q")
    monkeypatch.setattr(sys, "argv", ["/opt/100%/bin/bc2ot"])
    assert crontab_line(shell).startswith(r"/opt/100\%/bin/bc2ot -q")


# Ended before the end

QUESTIONS = 5


def reach(terminal: Terminal, sandbox: Sandbox, question: int) -> None:
    """Answer the questions before this one, and wait for it."""
    terminal.sees(HASH)
    if question >= 1:
        terminal.types(sandbox.store_hash).sees(HOW)
    if question >= 2:
        terminal.types("1").sees(TOKEN)
    if question >= 3:
        terminal.answers_hidden("", sandbox.access_token).sees("OK: the store").sees(HOW)
    if question >= 4:
        terminal.types("1").answers_hidden(URL, HOOK_URL)
        terminal.answers("Keep it unchecked?", "y").sees("Create the webhook?")


@pytest.mark.parametrize("question", range(QUESTIONS))
@pytest.mark.parametrize("keys", ["\x03", "\x04"], ids=["Ctrl-C", "Ctrl-D"])
def test_leaving_at_any_question_leaves_no_trace(
    shell: Shell, open_init: Open, question: int, keys: str
) -> None:
    with open_init() as terminal:
        reach(terminal, shell.sandbox, question)
        terminal.leaves(keys).sees("Nothing was written.").sees("bc2ot: Interrupted.").ends(130)
        assert terminal.echoes
    assert files(shell) == []
    assert not shell.sandbox.hooks.all()


def test_sigterm_restores_the_terminals_echo(shell: Shell, open_init: Open) -> None:
    with open_init() as terminal:
        reach(terminal, shell.sandbox, 2)
        while terminal.echoes:
            time.sleep(0.005)
        terminal.kill(signal.SIGTERM).sees("Nothing was written.").ends(130)
        assert terminal.echoes
    assert files(shell) == []


def test_ctrl_c_ends_a_check_immediately(shell: Shell, open_init: Open) -> None:
    def be_silent(_connection: object) -> None:
        server.stopping.wait()

    with WireServer(be_silent) as server, open_init() as terminal:
        give_store(terminal, shell.sandbox)
        give_onetribe(terminal, f"{server.url}/{KEY}")
        terminal.sees("Checking with One Tribe")
        while not server.connections:
            time.sleep(0.005)
        terminal.leaves("\x03").sees("Nothing was written.").ends(130)
    assert files(shell) == []


@pytest.mark.parametrize("question", range(QUESTIONS))
def test_a_kill_leaves_no_partial_file(shell: Shell, open_init: Open, question: int) -> None:
    with open_init() as terminal:
        reach(terminal, shell.sandbox, question)
        terminal.kill(signal.SIGKILL).ends(-signal.SIGKILL)
    assert files(shell) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_signal_during_webhook_creation_leaves_the_whole_file(
    shell: Shell, open_init: Open, number: signal.Signals
) -> None:
    def strike(request: object) -> None:
        if "hooks" in str(getattr(request, "path", "")):
            terminal.kill(number)
            time.sleep(0.05)

    with open_init() as terminal:
        reach(terminal, shell.sandbox, 4)
        shell.sandbox.on_request = strike
        terminal.types("y").ends(130 if number is signal.SIGINT else -number)
        if number is signal.SIGINT:
            terminal.sees("shop.yaml was written.").sees("bc2ot: Interrupted.")
    assert files(shell) == ["shop.yaml"]
    assert loaded(shell).need_access_token().reveal() == shell.sandbox.access_token


# Without questions


def test_a_script_needs_only_options_and_the_environment(shell: Shell) -> None:
    shell.unset_all()
    shell.set(BC2OT_API_URL=shell.sandbox.api_url, SHOP_TOKEN=shell.sandbox.access_token)
    url = shell.write(shell.sandbox.onetribe_url, name="onetribe-url")
    told = shell.run(
        *no_input("--store-hash", f"/stores/{shell.sandbox.store_hash}/v3/"),
        "--access-token-env", "SHOP_TOKEN", "--onetribe-url-file", "onetribe-url", "--hook",
    )  # fmt: skip
    # The file is there, and the hook that was asked for is not.
    told.says(1, "Sandbox Store", "A webhook to One Tribe is not possible", "export SHOP_TOKEN")
    assert told.stdout == b""
    assert configuration(shell)["bigcommerce"] == {
        "store_hash": shell.sandbox.store_hash,
        "access_token": "${SHOP_TOKEN}",
        "api_url": shell.sandbox.api_url,
    }
    assert configuration(shell)["onetribe"] == {"url_file": str(url)}
    assert stat.S_IMODE((shell.folder / "shop.yaml").stat().st_mode) == 0o600


def test_the_environment_alone_is_enough_and_the_file_names_it_quietly(shell: Shell) -> None:
    told = shell.run("-q", "--no-input", "init")
    assert (told.code, told.stdout, told.stderr) == (0, b"", b"")
    shell.check(user_file().read_text())
    assert "${BC2OT_ACCESS_TOKEN}" in user_file().read_text()
    shell.run("backfill", "--yes").says(0, "21 orders seen")


def test_missing_values_are_named_with_their_options(shell: Shell) -> None:
    shell.unset_all()
    shell.run(*no_input()).says(
        2,
        "bigcommerce.store_hash, bigcommerce.access_token, onetribe.url",
        "--store-hash",
        "--access-token-env NAME or --access-token-file FILE (or BC2OT_ACCESS_TOKEN)",
        "--onetribe-url-env NAME or --onetribe-url-file FILE (or BC2OT_ONETRIBE_URL)",
    )
    told = shell.run(*no_input("--store-hash", "abc123", "--access-token-env", "X"))
    assert "store_hash" not in told.says(2, "onetribe.url").err
    assert files(shell) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--store-hash", "my shop"], ["--store-hash", "must be a store hash"]),
        (["--access-token-env", "a-b"], ["--access-token-env", "must be the name of a variable"]),
        (["--access-token-env", "NOT_SET"], ["--access-token-env", "not set", "--no-check"]),
        (["--access-token-file", "nowhere"], ["--access-token-file", "cannot be read"]),
        (["--access-token-file", "~x/y"], ["--access-token-file", "starts with a ~"]),
        (["--onetribe-url-env", "A", "--onetribe-url-file", "b"], ["not both"]),
        (["--access-token-env", "A", "--access-token-file", "b"], ["not both"]),
        (["--hook", "--no-check"], ["contradict each other"]),
    ],
)
def test_invalid_options_write_nothing(
    shell: Shell, arguments: list[str], words: list[str]
) -> None:
    shell.run(*no_input(*arguments)).says(2, *words)
    assert files(shell) == []


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("init", 2, ["needs a terminal", "bc2ot --no-input init"]),
        ("--store uk --no-input init", 2, ["top of a file", "stores:"]),
        ("--no-input --config . init", 2, ["is not a file"]),
        ("--no-input --config ~x/y init", 3, ["starts with a ~"]),
        ("--no-input --config url/x init", 3, ["Cannot write the configuration file"]),
        (
            "--no-input init --onetribe-url-file url",
            3,
            ["--onetribe-url-file", "lacks the merchant key"],
        ),
    ],
)
def test_what_init_cannot_do_is_an_error_before_any_request(
    shell: Shell, command: str, code: int, words: list[str]
) -> None:
    shell.write("https://api.example.com/", name="url")
    shell.run(*command.split()).says(code, *words)
    assert files(shell) == ["url"]
    assert not shell.sandbox.requests


def test_refused_credentials_or_a_response_for_another_store_write_nothing(shell: Shell) -> None:
    shell.set(OTHER=WRONG_TOKEN)
    told = shell.run(*no_input("--access-token-env", "OTHER"))
    assert WRONG_TOKEN not in told.says(4, "401").err
    shell.sandbox.scopes.discard(ORDERS_SCOPE)
    shell.run(*no_input()).says(4, "store_v2_orders_read_only")
    body = b'{"id": "another", "name": "Another"}'
    shell.sandbox.faults.add(
        Fault(Service.BIGCOMMERCE, FaultKind.STATUS, status=200, path="/v2/store", body=body)
    )
    shell.run(*no_input()).says(4, "responded for store another, not sandbox1")
    assert files(shell) == []


def test_an_unreachable_service_writes_nothing_without_no_check(shell: Shell) -> None:
    shell.set(BC2OT_ONETRIBE_URL=HTTPS_URL)
    shell.run(*no_input()).says(5, "No connection", "--no-check")
    assert files(shell) == []
    shell.run(*no_input("--no-check")).says(0, "Written")


def test_with_no_check_variables_and_files_need_not_exist_yet(shell: Shell) -> None:
    shell.unset_all()
    shell.run(
        *no_input("--no-check", "--store-hash", "abc123"),
        "--access-token-env", "LATER", "--onetribe-url-file", "/run/secrets/url",
    ).says(0, "Set and export LATER")  # fmt: skip
    assert not shell.sandbox.requests


@pytest.mark.parametrize(
    ("disturb", "code", "words"),
    [
        (lambda hooks: hooks.add("store/order/created", ONETRIBE), 0, ["unchanged: store/order/c"]),
        (
            lambda hooks: [hooks.add("store/order/created", f"{ONETRIBE}{n}") for n in range(10)],
            2,
            ["already 10 webhooks", "To create a webhook later, run: bc2ot hooks create", "Next:"],
        ),
        (
            lambda hooks: setattr(hooks, "answer_destination", "https://elsewhere.example.com/x"),
            1,
            ["returned a different destination"],
        ),
    ],
)
def test_the_outcome_of_hook_is_reported_and_the_file_stays(
    shell: Shell, disturb: Callable[[HookStore], object], code: int, words: list[str]
) -> None:
    disturb(shell.sandbox.hooks)
    shell.set(BC2OT_ONETRIBE_URL=ONETRIBE)
    with mock_onetribe(shell.sandbox, ONETRIBE):
        told = shell.run(*no_input("--hook")).says(code, "Written", *words)
    assert KEY not in told.err
    assert loaded(shell, environ=os.environ).need_store_hash() == shell.sandbox.store_hash
    assert len(shell.sandbox.hooks.all()) in (1, 10)


def test_an_impossible_webhook_writes_nothing(shell: Shell) -> None:
    url = ONETRIBE.replace(".com", ".com:8443")
    shell.set(BC2OT_ONETRIBE_URL=url)
    with mock_onetribe(shell.sandbox, url):
        shell.run("-q", *no_input("--hook")).says(2, "port 8443", "Nothing was written")
    assert files(shell) == []


@pytest.mark.parametrize("path", ["a" * 300, f"{'a' * 300}/shop.yaml"])
def test_an_inaccessible_path_is_an_error_before_any_question(
    shell: Shell, open_init: Open, path: str
) -> None:
    with open_init("--config", path, "init") as terminal:
        terminal.sees("Cannot read").sees("File name too long.").sees("--config").ends(3)


def test_findings_are_shown_as_doctor_shows_them(shell: Shell) -> None:
    def told(fault: str = "") -> str:
        shell.sandbox.faults.clear()
        if fault:
            shell.sandbox.faults.add(fault)
        return shell.run(*no_input("--overwrite")).says(0).err

    shell.sandbox.scopes.discard(INFORMATION_SCOPE)
    shell.sandbox.clock.offset_s = 90 + time.time() - shell.sandbox.clock.now()
    assert "the token reads the store's 21 orders. It cannot read the store's name" in told()
    assert "Warning: This machine's clock is" in told()
    assert "seconds behind BigCommerce's. Synchronize it with NTP" in told()
    for fault, finding in {
        "onetribe:status@503": "Warning: One Tribe at",
        "onetribe:status@401": "does not verify the URL or the merchant key",
    }.items():
        assert finding in told(fault)
        assert "OK: One Tribe" not in told(fault)
    with WireServer([answer()]) as server:
        shell.set(BC2OT_ONETRIBE_URL=f"{server.url}/elsewhere/{KEY}")
        assert "Warning: the URL does not have the form" in told()


def test_the_default_api_url_is_not_written(shell: Shell) -> None:
    shell.set(BC2OT_API_URL="https://api.bigcommerce.com")
    shell.run(*no_input("--no-check")).says(0)
    assert "api_url" not in configuration(shell)["bigcommerce"]
    shell.set(BC2OT_API_URL="nonsense")
    shell.run(*no_input("--no-check", "--overwrite")).says(3, "BC2OT_API_URL")
