"""The configuration: the settings, where they come from, and the files that hold them.

`load` returns the `Settings` of a store, `store_names` lists the stores of a file.
"""

from onetribe_bc.config.load import load, store_names
from onetribe_bc.config.paths import UserDirectories
from onetribe_bc.config.settings import Settings

__all__ = ["Settings", "UserDirectories", "load", "store_names"]
