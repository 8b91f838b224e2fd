"""Keep the documents in step with the code: `--write` regenerates their generated parts, `--check`
fails when one has drifted.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import click

from onetribe_bc.cli.app import bc2ot
from onetribe_bc.cli.registry import GROUPS
from onetribe_bc.config.settings import SETTINGS, Setting
from onetribe_bc.config.sources import Source
from onetribe_bc.config.write import render
from onetribe_bc.errors import ExitCode
from onetribe_bc.sandbox import FaultKind, Group
from onetribe_bc.version import __version__
from tools import manual
from tools.engines import ENGINES, engines_of_tests
from tools.messages import iter_errors, iter_texts, quoted_messages, source_trees

ROOT = Path(__file__).parent.parent
COLUMNS = 78
"""The width that click uses in a terminal of 80 columns."""


def block(document: str, name: str, content: str) -> str:
    """Return `document` with `content` between the markers `name`. Raises ValueError if missing."""
    begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
    head, found, rest = document.partition(begin)
    _, closed, tail = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"the markers of {name!r} are missing")
    return f"{head}{begin}{content}{end}{tail}"


# What is generated


def context_of(*names: str) -> click.Context:
    """Return the context of a command for help of 80 columns, whatever the terminal."""
    command: click.Command = bc2ot
    context = _context(command, "bc2ot", None)
    for name in names:
        assert isinstance(command, click.Group)
        found = command.get_command(context, name)
        assert found is not None, name
        command, context = found, _context(found, name, context)
    return context


def _context(command: click.Command, name: str, parent: click.Context | None) -> click.Context:
    settings = {**command.context_settings, "terminal_width": COLUMNS, "color": False}
    return click.Context(command, parent=parent, info_name=name, **settings)


def iter_commands() -> Iterator[tuple[str, ...]]:
    """Yield the names of each command and subcommand, in the order of `bc2ot --help`."""
    for group in GROUPS.values():
        for name in group:
            yield (name,)
            command = context_of(name).command
            if isinstance(command, click.Group):
                yield from ((name, each) for each in command.list_commands(context_of(name)))


def help_text(*names: str) -> str:
    """Return the output of `bc2ot NAMES… --help` as a block of Markdown."""
    context = context_of(*names)
    return f"```text\n{context.command.get_help(context).rstrip()}\n```\n"


def all_help() -> str:
    """Return the help of every command and subcommand, under headings."""
    groups = {name: title for title, group in GROUPS.items() for name in group}
    parts: list[str] = []
    shown = ""
    for names in iter_commands():
        if groups[names[0]] != shown:
            shown = groups[names[0]]
            parts.append(f"## {shown}\n")
        level = "#" * (2 + len(names))
        parts.append(f"{level} bc2ot {' '.join(names)}\n\n{help_text(*names)}")
    return "\n".join(parts)


def exit_codes() -> str:
    """Return the table of exit codes."""
    rows = [f"| [{code.value}](#{code.value}) | {code.meaning} |" for code in ExitCode]
    return "\n".join(["| code | meaning |", "|---|---|", *rows]) + "\n"


def faults_table() -> str:
    """Return the table of the sandbox's faults, by group."""
    rows = ["| kind | what happens | ARGUMENT |", "|---|---|---|"]
    for group in Group:
        rows.append(f"| | **{group}** | |")
        rows += [
            f"| `{kind}` | {kind.effect} | {_argument(kind)} |"
            for kind in FaultKind
            if kind.group is group and kind.effect
        ]
    return "\n".join(rows) + "\n"


def _argument(kind: FaultKind) -> str:
    return f"{kind.argument.lower()}, default {kind.default:g}" if kind.argument else ""


def settings_table() -> str:
    """Return the reference of all settings."""
    rows = ["| key | takes | default | environment | meaning |", "|---|---|---|---|---|"]
    rows += [f"| {' | '.join(cells)} |" for one in SETTINGS.values() for cells in _iter_rows(one)]
    return "\n".join(rows) + "\n"


def _iter_rows(setting: Setting) -> Iterator[tuple[str, ...]]:
    default = f"`{setting.default_text}`" if setting.default_text else setting.default_note
    variable = f"`{setting.variable}`" if setting.variable else ""
    yield f"`{setting.name}`", setting.kind.takes, default, variable, setting.meaning
    if setting.kind.secret:
        own_name = setting.name.rpartition(".")[2]
        yield f"`{setting.file_name}`", "a path", "", "", f"File that holds `{own_name}`."


def example_configuration() -> str:
    """Return the example file: what `init` writes, with secrets in environment variables."""
    values = {
        "bigcommerce.store_hash": "abc123",
        "bigcommerce.access_token": "${BIGCOMMERCE_ACCESS_TOKEN}",
        "onetribe.url": "${ONETRIBE_URL}",
    }
    return render(
        {
            name: Source(name, "the example", value, ROOT, has_variables=True)
            for name, value in values.items()
        }
    )


def man_page(_before: str) -> str:
    commands = {" ".join(names): context_of(*names) for names in iter_commands()}
    return manual.render(context_of(), commands, version=__version__)


DOCUMENTS: Mapping[str, Callable[[str], str]] = {
    "README.md": lambda document: block(document, "help", help_text()),
    "docs/commands.md": lambda document: block(document, "commands", all_help()),
    "docs/configuration.md": lambda document: block(document, "settings", settings_table()),
    "docs/exit-codes.md": lambda document: block(document, "exit codes", exit_codes()),
    "docs/sandbox.md": lambda document: block(document, "faults", faults_table()),
    "docs/bc2ot.1": man_page,
    "config.example.yaml": lambda _before: example_configuration(),
}
"""Each document with a generated part, and the function that regenerates it."""


# What is only checked


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def documents() -> list[Path]:
    """Return the paths of the README, the guides and the other Markdown files."""
    return [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md"))]


def broken_links() -> list[str]:
    """Return the links between documents whose file or heading does not exist."""
    broken = []
    for document in documents():
        name = document.relative_to(ROOT)
        for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
            path, _, anchor = target.partition("#")
            found = document.parent / path if path else document
            if "://" in target:
                continue
            if not found.exists():
                broken.append(f"{name} links to {path}, which does not exist")
            elif anchor and anchor not in _anchors(found.read_text(encoding="utf-8")):
                broken.append(f"{name} links to {target}, which has no such heading")
    return broken


def _anchors(document: str) -> set[str]:
    """Return the anchors of a document's headings."""
    text = re.sub(r"(?ms)^```.*?^```", "", document)
    headings = re.findall(r"(?m)^#+ (.*)$", text)
    plain = (re.sub(r"[^\w\- ]", "", heading.strip().lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


def unreachable_documents() -> list[str]:
    """Return the guides and screenshots that no document links to."""
    texts = {path: path.read_text(encoding="utf-8") for path in documents()}
    files = [*ROOT.glob("docs/*.md"), *ROOT.glob("docs/pictures/*.svg")]
    return [
        f"no document links to {file.relative_to(ROOT)}"
        for file in sorted(files)
        if not any(file.name in text for path, text in texts.items() if path != file)
    ]


def misnamed_tests() -> list[str]:
    """Return the tests that docs/guarantees.md names and that do not exist, or whose engines are
    different from what it says.
    """
    marks = {frozenset({"sqlite"}): "", frozenset({"postgresql"}): "PostgreSQL", ENGINES: "both"}
    known = {name: marks[engines] for name, engines in engines_of_tests(ROOT / "tests").items()}
    wrong = []
    for name, mark in re.findall(r"`(test_\w+)`(?: \((\w+)\))?", read("docs/guarantees.md")):
        if name not in known:
            wrong.append(f"docs/guarantees.md names {name}, which does not exist")
        elif mark != known[name]:
            shown = known[name] or "SQLite, without a mark"
            wrong.append(f"docs/guarantees.md must mark {name} by its engines: {shown}")
    return wrong


def missing_security_tests() -> list[str]:
    """Return the tests that SECURITY.md names and that do not exist."""
    known = engines_of_tests(ROOT / "tests")
    named = dict.fromkeys(re.findall(r"`(test_\w+)`", read("SECURITY.md")))
    return [
        f"SECURITY.md names {name}, which does not exist" for name in named if name not in known
    ]


def missing_advice() -> list[str]:
    """Return the exit codes without a section in docs/exit-codes.md."""
    anchors = _anchors(read("docs/exit-codes.md"))
    return [
        f"docs/exit-codes.md has no heading for {code.value}"
        for code in ExitCode
        if str(code.value) not in anchors
    ]


def drifted_messages() -> list[str]:
    """Return the messages that docs/troubleshooting.md quotes wrongly, and those that it lacks."""
    trees = source_trees(ROOT / "onetribe_bc")
    quoted = quoted_messages(read("docs/troubleshooting.md"))
    texts = {text for tree in trees.values() for text in iter_texts(tree)}
    return [
        f"docs/troubleshooting.md quotes {message!r}, which is not in the code"
        for message in quoted
        if not any(message in text for text in texts)
    ] + [
        f"docs/troubleshooting.md lacks {message!r} of {name}"
        for name, tree in trees.items()
        for message in iter_errors(tree)
        if not any(known in message for known in quoted)
    ]


CHECKS = (
    broken_links,
    unreachable_documents,
    misnamed_tests,
    missing_security_tests,
    missing_advice,
    drifted_messages,
)


def main(arguments: list[str]) -> int:
    """Check or write; 1 when something has drifted."""
    drifted = []
    for name, refresh in DOCUMENTS.items():
        path = ROOT / name
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        after = refresh(before)
        if arguments == ["--write"]:
            path.write_text(after, encoding="utf-8")
        elif before != after:
            drifted.append(f"{name} has drifted from the code: run `make docs`")
    for check in CHECKS:
        drifted += check()
    for line in drifted:
        print(line, file=sys.stderr)
    return 1 if drifted else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
