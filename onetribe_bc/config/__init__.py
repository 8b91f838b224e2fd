"""The configuration: what can be set, where it is found, and what it comes to.

`load` gives the `Settings` of one store; `store_names` lists the stores a file holds besides.
"""

from onetribe_bc.config.loading import load, store_names
from onetribe_bc.config.places import Homes
from onetribe_bc.config.settings import (
    BigCommerceSettings,
    DeliverySettings,
    OneTribeSettings,
    OrderSettings,
    Settings,
)

__all__ = [
    "BigCommerceSettings",
    "DeliverySettings",
    "Homes",
    "OneTribeSettings",
    "OrderSettings",
    "Settings",
    "load",
    "store_names",
]
