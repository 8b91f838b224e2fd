"""Which of the ledger's engines each test runs on, as its fixtures and parametrization say."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

ENGINES = frozenset({"sqlite", "postgresql"})
_SERVER = "postgres"
"""The fixture of the PostgreSQL server, which all tests on PostgreSQL use, some through others."""

_SERVER_CLASS = "PostgresServer"

Functions = Mapping[str, ast.FunctionDef]


def engines_of_tests(folder: Path) -> dict[str, frozenset[str]]:
    """Return the engines of each test in the folder, by its name."""
    trees = {path.stem: ast.parse(path.read_text("utf-8")) for path in folder.glob("*.py")}
    fixtures = {name: dict(_fixtures(tree)) for name, tree in trees.items()}
    found: dict[str, frozenset[str]] = {}
    for tree in trees.values():
        in_scope = {**fixtures["conftest"], **_imported(tree, fixtures)}
        in_scope.update(_fixtures(tree))
        for function in _functions(tree):
            if function.name.startswith("test_"):
                found[function.name] = _engines(function, in_scope)
    return found


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    return (node for node in tree.body if isinstance(node, ast.FunctionDef))


def _fixtures(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Yield the fixtures of a module, by the names that tests use."""
    for function in _functions(tree):
        for decorator in function.decorator_list:
            if "fixture" in ast.unparse(decorator):
                options = decorator.keywords if isinstance(decorator, ast.Call) else []
                names = [ast.literal_eval(one.value) for one in options if one.arg == "name"]
                yield (*names, function.name)[0], function


def _imported(tree: ast.Module, fixtures: Mapping[str, Functions]) -> Functions:
    """Return the fixtures that a module imports from others of the tests."""
    return {
        name: function
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests.")
        for name, function in fixtures.get((node.module or "").removeprefix("tests."), {}).items()
        if function.name in {alias.name for alias in node.names}
    }


def _engines(test: ast.FunctionDef, fixtures: Functions) -> frozenset[str]:
    needs_server = False
    waiting, seen = [test], {test}
    while waiting:
        function = waiting.pop()
        decorators = " ".join(map(ast.unparse, function.decorator_list))
        if named := {engine for engine in ENGINES if repr(engine) in decorators}:
            return frozenset(named)
        names = {node.value for node in ast.walk(function) if isinstance(node, ast.Constant)}
        names |= {argument.arg for argument in function.args.args}
        calls = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
        needs_server |= _SERVER in names or _SERVER_CLASS in calls
        used = {function for name, function in fixtures.items() if name in names} - seen
        seen |= used
        waiting += used
    return frozenset({"postgresql" if needs_server else "sqlite"})
