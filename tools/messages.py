"""Extract the messages from the source code, and those quoted in docs/troubleshooting.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from onetribe_bc import errors

GAP = "…"
"""Stands in a message for a value: an id, a path, a service's own words."""

_UNEXPLAINED = (errors.InputError, errors.InterruptedRunError, errors.NotAuthenticError)
"""Errors that need no entry in the guide: wrong usage, Ctrl-C, and a callback's rejection."""


def source_trees(package: Path) -> dict[str, ast.AST]:
    """Return the syntax tree of each module by its path in `package`, without the sandbox."""
    return {
        str(path.relative_to(package)): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(package.rglob("*.py"))
        if "sandbox" not in path.relative_to(package).parts
    }


def iter_texts(tree: ast.AST) -> Iterator[str]:
    """Yield each string below `tree`, with `…` for interpolated values."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant | ast.JoinedStr):
            yield _text(node)


def iter_errors(tree: ast.AST) -> Iterator[str]:
    """Yield the message of each Bc2otError made below `tree`, except wholly interpolated ones."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name = getattr(node.func, "id", "")
        kind = getattr(errors, name, None)
        if isinstance(kind, type) and issubclass(kind, errors.Bc2otError):
            message = _text(node.args[0])
            if message.strip(f"{GAP} .:") and not issubclass(kind, _UNEXPLAINED):
                yield message


def _text(node: ast.AST) -> str:
    match node:
        case ast.Constant(value=str(value)):
            return value
        case ast.JoinedStr(values=values):
            return "".join(_text(value) for value in values)
        case ast.FormattedValue():
            return GAP
    return ""


def quoted_messages(guide: str) -> list[str]:
    """Return the messages in the first column of the guide's tables."""
    return [quoted.replace('\\"', '"') for quoted in re.findall(r'(?m)^\| "(.+?)" \|', guide)]
