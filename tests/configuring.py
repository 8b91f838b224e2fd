"""Load configurations in a working directory, home and environment of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from onetribe_bc.config import Settings, UserDirectories, load, store_names
from onetribe_bc.errors import Bc2otError

FULL = """\
bigcommerce:
  store_hash: abc123
  access_token: top-token
onetribe:
  url: https://api.example.com/direct/webhook/big-commerce/order/top-key
"""


@dataclass
class Desk:
    """`folder` holds everything; `environ` is the environment of what is loaded."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def cwd(self) -> Path:
        return self.folder / "work"

    @property
    def file(self) -> Path:
        return self.cwd / "bc2ot.yaml"

    @property
    def directories(self) -> UserDirectories:
        return UserDirectories(
            config=self.folder / "config", state=self.folder / "state", home=self.folder / "user"
        )

    def write(self, content: str | bytes, path: Path | None = None, mode: int = 0o600) -> Path:
        """Write `content` to the configuration file of the working directory, or to `path`."""
        path = path or self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(mode)
        return path

    def load(
        self,
        content: str | bytes | None = None,
        *,
        path: Path | None = None,
        store: str | None = None,
        overrides: Mapping[str, object] | None = None,
        directories: UserDirectories | None = None,
    ) -> Settings:
        if content is not None:
            self.write(content)
        return load(
            path=path,
            environ=self.environ,
            cwd=self.cwd,
            store=store,
            overrides=overrides,
            directories=directories or self.directories,
        )

    def names(self, content: str) -> tuple[str, ...]:
        self.write(content)
        return store_names(
            path=None, environ=self.environ, cwd=self.cwd, directories=self.directories
        )

    def message(self, content: str | bytes | None = None, *, store: str | None = None) -> str:
        """Return the error's message and hint; empty if `content` is valid."""
        try:
            self.load(content, store=store)
        except Bc2otError as error:
            return f"{error} {error.hint}"
        return ""

    def refusal(self, content: str | bytes | None = None, *, store: str | None = None) -> str:
        """Return the error's message and hint, where `content` must be refused."""
        message = self.message(content, store=store)
        assert message, "the configuration was accepted"
        return message


@pytest.fixture(name="desk")
def desk_fixture(tmp_path: Path) -> Desk:
    (tmp_path / "work").mkdir()
    return Desk(tmp_path)
