"""What One Tribe's address looks like, and whether a hook can lead there."""

from __future__ import annotations

from urllib.parse import urlsplit

from onetribe_bc.api.hook import check_destination
from onetribe_bc.errors import InputError
from onetribe_bc.secret import Secret

_ONETRIBE_PATH = "/direct/webhook/big-commerce/order/"


def looks_like_onetribe(url: Secret) -> bool:
    """Whether the address has the path that One Tribe's page shows."""
    return _ONETRIBE_PATH in urlsplit(url.reveal()).path


def hook_obstacle(url: Secret) -> str:
    """Why BigCommerce cannot call this address, as a sentence; empty when it can."""
    try:
        check_destination(url.reveal())
    except InputError as error:
        return str(error)
    return ""
