"""The public names: documented, typed, and imported when they are used."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import onetribe_bc
from onetribe_bc import errors, public
from onetribe_bc.clock import Clock
from onetribe_bc.sandbox import Sandbox
from tests.callbacks import callback, signed
from tests.conftest import SandboxFactory

ROOT = Path(__file__).parent.parent
NAMES = [
    alias.asname or alias.name
    for node in ast.parse(Path(public.__file__).read_text()).body
    if isinstance(node, ast.ImportFrom)
    for alias in node.names
    if alias.asname != "_load"
] + ["load_settings"]


def examples() -> list[str]:
    """The Python of the guide, block by block."""
    return re.findall(r"(?ms)^```python\n(.*?)^```", (ROOT / "docs/python.md").read_text())


def example_with(*words: str) -> str:
    (found,) = [each for each in examples() if all(word in each for word in words)]
    return found


@pytest.fixture(name="store")
def store_fixture(make_sandbox: SandboxFactory, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """A sandbox of today, which the environment points at."""
    sandbox = make_sandbox(now=None, example=True, days=5.0)
    for name, value in sandbox.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("BC2OT_LEDGER", str(Path.cwd() / "ledger.db"))
    return sandbox


def run(example: str) -> str:
    """What one example prints, in an interpreter of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_each_name_and_its_methods_are_documented(name: str) -> None:
    value = getattr(onetribe_bc, name)
    assert inspect.getdoc(value)
    inherited = vars(Clock)  # a clock's methods are documented in their protocol
    undocumented = [
        key
        for key, member in vars(value).items()
        if not key.startswith("_")
        and inspect.isfunction(member)
        and not inspect.getdoc(inherited.get(key, member))
    ]
    assert undocumented == []


def test_the_guide_draws_the_whole_tree_of_errors() -> None:
    guide = (ROOT / "docs/python.md").read_text()
    drawing = next(each for each in re.findall(r"(?ms)^```text\n(.*?)^```", guide))
    drawn = re.findall(r"^([│ ├└─]*)(\w+)", drawing, re.MULTILINE)
    parents: list[str] = []
    for indent, name in drawn:
        depth = len(indent) // 4
        kind = getattr(errors, name)
        assert kind.__bases__[0].__name__ == (parents[depth - 1] if depth else "Exception")
        parents[depth:] = [name]
    assert {name for _, name in drawn} == {name for name in vars(errors) if name.endswith("Error")}


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Frobnicator'"):
        _ = onetribe_bc.Frobnicator
    assert not hasattr(onetribe_bc, "load")


def test_importing_the_package_imports_nothing_slow() -> None:
    script = (
        "import sys; before = set(sys.modules); import onetribe_bc\n"
        "print(*sorted(m for m in set(sys.modules) - before if m.startswith('onetribe_bc')))\n"
        "slow = {'requests', 'click', 'rich', 'yaml', 'sqlalchemy', 'importlib.metadata'}\n"
        "print('slow:', *sorted(slow & (set(sys.modules) - before)))\n"
    )
    assert run(script).splitlines() == ["onetribe_bc onetribe_bc.version", "slow:"]


def test_the_version_is_that_of_the_package() -> None:
    assert onetribe_bc.__version__ == version("onetribe-bc")


# The guide


def test_the_guide_sends_the_orders_of_the_last_week_and_then_none(store: Sandbox) -> None:
    eligible = sum(store.store.row(i).status_id != 0 for i in store.store.ids())
    example = example_with("backfill(context")
    seen, delivered = map(int, re.findall(r"\d+", run(example)))
    assert (seen, delivered) == (len(store.store) - 1, eligible - 1)  # the example order is of 2019
    assert run(example) == f"{seen} seen, 0 delivered\n"
    assert sum(store.onetribe.counts().values()) == delivered


def test_the_guide_reads_one_order_from_the_ledger(store: Sandbox) -> None:
    from onetribe_bc.cli.app import run as bc2ot

    example = example_with("ledger.entry(218)")
    assert run(example) == "order 218 is not in the ledger\n0 orders are owed\n"
    assert bc2ot(["-q", "push-order", "218"]) == 0
    told = run(example).splitlines()
    assert told[0].startswith("order 218 was delivered at 20")
    assert told[1].endswith("delivered 200")
    assert told[2] == "0 orders are owed"


def test_the_guide_creates_a_hook_and_lists_it(store: Sandbox) -> None:
    example = example_with("create_hooks(")
    first, listed = run(example).splitlines()
    hook_id = first.split()[0]
    assert first == f"{hook_id} created"
    assert listed == f"{hook_id} store/order/created active"
    assert run(example).splitlines()[0] == f"{hook_id} unchanged"


def test_the_guide_delivers_what_a_callback_names(store: Sandbox) -> None:
    example = example_with("deliver_callback(")
    body = callback(218)
    for headers, told in [
        ({"host": "a"}, "401"),
        (signed(body), "order 218: delivered\n200"),
        (signed(body), "order 218: already delivered\n200"),
    ]:
        assert run(f"{example}\nprint(handle({body!r}, {headers!r}))") == f"{told}\n"
    assert run(f"{example}\nprint(handle(b'[]', {signed(b'[]')!r}))") == "400\n"
    message = callback(218, "store/order/message/created", data={"type": "order", "id": 218})
    assert run(f"{example}\nprint(handle({message!r}, {signed(message)!r}))") == "200\n"
    store.faults.add("bigcommerce:status@401")
    other = callback(store.store.ids()[0])
    told = run(f"{example}\nprint(handle({other!r}, {signed(other)!r}))")
    assert told.endswith("\n503\n")
    assert store.onetribe.counts() == {218: 1}


def test_the_guide_reads_settings_from_the_environment(store: Sandbox) -> None:
    told = run(example_with("settings.onetribe.masked"))
    assert told.startswith(f"{store.store_hash} http://127.0.0.1:")
    assert store.merchant_key not in told


def test_the_guide_reads_settings_from_a_vault() -> None:
    assert run(example_with("vault = {")) == "****\n"


def test_the_guide_uses_a_client_alone(store: Sandbox) -> None:
    awaiting = sum(store.store.row(i).status_id == 11 for i in store.store.ids())
    told = run(example_with("BigCommerceClient(")).splitlines()
    assert told[0] == f"{awaiting} await fulfillment"
    assert len(told) == 2


def test_the_guide_prints_the_version() -> None:
    assert run(example_with("__version__")) == f"{onetribe_bc.__version__}\n"


def test_every_example_of_the_guide_is_run_above() -> None:
    assert len(examples()) == 8


def test_the_guide_is_typed(tmp_path: Path) -> None:
    for number, example in enumerate(examples()):
        (tmp_path / f"example_{number}.py").write_text(example)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-incremental"),
            *("--cache-dir", str(tmp_path / "cache"), str(tmp_path)),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
