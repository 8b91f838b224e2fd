"""`bc2ot hooks`: the webhooks of the store."""

from __future__ import annotations

import functools
import os
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import click

from onetribe_bc.api.bigcommerce import ApiVersion
from onetribe_bc.api.hooks import (
    ORDER_CREATED,
    ORDER_SCOPES,
    check_destination,
    check_header,
    check_scope,
    destination_secrets,
    nearest_scope,
)
from onetribe_bc.api.webhook import SECRET_HEADER
from onetribe_bc.cli.console import Console
from onetribe_bc.cli.context import Context
from onetribe_bc.cli.hook_view import HookView
from onetribe_bc.cli.options import (
    Group,
    Whole,
    command,
    fill_in,
    json_option,
    warn_visible,
)
from onetribe_bc.cli.signals import interruptible
from onetribe_bc.clock import Clock
from onetribe_bc.commands.hooks import INVISIBLE, Change, Outcome, Wanted, Webhooks
from onetribe_bc.config.receiver_secret import make_receiver_secret, receiver_secret_file
from onetribe_bc.delivery.context import connect_bigcommerce
from onetribe_bc.errors import ConfigurationError, ExitCode, InputError
from onetribe_bc.text import plural

RECEIVER_SCOPES = (ORDER_CREATED, "store/order/updated")
"""The first reports a new order, even an incomplete one; the second each change of it."""

_api_version_option = click.option(
    "--api-version",
    type=click.Choice(["v3", "v2"]),
    default="v3",
    show_default=True,
    help="Version of BigCommerce's webhooks API; both manage the same webhooks.",
)
_header_option = click.option(
    "--header",
    "headers",
    multiple=True,
    metavar="NAME=VALUE",
    help="Header to send with each callback. Repeatable. '${NAME}' takes an environment variable.",
)
_activity_option = click.option("--active/--inactive", "is_active", default=None)
_ids_argument = click.argument("ids", nargs=-1, required=True, type=Whole(min=1), metavar="ID...")
_id_argument = click.argument("hook_id", type=Whole(min=1), metavar="ID")

hooks = Group(
    "hooks",
    help="""The store's webhooks, which make BigCommerce report each order.

    \b
    Examples:
      bc2ot hooks create
      bc2ot hooks list
    """,
)


def _complete_scopes(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    return [scope for scope in ORDER_SCOPES if scope.startswith(incomplete)]


def _scope_option(text: str, **attributes: Any) -> Callable[[Any], Any]:
    return click.option(
        "--scope", metavar="SCOPE", shell_complete=_complete_scopes, help=text, **attributes
    )


def _destination_option(text: str) -> Callable[[Any], Any]:
    return click.option("--destination", metavar="URL", help=f"{text} '${{NAME}}' works.")


def _hooks_command(
    name: str, help_text: str, *options: Callable[[Any], Any]
) -> Callable[[Callable[..., int]], click.Command]:
    """Turn a function of a HookView and its options into a subcommand with --json."""

    def decorate(function: Callable[..., int]) -> click.Command:
        @functools.wraps(function)
        def run(cli: Context, as_json: bool, api_version: ApiVersion, **values: Any) -> int:
            return function(HookView(cli, cli.console(json=as_json), api_version), **values)

        for option in reversed((*options, _api_version_option, json_option)):
            run = option(run)
        return command(name, help=help_text, group=hooks)(run)

    return decorate


@_hooks_command(
    "create",
    """Create or update webhooks, without duplicates.

    There is one webhook for each scope and destination: an existing one is updated if needed, so
    the command is safe to repeat. Without --header an existing webhook keeps its headers; with
    --header it has only those. --receiver adds the header X-Bc2ot-Secret. Its secret is
    receiver.secret or, if that is not set, created once and kept next to the ledger.

    The exit code is 1 if BigCommerce returns a webhook that differs from the request.

    \b
    Examples:
      bc2ot hooks create
      bc2ot hooks create --scope store/order/created --scope store/order/updated
      bc2ot hooks create --destination https://hooks.example.com/orders \\
          --header 'X-Hook-Secret=${HOOK_SECRET}'
      bc2ot hooks create --receiver https://hooks.example.com/bigcommerce
    """,
    _scope_option(
        "Event to subscribe to. Repeatable.  [default: store/order/created; with --receiver "
        "store/order/updated, too]",
        multiple=True,
    ),
    _destination_option("URL to call: https, port 443 (default: One Tribe's URL)."),
    click.option(
        "--receiver",
        metavar="URL",
        help="URL of your `bc2ot serve` or `handle-callback`, as the destination: callbacks carry "
        "a secret that proves where they come from.",
    ),
    _header_option,
    click.option(
        "--inactive", is_flag=True, help="Create it disabled; enable it with `hooks enable`."
    ),
)
def create(
    view: HookView,
    scope: tuple[str, ...],
    destination: str | None,
    receiver: str | None,
    headers: tuple[str, ...],
    inactive: bool,
) -> int:
    if receiver is not None and destination is not None:
        raise click.UsageError("--receiver is the destination; remove --destination.")
    wanted_headers = _parse_headers(view.console, headers)
    given = destination if receiver is None else receiver
    url = _onetribe_url(view) if given is None else _fill_in_destination(view.console, given)
    scopes = scope or ((ORDER_CREATED,) if receiver is None else RECEIVER_SCOPES)
    _check_scopes(view.console, scopes)
    if receiver is not None:
        wanted_headers = _with_secret(view, url, wanted_headers)
    adds_headers = receiver is not None and not headers
    wanted = Wanted(None, url, not inactive, wanted_headers, adds_headers)
    done, code = _change(view, lambda webhooks: webhooks.create(scopes, wanted))
    _print_next_step(view, done, to_receiver=receiver is not None)
    return code


@_hooks_command(
    "list",
    """List the webhooks that the token can see.

    A token sees the webhooks that its own API account created. Keys in destinations and values of
    headers are masked. Webhooks that BigCommerce disabled are shown as deactivated (v3 only).

    \b
    Examples:
      bc2ot hooks list
      bc2ot hooks list --scope store/order/created --inactive
      bc2ot hooks list --destination '${BC2OT_ONETRIBE_URL}' --json
    """,
    _scope_option("Only webhooks with this scope."),
    _destination_option("Only webhooks to this URL."),
    _activity_option,
)
def list_(
    view: HookView, scope: str | None, destination: str | None, is_active: bool | None
) -> int:
    url = None if destination is None else _fill_in_destination(view.console, destination)
    with _connect(view) as (webhooks, _):
        view.print_listing(webhooks.list(scope=scope, destination=url, is_active=is_active))
    return 0


@_hooks_command(
    "show",
    """Show one webhook, with its key and its headers' values masked.

    \b
    Example:
      bc2ot hooks show 20172984
    """,
    _id_argument,
)
def show(view: HookView, hook_id: int) -> int:
    with _connect(view) as (webhooks, _):
        view.print_hook(webhooks.get(hook_id))
    return 0


@_hooks_command(
    "update",
    """Change a webhook. Without an option, that part stays as it is; --header replaces all
    headers.

    \b
    Examples:
      bc2ot hooks update 20172984 --scope store/order/updated
      bc2ot hooks update 20172984 --header 'X-Hook-Secret=${HOOK_SECRET}' --active
    """,
    _id_argument,
    _scope_option("Event to subscribe to."),
    _destination_option("URL to call."),
    _header_option,
    _activity_option,
)
def update(
    view: HookView,
    hook_id: int,
    scope: str | None,
    destination: str | None,
    headers: tuple[str, ...],
    is_active: bool | None,
) -> int:
    if scope is None and destination is None and not headers and is_active is None:
        raise click.UsageError(
            "Nothing to change: pass --scope, --destination, --header, --active or --inactive."
        )
    url = None if destination is None else _fill_in_destination(view.console, destination)
    wanted = Wanted(scope, url, is_active, _parse_headers(view.console, headers))
    wanted.check()
    _check_scopes(view.console, [scope] if scope else [])
    return _change(view, lambda webhooks: [webhooks.update(hook_id, wanted)])[1]


@_hooks_command(
    "enable",
    """Enable webhooks, also those that BigCommerce deactivated.

    Every ID is tried; the exit code is 1 if one of them fails.

    \b
    Example:
      bc2ot hooks enable 20172984 20172985
    """,
    _ids_argument,
)
def enable(view: HookView, ids: tuple[int, ...]) -> int:
    return _change(view, lambda webhooks: webhooks.switch(ids, is_active=True))[1]


@_hooks_command(
    "disable",
    """Disable webhooks without deleting them.

    BigCommerce stops calling them. Every ID is tried; the exit code is 1 if one of them fails.

    \b
    Example:
      bc2ot hooks disable 20172984
    """,
    _ids_argument,
)
def disable(view: HookView, ids: tuple[int, ...]) -> int:
    return _change(view, lambda webhooks: webhooks.switch(ids, is_active=False))[1]


@_hooks_command(
    "delete",
    """Delete webhooks, after showing them and asking.

    Every ID is tried; the exit code is 1 if one of them fails. --all includes webhooks that are
    not about orders.

    \b
    Examples:
      bc2ot hooks delete 20172984
      bc2ot hooks delete --all --yes
    """,
    click.argument("ids", nargs=-1, type=Whole(min=1), metavar="[ID...]"),
    click.option("--all", "every", is_flag=True, help="All webhooks that the token can see."),
    click.option("--yes", is_flag=True, help="Do not ask."),
)
def delete(view: HookView, ids: tuple[int, ...], every: bool, yes: bool) -> int:
    if bool(ids) is every:
        raise click.UsageError("Pass the IDs of webhooks, or --all.")
    if not yes and (view.cli.no_input or not sys.stdin.isatty()):
        raise click.UsageError("`hooks delete` asks first and needs a terminal; or pass --yes.")
    if every or not yes:
        ids = _choose(view, ids, every=every, yes=yes)
    return _change(view, lambda webhooks: webhooks.delete(ids))[1]


@contextmanager
def _connect(view: HookView) -> Iterator[tuple[Webhooks, Clock]]:
    with (
        interruptible(view.console) as clock,
        closing(connect_bigcommerce(view.settings, clock)) as client,
    ):
        yield Webhooks(client, view.api_version), clock


def _change(
    view: HookView, change: Callable[[Webhooks], Iterable[Outcome]]
) -> tuple[list[Outcome], ExitCode]:
    with _connect(view) as (webhooks, clock):
        return view.follow(change(webhooks), clock)


def _choose(view: HookView, ids: tuple[int, ...], *, every: bool, yes: bool) -> tuple[int, ...]:
    """Show the webhooks to delete, ask, and return their IDs, with those that do not exist."""
    with _connect(view) as (webhooks, _):
        visible = webhooks.client.list_hooks(api_version=view.api_version)
    found = [hook for hook in visible if every or hook.id in ids]
    if every:
        ids = tuple(hook.id for hook in found)
        if not found:
            view.console.info(f"There is no webhook to delete. {INVISIBLE}")
    if yes or not found:
        return ids
    for hook in found:
        view.console.error(f"  {view.line(hook)}")
    if view.console.confirm(f"Delete {plural(len(found), 'webhook')}?"):
        return ids
    view.console.info("Nothing was deleted.")
    return ()


def _print_next_step(view: HookView, outcomes: Iterable[Outcome], *, to_receiver: bool) -> None:
    created = [o.hook for o in outcomes if o.change is Change.CREATED and o.hook is not None]
    if not created or view.console.as_json:
        return
    view.console.info("It may take a minute before BigCommerce calls a new webhook.")
    if to_receiver:
        view.console.info("Next, start the receiver if it is not running: bc2ot serve")
        return
    view.console.info(
        "A callback carries only an order ID; bc2ot sends the order itself: "
        "bc2ot backfill --since 7d"
    )
    if any(view.is_onetribe(hook) for hook in created):
        view.console.info(
            '"Check Integration" on One Tribe\'s site confirms that the webhook works.'
        )


def _onetribe_url(view: HookView) -> str:
    url = view.settings.need_onetribe_url().reveal()
    try:
        check_destination(url)
    except InputError as error:
        error.hint = (
            f"Without --destination a webhook points to One Tribe, and onetribe.url is "
            f"{view.masked(url)}. Pass another URL: --destination https://hooks.example.com/orders"
        )
        raise
    return url


def _fill_in_destination(console: Console, text: str) -> str:
    if "${" not in text and destination_secrets(text):
        warn_visible(console, "what seems to be the destination's key", "--destination '${NAME}'")
    return fill_in(text, os.environ)


def _parse_headers(console: Console, texts: Iterable[str]) -> Mapping[str, str] | None:
    """Parse NAME=VALUE; None if there are none. Raises InputError, which quotes no value."""
    headers: dict[str, str] = {}
    for text in texts:
        name, equals, given = text.partition("=")
        value = fill_in(given, os.environ)
        check_header(name if equals else "", value)
        if name.lower() in (known.lower() for known in headers):
            raise InputError(f"The header {name} is given twice.")
        if "${" not in given:
            warn_visible(console, f"the value of the header {name}", f"--header '{name}=${{NAME}}'")
        headers[name] = value
    return headers or None


def _with_secret(
    view: HookView, receiver: str, headers: Mapping[str, str] | None
) -> Mapping[str, str]:
    """Add the header that the receiver verifies; create its secret if there is none."""
    check_destination(receiver)
    headers = headers or {}
    if SECRET_HEADER.lower() in (name.lower() for name in headers):
        raise InputError(
            f"--receiver sets the header {SECRET_HEADER} itself.",
            hint="To choose its value, set receiver.secret in the configuration.",
        )
    secret = view.settings.receiver.secret
    if secret is None:
        ledger = view.settings.ledger
        if not isinstance(ledger, Path):
            raise ConfigurationError(
                "receiver.secret is not set, and all hosts with this ledger need the same one.",
                hint="Set it in their configuration, for example to the output of "
                "`openssl rand -hex 32`.",
            )
        file = receiver_secret_file(ledger, view.settings.need_store_hash())
        secret = make_receiver_secret(file, secrets.token_urlsafe)
        view.console.info(
            f"Created the secret that callbacks carry, and kept it in {file}. The user that runs "
            "the receiver must be able to read it."
        )
    return {**headers, SECRET_HEADER: secret.reveal()}


def _check_scopes(console: Console, scopes: Iterable[str]) -> None:
    """Raise InputError for an invalid scope, and warn about a probable typo."""
    for scope in scopes:
        check_scope(scope)
        near = nearest_scope(scope)
        if near is not None:
            console.warning(f"BigCommerce documents no scope {scope}; did you mean {near}?")
