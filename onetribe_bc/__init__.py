"""bc2ot for Python: the settings, the clients, the ledger and the runs of the command line.

The names in `onetribe_bc.public` and `onetribe_bc.errors` are stable; everything else may change.
They are imported when the first one is used, which keeps `import onetribe_bc`, and so every
command, fast. The guide is docs/python.md.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

from onetribe_bc.version import __version__ as __version__

if TYPE_CHECKING:
    from onetribe_bc.public import *  # noqa: F403


NEEDS_POSIX = "bc2ot needs Linux or macOS. On Windows, run it in WSL: https://aka.ms/wsl."


def __getattr__(name: str) -> object:
    if sys.platform == "win32" and not name.startswith("_"):
        raise ImportError(NEEDS_POSIX)
    public = None if name.startswith("_") else importlib.import_module("onetribe_bc.public")
    value: object = getattr(public, name, None)
    if value is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return value
