"""A configuration file as YAML nodes with line numbers.

Only nodes of known keys are read: no objects are constructed, tags are ignored, and aliases, even
recursive ones, cost nothing. Errors never quote the file, because any line may hold a secret.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from onetribe_bc.config.kinds import Raw
from onetribe_bc.config.settings import STORES
from onetribe_bc.errors import ConfigurationError
from onetribe_bc.text import decode_utf8

if TYPE_CHECKING:
    import yaml

MASKED_KEY = "**** (a key that may be a secret)"

_YAML_TAG = "tag:yaml.org,2002:"
# Keys and store names that errors may show; a pasted token has digits or is longer.
_KEY = re.compile(r"<<|[A-Za-z][A-Za-z_.-]{0,29}")
_STORE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,29}")
# PyYAML's messages may quote the file, so they are matched and never shown.
_PROBLEMS = {
    "mapping values are not allowed": "quote a value that contains a colon",
    "found character '\\t'": "indent with spaces, not tabs",
    "found character": "quote a value that starts with @, % or `",
    "found undefined alias": "quote a value that starts with *",
    "could not find expected ':'": "a key has no colon, or a value is not indented enough",
    "found unexpected end of stream": "a quote is not closed",
    "expected ',' or": "a bracket is not closed, or a value inside it needs quotes",
    "expected <block end>": "a line is indented differently from its neighbors",
    "found unknown escape": "write a backslash in double quotes as \\\\",
    "but found another document": "the file contains more than one document (---)",
}


def located(where: str, key: str, problem: str) -> str:
    """Return the message of an error about `key` at `where`."""
    return f"{where}: {key} {problem}{'' if problem.endswith('?') else '.'}"


@dataclass(frozen=True)
class Entry:
    """A key of the file, with its value as a node.

    `name` is dotted, and "" for the file itself; parts that may be secrets are masked.
    """

    file: Path
    line: int
    name: str
    node: yaml.Node = field(repr=False)

    @property
    def where(self) -> str:
        """The file and line."""
        return f"{self.file}, line {self.line}"

    def error(self, problem: str, *, hint: str = "") -> ConfigurationError:
        """Return an error with the file, the line and the key."""
        key = self.name or "the configuration"
        return ConfigurationError(located(self.where, key, problem), hint=hint)

    def entries(self) -> dict[str, Entry]:
        """Return the entries of this section by their own names; an empty section has none.

        Raises ConfigurationError if this is not a section, or a key is repeated or invalid.
        """
        import yaml

        if _is_null(self.node):
            return {}
        if not isinstance(self.node, yaml.MappingNode):
            raise self.error(
                "must be a section of keys with values",
                hint="Write each as `key: value`, with a space after the colon, on its own line.",
            )
        form = _STORE_NAME if self.name == STORES else _KEY
        found: dict[str, Entry] = {}
        for key, value in self.node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise replace(self, line=line).error("has a key that is not a plain word")
            name = key.value if form.fullmatch(key.value) else MASKED_KEY
            entry = Entry(self.file, line, f"{self.name}.{name}" if self.name else name, value)
            if key.value in found:
                raise entry.error("is set twice")
            found[key.value] = entry
        return found

    def raw(self) -> Raw:
        """Return the value, a text or a list of texts. Raises ConfigurationError otherwise."""
        import yaml

        if isinstance(self.node, yaml.SequenceNode):
            return tuple(self._text(item) for item in self.node.value)
        return self._text(self.node)

    def _text(self, node: yaml.Node) -> str:
        import yaml

        if not isinstance(node, yaml.ScalarNode):
            raise self.error("must be a value, without keys or lists inside")
        if not node.tag.startswith(_YAML_TAG):
            raise self.error("needs quotes: its value starts with !")
        if _is_null(node):
            raise self.error("is empty: set a value or remove the key")
        return str(node.value)


def parse_document(file: Path, data: bytes) -> Entry | None:
    """Parse a file; return None if it is empty. Raises ConfigurationError."""
    import yaml

    try:
        text = decode_utf8(data)
    except ValueError as problem:
        start = getattr(problem.__cause__, "start", 0)
        raise _malformed(file, data.count(b"\n", 0, start), f"the file {problem}") from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position)
        raise _malformed(file, line, "the file contains a control character") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = f"{error.context or ''} {error.problem or ''}"
        problems = (problem for text, problem in _PROBLEMS.items() if text in message)
        line = mark.line if mark else 0
        raise _malformed(file, line, next(problems, "the file is not YAML")) from None
    except RecursionError:
        raise _malformed(file, 0, "the file is nested too deeply") from None
    if node is None or _is_null(node):
        return None
    return Entry(file, node.start_mark.line + 1, "", node)


def _is_null(node: yaml.Node) -> bool:
    return bool(node.tag == f"{_YAML_TAG}null")


def _malformed(file: Path, lines_before: int, problem: str) -> ConfigurationError:
    return ConfigurationError(
        f"{file}, line {lines_before + 1}: invalid YAML: {problem}.",
        hint="The mistake may also be a little above that line.",
    )
