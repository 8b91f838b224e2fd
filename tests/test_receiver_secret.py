"""The receiver's secret: configured, or in a file next to the ledger."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from onetribe_bc.config.receiver_secret import make_receiver_secret, receiver_secret_file
from onetribe_bc.errors import ConfigurationError
from tests.configuring import FULL, Desk, desk_fixture  # noqa: F401

KEPT = "kept-secret"


def keep(desk: Desk, content: str | bytes = f"{KEPT}\n", mode: int = 0o600) -> Path:
    return desk.write(content, desk.directories.state / "receiver-secret-abc123", mode)


def secret(desk: Desk, content: str = FULL) -> str | None:
    found = desk.load(content).receiver.secret
    return found.reveal() if found else None


def test_the_secret_file_of_the_store_is_the_default(desk: Desk) -> None:
    assert secret(desk) is None
    keep(desk)
    assert secret(desk) == KEPT
    assert desk.load().warnings == ()
    assert secret(desk, FULL.replace("abc123", "other1")) is None


def test_the_secret_file_is_next_to_the_ledger(desk: Desk, tmp_path: Path) -> None:
    desk.write(KEPT, tmp_path / "led" / "receiver-secret-abc123")
    assert secret(desk, f"{FULL}ledger: {tmp_path}/led/orders.db\n") == KEPT
    assert receiver_secret_file(Path("/a/b.db"), "abc123") == Path("/a/receiver-secret-abc123")


def test_a_setting_overrides_the_secret_file(desk: Desk) -> None:
    keep(desk)
    assert secret(desk, f"{FULL}receiver: {{secret: set-secret}}\n") == "set-secret"
    desk.environ["BC2OT_RECEIVER_SECRET"] = "from-the-environment"
    assert secret(desk) == "from-the-environment"


def test_each_store_has_its_own_secret(desk: Desk) -> None:
    keep(desk)
    desk.write("uk-secret", desk.directories.state / "receiver-secret-def456")
    uk = f"{FULL}stores: {{uk: {{bigcommerce: {{store_hash: def456}}}}}}\n"
    found = desk.load(uk, store="uk").receiver.secret
    assert found is not None
    assert found.reveal() == "uk-secret"
    assert secret(desk, uk) == KEPT


def test_without_a_store_no_secret_file_is_read(desk: Desk) -> None:
    desk.write(KEPT, desk.directories.state / "receiver-secret-")
    assert secret(desk, "onetribe: {url: 'https://example.com/key'}\n") is None


def test_a_secret_file_open_to_others_is_reported(desk: Desk) -> None:
    file = keep(desk, mode=0o640)
    assert secret(desk) == KEPT
    (warning,) = map(str, desk.load().warnings)
    assert f"chmod 600 {file}" in warning


@pytest.mark.parametrize("content", ["", "\n", "s3cr3t b", "s3cr3t\nb\n", "s3cr3té", b"s3cr3t\xff"])
def test_an_invalid_secret_file_is_reported_without_its_content(
    desk: Desk, content: str | bytes
) -> None:
    file = keep(desk, content)
    assert secret(desk) is None
    (warning,) = map(str, desk.load().warnings)
    assert f"{file} does not contain a secret on one line: delete it" in warning
    assert "s3cr3t" not in warning


def test_an_oversized_secret_file_is_reported_without_its_content(desk: Desk) -> None:
    file = keep(desk, "s3cr3t" * 200)
    assert secret(desk) is None
    (warning,) = map(str, desk.load().warnings)
    assert f"secret in {file} (it is larger than 1024 bytes)" in warning
    assert "s3cr3t" not in warning


def test_an_unreadable_secret_file_is_only_a_warning(desk: Desk) -> None:
    file = desk.directories.state / "receiver-secret-abc123"
    file.mkdir(parents=True)
    assert secret(desk) is None
    (warning,) = map(str, desk.load().warnings)
    assert f"secret in {file} ({os.strerror(errno.EISDIR)}): make the user" in warning


def test_a_new_secret_is_readable_only_by_its_owner_and_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "new" / "receiver-secret-abc123"
    made = make_receiver_secret(file, lambda size: "x" * size)
    assert made.reveal() == "x" * 32
    assert file.read_text() == "x" * 32 + "\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    for existing in (file, file / "receiver-secret-abc123"):
        with pytest.raises(ConfigurationError, match="Cannot write the receiver's secret"):
            make_receiver_secret(existing, lambda _: "another")
    assert file.read_text() == "x" * 32 + "\n"


def test_a_kill_leaves_no_empty_secret_file(tmp_path: Path) -> None:
    file = tmp_path / "receiver-secret-abc123"
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from onetribe_bc.config.receiver_secret import make_receiver_secret\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "make_receiver_secret(Path(sys.argv[1]), lambda _: 'x')\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(file)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not file.exists()
    assert make_receiver_secret(file, lambda _: "y").reveal() == "y"


def test_the_file_and_its_name_survive_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bool] = []
    sync = os.fsync

    def note(descriptor: int) -> None:
        synced.append(stat.S_ISDIR(os.fstat(descriptor).st_mode))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    make_receiver_secret(tmp_path / "receiver-secret-abc123", lambda _: "x")
    assert synced == [False, True]
