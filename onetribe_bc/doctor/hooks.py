"""The hooks that tell of orders: whether they are there, are on, and lead where they should."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
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
from onetribe_bc.api.webhook import ORDER_SCOPE, SECRET_HEADER
from onetribe_bc.commands.hooks import Listing, Wanted, list_hooks, update_hook
from onetribe_bc.config import Settings
from onetribe_bc.doctor.finding import (
    TROUBLE,
    Check,
    Finding,
    Fix,
    fail,
    failed,
    note,
    ok,
    warn,
)
from onetribe_bc.doctor.outside import Outside
from onetribe_bc.text import excerpt, span

IDLE_LIMIT = timedelta(days=90)
"""BigCommerce deactivates a hook after so long without a callback."""
IDLE_RISK = timedelta(days=75)
"""From here on it is said."""


class Way(Enum):
    """Where a hook leads to."""

    ONETRIBE = "One Tribe"
    OTHER_PATH = "another path of One Tribe's, with our merchant key"
    OTHER_KEY = "One Tribe, with another merchant key or path"
    RECEIVER = "a receiver of ours"
    ELSEWHERE = "elsewhere"


_WITHOUT_HOOK = "See that `bc2ot sync` runs on a timer: no hook can lead to that onetribe.url."
_OURS = (Way.ONETRIBE, Way.OTHER_PATH, Way.RECEIVER)


@dataclass(frozen=True, slots=True)
class _Known:
    """A hook for orders, with what is known of it. `covered_by` is an active one that tells the
    same to the same.
    """

    hook: Hook
    way: Way
    status: str
    name: str
    covered_by: Hook | None = None

    @property
    def is_on(self) -> bool:
        return self.status == "active"


def check_hooks(
    client: BigCommerceClient,
    settings: Settings,
    *,
    now: datetime,
    newest_order_at: datetime | None,
    outside: Outside,
) -> Iterator[Finding]:
    """The hooks that this token sees. `newest_order_at` is when the ledger last got to know an
    order: no hook can have been idle for longer than there were none.
    """
    try:
        listing = list_hooks(client)
    except TROUBLE as error:
        yield failed(Check.HOOKS, error)
        return
    if listing.problem:
        yield note(
            Check.HOOKS,
            "Which hooks BigCommerce deactivated, and what it blocks, is not known: "
            f"{listing.problem}",
        )
    known = _know(listing, settings)
    is_full = sum(hook.scope == ORDER_CREATED for hook in listing.hooks) >= HOOKS_PER_SCOPE
    yield from _check_presence(known, settings, is_full=is_full)
    is_told = any(one.is_on and one.way in _OURS for one in known)
    for one in known:
        yield from _check_hook(client, one, is_told=is_told, is_full=is_full)
        if one.is_on and one.way in _OURS:
            yield from _check_idleness(one, now, newest_order_at)
        if one.way is Way.RECEIVER:
            yield from _check_secret(one, settings)
    yield from _check_room(listing.hooks)
    for blocked in listing.blocked:
        yield _blocked(blocked, known, settings)
    receivers = {
        one.hook.destination: mask_destination(one.hook.destination, settings.onetribe.url)
        for one in known
        if one.is_on and one.way is Way.RECEIVER
    }
    for destination, shown in receivers.items():
        yield outside.check(destination, shown)


def _know(listing: Listing, settings: Settings) -> list[_Known]:
    url = settings.onetribe.url
    known: list[_Known] = []
    active: list[Hook] = []
    hooks = [hook for hook in listing.hooks if ORDER_SCOPE.fullmatch(hook.scope)]
    # Those that are on come first, or a switched-off one would not be seen to be covered.
    for hook in sorted(hooks, key=lambda h: (listing.status(h) != "active", h.id)):
        status = listing.status(hook)
        shown = mask_destination(hook.destination, url)
        name = f"Hook {hook.id} ({excerpt(hook.scope)} to {excerpt(shown)})"
        covering = next((other for other in active if _tells_the_same(other, hook)), None)
        known.append(_Known(hook, _way(hook, settings), status, name, covering))
        if status == "active":
            active.append(hook)
    return sorted(known, key=lambda one: one.hook.id)


def _way(hook: Hook, settings: Settings) -> Way:
    if SECRET_HEADER.lower() in (name.lower() for name in hook.headers):
        return Way.RECEIVER
    if settings.onetribe.url is None:
        return Way.ELSEWHERE
    url = settings.onetribe.url.reveal()
    if same_destination(url, hook.destination):
        return Way.ONETRIBE
    if same_merchant(url, hook.destination):
        return Way.OTHER_PATH
    return Way.OTHER_KEY if host_of(url) == host_of(hook.destination) else Way.ELSEWHERE


def _tells_the_same(one: Hook, other: Hook) -> bool:
    """Whether some event would be told by both to the same destination."""
    same = same_destination(one.destination, other.destination) or same_merchant(
        one.destination, other.destination
    )
    return same and _overlap(one.scope, other.scope)


def _overlap(one: str, other: str) -> bool:
    """Whether two scopes of orders have an event in common. Without a channel it is of all."""
    first, second = ORDER_SCOPE.fullmatch(one), ORDER_SCOPE.fullmatch(other)
    assert first is not None  # noqa: S101 - only hooks for orders are compared
    assert second is not None  # noqa: S101
    channels = {first["channel"], second["channel"]} - {None}
    events = (first["event"], second["event"])
    return len(channels) < 2 and (_includes(*events) or _includes(*reversed(events)))


def _includes(wide: str, narrow: str) -> bool:
    return wide == narrow or (wide.endswith("*") and narrow.startswith(wide[:-1]))


def _check_presence(
    known: Sequence[_Known], settings: Settings, *, is_full: bool
) -> Iterator[Finding]:
    """A warning and no failure: `sync` from cron brings every order, only later. What is there
    and switched off is told of itself. A sandbox's One Tribe is none that a hook can lead to.
    """
    url = settings.onetribe.url
    if not any(one.way in _OURS for one in known):
        mend = "bc2ot hooks create"
        if url is not None and hook_obstacle(url):
            mend = _WITHOUT_HOOK
        elif is_full:
            mend = (
                f"Delete one of the {HOOKS_PER_SCOPE} first (bc2ot hooks delete ID), then: {mend}"
            )
        yield warn(
            Check.PRESENT,
            "No hook that this token can see tells One Tribe or your receiver of orders. "
            "`bc2ot sync` from cron sends them, but later.",
            mend,
        )


def _check_hook(
    client: BigCommerceClient, one: _Known, *, is_told: bool, is_full: bool
) -> Iterator[Finding]:
    hook = one.hook
    if one.way is Way.ELSEWHERE:
        yield _elsewhere(one, is_told=is_told, is_full=is_full)
        return
    if one.way is Way.OTHER_KEY:
        yield fail(
            Check.DESTINATION,
            f"{one.name} leads to One Tribe, but with another merchant key or path than "
            "onetribe.url.",
            "Compare onetribe.url with One Tribe's integration page. If it is right: "
            + _replacing(hook, is_full=is_full),
        )
        return
    if one.way is Way.OTHER_PATH:
        yield fail(
            Check.DESTINATION,
            f"{one.name} has your merchant key, but another path than onetribe.url (other path).",
            f"bc2ot hooks create --scope '{excerpt(hook.scope)}'",
        )
    yield from _check_activity(client, one)


def _elsewhere(one: _Known, *, is_told: bool, is_full: bool) -> Finding:
    """Another app's, probably, and no more than a note where hooks of ours do their work."""
    off = "" if one.is_on else f"; it is {one.status}"
    text = f"{one.name} leads neither to One Tribe nor to a receiver of yours{off}."
    leave = "If another app of yours needs it, leave it."
    if is_told:
        return note(Check.DESTINATION, text, f"{leave} If not: bc2ot hooks delete {one.hook.id}")
    replacing = _replacing(one.hook, is_full=is_full)
    return warn(Check.DESTINATION, text, f"{leave} To replace it: {replacing}")


def _replacing(hook: Hook, *, is_full: bool) -> str:
    """The commands that replace a hook by one to One Tribe, in the order in which they work."""
    steps = ("bc2ot hooks create", f"bc2ot hooks delete {hook.id}")
    in_the_way = is_full and hook.scope == ORDER_CREATED
    return "; then ".join(reversed(steps) if in_the_way else steps)


def _check_activity(client: BigCommerceClient, one: _Known) -> Iterator[Finding]:
    hook, other = one.hook, one.covered_by
    if other is not None and one.is_on:
        yield _duplicate(one, other)
    elif other is not None:
        yield note(
            Check.ACTIVE,
            f"{one.name} is {one.status}, and not needed: hook {other.id} tells the same.",
            f"bc2ot hooks delete {hook.id}",
        )
    elif one.way is Way.OTHER_PATH:
        return  # leads to the wrong place, as was said: best corrected before it is switched on
    elif one.is_on:
        yield ok(Check.ACTIVE, f"{one.name} is active.")
    else:
        why = (
            f"was deactivated by BigCommerce: it was idle for {IDLE_LIMIT.days} days, or its "
            "callbacks kept failing"
            if one.status == "deactivated"
            else "is inactive: someone switched it off"
        )
        mend = f"bc2ot hooks enable {hook.id}"
        yield fail(Check.ACTIVE, f"{one.name} {why}.", mend, fix=_enabling(client, one))


def _duplicate(one: _Known, other: Hook) -> Finding:
    text = f"{one.name} tells of what hook {other.id} tells, too."
    mend = f"bc2ot hooks delete {one.hook.id}"
    if one.way is Way.RECEIVER:
        return warn(Check.DUPLICATE, f"{text} Each order is sent once all the same.", mend)
    return fail(Check.DUPLICATE, f"{text} One Tribe is called twice.", mend)


def _enabling(client: BigCommerceClient, one: _Known) -> Fix:
    def fix() -> str:
        update_hook(client, one.hook.id, Wanted(is_active=True))
        return f"{one.name} is switched on again."

    return fix


def _check_idleness(
    one: _Known, now: datetime, newest_order_at: datetime | None
) -> Iterator[Finding]:
    signs = [one.hook.created_at, one.hook.updated_at, newest_order_at]
    idle = now - max((sign for sign in signs if sign is not None), default=now)
    if idle >= IDLE_RISK:
        left = IDLE_LIMIT - idle
        when = f"in {span(left)}" if left > timedelta() else "at any time"
        yield warn(
            Check.IDLE,
            f"{one.name} may have been idle for {idle.days} days: neither it nor the ledger shows "
            f"any activity since. After {IDLE_LIMIT.days} BigCommerce deactivates it: {when}.",
            f"A test order keeps it alive. Once it is off: bc2ot hooks enable {one.hook.id}",
        )


def _check_secret(one: _Known, settings: Settings) -> Iterator[Finding]:
    ours = settings.receiver.secret
    sent = {name.lower(): value for name, value in one.hook.headers.items()}[SECRET_HEADER.lower()]
    if ours is None:
        yield note(
            Check.SECRET,
            f"{one.name} carries a secret, and none is set here to compare it with.",
            "That is well if the receiver runs elsewhere, with receiver.secret set.",
        )
    elif not compare_digest(ours.reveal().encode(), sent.encode()):
        yield fail(
            Check.SECRET,
            f"{one.name} carries another secret than the one set here: a receiver with these "
            "settings refuses its callbacks.",
            "bc2ot hooks create --receiver URL, with the same URL",
        )


def _check_room(hooks: Sequence[Hook]) -> Iterator[Finding]:
    for scope, number in Counter(hook.scope for hook in hooks).items():
        if number >= HOOKS_PER_SCOPE:
            yield warn(
                Check.LIMIT,
                f"There are {number} hooks for {excerpt(scope)}: BigCommerce takes no further one.",
                f"bc2ot hooks list --scope '{excerpt(scope)}'; delete what nobody needs.",
            )


def _blocked(blocked: BlockedDomain, known: Sequence[_Known], settings: Settings) -> Finding:
    host = host_of(blocked.destination)
    shown = excerpt(mask_destination(blocked.destination, settings.onetribe.url))
    left = span(timedelta(seconds=blocked.time_left_s))
    reasons = f" ({', '.join(map(excerpt, blocked.reasons))})" if blocked.reasons else ""
    text = (
        f"BigCommerce has blocked {shown} for another {left}: too many callbacks failed{reasons}."
    )
    if any(one.way in _OURS and host_of(one.hook.destination) == host for one in known):
        return fail(
            Check.BLOCKED,
            text,
            "Find out why it does not answer 2xx at once; BigCommerce then goes on by itself.",
        )
    return note(Check.BLOCKED, f"{text} None of these hooks leads there.")
