"""Mutation testing of the core: make one random change at a time and see whether a test fails.

    python -m tools.mutate [--seed N] [--mutants N] [--jobs N] [--module NAME]

Each change is made in a copy of the project, and only the tests of its module run; all of them must
pass without a change. A survivor is a missing test, or a change that makes no difference.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).parent.parent
PACKAGE = "onetribe_bc"

TESTS = {
    "delivery/context.py": "delivery",
    "delivery/fetching.py": "fetching unfetchable",
    "delivery/pipeline.py": "pipeline delivery",
    "delivery/report.py": "pipeline delivery",
    "delivery/selection.py": "fetching backfill",
    "delivery/sender.py": "delivery pipeline",
    "ledger/states.py": "entry ledger step delivery",
    "ledger/orders.py": "ledger step database",
    "ledger/inbox.py": "inbox receiver",
    "ledger/runs.py": "runs ledger",
    "ledger/ledger.py": "ledger step runs sync",
    "api/rate_limit.py": "rate_limit",
    "api/webhook.py": "webhook",
    "order.py": "order",
}
"""The test files of each module of the core, those that fail soonest first."""

LIMIT_S = 120
"""A change that keeps the tests running for longer has made them hang."""

_OPPOSITES: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.And: ast.Or, ast.Or: ast.And, ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div,
    ast.Div: ast.Mult,
}  # fmt: skip
_PLAIN = (ast.Attribute, ast.Call, ast.Name, ast.NamedExpr, ast.UnaryOp)
"""Conditions that hold nothing else to change."""
_FUNCTIONS = {"min": "max", "max": "min", "any": "all", "all": "any"}


@dataclass(frozen=True)
class Mutant:
    """One change of a module of the core."""

    module: str
    line: int
    before: str
    after: str
    source: str

    def __str__(self) -> str:
        return f"{PACKAGE}/{self.module}:{self.line}: {self.before} -> {self.after}"


def find_mutants(module: str) -> list[Mutant]:
    """Return all mutants of a module."""
    tree = ast.parse((ROOT / PACKAGE / module).read_text(encoding="utf-8"))
    found = []
    for node in _code(tree):
        for change in _changes(node):
            before = ast.unparse(node)
            undo = change()
            source, after = ast.unparse(tree), ast.unparse(node)
            undo()
            if after != before:
                found.append(Mutant(module, node.lineno, _first(before), _first(after), source))
    return found


def _first(text: str) -> str:
    return text.partition("\n")[0]


def _code(tree: ast.AST) -> Iterator[ast.expr | ast.stmt]:
    """Yield the expressions and statements of functions, without annotations and messages."""
    seen: set[ast.AST] = set()
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        for node in chain.from_iterable(map(ast.walk, function.body)):
            if node in seen:
                continue
            seen.add(node)
            if isinstance(node, ast.AnnAssign):
                seen.update(ast.walk(node.annotation))
            if isinstance(node, ast.JoinedStr) or _is_log_line(node):
                seen.update(ast.walk(node))
            elif isinstance(node, ast.expr | ast.stmt):
                yield node


def _is_log_line(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and ast.unparse(node).startswith("_log.")


Change = Callable[[], Callable[[], None]]
"""Makes a change; returns what undoes it."""


def _changes(node: ast.AST) -> Iterator[Change]:
    match node:
        case ast.Constant(value=bool(value)):
            yield _set(node, "value", not value)
        case ast.Constant(value=int(value) | float(value)):
            yield _set(node, "value", value + 1)
        case ast.IfExp(body=body, orelse=orelse):
            yield _set(node, "body", orelse)
            yield _set(node, "orelse", body)
        case ast.If(test=test) | ast.While(test=test) if isinstance(test, _PLAIN):
            yield _set(node, "test", ast.UnaryOp(ast.Not(), test))
        case ast.Expr(value=ast.Call()):
            yield _set(node, "value", ast.Constant(...))
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            yield _set(node, "value", ast.Constant(None))
        case ast.Call(func=ast.Name(id=name) as function) if name in _FUNCTIONS:
            yield _set(function, "id", _FUNCTIONS[name])
        case ast.Compare(ops=[operator]):
            yield _set(node, "ops", [_OPPOSITES[type(operator)]()])
        case ast.BoolOp(op=operator) | ast.BinOp(op=operator) | ast.AugAssign(op=operator):
            yield _set(node, "op", _OPPOSITES.get(type(operator), type(operator))())


def _set(node: ast.AST, field: str, value: object) -> Change:
    def change() -> Callable[[], None]:
        before = getattr(node, field)
        setattr(node, field, value)
        return lambda: setattr(node, field, before)

    return change


class Copy:
    """A copy of the project in which mutants are tried."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "copy"
        ignored = shutil.ignore_patterns(".*", "__pycache__", "build")
        shutil.copytree(ROOT, self._folder, ignore=ignored)

    def fails(self, mutant: Mutant) -> bool:
        """Whether the module's tests fail, or take too long."""
        file = self._folder / PACKAGE / mutant.module
        original = file.read_bytes()
        file.write_text(mutant.source, encoding="utf-8")
        tests = [f"tests/test_{name}.py" for name in TESTS[mutant.module].split()]
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
        environ = {**os.environ, "PYTHONPATH": str(self._folder), "PYTHONDONTWRITEBYTECODE": "1"}
        process = subprocess.Popen(
            command, cwd=self._folder, env=environ, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            return process.wait(LIMIT_S) != 0
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
            return True
        finally:
            file.write_bytes(original)


Copies = SimpleQueue[Copy]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mutants", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--module", action="append", choices=TESTS)
    given = parser.parse_args()
    mutants = [mutant for name in given.module or TESTS for mutant in find_mutants(name)]
    chosen = random.Random(given.seed).sample(mutants, min(given.mutants, len(mutants)))
    chosen.sort(key=lambda mutant: (mutant.module, mutant.line))
    print(f"{len(chosen)} of {len(mutants):,} mutants, seed {given.seed}", flush=True)
    with ExitStack() as stack:
        copies: Copies = SimpleQueue()
        for _ in range(given.jobs):
            copies.put(Copy(Path(stack.enter_context(tempfile.TemporaryDirectory()))))
        with ThreadPoolExecutor(given.jobs) as pool:
            killed = sum(pool.map(partial(_is_killed, copies), chosen))
    print(f"{killed} of {len(chosen)} made a test fail")
    return 0


def _is_killed(copies: Copies, mutant: Mutant) -> bool:
    copy = copies.get()
    try:
        killed = copy.fails(mutant)
    finally:
        copies.put(copy)
    print("killed  " if killed else "SURVIVED", mutant, flush=True)
    return killed


if __name__ == "__main__":
    sys.exit(main())
