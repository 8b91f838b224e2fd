"""Report which proxy the requests to each service go through."""

from __future__ import annotations

import os
from collections.abc import Iterator
from urllib.parse import urlsplit

from requests.utils import get_environ_proxies, select_proxy

from onetribe_bc.config import Settings
from onetribe_bc.doctor.finding import Finding, note, warn
from onetribe_bc.secret import is_loopback

_CHECK = "configuration.proxy"
_VARIABLES = ("http_proxy", "https_proxy", "all_proxy")


def check_proxies(settings: Settings) -> Iterator[Finding]:
    """Name the proxy of each service by host and port, and the variable, never a password."""
    monitor = settings.monitor.url
    onetribe = settings.onetribe.url
    services = {
        "BigCommerce": settings.bigcommerce.api_url,
        "One Tribe": onetribe.reveal() if onetribe else "",
        "the monitor": monitor.reveal() if monitor else "",
    }
    for service, url in services.items():
        host = urlsplit(url).hostname
        if not host or is_loopback(host):
            continue
        proxy = select_proxy(url, get_environ_proxies(url, no_proxy=None))
        if proxy:
            yield _describe(service, host, proxy)


def _describe(service: str, host: str, proxy: str) -> Finding:
    names = (n for n, value in os.environ.items() if n.lower() in _VARIABLES and value in proxy)
    variable = next(names, "of the system")
    try:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        shown = f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
    except ValueError:  # its message quotes the value
        return warn(
            _CHECK,
            f"Requests to {service} go through a proxy whose URL ({variable}) is invalid.",
            "Write it as http://HOST:PORT; in a user or password, write characters such as [ and "
            "@ as %5B and %40.",
        )
    return note(
        _CHECK,
        f"Requests to {service} go through the proxy {shown} ({variable}).",
        f"To connect directly: NO_PROXY={host} (docs/proxies.md).",
    )
