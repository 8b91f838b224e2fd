"""`bc2ot handle-callback`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from onetribe_bc.cli.context import Context
from onetribe_bc.cli.options import command, fill_in, json_option
from onetribe_bc.cli.signals import interruptible

if TYPE_CHECKING:
    from onetribe_bc.api.webhook import Callback, Verifier
    from onetribe_bc.cli.console import Console
    from onetribe_bc.config import Settings


_MENDS = {
    "signature missing": "It has no signature (webhook-id, webhook-timestamp, webhook-signature).",
    "signature wrong": "Its signature is wrong: its body was changed on the way, or "
    "bigcommerce.client_secret is not that of the API account that made the hook.",
    "timestamp": "It was signed more than five minutes ago, or in the future, or this machine's "
    "clock is off. From a queue that keeps it for longer, hand it in with --trusted.",
    "secret missing": "It has no header X-Bc2ot-Secret: `bc2ot hooks create --receiver URL` adds "
    "it to the hook.",
    "secret wrong": "Its X-Bc2ot-Secret is another one: `bc2ot hooks create --receiver URL` "
    "corrects the hook.",
    "header given twice": "A header that it is checked by was given twice, with two values.",
}

_OURS = "BC2OT_RECEIVER_SECRET"
_HEADERS_FILE = """Give lines of NAME: VALUE, or a JSON object such as {"webhook-id": "msg_…"}."""


@command(
    "handle-callback",
    help="""Take one callback as BigCommerce posts it, and send the order that it names.

    FILE holds the callback; - or none is stdin. It may be wrapped as EventBridge or Pub/Sub wrap
    it. With bigcommerce.client_secret or receiver.secret set, its headers must prove that it is
    BigCommerce's. Callbacks about other things than orders are ignored.

    The exit code is for a queue: after 0 the callback is dealt with, after 2 it is no good and
    never will be, after any other code hand it in again. Its order is in the ledger first: what
    goes wrong then, the next sync mends, too.

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
    help="A header that came with it. Repeatable. '${NAME}' takes an environment variable.",
)
@click.option(
    "--headers-file",
    type=click.Path(),
    metavar="FILE",
    help="The headers that came with it: a JSON object, or lines of NAME: VALUE.",
)
@click.option(
    "--trusted",
    is_flag=True,
    help="Check nothing: only BigCommerce can write to the queue that it came from.",
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
        raise click.UsageError("--trusted checks nothing; leave it out, or the headers.")
    if file == headers_file == "-":
        raise click.UsageError("The callback and its headers cannot both come from stdin.")
    from onetribe_bc.commands.callback import make_verifier

    console = cli.console(json=as_json)
    settings = cli.settings(console)
    verifier = None if trusted else make_verifier(settings)
    given = [*_options(console, headers), *(_lines(headers_file) if headers_file else ())]
    body = _read(file, "callback")
    if verifier is not None and not verifier.is_configured:
        verifier = None
        console.warning(
            "nothing is set to check callbacks by, so this one is taken at its word. Set "
            "bigcommerce.client_secret or receiver.secret; or say --trusted, if nobody but "
            "BigCommerce can write to where it came from."
        )
    callback = _take(body, given, verifier, settings.need_store_hash())
    return _act(console, settings, callback, as_json=as_json)


def _act(console: Console, settings: Settings, callback: Callback, *, as_json: bool) -> int:
    from onetribe_bc.cli.running import show_run
    from onetribe_bc.cli.summary import summary_json
    from onetribe_bc.commands.callback import deliver_callback
    from onetribe_bc.delivery.context import open_context, policy_of
    from onetribe_bc.delivery.report import Summary

    facts = {
        "store_hash": callback.store_hash,
        "scope": callback.scope,
        "hash": callback.hash or None,
        "order_id": callback.order_id,
        "ignored": callback.ignored or None,
    }
    if callback.order_id is None:
        console.info(f"Ignored: {callback.scope}, since {callback.ignored}.")
        if as_json:
            console.json({**facts, "complete": True, "ended_by": None, **summary_json(Summary())})
        return 0
    console.info(f"Store {callback.store_hash}, {callback.scope}, order {callback.order_id}.")
    with (
        interruptible(console) as clock,
        open_context(settings, clock, policy_of(settings, retry_failed=False)) as context,
    ):
        reports = deliver_callback(context, callback.order_id)
        return show_run(console, reports, expected=None, facts=facts if as_json else None)


def _take(
    body: bytes, given: Iterable[tuple[str, str]], verifier: Verifier | None, store_hash: str
) -> Callback:
    from onetribe_bc.commands.callback import take_callback
    from onetribe_bc.errors import NotAuthenticError

    try:
        return take_callback(body, given, verifier=verifier, store_hash=store_hash)
    except NotAuthenticError as error:
        error.hint = _MENDS.get(error.reason, "")
        raise


def _options(console: Console, texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Headers from NAME:VALUE. Raises InputError for what was mistyped and ConfigurationError
    for a variable that is not set; neither quotes a value.
    """
    from onetribe_bc.api.webhook import SECRET_HEADER
    from onetribe_bc.errors import ConfigurationError, InputError

    for text in texts:
        name, value = _split(text)
        if f"${{{_OURS}}}" in value:
            # Else whoever sends just these characters as a header would be believed.
            raise InputError(
                f"{_OURS} is what headers are checked by, and cannot be filled into one.",
                hint="Put what came with the request into a variable of another name, or use "
                "--headers-file.",
            )
        if name.lower() == SECRET_HEADER.lower() and "${" not in value:
            console.warning(
                f"the value of the header {SECRET_HEADER} can be seen by other users of this "
                f"machine in the list of processes. Better: --header '{SECRET_HEADER}:${{NAME}}', "
                "with single quotes, or --headers-file."
            )
        try:
            filled = fill_in(value, os.environ)
        except InputError as error:
            raise ConfigurationError(str(error), hint=error.hint) from None
        yield name, filled


def _lines(file: str) -> Iterator[tuple[str, str]]:
    """Headers from a file. Raises ConfigurationError, which quotes no value: whoever wrote the
    file is to blame, and the callback may well be good.
    """
    from onetribe_bc.errors import ConfigurationError, InputError

    text = _read(file, "file of headers").decode("utf-8-sig", "replace")
    if not text.lstrip().startswith("{"):
        try:
            yield from [_split(line) for line in text.splitlines() if line.strip()]
        except InputError as error:
            raise ConfigurationError(
                f"The file of headers cannot be understood. {error}", hint=_HEADERS_FILE
            ) from None
        return
    try:
        headers = json.loads(text)
    except (ValueError, RecursionError):
        raise ConfigurationError(
            "The file of headers begins like a JSON object but is not one.", hint=_HEADERS_FILE
        ) from None
    for name, value in headers.items():
        if not isinstance(value, str):
            raise ConfigurationError(
                "The file of headers has a value that is no text.", hint=_HEADERS_FILE
            )
        yield name, value


def _split(text: str) -> tuple[str, str]:
    from onetribe_bc.errors import InputError

    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise InputError(
            "A header lacks its name or its colon.", hint="Write NAME:VALUE, as HTTP does."
        )
    return name.strip(), value.strip()


def _read(file: str, what: str) -> bytes:
    """No more of a file or stdin than is needed to see that it is too large. Raises
    ConfigurationError: what cannot be read may well be good.
    """
    from pathlib import Path

    from onetribe_bc.api.webhook import MAX_CALLBACK_BYTES
    from onetribe_bc.errors import ConfigurationError

    try:
        if file == "-":
            return sys.stdin.buffer.read(MAX_CALLBACK_BYTES + 1)
        with Path(file).open("rb") as stream:
            return stream.read(MAX_CALLBACK_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(
            f"The {what} cannot be read: {error.strerror}: {file[:200]}",
            hint="Hand it in again once it can be read.",
        ) from None
