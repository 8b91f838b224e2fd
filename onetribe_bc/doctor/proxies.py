"""Report which proxy the requests to each service go through."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from onetribe_bc.api.http import find_proxy
from onetribe_bc.config import Settings
from onetribe_bc.doctor.finding import Finding, note, warn
from onetribe_bc.errors import ConfigurationError

_CHECK = "configuration.proxy"


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
        if not url:
            continue
        try:
            proxy = find_proxy(url)
        except ConfigurationError as error:
            yield warn(_CHECK, f"Requests to {service}: {error}", error.hint)
            continue
        if proxy is not None:
            yield note(
                _CHECK,
                f"Requests to {service} go through the proxy {proxy}.",
                f"To connect directly: NO_PROXY={urlsplit(url).hostname} (docs/proxies.md).",
            )
