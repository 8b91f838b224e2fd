"""A configuration file as YAML nodes that know their line.

Only nodes are looked at, and only along known keys: no objects are built, no tags obeyed, and
aliases, recursive ones too, cost nothing. No error quotes the file, as any line may hold a secret.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from onetribe_bc.config.kinds import Raw
from onetribe_bc.config.places import Place
from onetribe_bc.errors import ConfigurationError

if TYPE_CHECKING:
    import yaml

_YAML_TAG = "tag:yaml.org,2002:"
_NULL = f"{_YAML_TAG}null"
# What a key may look like to be named in an error: a pasted token has digits or is longer.
_SHOWABLE = re.compile(r"[A-Za-z][A-Za-z_.-]{0,29}")
_SHOWABLE_STORE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,29}")
# PyYAML's own words may quote the file, so they are only recognised, never shown.
_PROBLEMS = (
    ("mapping values are not allowed", "a value that holds a colon needs quotes around it"),
    ("found character '\\t'", "lines are indented with spaces, not with tabs"),
    ("found character", "a value that begins with @, % or ` needs quotes around it"),
    ("found undefined alias", "a value that begins with * needs quotes around it"),
    ("could not find expected ':'", "a key lacks its colon, or a value is indented too little"),
    ("found unexpected end of stream", "a quote is not closed"),
    ("expected ',' or", "a bracket is not closed, or a value in it needs quotes"),
    ("expected <block end>", "a line is indented differently from those around it"),
    ("found unknown escape", "a backslash between double quotes has to be doubled"),
    ("but found another document", "it holds more than one document (---)"),
)


@dataclass(frozen=True)
class Entry:
    """A key of the file (dotted, "" for the file itself) with the node that is its value."""

    file: Path
    name: str
    line: int
    node: yaml.Node = field(repr=False)

    @property
    def place(self) -> Place:
        """Where this stands, for errors."""
        return Place(self.name or "the configuration", f"{self.file}, line {self.line}")

    def entries(self) -> dict[str, Entry]:
        """The entries inside this section by their own names; none where it is left empty.

        Raises ConfigurationError if it is no section, or if a key is doubled or cannot be one.
        """
        import yaml

        if _is_null(self.node):
            return {}
        if not isinstance(self.node, yaml.MappingNode):
            raise self.place.error(
                "expects keys with values",
                hint="Write `key: value`, a space after the colon, each on a line of its own.",
            )
        found: dict[str, Entry] = {}
        for key, value in self.node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise Place(self.place.key, f"{self.file}, line {line}").error(
                    "has a key that is not a plain word"
                )
            name = f"{self.name}.{key.value}" if self.name else key.value
            entry = Entry(self.file, name, line, value)
            if key.value in found:
                raise entry.shown(key.value).error("is given twice")
            found[key.value] = entry
        return found

    def shown(self, own_name: str, *, is_store: bool = False) -> Place:
        """The place of this entry, where its own name is the user's and may be a secret."""
        if (_SHOWABLE_STORE if is_store else _SHOWABLE).fullmatch(own_name):
            return self.place
        section = self.name.removesuffix(own_name)
        return Place(f"{section}**** (a key that may be a secret)", self.place.where)

    def raw(self) -> Raw:
        """The value as text or a list of texts. Raises ConfigurationError if it is neither."""
        import yaml

        if isinstance(self.node, yaml.SequenceNode):
            return tuple(self._text(item) for item in self.node.value)
        return self._text(self.node)

    def _text(self, node: yaml.Node) -> str:
        import yaml

        if not isinstance(node, yaml.ScalarNode):
            raise self.place.error("expects a value, not keys or lists within it")
        if not node.tag.startswith(_YAML_TAG):
            raise self.place.error("needs quotes around a value that begins with !")
        if _is_null(node):
            raise self.place.error("is empty: give it a value or leave it out")
        return str(node.value)


def parse_document(file: Path, data: bytes) -> Entry | None:
    """The whole file as an entry, None if it holds nothing. Raises ConfigurationError."""
    import yaml

    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _malformed(file, line, "it is not UTF-8 text") from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _malformed(file, line, "it holds a control character") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _malformed(file, mark.line + 1 if mark else 1, _problem(error)) from None
    except RecursionError:
        raise _malformed(file, 1, "it is nested too deeply") from None
    if node is None or _is_null(node):
        return None
    return Entry(file, "", node.start_mark.line + 1, node)


def _is_null(node: yaml.Node) -> bool:
    return bool(node.tag == _NULL)


def _problem(error: yaml.MarkedYAMLError) -> str:
    words = f"{error.context or ''} {error.problem or ''}"
    for sign, problem in _PROBLEMS:
        if sign in words:
            return problem
    return "it is not YAML"


def _malformed(file: Path, line: int, problem: str) -> ConfigurationError:
    return ConfigurationError(
        f"{file}, line {line}: the file cannot be read: {problem}.",
        hint="The mistake may also be a little above that line.",
    )
