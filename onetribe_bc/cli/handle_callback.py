"""`bc2ot handle-callback`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import click

from onetribe_bc.api.webhook import MAX_CALLBACK_BYTES, SECRET_HEADER, Callback
from onetribe_bc.cli.console import Console
from onetribe_bc.cli.context import Context
from onetribe_bc.cli.options import command, fill_in, json_option, warn_visible
from onetribe_bc.cli.running import delivering, end_json, show_run
from onetribe_bc.cli.summary import summary_json
from onetribe_bc.commands.callback import deliver_callback, make_verifier, take_callback
from onetribe_bc.config import Settings
from onetribe_bc.config.sources import variables_in
from onetribe_bc.delivery.context import policy_of
from onetribe_bc.delivery.report import Summary
from onetribe_bc.errors import ConfigurationError, InputError, NotAuthenticError
from onetribe_bc.text import decode_utf8

_HINTS = {
    "signature missing": "It has no signature (webhook-id, webhook-timestamp, webhook-signature).",
    "signature wrong": "Its signature is wrong: either its body was changed in transit, or "
    "bigcommerce.client_secret is not the one of the API account that created the webhook.",
    "timestamp": "It was signed more than five minutes ago, or in the future, or this machine's "
    "clock is wrong. For a queue that holds callbacks longer, pass --trusted.",
    "secret missing": "It has no header X-Bc2ot-Secret. `bc2ot hooks create --receiver URL` adds "
    "it to the webhook.",
    "secret wrong": "Its X-Bc2ot-Secret is wrong. `bc2ot hooks create --receiver URL` corrects the "
    "webhook.",
    "header given twice": "A header that authenticates it was passed twice, with different values.",
}
"""By the reason of a NotAuthenticError."""


@command(
    "handle-callback",
    help="""Process one callback from BigCommerce, and send the order that it names.

    FILE contains the callback; `-` or no FILE means stdin. It may be wrapped in an EventBridge
    event or a Pub/Sub push request. Its headers must prove that it comes from BigCommerce, by
    bigcommerce.client_secret or receiver.secret, unless you pass --trusted. Callbacks that are not
    about orders are ignored.

    Exit codes for a queue: 0: done, remove it. 2: invalid, drop it. Any other code: retry. The
    order is recorded in the ledger first, so if this fails, the next sync sends it.

    \b
    Examples:
      bc2ot handle-callback callback.json --headers-file headers.json
      bc2ot handle-callback --trusted < event.json
    """,
)
@click.argument("file", type=click.Path(), default="-", metavar="[FILE]")
@click.option(
    "--header",
    "headers",
    multiple=True,
    metavar="NAME:VALUE",
    help="Header of the callback's request. Repeatable. '${NAME}' takes an environment variable.",
)
@click.option(
    "--headers-file",
    type=click.Path(),
    metavar="FILE",
    help="Headers of the callback's request: a JSON object, or lines of NAME: VALUE.",
)
@click.option(
    "--trusted",
    is_flag=True,
    help="Verify nothing: only BigCommerce can write to the queue.",
)
@json_option
def handle_callback(
    cli: Context,
    file: str,
    headers: tuple[str, ...],
    headers_file: str | None,
    trusted: bool,
    as_json: bool,
) -> int:
    if trusted and (headers or headers_file):
        raise click.UsageError("--trusted verifies nothing; omit either it or the headers.")
    if file == headers_file == "-":
        raise click.UsageError("The callback and its headers cannot both come from stdin.")
    console = cli.console(json=as_json)
    settings = cli.settings(console)
    verifier = None if trusted else make_verifier(settings)
    passed = [
        *_parse_options(console, headers, settings.filled_in),
        *(_read_headers(headers_file) if headers_file else ()),
    ]
    body = _read(file, "callback")
    if verifier is not None and not verifier.is_configured:
        raise ConfigurationError(
            "No secret is set to verify this callback with.",
            hint="Set bigcommerce.client_secret or receiver.secret; or pass --trusted, if only "
            "BigCommerce can write to the queue.",
        )
    try:
        callback = take_callback(
            body, passed, verifier=verifier, store_hash=settings.need_store_hash()
        )
    except NotAuthenticError as error:
        error.hint = _HINTS.get(error.reason, "")
        raise
    return _deliver(console, settings, callback)


def _deliver(console: Console, settings: Settings, callback: Callback) -> int:
    facts = {
        "store_hash": callback.store_hash,
        "scope": callback.scope,
        "hash": callback.hash or None,
        "order_id": callback.order_id,
        "ignored": callback.ignored or None,
    }
    if callback.order_id is None:
        console.info(f"Ignored {callback.scope}: {callback.ignored}.")
        if console.as_json:
            console.json({**facts, **end_json(), **summary_json(Summary())})
        return 0
    console.info(f"Store {callback.store_hash}, {callback.scope}, order {callback.order_id}.")
    with delivering(console, settings, policy_of(settings, retry_failed=False)) as context:
        return show_run(console, deliver_callback(context, callback.order_id), facts)


# No error quotes the value of a header. Errors in what the caller wrote are ConfigurationErrors:
# the callback may be valid.


def _parse_options(
    console: Console, texts: Iterable[str], of_configuration: Collection[str]
) -> Iterator[tuple[str, str]]:
    for text in texts:
        try:
            name, value = _split(text)
        except ValueError as problem:
            hint = "Write NAME:VALUE, as in HTTP."
            raise InputError(f"The option --header {problem}.", hint=hint) from None
        for variable in variables_in(value):
            if variable.startswith("BC2OT_") or variable in of_configuration:
                # Otherwise, a client that sends this reference as its header would be accepted.
                raise InputError(
                    f"--header cannot use {variable}: the configuration takes a value from it.",
                    hint="Put the request's header into a variable of a different name, or use "
                    "--headers-file.",
                )
        if name.lower() == SECRET_HEADER.lower() and "${" not in value:
            better = f"--headers-file, or --header '{SECRET_HEADER}:${{NAME}}'"
            warn_visible(console, f"the value of the header {SECRET_HEADER}", better)
        try:
            yield name, fill_in(value, os.environ)
        except InputError as error:
            raise ConfigurationError(str(error), hint=error.hint) from None


def _read_headers(file: str) -> list[tuple[str, str]]:
    try:
        return _parse_headers(decode_utf8(_read(file, "headers file")))
    except ValueError as problem:
        hint = 'Write lines of NAME: VALUE, or a JSON object such as {"webhook-id": "msg_…"}.'
        raise ConfigurationError(f"The headers file {problem}.", hint=hint) from None


def _parse_headers(text: str) -> list[tuple[str, str]]:
    if not text.lstrip().startswith("{"):
        return [_split(line) for line in text.splitlines() if line.strip()]
    try:
        headers = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("starts like a JSON object but is not one") from None
    if not all(isinstance(value, str) for value in headers.values()):
        raise ValueError("has a value that is not a string")
    return list(headers.items())


def _split(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise ValueError("has a header without a name or a colon")
    return name.strip(), value.strip()


def _read(file: str, what: str) -> bytes:
    """Read a file or stdin, up to one byte more than a callback may have."""
    try:
        if file == "-":
            return sys.stdin.buffer.read(MAX_CALLBACK_BYTES + 1)
        with Path(file).open("rb") as stream:
            return stream.read(MAX_CALLBACK_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(
            f"Cannot read the {what} {file[:200]}: {error.strerror}.",
            hint="Fix the path or the permissions, then pass the callback again.",
        ) from None
