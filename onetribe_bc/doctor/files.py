"""The configuration: where it comes from, and who else can read it."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from onetribe_bc.config import Settings
from onetribe_bc.doctor.finding import Check, Finding, Fix, ok, warn

_OWNER = "Run bc2ot as the user that owns it."


def check_files(settings: Settings) -> Iterator[Finding]:
    """The file, and all that was noticed when it was read."""
    source = "the environment alone" if settings.source is None else str(settings.source)
    store = "" if settings.store_name is None else f", store {settings.store_name}"
    overridden = ""
    if settings.source is not None and settings.variables:
        overridden = f" Overridden by the environment: {', '.join(settings.variables)}."
    yield ok(Check.FILE, f"The settings come from {source}{store}.{overridden}")
    for warning in settings.warnings:
        if warning.open_file is None:
            hint = f"{warning.hint[:1].upper()}{warning.hint[1:]}."
            yield warn(Check.SETTING, f"{warning.text}.", hint)
        else:
            yield check_mode(Check.MODES, warning.open_file)


def check_mode(check: Check, file: Path) -> Finding:
    """Whether a file is its owner's alone."""
    try:
        found = file.stat()
    except OSError as error:
        return warn(check, f"{file} cannot be looked at: {error.strerror}.", _OWNER)
    if not found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return ok(check, f"{file} is its owner's alone.")
    mode = stat.S_IMODE(found.st_mode)
    ours = found.st_uid == os.geteuid() and stat.S_ISREG(found.st_mode)
    return warn(
        check,
        f"{file} is open to other users of this machine (mode {mode:o}).",
        f"chmod 600 {shlex.quote(str(file))}" + ("" if ours else ", as its owner"),
        fix=_closing(file) if ours else None,
    )


def _closing(file: Path) -> Fix:
    def fix() -> str:
        file.chmod(stat.S_IRUSR | stat.S_IWUSR)
        return f"{file} is its owner's alone now (mode 600)."

    return fix
