"""Check the order webhooks: they exist, are active, and point to the right place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from hmac import compare_digest

from onetribe_bc.api.bigcommerce import BigCommerceClient
from onetribe_bc.api.hooks import (
    HOOKS_PER_SCOPE,
    ORDER_CREATED,
    BlockedDomain,
    Hook,
    hook_obstacle,
    host_of,
    mask_destination,
    same_destination,
    same_merchant,
)
from onetribe_bc.api.http import Timeouts
from onetribe_bc.api.webhook import ORDER_SCOPE, SECRET_HEADER
from onetribe_bc.commands.hooks import Listing, Wanted, Webhooks
from onetribe_bc.config import Settings
from onetribe_bc.doctor.finding import CHECK_ERRORS, Finding, fail, failed, note, ok, warn
from onetribe_bc.doctor.receiver import check_receiver
from onetribe_bc.text import excerpt, span

IDLE_LIMIT = timedelta(days=90)
"""BigCommerce deactivates a webhook after this time without a callback."""
IDLE_WARNING = timedelta(days=75)


class Target(Enum):
    """Where a webhook points to."""

    ONETRIBE = auto()
    OTHER_PATH = auto()  # One Tribe and the configured merchant key, but another path
    OTHER_KEY = auto()  # One Tribe, with another merchant key
    RECEIVER = auto()
    ELSEWHERE = auto()


_USEFUL = (Target.ONETRIBE, Target.OTHER_PATH, Target.RECEIVER)


@dataclass(frozen=True, slots=True)
class _OrderHook:
    """A webhook for orders. `covered_by` is an active one for the same events and destination."""

    hook: Hook
    target: Target
    status: str
    name: str
    covered_by: Hook | None

    @property
    def is_active(self) -> bool:
        return self.status == "active"

    @property
    def is_useful(self) -> bool:
        return self.is_active and self.target in _USEFUL


def check_hooks(
    client: BigCommerceClient,
    settings: Settings,
    *,
    now: datetime,
    newest_order_at: datetime | None,
    timeouts: Timeouts,
) -> Iterator[Finding]:
    """Check the webhooks that this token sees.

    `newest_order_at` is when the ledger recorded its newest order, which a webhook may have named.
    """
    try:
        listing = Webhooks(client).list()
    except CHECK_ERRORS as error:
        yield failed("hooks.list", error)
        return
    if listing.problem:
        yield note(
            "hooks.list",
            f"Deactivated webhooks and blocked domains cannot be listed: {listing.problem}",
        )
    hooks = _order_hooks(listing, settings)
    is_full = sum(hook.scope == ORDER_CREATED for hook in listing.hooks) >= HOOKS_PER_SCOPE
    if all(hook.target not in _USEFUL for hook in hooks):
        yield _missing(settings, is_full=is_full)
    is_served = any(hook.is_useful for hook in hooks)
    for hook in hooks:
        yield from _check_destination(hook, is_served=is_served, is_full=is_full)
        if hook.target in _USEFUL:
            yield from _check_activity(client, hook)
        if hook.is_useful:
            yield from _check_idleness(hook, now, newest_order_at)
        if hook.target is Target.RECEIVER:
            yield from _check_secret(hook, settings)
    yield from _check_limit(listing.hooks)
    for blocked in listing.blocked:
        yield _blocked(blocked, hooks, settings)
    receivers = (one for one in hooks if one.is_active and one.target is Target.RECEIVER)
    for destination in dict.fromkeys(one.hook.destination for one in receivers):
        shown = mask_destination(destination, settings.onetribe.url)
        yield check_receiver(destination, shown, timeouts)


def _order_hooks(listing: Listing, settings: Settings) -> list[_OrderHook]:
    found: list[_OrderHook] = []
    active: list[Hook] = []
    hooks = [hook for hook in listing.hooks if ORDER_SCOPE.fullmatch(hook.scope)]
    # Active ones first: an inactive one is covered by an active one whatever their IDs.
    for hook in sorted(hooks, key=lambda h: (listing.status(h) != "active", h.id)):
        status = listing.status(hook)
        shown = mask_destination(hook.destination, settings.onetribe.url)
        name = f"Webhook {hook.id} ({excerpt(hook.scope)} to {excerpt(shown)})"
        covering = next((other for other in active if _duplicates(other, hook)), None)
        found.append(_OrderHook(hook, _target(hook, settings), status, name, covering))
        if status == "active":
            active.append(hook)
    return sorted(found, key=lambda one: one.hook.id)


def _target(hook: Hook, settings: Settings) -> Target:
    if SECRET_HEADER.lower() in (name.lower() for name in hook.headers):
        return Target.RECEIVER
    if settings.onetribe.url is None:
        return Target.ELSEWHERE
    url = settings.onetribe.url.reveal()
    if same_destination(url, hook.destination):
        return Target.ONETRIBE
    if same_merchant(url, hook.destination):
        return Target.OTHER_PATH
    return Target.OTHER_KEY if host_of(url) == host_of(hook.destination) else Target.ELSEWHERE


def _duplicates(one: Hook, other: Hook) -> bool:
    """Return whether both send some event to the same destination."""
    same = same_destination(one.destination, other.destination) or same_merchant(
        one.destination, other.destination
    )
    return same and _overlap(one.scope, other.scope)


def _overlap(one: str, other: str) -> bool:
    """Return whether two order scopes share an event. A scope without a channel is for all."""
    first, second = (ORDER_SCOPE.fullmatch(scope) for scope in (one, other))
    assert first is not None  # noqa: S101 - only order webhooks are compared
    assert second is not None  # noqa: S101
    channels = {first["channel"], second["channel"]} - {None}
    events = first["event"], second["event"]
    return len(channels) < 2 and (_includes(*events) or _includes(*reversed(events)))


def _includes(wide: str, narrow: str) -> bool:
    return wide == narrow or (wide.endswith("*") and narrow.startswith(wide[:-1]))


def _missing(settings: Settings, *, is_full: bool) -> Finding:
    """Return a warning only: without a webhook, `sync` from cron still sends every order."""
    hint = "bc2ot hooks create"
    if settings.onetribe.url is not None and hook_obstacle(settings.onetribe.url):
        hint = "Run `bc2ot sync` on a timer: no webhook can point to that onetribe.url."
    elif is_full:
        hint = f"Delete one of the {HOOKS_PER_SCOPE} first (bc2ot hooks delete ID), then: {hint}"
    return warn(
        "hooks.present",
        "This token sees no webhook that points to One Tribe or your receiver. `bc2ot sync` from "
        "cron sends the orders, but later.",
        hint,
    )


def _check_destination(one: _OrderHook, *, is_served: bool, is_full: bool) -> Iterator[Finding]:
    check = "hooks.destination"
    replacement = _replacement(one.hook, is_full=is_full)
    if one.target is Target.OTHER_PATH:
        text = f"{one.name} has your merchant key, but a different path from onetribe.url."
        yield fail(check, text, f"bc2ot hooks create --scope '{excerpt(one.hook.scope)}'")
    elif one.target is Target.OTHER_KEY:
        yield fail(
            check,
            f"{one.name} points to One Tribe, but its merchant key or path differs from "
            "onetribe.url.",
            "Compare onetribe.url with One Tribe's integration page. If it is right: "
            f"{replacement}",
        )
    elif one.target is Target.ELSEWHERE:
        status = "" if one.is_active else f"; it is {one.status}"
        text = f"{one.name} points neither to One Tribe nor to your receiver{status}."
        ignore = "If another app needs it, ignore this."
        if is_served:
            yield note(check, text, f"{ignore} If not: bc2ot hooks delete {one.hook.id}")
        else:
            yield warn(check, text, f"{ignore} To replace it: {replacement}")


def _replacement(hook: Hook, *, is_full: bool) -> str:
    """Return the commands that replace a webhook by one to One Tribe, in an order that works."""
    steps = ("bc2ot hooks create", f"bc2ot hooks delete {hook.id}")
    in_the_way = is_full and hook.scope == ORDER_CREATED
    return "; then ".join(reversed(steps) if in_the_way else steps)


def _check_activity(client: BigCommerceClient, one: _OrderHook) -> Iterator[Finding]:
    hook, other = one.hook, one.covered_by
    delete = f"bc2ot hooks delete {hook.id}"
    if other is not None and not one.is_active:
        text = f"{one.name} is {one.status}, and not needed: webhook {other.id} covers its events."
        yield note("hooks.active", text, delete)
    elif other is not None:
        text = f"{one.name} duplicates webhook {other.id}."
        if one.target is Target.RECEIVER:
            yield warn("hooks.duplicate", f"{text} bc2ot still sends each order once.", delete)
        else:
            yield fail("hooks.duplicate", f"{text} BigCommerce calls One Tribe twice.", delete)
    elif one.target is Target.OTHER_PATH:
        return  # it must be corrected before it is enabled
    elif one.is_active:
        yield ok("hooks.active", f"{one.name} is active.")
    else:
        why = "is inactive: someone disabled it"
        if one.status == "deactivated":
            why = (
                f"was deactivated by BigCommerce: it was idle for {IDLE_LIMIT.days} days, or its "
                "callbacks kept failing"
            )
        hint = f"bc2ot hooks enable {hook.id}"

        def enable() -> str:
            Webhooks(client).update(hook.id, Wanted(is_active=True))
            return f"{one.name} is enabled again."

        yield fail("hooks.active", f"{one.name} {why}.", hint, fix=enable)


def _check_idleness(
    one: _OrderHook, now: datetime, newest_order_at: datetime | None
) -> Iterator[Finding]:
    signs = [one.hook.created_at, one.hook.updated_at, newest_order_at]
    idle = now - max((sign for sign in signs if sign is not None), default=now)
    if idle >= IDLE_WARNING:
        left = IDLE_LIMIT - idle
        when = f"in {span(left)}" if left > timedelta() else "at any time"
        yield warn(
            "hooks.idle",
            f"{one.name} may have been idle for {idle.days} days: neither the webhook nor the "
            f"ledger shows activity since. BigCommerce deactivates it after {IDLE_LIMIT.days}: "
            f"{when}.",
            f"A test order keeps it active. Once deactivated: bc2ot hooks enable {one.hook.id}",
        )


def _check_secret(one: _OrderHook, settings: Settings) -> Iterator[Finding]:
    secret = settings.receiver.secret
    sent = {name.lower(): value for name, value in one.hook.headers.items()}[SECRET_HEADER.lower()]
    if secret is None:
        yield note(
            "hooks.secret",
            f"{one.name} carries a secret; this configuration has none to compare with it.",
            "That is fine if the receiver runs elsewhere, with receiver.secret set.",
        )
    elif not compare_digest(secret.reveal().encode(), sent.encode()):
        yield fail(
            "hooks.secret",
            f"{one.name} carries a different secret from this configuration: a receiver with "
            "these settings rejects its callbacks.",
            "bc2ot hooks create --receiver URL, with the same URL",
        )


def _check_limit(hooks: Sequence[Hook]) -> Iterator[Finding]:
    for scope, number in Counter(hook.scope for hook in hooks).items():
        if number >= HOOKS_PER_SCOPE:
            yield warn(
                "hooks.limit",
                f"There are {number} webhooks for {excerpt(scope)}: BigCommerce accepts no more.",
                f"bc2ot hooks list --scope '{excerpt(scope)}'; delete those you do not need.",
            )


def _blocked(blocked: BlockedDomain, hooks: Sequence[_OrderHook], settings: Settings) -> Finding:
    host = host_of(blocked.destination)
    shown = excerpt(mask_destination(blocked.destination, settings.onetribe.url))
    left = span(timedelta(seconds=blocked.time_left_s))
    reasons = f" ({', '.join(map(excerpt, blocked.reasons))})" if blocked.reasons else ""
    text = (
        f"BigCommerce has blocked {shown} for another {left}: too many callbacks failed{reasons}."
    )
    if any(one.target in _USEFUL and host_of(one.hook.destination) == host for one in hooks):
        return fail(
            "hooks.blocked",
            text,
            "Find out why it does not respond with 2xx; BigCommerce then resumes by itself.",
        )
    return note("hooks.blocked", f"{text} None of these webhooks points there.")
