"""Print constraints for pip that install the oldest dependencies pyproject.toml allows.

pip has no such resolution: each direct dependency's `>=` becomes `==`. The tools stay at the
versions in constraints.txt.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(?:\[[\w,-]+\])?(?:[>=]=(?P<version>[\w.]+))?")


def main() -> None:
    root = Path(__file__).parent.parent
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    runtime = _floors([*project["dependencies"], *extras["postgres"]])
    pinned = _floors((root / "constraints.txt").read_text().splitlines())
    tools = {name: pinned[name] for name in _floors(extras["dev"]) if name not in runtime}
    for name, version in {**runtime, **tools}.items():
        if version:
            print(f"{name}=={version}")


def _floors(requirements: Iterable[str]) -> dict[str, str]:
    """Return each package's oldest version by its name; empty if there is none."""
    found = filter(None, map(_REQUIREMENT.match, requirements))
    return {re.sub(r"[-_.]+", "-", one["name"]).lower(): one["version"] or "" for one in found}


if __name__ == "__main__":
    main()
