"""`bc2ot hooks`: the webhooks of the store."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import click

from onetribe_bc.cli.completers import complete_scopes
from onetribe_bc.cli.context import Context
from onetribe_bc.cli.hook_view import (
    Desk,
    exit_code_of,
    follow,
    hook_json,
    hook_line,
    print_hook,
    print_listing,
    print_listing_json,
    say_state,
    say_what_comes_next,
)
from onetribe_bc.cli.options import Group, Whole, command, fill_in, json_option

if TYPE_CHECKING:
    from onetribe_bc.api.bigcommerce import ApiVersion
    from onetribe_bc.cli.console import Console

DEFAULT_SCOPES = ("store/order/created",)
RECEIVER_SCOPES = ("store/order/created", "store/order/updated")
"""A new order is told of by the first, also while it is incomplete; whatever becomes of it then,
its status included, by the second.
"""

_api_version_option = click.option(
    "--api-version",
    type=click.Choice(["v3", "v2"]),
    default="v3",
    show_default=True,
    help="Which of BigCommerce's hooks APIs; both know the same hooks.",
)
_header_option = click.option(
    "--header",
    "headers",
    multiple=True,
    metavar="NAME=VALUE",
    help="Sent along with each callback. Repeatable. '${NAME}' takes an environment variable.",
)
_activity_option = click.option("--active/--inactive", "is_active", default=None)
_ids_argument = click.argument("ids", nargs=-1, required=True, type=Whole(min=1), metavar="ID...")


hooks = Group(
    "hooks",
    help="""The store's webhooks: what makes BigCommerce tell of each order.

    \b
    Examples:
      bc2ot hooks create
      bc2ot hooks list
    """,
)


@command(
    "create",
    help="""Bring a hook about for each scope.

    What exists already is left or corrected and never made twice, so that it can be run again at
    any time. Without --header an existing hook keeps its headers; with it, it has just those.
    --receiver adds the header X-Bc2ot-Secret. Its secret is receiver.secret or, where that is not
    set, made once and kept beside the ledger.

    The exit code is 1 when BigCommerce answers with another hook than it was asked for.

    \b
    Examples:
      bc2ot hooks create
      bc2ot hooks create --scope store/order/created --scope store/order/updated
      bc2ot hooks create --destination https://hooks.example.com/orders \\
          --header 'X-Hook-Secret=${HOOK_SECRET}'
      bc2ot hooks create --receiver https://hooks.example.com/bigcommerce
    """,
    group=hooks,
)
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    metavar="SCOPE",
    shell_complete=complete_scopes,
    help="What BigCommerce is to tell of. Repeatable.  [default: store/order/created; with "
    "--receiver store/order/updated, too]",
)
@click.option(
    "--destination",
    metavar="URL",
    help="Where to: https, port 443. '${NAME}' works here, too.  [default: One Tribe's URL]",
)
@click.option(
    "--receiver",
    metavar="URL",
    help="The same, to your `bc2ot serve` or `handle-callback`: callbacks carry a secret by which "
    "it knows them.",
)
@_header_option
@click.option("--inactive", is_flag=True, help="Switched off; `hooks enable` switches it on.")
@_api_version_option
@json_option
def create(
    cli: Context,
    scopes: tuple[str, ...],
    destination: str | None,
    receiver: str | None,
    headers: tuple[str, ...],
    inactive: bool,
    api_version: ApiVersion,
    as_json: bool,
) -> int:
    from onetribe_bc.commands.hooks import create_hooks

    if receiver is not None and destination is not None:
        raise click.UsageError("--receiver is the destination; leave --destination out.")
    desk = _open_desk(cli, api_version, as_json)
    wanted_headers = _headers(desk, headers)
    given = receiver if destination is None else destination
    target = _onetribe_destination(desk) if given is None else _destination(desk, given)
    scopes = scopes or (DEFAULT_SCOPES if receiver is None else RECEIVER_SCOPES)
    _warn_of_typos(desk.console, scopes)
    if receiver is not None:
        wanted_headers = _with_secret(desk, target, wanted_headers)
    with desk.connect() as (client, clock):
        outcomes = create_hooks(
            client,
            scopes,
            target,
            is_active=not inactive,
            headers=wanted_headers,
            adds_headers=receiver is not None and not headers,
            api_version=api_version,
        )
        done = follow(desk, outcomes, clock)
    say_what_comes_next(desk, done, to_receiver=receiver is not None)
    return exit_code_of(done)


@command(
    "list",
    help="""List the hooks that the token can see: those that its own API account made.

    Keys in destinations and the values of headers are masked. Hooks that BigCommerce switched
    off are shown as deactivated (v3 only).

    \b
    Examples:
      bc2ot hooks list
      bc2ot hooks list --scope store/order/created --inactive
      bc2ot hooks list --destination '${BC2OT_ONETRIBE_URL}' --json
    """,
    group=hooks,
)
@click.option(
    "--scope",
    metavar="SCOPE",
    shell_complete=complete_scopes,
    help="Only hooks with this scope.",
)
@click.option("--destination", metavar="URL", help="Only hooks to this address. '${NAME}' works.")
@_activity_option
@_api_version_option
@json_option
def list_(
    cli: Context,
    scope: str | None,
    destination: str | None,
    is_active: bool | None,
    api_version: ApiVersion,
    as_json: bool,
) -> int:
    from onetribe_bc.commands.hooks import list_hooks

    desk = _open_desk(cli, api_version, as_json)
    where = None if destination is None else _destination(desk, destination)
    with desk.connect() as (client, _):
        listing = list_hooks(
            client, scope=scope, destination=where, is_active=is_active, api_version=api_version
        )
    if as_json:
        print_listing_json(desk, listing)
    else:
        print_listing(desk, listing)
    return 0


@command(
    "show",
    help="""Show one hook, its key and its headers' values masked.

    \b
    Example:
      bc2ot hooks show 20172984
    """,
    group=hooks,
)
@click.argument("hook_id", type=Whole(min=1), metavar="ID")
@_api_version_option
@json_option
def show(cli: Context, hook_id: int, api_version: ApiVersion, as_json: bool) -> int:
    from onetribe_bc.commands.hooks import get_hook

    desk = _open_desk(cli, api_version, as_json)
    with desk.connect() as (client, _):
        listing = get_hook(client, hook_id, api_version=api_version)
    (hook,) = listing.hooks
    if as_json:
        desk.console.json(hook_json(desk, hook, listing.status(hook)))
    else:
        print_hook(desk, hook, listing.status(hook))
    say_state(desk, listing)
    return 0


@command(
    "update",
    help="""Change a hook. What is not given stays as it is; --header replaces all of its headers.

    \b
    Examples:
      bc2ot hooks update 20172984 --scope store/order/updated
      bc2ot hooks update 20172984 --header 'X-Hook-Secret=${HOOK_SECRET}' --active
    """,
    group=hooks,
)
@click.argument("hook_id", type=Whole(min=1), metavar="ID")
@click.option(
    "--scope",
    metavar="SCOPE",
    shell_complete=complete_scopes,
    help="What BigCommerce is to tell of.",
)
@click.option("--destination", metavar="URL", help="Where to. '${NAME}' works here, too.")
@_header_option
@_activity_option
@_api_version_option
@json_option
def update(
    cli: Context,
    hook_id: int,
    scope: str | None,
    destination: str | None,
    headers: tuple[str, ...],
    is_active: bool | None,
    api_version: ApiVersion,
    as_json: bool,
) -> int:
    from onetribe_bc.commands.hooks import Wanted, update_hook

    if scope is None and destination is None and not headers and is_active is None:
        raise click.UsageError(
            "Nothing to change: give --scope, --destination, --header, --active or --inactive."
        )
    desk = _open_desk(cli, api_version, as_json)
    wanted = Wanted(
        scope=scope,
        destination=None if destination is None else _destination(desk, destination),
        is_active=is_active,
        headers=_headers(desk, headers),
    )
    wanted.check()
    _warn_of_typos(desk.console, [scope] if scope else [])
    with desk.connect() as (client, clock):
        outcome = update_hook(client, hook_id, wanted, api_version=api_version)
        return exit_code_of(follow(desk, [outcome], clock))


@command(
    "enable",
    help="""Switch hooks on, also those that BigCommerce deactivated.

    Each id is tried; the exit code is 1 when one of them failed.

    \b
    Example:
      bc2ot hooks enable 20172984 20172985
    """,
    group=hooks,
)
@_ids_argument
@_api_version_option
@json_option
def enable(cli: Context, ids: tuple[int, ...], api_version: ApiVersion, as_json: bool) -> int:
    return _switch(_open_desk(cli, api_version, as_json), ids, is_active=True)


@command(
    "disable",
    help="""Switch hooks off, without deleting them: BigCommerce calls them no more.

    Each id is tried; the exit code is 1 when one of them failed.

    \b
    Example:
      bc2ot hooks disable 20172984
    """,
    group=hooks,
)
@_ids_argument
@_api_version_option
@json_option
def disable(cli: Context, ids: tuple[int, ...], api_version: ApiVersion, as_json: bool) -> int:
    return _switch(_open_desk(cli, api_version, as_json), ids, is_active=False)


@command(
    "delete",
    help="""Delete hooks, after showing them and asking.

    Each id is tried; the exit code is 1 when one of them failed. --all takes hooks for other
    things than orders as well.

    \b
    Examples:
      bc2ot hooks delete 20172984
      bc2ot hooks delete --all --yes
    """,
    group=hooks,
)
@click.argument("ids", nargs=-1, type=Whole(min=1), metavar="[ID...]")
@click.option("--all", "every", is_flag=True, help="All hooks that the token can see.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_api_version_option
@json_option
def delete(
    cli: Context,
    ids: tuple[int, ...],
    every: bool,
    yes: bool,
    api_version: ApiVersion,
    as_json: bool,
) -> int:
    from onetribe_bc.commands.hooks import delete_hooks

    if bool(ids) is every:
        raise click.UsageError("Give the ids of hooks, or --all.")
    if not yes and (cli.no_input or not sys.stdin.isatty()):
        raise click.UsageError("`hooks delete` asks first, and nobody can be asked: add --yes.")
    desk = _open_desk(cli, api_version, as_json)
    if every or not yes:
        ids = _choose(desk, ids, every=every, yes=yes)
    with desk.connect() as (client, clock):
        outcomes = delete_hooks(client, ids, api_version=api_version)
        return exit_code_of(follow(desk, outcomes, clock))


def _open_desk(cli: Context, api_version: ApiVersion, as_json: bool) -> Desk:
    console = cli.console(json=as_json)
    return Desk(console, cli.settings(console), api_version, as_json)


# What was asked for


def _onetribe_destination(desk: Desk) -> str:
    """The configured URL. Raises InputError when BigCommerce could not call it."""
    from onetribe_bc.api.hooks import check_destination
    from onetribe_bc.errors import InputError

    url = desk.settings.need_onetribe_url().reveal()
    try:
        check_destination(url)
    except InputError as error:
        error.hint = (
            f"Without --destination a hook leads to One Tribe, and onetribe.url is "
            f"{desk.shown(url)}. Give one: --destination https://hooks.example.com/orders"
        )
        raise
    return url


def _destination(desk: Desk, text: str) -> str:
    from onetribe_bc.api.hooks import destination_secrets

    if "${" not in text and destination_secrets(text):
        desk.console.warning(
            "the destination seems to hold a key, which other users of this machine can see in "
            "the list of processes. Better: --destination '${NAME}', with single quotes."
        )
    return fill_in(text, os.environ)


def _headers(desk: Desk, texts: Iterable[str]) -> Mapping[str, str] | None:
    """Headers from NAME=VALUE; None for none given. Raises InputError, which quotes no value."""
    from onetribe_bc.api.hooks import check_header
    from onetribe_bc.errors import InputError

    headers: dict[str, str] = {}
    for text in texts:
        name, equals, given = text.partition("=")
        value = fill_in(given, os.environ)
        check_header(name if equals else "", value)
        if name.lower() in (known.lower() for known in headers):
            raise InputError(f"The header {name} is given twice.")
        if "${" not in given:
            desk.console.warning(
                f"the value of the header {name} can be seen by other users of this machine in "
                f"the list of processes. Better: --header '{name}=${{NAME}}', with single quotes."
            )
        headers[name] = value
    return headers or None


def _with_secret(desk: Desk, receiver: str, headers: Mapping[str, str] | None) -> Mapping[str, str]:
    """The headers with the one that the receiver knows its callbacks by. Its secret is made where
    there is none yet. Raises InputError and ConfigurationError.
    """
    import secrets

    from onetribe_bc.api.hooks import check_destination
    from onetribe_bc.api.webhook import SECRET_HEADER
    from onetribe_bc.config.receiver_secret import make_receiver_secret, receiver_secret_file
    from onetribe_bc.errors import InputError

    check_destination(receiver)
    headers = headers or {}
    if SECRET_HEADER.lower() in (name.lower() for name in headers):
        raise InputError(
            f"--receiver sets the header {SECRET_HEADER} itself.",
            hint="To choose its value, set receiver.secret in the configuration.",
        )
    secret = desk.settings.receiver.secret
    if secret is None:
        file = receiver_secret_file(desk.settings.ledger, desk.settings.need_store_hash())
        secret = make_receiver_secret(file, secrets.token_urlsafe)
        desk.console.info(
            f"Made the secret that callbacks carry, and kept it in {file}. The user that runs "
            "the receiver must be able to read it."
        )
    return {**headers, SECRET_HEADER: secret.reveal()}


def _warn_of_typos(console: Console, scopes: Iterable[str]) -> None:
    from onetribe_bc.api.hooks import check_scope, nearest_scope

    for scope in scopes:
        check_scope(scope)
        near = nearest_scope(scope)
        if near is not None:
            console.warning(f"BigCommerce documents no scope {scope}; did you mean {near}?")


def _choose(desk: Desk, ids: tuple[int, ...], *, every: bool, yes: bool) -> tuple[int, ...]:
    """Show what is to be deleted and ask; the ids to delete. An id that nobody can see is kept
    among them, to be reported with the others.
    """
    from onetribe_bc.commands.hooks import INVISIBLE
    from onetribe_bc.text import plural

    with desk.connect() as (client, _):
        visible = client.list_hooks(api_version=desk.api_version)
    found = [hook for hook in visible if every or hook.id in ids]
    if every:
        ids = tuple(hook.id for hook in found)
    if not found:
        if every:
            desk.console.info(f"There is no hook to delete. {INVISIBLE}")
        return ids
    if yes:
        return ids
    for hook in found:
        desk.console.error(f"  {hook_line(desk, hook)}")
    if desk.console.confirm(f"Delete {plural(len(found), 'hook')}?"):
        return ids
    desk.console.info("Nothing is deleted.")
    return ()


def _switch(desk: Desk, ids: tuple[int, ...], *, is_active: bool) -> int:
    from onetribe_bc.commands.hooks import switch_hooks

    with desk.connect() as (client, clock):
        outcomes = switch_hooks(client, ids, is_active=is_active, api_version=desk.api_version)
        return exit_code_of(follow(desk, outcomes, clock))
