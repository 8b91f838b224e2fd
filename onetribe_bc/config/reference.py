"""The table of keys as Markdown, so that the guide cannot drift from what is read."""

from __future__ import annotations

from collections.abc import Iterator

from onetribe_bc.config.keys import KEYS, Key

BEGIN = "<!-- keys: rendered by onetribe_bc.config.reference -->"
END = "<!-- /keys -->"


def render_keys() -> str:
    """All keys as a Markdown table, in the order of the file."""
    rows = ["| key | takes | default | environment | meaning |", "|---|---|---|---|---|"]
    rows += [" ".join(("|", " | ".join(cells), "|")) for key in KEYS for cells in _iter_rows(key)]
    return "\n".join(rows) + "\n"


def refresh(document: str) -> str:
    """`document` with the table between its two markers as it has to be.

    Raises ValueError if a marker is missing.
    """
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the document lacks {BEGIN} or {END}")
    return f"{before}{BEGIN}\n{render_keys()}{END}{after}"


def _iter_rows(key: Key[object]) -> Iterator[tuple[str, ...]]:
    variable = f"`{key.variable}`" if key.variable else ""
    yield f"`{key.name}`", key.kind.takes, _default(key), variable, key.about
    if key.secret:
        own_name = key.name.rpartition(".")[2]
        yield f"`{key.file_name}`", "a path", "", "", f"A file that holds `{own_name}`."


def _default(key: Key[object]) -> str:
    if key.default_text or not key.default:
        return key.default_text
    if isinstance(key.default, tuple):
        return f"`[{', '.join(map(str, key.default))}]`"
    return f"`{key.default}`"
