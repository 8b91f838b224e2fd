"""The man page, written from the commands themselves."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping

import click

from onetribe_bc.config.keys import CONFIG_VARIABLE, KEYS
from onetribe_bc.errors import ExitCode

_FILES = {
    "./bc2ot.yaml": "The configuration, if neither --config nor BC2OT_CONFIG names another.",
    "~/.config/bc2ot/config.yaml": "The configuration, if there is none in the working folder.",
    "~/.local/state/bc2ot/ledger.db": "What was sent, unless `ledger` names another file.",
}


def render(top: click.Context, commands: Mapping[str, click.Context], *, version: str) -> str:
    """`bc2ot.1`: roff for the command group `top` and all `commands` by their full names."""
    lines = [
        '.\\" Written by `make docs` from the commands themselves.',
        f'.TH BC2OT 1 "" "bc2ot {version}" "User Commands"',
        ".SH NAME",
        "bc2ot \\- send BigCommerce orders to One Tribe",
        ".SH SYNOPSIS",
        ".B bc2ot",
        _plain("[OPTIONS] COMMAND [ARGUMENTS]"),
        ".SH DESCRIPTION",
        *_prose(top.command.help or ""),
        ".SH OPTIONS",
        *_options(top),
        ".SH COMMANDS",
    ]
    for name, context in commands.items():
        lines += [
            f'.SS "bc2ot {_plain(_usage(name, context))}"',
            *_prose(context.command.help or ""),
        ]
        lines += _options(context, without_help=True)
    lines.append(".SH EXIT STATUS")
    lines += _definitions({str(code.value): f"{code.meaning.capitalize()}." for code in ExitCode})
    lines.append(".SH ENVIRONMENT")
    variables = {key.variable: key.about for key in KEYS if key.variable}
    lines += _definitions({CONFIG_VARIABLE: "The configuration file.", **variables})
    lines.append(".SH FILES")
    lines += _definitions(_FILES)
    return "\n".join(lines) + "\n"


def _usage(name: str, context: click.Context) -> str:
    pieces = context.command.collect_usage_pieces(context)
    return " ".join((name, *pieces))


def _options(context: click.Context, *, without_help: bool = False) -> Iterator[str]:
    records = {}
    for parameter in context.command.get_params(context):
        record = parameter.get_help_record(context)
        is_help = not set(context.help_option_names).isdisjoint(parameter.opts)
        if record is not None and not (is_help and without_help):
            records[record[0]] = record[1]
    return _definitions(records)


def _definitions(items: Mapping[str, str]) -> Iterator[str]:
    for term, meaning in items.items():
        yield ".TP"
        yield f"\\fB{_plain(term)}\\fR"
        yield _plain(meaning) or "\\ "


def _prose(text: str) -> Iterator[str]:
    """The paragraphs of a help text; those that click leaves as they are stay so here, too."""
    for number, paragraph in enumerate(inspect.cleandoc(text).split("\n\n")):
        if number:
            yield ".PP"  # a heading begins a paragraph of its own accord
        if paragraph.startswith("\b"):
            yield from (".nf", *map(_plain, paragraph.splitlines()[1:]), ".fi")
        else:
            yield _plain(" ".join(paragraph.split()))


def _plain(text: str) -> str:
    """Text as roff shows it unchanged: backslashes, hyphens, quotes and leading dots."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(ga")
    escaped = escaped.replace("'", "\\(aq").replace('"', "\\(dq").replace("…", "...")
    escaped = escaped.replace("^", "\\(ha").replace("~", "\\(ti")
    return re.sub(r"^(?=\.)", r"\\&", escaped)
