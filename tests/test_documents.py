"""The documents keep what they say: what they show is run, and what they tell of the code is so.

Every `sh` block of the README and the guides is run in bash, in order, each document in an empty
home of its own and against a sandbox of its own. Before a block may stand

    <!-- not run: REASON -->         it needs what a test has not: systemd, a container engine
    <!-- exits CODE: REASON -->      its last command is to end with that exit code
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit
from xml.etree import ElementTree

import pytest

from tests.conftest import SandboxFactory
from tools import documents
from tools.engines import engines_of_tests
from tools.messages import iter_errors, iter_texts, quoted_messages, source_trees

ROOT = documents.ROOT

HTTPS_ONETRIBE = "https://onetribe.example/direct/webhook/big-commerce/order/a-merchant-key"
"""For hooks: BigCommerce calls https only, which the sandbox's One Tribe is not."""

# A person answers `hooks delete` with yes.
PREAMBLE = """\
set -Eeuo pipefail
trap 'code=$?; echo "$where: this exits $code: $BASH_COMMAND" >&2; exit 99' ERR
bc2ot() {
    case "${1-} ${2-}" in
        "hooks delete") command bc2ot "$@" --yes ;;
        hooks*) BC2OT_ONETRIBE_URL=$HTTPS_ONETRIBE command bc2ot "$@" ;;
        *) command bc2ot "$@" ;;
    esac
}
"""


@dataclass(frozen=True)
class Block:
    """A fenced block of shell, the line that it begins at, and what is expected of it."""

    line: int
    text: str
    code: int = 0
    not_run: str = ""


def blocks(document: str) -> list[Block]:
    """The `sh` blocks of a document."""
    found = re.finditer(r"(?ms)^(?:<!-- ([^\n]*) -->\n\n?)?^```sh\n(.*?)^```$", document)
    return [_block(document.count("\n", 0, m.start(2)), m[1] or "", m[2]) for m in found]


def _block(line: int, mark: str, text: str) -> Block:
    skipped = re.fullmatch(r"not run: (.+)", mark)
    exits = re.fullmatch(r"exits (\d+): .+", mark)
    return Block(
        line, text, code=int(exits[1]) if exits else 0, not_run=skipped[1] if skipped else ""
    )


def _given(known: Mapping[str, str], line: re.Match[str]) -> str:
    """An `export` with the sandbox's value, or with an example of what a guide leaves out."""
    name, value = line[1], line[2]
    if name in known:
        return f"export {name}={shlex.quote(known[name])}"
    return f"export {name}={value.replace('…', 'example')}"


def script(name: str, found: list[Block], known: Mapping[str, str]) -> str:
    """What bash is given to run: the blocks as they are, except for the values of variables."""
    parts = [PREAMBLE]
    for block in found:
        if block.not_run:
            continue
        text = re.sub(r"(?m)^export (\w+)=(.*)$", partial(_given, known), block.text)
        parts.append(f"where={shlex.quote(f'{name}:{block.line}')}\n")
        if block.code:
            parts.append(
                f"trap - ERR; set +e\n{text}code=$?\nif [ $code -ne {block.code} ]; then\n"
                f'echo "$where: exits $code, not {block.code}" >&2; exit 99; fi\n{PREAMBLE}'
            )
        else:
            parts.append(text)
    return "".join(parts)


GUIDES = [
    str(path.relative_to(ROOT))
    for path in documents.documents()
    if any(not block.not_run for block in blocks(path.read_text(encoding="utf-8")))
]


@pytest.mark.parametrize("name", GUIDES)
def test_every_command_in_a_guide_works(name: str, make_sandbox: SandboxFactory) -> None:
    sandbox = make_sandbox(now=None, example=True, days=5.0)
    for scope in ("created", "statusUpdated"):
        sandbox.hooks.add(
            scope=f"store/order/{scope}", destination=f"https://hooks.example.com/{scope}"
        )
    shutil.copy(ROOT / "config.example.yaml", "config.example.yaml")
    known = {
        **sandbox.environment(),
        "BIGCOMMERCE_ACCESS_TOKEN": sandbox.access_token,
        "ONETRIBE_URL": sandbox.onetribe_url,
    }
    environment = {
        "BC2OT_LEDGER": f"{os.environ['HOME']}/state/ledger.db",
        "HOME": os.environ["HOME"],
        "HTTPS_ONETRIBE": HTTPS_ONETRIBE,
        "LANG": "C.UTF-8",
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        **known,
    }
    text = script(name, blocks(documents.read(name)), known)
    done = subprocess.run(
        ["bash", "-c", text],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    told = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, told
    assert "Traceback" not in told
    for secret in (sandbox.access_token, sandbox.merchant_key, sandbox.client_secret):
        assert secret not in told


def test_services_that_share_a_ledger_run_as_one_user() -> None:
    """The folder of the state goes to whoever started last."""
    for guide in ("scheduling", "serve"):
        text = (ROOT / f"docs/{guide}.md").read_text(encoding="utf-8")
        (service,) = re.findall(r"(?ms)^\[Service\]\n(.*?)(?:\n\n|^```)", text)
        assert {"User=bc2ot", "DynamicUser=yes", "StateDirectory=bc2ot"} <= {*service.split("\n")}


def test_every_block_that_is_not_run_has_a_reason() -> None:
    for path in documents.documents():
        for line in re.findall(r"(?m)^<!-- (.*) -->\n\n?```", path.read_text(encoding="utf-8")):
            assert re.fullmatch(r"(not run|exits \d+): \S.*|begin [a-z ]+", line), (path.name, line)


def test_only_blocks_that_a_test_cannot_run_are_skipped() -> None:
    for path in documents.documents():
        for block in blocks(path.read_text(encoding="utf-8")):
            if block.not_run:
                # Without the variables that are set before a command.
                plain = re.sub(r"(?m)^([A-Z0-9_]+=\S+ )+", "", block.text)
                lines = [line.split() for line in plain.splitlines() if line.strip()]
                commands = {" ".join(words[: 1 + (words[0] == "bc2ot")]) for words in lines}
                commands |= {Path(words[0]).name for words in lines}
                assert commands & {
                    *(
                        "bc2ot init",
                        "bc2ot ledger",
                        "bc2ot serve",
                        "bc2ot doctor",
                        "bc2ot sandbox",
                        "docker",
                        "git",
                        "gunicorn",
                    ),
                    *("journalctl", "make", "pip", "pipx", "sudo", "systemctl", "uv", "gcloud"),
                    *("aws", "curl", "caddy", "createuser", "pg_dump", "sqlite3"),
                }, (path.name, block)


@pytest.mark.parametrize(
    "picture", sorted((ROOT / "docs/pictures").glob("*.svg")), ids=lambda p: p.name
)
def test_a_screenshot_shows_a_command_and_nothing_of_the_machine(
    picture: Path,
) -> None:
    svg = ElementTree.fromstring(picture.read_text(encoding="utf-8"))
    shown = "".join(text + "\n" for text in svg.itertext()).replace("\xa0", " ")
    commands = re.findall(r"(?m)^\$ (bc2ot .*)$", shown)
    assert commands
    for command in commands:
        assert command in documents.read("docs/set-up.md"), command
    assert "font-face" not in shown
    assert not re.search(r"/(tmp|root|work|private)/", shown)
    assert {url.hostname for url in map(urlsplit, re.findall(r"https?://[^\s\"]+", shown))} <= {
        "127.0.0.1"
    }


# What make check looks at


def test_every_document_is_as_the_code_has_it() -> None:
    assert documents.main(["--check"]) == 0


@pytest.mark.parametrize("name", documents.DOCUMENTS)
def test_the_generated_parts_do_not_depend_on_terminal_or_environment(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refresh = documents.DOCUMENTS[name]
    before = documents.read(name)
    for variables in (
        {"COLUMNS": "40", "LANG": "C", "FORCE_COLOR": "1", "TERM": "xterm-256color"},
        {"COLUMNS": "300", "LANG": "de_DE.UTF-8", "NO_COLOR": "1", "TERM": "dumb"},
    ):
        for variable, value in variables.items():
            monkeypatch.setenv(variable, value)
        assert refresh(before) == before


def test_the_help_in_the_guide_is_that_of_a_terminal_of_80_columns() -> None:
    for names in ((), ("backfill",), ("hooks", "create")):
        command = [sys.executable, "-m", "onetribe_bc", *names, "--help"]
        done = subprocess.run(
            command,
            env={**os.environ, "COLUMNS": "80"},
            capture_output=True,
            text=True,
            check=True,
        )
        shown = done.stdout.replace("python -m onetribe_bc", "bc2ot")
        assert documents.help_text(*names) == f"```text\n{shown.rstrip()}\n```\n"


def test_a_help_text_that_changed_is_noticed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("onetribe_bc.cli.sync.sync.help", "Does something else.")
    assert documents.main(["--check"]) == 1
    told = capsys.readouterr().err
    assert "docs/commands.md has drifted" in told
    assert "docs/bc2ot.1 has drifted" in told


def test_a_quoted_message_that_is_not_in_the_code_is_detected() -> None:
    tree = source_trees(ROOT / "onetribe_bc")["ledger/runs.py"]
    texts = set(iter_texts(tree))
    message = "Another sync or backfill of store … is running: …, since … UTC…."
    assert any(message in text for text in texts)
    assert message in set(iter_errors(tree))
    assert quoted_messages('| "a \\"b\\" … c" | d | e |\n| "f" | g | h |\n') == ['a "b" … c', "f"]


def test_a_link_that_leads_nowhere_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "a.md").write_text(
        "[x](docs/b.md) [y](docs/none.md) [z](docs/b.md#two-words) [w](docs/b.md#gone) "
        "[v](https://example.com) [u](#here)\n\n# Here\n"
    )
    (tmp_path / "docs/b.md").write_text("## Two words\n\n```sh\n# gone\n```\n")
    monkeypatch.setattr(documents, "ROOT", tmp_path)
    assert documents.broken_links() == [
        "a.md links to docs/none.md, which does not exist",
        "a.md links to docs/b.md#gone, which has no such heading",
    ]
    assert documents.unreachable_documents() == []
    (tmp_path / "docs/c.md").write_text("")
    assert documents.unreachable_documents() == ["no document links to docs/c.md"]


def test_a_document_without_its_markers_is_reported() -> None:
    with pytest.raises(ValueError, match="the markers of 'help' are missing"):
        documents.block("# nothing", "help", "")


def test_the_engines_of_a_test_come_from_its_fixtures_and_parametrization(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(
        "@pytest.fixture\ndef postgres(): ...\n@pytest.fixture\ndef make_postgres(postgres): ...\n"
    )
    (tmp_path / "helpers.py").write_text(
        "@pytest.fixture(name='url')\ndef url_fixture(make_postgres): ...\n"
    )
    (tmp_path / "test_ledger.py").write_text(
        "from tests.helpers import url_fixture\n"
        "@pytest.fixture(params=['sqlite', 'postgresql'])\n"
        "def ledger(request): request.getfixturevalue('postgres')\n"
        "def test_file(tmp_path): ...\n"
        "def test_server(url): ...\n"
        "def test_own_server(): PostgresServer()\n"
        "def test_both(ledger): ...\n"
        "@pytest.mark.parametrize('engine', ['sqlite', 'postgresql'])\n"
        "def test_each(engine): ...\n"
        "@pytest.mark.parametrize('ledger', ['sqlite'], indirect=True)\n"
        "def test_one(ledger): ...\n"
    )
    assert engines_of_tests(tmp_path) == {
        "test_file": {"sqlite"},
        "test_server": {"postgresql"},
        "test_own_server": {"postgresql"},
        "test_both": {"sqlite", "postgresql"},
        "test_each": {"sqlite", "postgresql"},
        "test_one": {"sqlite"},
    }


def test_a_guarantee_that_names_the_wrong_engine_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    guarantees = documents.read("docs/guarantees.md")
    wrong = guarantees.replace("` (both)", "`", 1).replace("once` (PostgreSQL)", "once` (both)", 1)
    monkeypatch.setattr(documents, "read", {"docs/guarantees.md": wrong}.__getitem__)
    assert len(documents.misnamed_tests()) == 2
