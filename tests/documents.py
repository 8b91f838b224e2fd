"""The generated parts of the documents: `--check` fails when one has drifted, `--write` mends."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

from onetribe_bc.cli.app import bc2ot
from onetribe_bc.config import reference
from onetribe_bc.errors import ExitCode

ROOT = Path(__file__).parent.parent


def block(document: str, name: str, content: str) -> str:
    """`document` with `content` between the markers of `name`. Raises ValueError without them."""
    begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
    head, found, rest = document.partition(begin)
    _, closed, tail = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"the markers of {name!r} are missing")
    return f"{head}{begin}{content}{end}{tail}"


def help_text() -> str:
    """What `bc2ot --help` prints, 80 columns wide."""
    with bc2ot.make_context("bc2ot", [], resilient_parsing=True, terminal_width=80) as context:
        return f"```text\n{bc2ot.get_help(context)}\n```\n"


def exit_codes() -> str:
    """The table of exit codes."""
    rows = [f"| {code.value} | {code.meaning} |" for code in ExitCode]
    return "\n".join(["| code | meaning |", "|---|---|", *rows]) + "\n"


def readme(document: str) -> str:
    """The README as it has to be."""
    return block(block(document, "help", help_text()), "exit codes", exit_codes())


DOCUMENTS: dict[str, Callable[[str], str]] = {
    "README.md": readme,
    "docs/configuration.md": reference.refresh,
}


def broken_links() -> list[str]:
    """Links between documents that lead nowhere."""
    links = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
    return [
        f"{document.relative_to(ROOT)} links to {target}, which is not there"
        for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
        for target in links.findall(document.read_text(encoding="utf-8"))
        if "://" not in target and not (document.parent / target).exists()
    ]


def missing_tests() -> list[str]:
    """Tests that the guarantees name and nobody wrote."""
    tests = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("tests/test_*.py"))
    guarantees = (ROOT / "docs/guarantees.md").read_text(encoding="utf-8")
    named = re.findall(r"`(test_\w+)`", guarantees)
    return [
        f"docs/guarantees.md names {name}, which is not there"
        for name in named
        if f"def {name}(" not in tests
    ]


def main(arguments: list[str]) -> int:
    """Check or write; 1 when something has drifted."""
    drifted = broken_links() + missing_tests()
    for name, refresh in DOCUMENTS.items():
        path = ROOT / name
        before = path.read_text(encoding="utf-8")
        after = refresh(before)
        if arguments == ["--write"]:
            path.write_text(after, encoding="utf-8")
        elif before != after:
            drifted.append(f"{name} has drifted from the code: run `make docs`")
    for line in drifted:
        print(line, file=sys.stderr)  # noqa: T201
    return 1 if drifted else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
