"""What is handed out: the wheel, the source distribution, the man page and the container's files.

They are built here as pip builds them, without the network: `make test` has installed setuptools.
"""

from __future__ import annotations

import email
import json
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from email.message import Message
from pathlib import Path

import click
import pytest
import yaml

from onetribe_bc.cli.app import bc2ot
from onetribe_bc.version import __version__
from tests.callbacks import until
from tests.conftest import postgres_url
from tests.shell import Shell, shell_fixture  # noqa: F401

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NEEDED = 77
"""The first setuptools that writes licence expressions."""

_SKIPPED = {".git", ".venv", "build", "dist", "__pycache__"}


def _setuptools() -> int:
    setuptools = pytest.importorskip("setuptools", reason="make test installs setuptools")
    return int(setuptools.__version__.partition(".")[0])


@pytest.fixture(name="built", scope="module")
def built_fixture(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source distribution, and the wheel that was built from it and nothing else."""
    if _setuptools() < NEEDED:
        pytest.skip(f"needs setuptools {NEEDED} or newer, which make test installs")
    folder = tmp_path_factory.mktemp("built")
    tree = folder / "tree"
    shutil.copytree(
        ROOT, tree, ignore=lambda _, names: {n for n in names if n in _SKIPPED or ".egg-info" in n}
    )
    sdist = folder / _build("sdist", tree, folder)
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    return sdist, folder / _build("wheel", unpacked, folder)


def _build(kind: str, source: Path, target: Path) -> str:
    """Have setuptools build what `source` is the project of, as pip and build have it do."""
    script = (
        "import sys; from setuptools import build_meta\n"
        f"print(build_meta.build_{kind}(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(target)],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.fixture(name="names", scope="module")
def names_fixture(built: tuple[Path, Path]) -> set[str]:
    """What the wheel holds."""
    with zipfile.ZipFile(built[1]) as wheel:
        return set(wheel.namelist())


@pytest.fixture(name="metadata", scope="module")
def metadata_fixture(built: tuple[Path, Path]) -> Message:
    """What the wheel tells of itself."""
    with zipfile.ZipFile(built[1]) as wheel:
        text = wheel.read(f"onetribe_bc-{__version__}.dist-info/METADATA").decode()
    return email.message_from_string(text)


def test_the_wheel_is_for_any_machine(built: tuple[Path, Path]) -> None:
    assert built[1].name == f"onetribe_bc-{__version__}-py3-none-any.whl"


def test_the_wheel_holds_the_package_the_man_page_and_no_tests(names: set[str]) -> None:
    package = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "onetribe_bc").rglob("*")
        if path.suffix in (".py", ".json") or path.name == "py.typed"
    }
    told = f"onetribe_bc-{__version__}"
    assert package <= names
    assert f"{told}.data/data/share/man/man1/bc2ot.1" in names
    assert f"{told}.dist-info/licenses/LICENSE" in names
    others = {name for name in names - package if not name.startswith((f"{told}.", "onetribe_bc/"))}
    assert others == set()


def test_the_wheel_has_its_metadata(metadata: Message) -> None:
    assert metadata["Name"] == "onetribe-bc"
    assert metadata["Version"] == __version__
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert str(metadata.get_payload()).startswith("# bc2ot")
    assert metadata["Summary"] == PROJECT["description"]
    assert not any("License" in each for each in metadata.get_all("Classifier", []))


def test_the_tools_of_development_are_no_requirement(metadata: Message) -> None:
    required = [each for each in metadata.get_all("Requires-Dist", []) if "extra ==" not in each]
    assert len(required) == len(PROJECT["dependencies"])
    assert not any("pytest" in each or "setuptools" in each for each in required)


def test_the_source_distribution_holds_what_make_test_needs(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[0]) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    for path in (
        *("LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "Makefile"),
        *(
            "config.example.yaml",
            "constraints.txt",
            "requirements.txt",
            ".importlinter",
            ".ci/run",
            "pyproject.toml",
        ),
        *("docs/bc2ot.1", "docs/set-up.md", "tests/conftest.py", "tests/data", "benchmarks"),
        *("Dockerfile", "compose.yaml", ".dockerignore", "MANIFEST.in"),
    ):
        assert path in held, path
    for folder in ("docs", "tests", "benchmarks", "onetribe_bc"):
        here = {
            str(path.relative_to(ROOT))
            for path in (ROOT / folder).rglob("*")
            if path.is_file() and path.suffix not in (".pyc", ".pyo")
        }
        assert here <= held
    assert not any(name.endswith((".pyc", ".db")) or name == "bc2ot.yaml" for name in held)


def test_the_wheel_installs_and_runs_in_a_fresh_environment(
    built: tuple[Path, Path], tmp_path: Path
) -> None:
    # The dependencies are those of this environment: nothing is fetched.
    fresh = tmp_path / "venv"
    venv.create(fresh, with_pip=False, symlinks=True)
    python = fresh / "bin" / "python"
    install = [
        *(sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps"),
        *("--no-index", "--quiet", "--disable-pip-version-check", str(built[1])),
    ]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (fresh / "share/man/man1/bc2ot.1").is_file()
    (packages,) = fresh.glob("lib/python*/site-packages")
    (packages / "here.pth").write_text(str(Path(click.__file__).parent.parent))
    told = subprocess.run(
        [str(fresh / "bin" / "bc2ot"), "--version"], capture_output=True, text=True, check=True
    )
    assert told.stdout.startswith(f"bc2ot {__version__} (Python ")
    where = "import onetribe_bc; print(onetribe_bc.__file__, onetribe_bc.__version__)"
    imported = subprocess.run(
        [str(python), "-c", where], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert imported.stdout == f"{packages}/onetribe_bc/__init__.py {__version__}\n"


# The man page


@pytest.mark.parametrize("formatter", ["groff", "mandoc"])
def test_the_man_page_has_no_mistakes(formatter: str) -> None:
    found = shutil.which(formatter)
    if found is None:
        pytest.skip(f"{formatter} is not installed (Debian: apt install {formatter})")
    options = {"groff": ["-man", "-ww", "-Tutf8", "-z"], "mandoc": ["-Tlint", "-Wwarning"]}
    done = subprocess.run(
        [found, *options[formatter], str(ROOT / "docs/bc2ot.1")],
        capture_output=True,
        text=True,
        check=False,
    )
    # It is the page of the commands as they are, so it has no date.
    found_wrong = [line for line in done.stdout.splitlines() if "missing date" not in line]
    assert (found_wrong, done.stderr) == ([], "")


def test_the_man_page_shows_each_option_and_example_as_it_is_typed() -> None:
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("groff is not installed (Debian: apt install groff)")
    shown = subprocess.run(
        [groff, "-man", "-Tascii", "-P-cbou", "-rLL=200n", str(ROOT / "docs/bc2ot.1")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    plain = re.sub(r".\x08", "", shown)
    for words in (
        "bc2ot - send BigCommerce orders to One Tribe",
        "--log-format [text|json]",
        "bc2ot backfill --since 2026-01-01 --until 2026-01-31 --dry-run",
        "BC2OT_ACCESS_TOKEN",
        "~/.local/state/bc2ot/ledger.db",
    ):
        assert words in plain, words


# The container


def test_the_files_of_the_image_exist_and_are_not_ignored() -> None:
    steps = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    copied = [
        source
        for line in re.findall(r"(?m)^COPY (?!--from)(.*)$", steps)
        for source in line.split()[:-1]
    ]
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    for source in copied:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in ignored, source
    assert {line[1:] for line in ignored if line.startswith("!")} == set(copied)


def test_the_image_installs_each_dependency_by_hash() -> None:
    pinned = re.split(r"(?m)^(?=[a-z])", (ROOT / "requirements.txt").read_text())[1:]
    assert all("--hash=sha256:" in entry for entry in pinned)
    versions = dict(entry.split()[0].split("==") for entry in pinned)
    constraints = (ROOT / "constraints.txt").read_text().lower().replace("_", "-")
    assert {f"{name}=={versions[name]}" for name in versions if name != "setuptools"} <= set(
        constraints.split()
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [*project["dependencies"], *project["optional-dependencies"]["postgres"]]
    names = {re.split(r"[^\w-]", need.lower().replace("_", "-"))[0] for need in needed}
    assert names <= set(versions)


def test_the_image_runs_unprivileged_and_has_a_health_check() -> None:
    steps = (ROOT / "Dockerfile").read_text()
    final = steps.rpartition("\nFROM ")[2]
    (user,) = re.findall(r"(?m)^USER (\d+):\1$", final)
    assert f"--uid {user} " in final
    assert not re.search(r"(?i)(token|secret|key|password)\w*=", steps)
    (health,) = re.findall(r"(?m)^HEALTHCHECK .* CMD (\[.*\])$", final)
    assert_parses(json.loads(health))
    (entry,) = re.findall(r"(?m)^ENTRYPOINT (\[.*\])$", final)
    (command,) = re.findall(r"(?m)^CMD (\[.*\])$", final)
    assert json.loads(entry) == ["bc2ot"]
    (ledger,) = re.findall(r"BC2OT_LEDGER=(\S+)/ledger.db", final)
    assert f"VOLUME {ledger}" in final
    assert json.loads(command) == ["--help"]


def test_the_compose_file_is_whole() -> None:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    services = compose["services"]
    database = services.pop("database")
    assert {volume.partition(":")[0] for volume in database["volumes"]} <= set(compose["volumes"])
    for service in services.values():
        assert set(service["secrets"]) <= set(compose["secrets"])
        mounted = [volume.partition(":") for volume in service["volumes"]]
        assert {name for name, _, _ in mounted} <= set(compose["volumes"])
        if "postgres" in service.get("profiles", ()):
            assert postgres_url(service["environment"]["BC2OT_LEDGER"]).hosts == (mounted[0][2],)
        else:
            assert f"VOLUME {mounted[0][2]}" in (ROOT / "Dockerfile").read_text()
        if "entrypoint" in service:
            script = "\n".join(service["command"]).replace("$$", "$")
            commands = re.findall(r"bc2ot [^&;|]*", script)
        else:
            commands = [shlex.join(["bc2ot", *service["command"]])]
        assert commands
        for line in commands:
            assert_parses(shlex.split(line))
        named = service["environment"]["BC2OT_CONFIG"].removeprefix("/run/secrets/")
        assert named in service["secrets"]


def test_the_composed_receiver_is_healthy_where_it_listens(shell: Shell) -> None:
    service = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["serve"]
    address = service["command"][-1]
    host, _, port = address.rpartition(":")
    (published,) = service["ports"]
    assert published.endswith(f":{port}")
    kind, _, *check = service["healthcheck"]["test"]
    assert kind == "CMD"
    log = shell.folder / "log"
    with log.open("wb") as stderr:
        shell.start(*service["command"][:-1], f"{host}:0", stderr=stderr)
        found = until(lambda: re.search(r"listening on http://[\d.]+:(\d+)/", log.read_text()))
    for at, code in ((found[1], 0), ("1", 1)):
        asked = [sys.executable, *(part.replace(f":{port}/", f":{at}/") for part in check)]
        done = subprocess.run(asked, capture_output=True, check=False)
        assert done.returncode == code, done.stderr


def test_stopping_the_composed_sync_lets_it_finish(tmp_path: Path) -> None:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    service = compose["services"]["sync"]
    script = service["command"][0].replace("$$", "$")
    stand_in = tmp_path / "bc2ot"
    stand_in.write_text("#!/bin/sh\ntrap 'echo finished; exit 130' TERM\necho begun\nread x < p\n")
    stand_in.chmod(0o755)
    subprocess.run(["mkfifo", str(tmp_path / "p")], check=True)
    shell = subprocess.Popen(
        [*service["entrypoint"], script],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert shell.stdout is not None
    assert shell.stdout.readline() == "begun\n"
    shell.terminate()
    assert shell.communicate(timeout=30)[0] == "finished\n"


def assert_parses(words: list[str]) -> None:
    """A command line of ours that click takes."""
    assert words[0] == "bc2ot"
    with bc2ot.make_context("bc2ot", words[1:]) as context:
        name, *rest = [*context._protected_args, *context.args]
        command = bc2ot.get_command(context, name)
        assert isinstance(command, click.Command)
        with command.make_context(name, rest, parent=context):
            pass


@pytest.mark.parametrize("guide", ["docs/scheduling.md", "docs/serve.md"])
def test_both_systemd_units_are_hardened_alike(guide: str) -> None:
    blocks = re.findall(r"```ini\n(.*?)```", (ROOT / guide).read_text(), re.DOTALL)
    (service,) = (block for block in blocks if "NoNewPrivileges" in block)
    lines = service.partition("NoNewPrivileges")[2].partition("\n[Install]")[0].split("\n")
    other = (ROOT / "docs/serve.md").read_text()
    assert "LimitCORE=0" in lines
    assert all(line in other for line in lines)


@pytest.mark.parametrize("name", ["sync", "serve"])
def test_composed_services_have_limits_and_leave_no_core_dump(name: str) -> None:
    service = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"][name]
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert service["ulimits"] == {"core": 0}
    assert service["read_only"]
