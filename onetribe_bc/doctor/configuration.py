"""Check the configuration: its source, its warnings, secret files, and proxies."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from onetribe_bc.api.http import find_proxy
from onetribe_bc.config import Settings
from onetribe_bc.doctor.finding import Finding, note, ok, warn
from onetribe_bc.errors import ConfigurationError


def check_configuration(settings: Settings) -> Iterator[Finding]:
    source = "the environment alone" if settings.source is None else str(settings.source)
    store = "" if settings.store_name is None else f", store {settings.store_name}"
    overridden = ""
    if settings.source is not None and settings.variables:
        overridden = f" Overridden by the environment: {', '.join(settings.variables)}."
    yield ok("configuration.file", f"The settings come from {source}{store}.{overridden}")
    for warning in settings.warnings:
        if warning.open_file is None:
            yield warn("configuration.setting", f"{warning.text}.", warning.sentence)
        else:
            yield check_mode("configuration.modes", warning.open_file)
    yield from _check_proxies(settings)


def check_mode(check: str, file: Path) -> Finding:
    """Check that only its owner has access to a file."""
    try:
        found = file.stat()
    except OSError as error:
        hint = "Run bc2ot as the file's owner."
        return warn(check, f"{file} cannot be checked: {error.strerror}.", hint)
    if not found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return ok(check, f"{file} is readable only by its owner.")
    owned = found.st_uid == os.geteuid() and stat.S_ISREG(found.st_mode)
    return warn(
        check,
        f"{file} is open to other users of this machine (mode {stat.S_IMODE(found.st_mode):o}).",
        f"chmod 600 {shlex.quote(str(file))}" + ("" if owned else ", as its owner"),
        fix=partial(_restrict, file) if owned else None,
    )


def _restrict(file: Path) -> str:
    file.chmod(stat.S_IRUSR | stat.S_IWUSR)
    return f"{file} is readable only by its owner now (mode 600)."


def _check_proxies(settings: Settings) -> Iterator[Finding]:
    """Report the proxy of each service: its host, port and variable, never its password."""
    check = "configuration.proxy"
    services = {"BigCommerce": settings.bigcommerce.api_url}
    secret = {"One Tribe": settings.onetribe.url, "the monitor": settings.monitor.url}
    services |= {name: url.reveal() for name, url in secret.items() if url}
    for service, url in services.items():
        try:
            proxy = find_proxy(url)
        except ConfigurationError as error:
            yield warn(check, f"Requests to {service}: {error}", error.hint)
            continue
        if proxy is not None:
            yield note(
                check,
                f"Requests to {service} go through the proxy {proxy}.",
                f"To connect directly: NO_PROXY={urlsplit(url).hostname} (docs/proxies.md).",
            )
