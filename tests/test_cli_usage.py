"""Wrong usage and wrong configuration: messages and exit codes."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from onetribe_bc.cli.app import bc2ot
from onetribe_bc.cli.registry import COMMANDS
from onetribe_bc.sandbox import ORDERS_SCOPE
from tests.shell import Shell, shell_fixture  # noqa: F401

# Wrong usage: exit code 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["backfill", "--since", "5/6/2026"], ['"5/6/2026"', "not a valid date", "Accepted: "]),
        (["backfill", "--since", "soon"], ['"soon"', "yesterday"]),
        (["backfill", "--since", ""], ["Accepted: "]),
        (["backfill", "--since", "2026-02-02", "--until", "2026-02-01"], ["before it starts"]),
        (["backfill", "--since", "2026-03-05"], ["before it starts"]),
        (["backfill", "--ids", "abc"], ["'abc' is not an order id", "218,300-310"]),
        (["backfill", "--ids", "0"], ["0 is not an order id", "from 1"]),
        (["backfill", "--ids", "310-300"], ["310-300 ends before it starts"]),
        (["backfill", "--ids", ""], ["No order ID", "- for stdin"]),
        (["backfill", "--ids", "218", "--since", "7d"], ["--ids", "cannot be combined"]),
        (["backfill", "--ids", "218", "--from-id", "3"], ["--ids", "cannot be combined"]),
        (["backfill", "--from-id", "9", "--to-id", "3"], ["--to-id is lower than --from-id"]),
        (["backfill", "--from-id", "0"], ["--from-id", "0 is not an order id"]),
        (["backfill", "--yes", "--status", "Nowhere"], ["'Nowhere'", "Awaiting Fulfillment"]),
        (["backfill", "--yes", "--status", "15"], ["status 15", "0 to 14"]),
        (["backfill", "--workers", "0"], ["--workers", "1<=x<=64"]),
        (["backfill", "--workers", "many"], ["'many' is not a valid whole number"]),
        (["hooks", "show", "x"], ["'x' is not a valid whole number"]),
        (["sandbox", "--latency", "x"], ["'x' is not a valid number"]),
        (["backfill", "--limit", "0"], ["--limit"]),
        (["backfill", "--by", "shipped"], ["--by", "'modified'"]),
        (["backfill", "--sinc", "7d"], ["No such option", "--since"]),
        (["backfill", "--dry_run"], ["No such option", "Did you mean", "'--dry-run'"]),
        (["sync", "--stoer", "uk"], ["No such option", "'--store'"]),
        (["hooks", "lst"], ["No such command", "Did you mean 'list'?"]),
        (["help", "backfil"], ["No such command", "Did you mean 'backfill'?"]),
        (["-q"], ["Missing command"]),
        (["-v", "sync", "-q"], ["-v and -q contradict each other"]),
        (["sync", "--log-format", "xml"], ["--log-format", "json"]),
        (["history", "abc"], ["'abc' is not an order id"]),
        (["history", "1-3"], ["'1-3' is not an order id"]),
        (["retry", "0"], ["0 is not an order id"]),
        (["completion", "tcsh"], ["'tcsh'", "fish"]),
        (["backfil"], ["No such command", "Did you mean 'backfill'?"]),
        (["frobnicate"], ["No such command 'frobnicate'"]),
        (["--quite", "demo"], ["No such option", "--quiet"]),
        (["push-order"], ["Missing argument", "ID"]),
        (["push-order", "218x"], ["'218x' is not an order id"]),
        (["push-order", "-"], ["No order ID", "- for stdin"]),
        (["push-order", "218", "--dry-run", "--json"], ["--dry-run", "--json"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_exits_with_2_and_explains(
    shell: Shell, arguments: list[str], words: list[str]
) -> None:
    assert not shell.run(*arguments).says(2, *words).stdout
    assert not shell.sandbox.onetribe.received


# Alone: what there is, and what comes next


def _next(shell: Shell) -> str:
    """What `bc2ot` alone says to do next."""
    before = sorted(shell.folder.parent.rglob("*"))
    result = shell.run()
    assert (result.code, result.err) == (0, "")
    assert sorted(shell.folder.parent.rglob("*")) == before
    assert not shell.sandbox.requests
    words = " ".join(result.out.split())
    assert all(f" {command} {summary}" in words for command, summary in COMMANDS.items())
    return result.out.partition("Next:")[2]


def test_without_arguments_it_shows_how_to_set_up(shell: Shell) -> None:
    shell.unset_all()
    result = _next(shell)
    assert "bc2ot init" in result
    assert "bc2ot demo" in result


def test_without_arguments_it_suggests_a_dry_run_sync_and_then_status(shell: Shell) -> None:
    assert "bc2ot backfill --since 30d --dry-run" in _next(shell)
    shell.run("push-order", "218").says(0)
    shell.sandbox.reset()
    assert "bc2ot sync --since 30d" in _next(shell)
    shell.run("sync").says(0)
    shell.sandbox.reset()
    assert "bc2ot status" in _next(shell)


def test_without_arguments_it_suggests_doctor_for_a_problem(shell: Shell) -> None:
    shell.sandbox.faults.add("onetribe:status@422#218")
    shell.run("sync", "--since", "2000-01-01").says(1)
    shell.sandbox.reset()
    assert "bc2ot doctor" in _next(shell)
    shell.ledger.write_bytes(b"x" * 4096)
    assert "bc2ot doctor" in _next(shell)


@pytest.mark.parametrize("text", ["", "no: [yaml", "bigcommerce: {store_hash: abc}"])
def test_without_arguments_it_suggests_doctor_for_an_invalid_file(shell: Shell, text: str) -> None:
    shell.unset_all()
    shell.write(text)
    assert "bc2ot doctor" in _next(shell)
    assert "incomplete or invalid" in shell.run().out


# Our own options, on either side of the command


def test_global_options_are_accepted_after_the_command(shell: Shell) -> None:
    file = shell.configure(stores={"uk": {"bigcommerce": {"store_hash": "abc"}}})
    moved = file.rename(shell.folder / "else.yaml")
    result = shell.run("push-order", "218", "-q", "--no-input")
    assert (result.code, result.stdout, result.stderr) == (0, b"", b"")
    shell.run("push-order", "218", "--config", "nowhere.yaml").says(
        3, "does not exist", "nowhere.yaml"
    )
    shell.unset_all()
    shell.run("sync", "--config", moved.name, "--store", "ku").says(3, '"ku"', "uk")
    shell.run("hooks", "list", "--config", moved.name, "--store", "ku").says(3, '"ku"', "uk")
    shell.run("hooks", "--store", "ku", "--config", moved.name, "list").says(3, '"ku"', "uk")


def test_global_options_on_both_sides_add_up(shell: Shell) -> None:
    shell.sandbox.faults.add("bigcommerce:status@500*1")
    shell.run("-v", "push-order", "218", "-v").says(0, "Trying again in 0.0 s")
    result = shell.run("--log-format", "json", "push-order", "218").says(0)
    assert all(line.startswith("{") for line in result.lines)
    result = shell.run("push-order", "218", "--log-format", "json").says(0)
    assert all(line.startswith("{") for line in result.lines)


def test_the_help_of_a_command_mentions_the_global_options(shell: Shell) -> None:
    assert "The options of bc2ot itself (-v, -q, --store NAME ...)" in shell.run("sync", "-h").out
    assert "--no-input" not in shell.run("sync", "-h").out


@pytest.mark.parametrize("command", [[], ["sync"], ["hooks", "create"]], ids=" ".join)
def test_help_is_a_word_as_well_as_an_option(shell: Shell, command: list[str]) -> None:
    assert shell.run("help", *command).says(0).out == shell.run(*command, "--help").out


def test_binary_stdin_is_wrong_usage(shell: Shell) -> None:
    shell.run("push-order", "-", stdin=b"\xff\xfe").says(2, "is UTF-16, not UTF-8")


def test_control_characters_in_an_argument_never_reach_the_terminal(shell: Shell) -> None:
    result = shell.run("--config", "/\x1b[31mred\x07", "backfill", "--yes").says(3, "[31mred")
    assert b"\x1b" not in result.stderr
    assert b"\x07" not in result.stderr


# Configuration: exit code 3


def test_a_missing_configuration_is_reported_with_a_first_step(shell: Shell) -> None:
    shell.unset_all()
    shell.run("backfill", "--yes").says(
        3, "No configuration found", "bc2ot.yaml", "BC2OT_STORE_HASH", "bc2ot init"
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["bc2ot.yaml is empty", "bc2ot init"]),
        ("bigcommerce:\n  access_token: hunter2: x\n", ["bc2ot.yaml, line 2"]),
        (b"bigcommerce:\n  store_hash: \xff\n", ["line 2", "UTF-8"]),
        ("delivery:\n  worker: 3\n", ["line 2", "delivery.worker", "delivery.workers"]),
    ],
    ids=["empty", "malformed", "binary", "unknown key"],
)
def test_an_invalid_file_is_reported_without_its_content(
    shell: Shell, content: str | bytes, words: list[str]
) -> None:
    shell.unset_all()
    shell.write(content)
    assert "hunter2" not in shell.run("backfill", "--yes").says(3, *words).err


def test_a_directory_instead_of_the_file_is_reported(shell: Shell) -> None:
    (shell.folder / "bc2ot.yaml").mkdir()
    shell.run("backfill", "--yes").says(3, "Cannot read the configuration file", "directory")


@pytest.mark.parametrize("name", ["STORE_HASH", "ACCESS_TOKEN", "ONETRIBE_URL"])
def test_each_missing_setting_is_named(shell: Shell, name: str) -> None:
    shell.set(**{f"BC2OT_{name}": None})
    shell.run("push-order", "218").says(3, f"BC2OT_{name}")


def test_a_file_readable_by_others_is_reported_with_the_fix(shell: Shell) -> None:
    shell.configure(delivery={"workers": 2}).chmod(0o644)
    result = shell.run("push-order", "218").says(0, "Warning:", "chmod 600 ", "bc2ot.yaml")
    assert "1 delivered" in result.err
    command = result.err.partition("`")[2].partition("`")[0]
    subprocess.run(shlex.split(command), check=True)
    assert "Warning" not in shell.run("push-order", "218").err


def test_a_deleted_working_directory_is_reported(shell: Shell) -> None:
    gone = 'mkdir gone && cd gone && rmdir ../gone && "$@"'
    shell.pipe(gone, "backfill", "--yes").says(3, "working directory was deleted", "cd")
    assert "bc2ot doctor" in shell.pipe(gone).says(0).out


# Refused: exit code 4


def test_a_wrong_store_hash_token_or_scope_is_reported(shell: Shell) -> None:
    shell.sandbox.scopes.clear()
    shell.run("push-order", "218").says(4, "403", ORDERS_SCOPE, "Orders: read-only")
    shell.set(BC2OT_STORE_HASH="another")
    shell.run("backfill", "--yes").says(4, "store_hash")
    shell.set(BC2OT_STORE_HASH="sandbox1", BC2OT_ACCESS_TOKEN="not-the-token")
    result = shell.run("backfill", "--yes").says(
        4, "401", "access token is not valid", "access_token"
    )
    assert "not-the-token" not in result.err


# Help, version, imports


def test_every_help_text_survives_python_without_docstrings(shell: Shell) -> None:
    script = (
        "import sys, click\n"
        "from tools.documents import context_of, iter_commands\n"
        "for names in [(), *iter_commands()]:\n"
        "    context = context_of(*names)\n"
        "    print(context.command.get_help(context))\n"
    )
    root = Path(__file__).parent.parent
    helps = [
        subprocess.run([sys.executable, *options, "-c", script], cwd=root, capture_output=True)
        for options in ([], ["-OO"])
    ]
    assert [done.returncode for done in helps] == [0, 0]
    assert helps[0].stdout == helps[1].stdout
    assert helps[0].stdout.count(b"Usage: bc2ot") > len(COMMANDS)


def test_version_prints_the_versions_of_bc2ot_and_python(shell: Shell) -> None:
    result = shell.run("--version")
    assert result.code == 0
    assert re.fullmatch(r"bc2ot \d+\.\d+\.\d+ \(Python 3\.\d+\.\d+\)\n", result.out)


def test_version_works_from_a_checkout_that_is_not_installed(shell: Shell) -> None:
    import onetribe_bc

    root = Path(onetribe_bc.__file__).parent.parent
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from onetribe_bc.cli.app import run\n"
        "sys.exit(run(['--version']))\n"
    )
    # -S leaves site-packages out.
    packages = Path(click.__file__).parent.parent
    (shell.folder / "lib").mkdir()
    (shell.folder / "lib" / "click").symlink_to(packages / "click")
    (shell.folder / "lib" / "onetribe_bc").symlink_to(root / "onetribe_bc")
    done = subprocess.run(
        [sys.executable, "-S", "-c", script, str(shell.folder / "lib")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"bc2ot {onetribe_bc.__version__} (Python")


@pytest.mark.parametrize("option", ["-h", "--help"])
@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_on_stdout(shell: Shell, command: str, option: str) -> None:
    result = shell.run(*([command] if command else []), option)
    assert result.code == 0
    assert result.out.startswith("Usage: bc2ot")
    assert not result.err


COMPLETING = {"_BC2OT_COMPLETE": "bash_complete", "COMP_WORDS": "bc2ot ", "COMP_CWORD": "1"}


@pytest.mark.parametrize(
    "arguments",
    [None, [], ["--version"], ["--help"]],
    ids=["importing", "completing", "version", "help"],
)
def test_help_version_and_completion_import_nothing_slow(
    shell: Shell, arguments: list[str] | None
) -> None:
    if arguments == []:
        shell.set(**COMPLETING)
    script = (
        "import sys\n"
        "before = set(sys.modules)\n"  # where coverage measures, it imports sqlite3 itself
        "import onetribe_bc.cli\n"
        "from onetribe_bc.cli.app import run\n"
        f"{'pass' if arguments is None else f'run({arguments})'}\n"
        "dear = {'requests', 'urllib3', 'rich', 'yaml', 'sqlalchemy', 'sqlite3', 'platformdirs'}\n"
        "print('imported:', *sorted(dear & (set(sys.modules) - before)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "imported:"


def _examples() -> list[str]:
    """Each line of a help text that begins with bc2ot, or has it behind a pipe."""
    texts = [bc2ot.help or ""]
    for name in COMMANDS:
        command = bc2ot.get_command(click.Context(bc2ot), name)
        assert command is not None
        texts.append(command.help or "")
        texts += [each.help or "" for each in getattr(command, "commands", {}).values()]
    lines = "\n".join(texts).replace("\\\n", " ").splitlines()
    found = [re.search(r"(?:^ {6,}|\| |: {2,})(bc2ot [^|<>]*)", line) for line in lines]
    return [match[1].strip() for match in found if match]


@pytest.mark.parametrize("example", _examples())
def test_each_example_in_a_help_text_parses(example: str) -> None:
    arguments = shlex.split(example)[1:]
    with bc2ot.make_context("bc2ot", list(arguments)) as context:
        command: click.Command = bc2ot
        rest = [*context._protected_args, *context.args]
        while isinstance(command, click.Group):
            found, rest = command.get_command(context, rest[0]), rest[1:]
            assert found is not None, example
            command = found
            context = command.make_context(command.name, rest, parent=context)
            rest = [*context._protected_args, *context.args]


def test_there_are_examples_for_each_command() -> None:
    result = " ".join(_examples())
    assert all(f"bc2ot {command}" in result for command in COMMANDS)
