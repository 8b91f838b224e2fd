"""The global options of one command line, and what commands derive from them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onetribe_bc.errors import ConfigurationError

if TYPE_CHECKING:
    from onetribe_bc.cli.console import Console
    from onetribe_bc.config import Settings


@dataclass(frozen=True)
class Context:
    """The global options. `warns` is whether to show the configuration's warnings."""

    config: Path | None = None
    store: str | None = None
    verbose: int = 0
    quiet: bool = False
    log_format: str = "text"
    no_input: bool = False
    warns: bool = True

    def console(
        self, *, json: bool = False, print_json: Callable[[Any], None] | None = None
    ) -> Console:
        """Return where to write, and send the package's log there."""
        from onetribe_bc.cli.console import Console
        from onetribe_bc.cli.logs import set_up_logging

        set_up_logging(self.verbose, self.log_format, quiet=self.quiet)
        return Console(
            quiet=self.quiet, json=json, log_format=self.log_format, print_json=print_json
        )

    def settings(self, console: Console, overrides: Mapping[str, object] | None = None) -> Settings:
        """Load the configuration. Raises ConfigurationError."""
        from onetribe_bc.config import load

        settings = load(
            path=self.config,
            environ=os.environ,
            cwd=working_directory(),
            store=self.store,
            overrides=overrides,
        )
        for warning in settings.warnings if self.warns else ():
            console.warning(str(warning))
        return settings


def working_directory() -> Path:
    """Return the directory that relative paths start from.

    Raises ConfigurationError if it was deleted.
    """
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise ConfigurationError(
            "The working directory was deleted.",
            hint="Change to another one, for example with `cd ~`.",
        ) from None
