"""Hooks: brought about, looked at, switched and deleted, without ever making one twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus

from onetribe_bc.api.bigcommerce import ApiVersion, BigCommerceClient
from onetribe_bc.api.hooks import (
    HOOKS_PER_SCOPE,
    BlockedDomain,
    Hook,
    HooksAdmin,
    check_destination,
    check_scope,
    nearest_scope,
    same_destination,
    same_merchant,
)
from onetribe_bc.errors import (
    NoConnectionError,
    NotFoundError,
    RefusedError,
    RejectedError,
    RetryLaterError,
    UnreachableError,
)

INVISIBLE = (
    "A token sees only the hooks that its own API account made. Those of other accounts and apps "
    "cannot be seen or changed with it."
)
_RUN_AGAIN = "The hook may have been made. Run it again: what exists is found and not made twice."
_ROOM = (
    f"An API account may have {HOOKS_PER_SCOPE} hooks for a scope, and one for a scope and "
    "destination. `bc2ot hooks list` shows those that there are."
)


class Change(StrEnum):
    """What became of one hook."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    DELETED = "deleted"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Wanted:
    """How a hook should be; None leaves a field as it is.

    `headers` are all the headers that it should have: what is not among them goes. With
    `adds_headers` they are set beside those that it has.
    """

    scope: str | None = None
    destination: str | None = field(default=None, repr=False)
    is_active: bool | None = None
    headers: Mapping[str, str] | None = field(default=None, repr=False)
    adds_headers: bool = False

    def check(self) -> None:
        """Raise InputError for a scope or destination that BigCommerce would not take."""
        if self.scope is not None:
            check_scope(self.scope)
        if self.destination is not None:
            check_destination(self.destination)

    def changes(self, hook: Hook) -> dict[str, object]:
        """The fields, by BigCommerce's names, in which `hook` is not as wanted."""
        changes: dict[str, object] = {}
        if self.scope not in (None, hook.scope):
            changes["scope"] = self.scope
        if self.destination is not None and not same_destination(
            self.destination, hook.destination
        ):
            changes["destination"] = self.destination
        if self.is_active not in (None, hook.is_active):
            changes["is_active"] = self.is_active
        headers = self._headers_of(hook)
        if _names_lowered(headers) != _names_lowered(hook.headers):
            changes["headers"] = headers
        return changes

    def _headers_of(self, hook: Hook) -> dict[str, str]:
        """All headers that `hook` should have."""
        if self.headers is None:
            return dict(hook.headers)
        own = _names_lowered(self.headers)
        kept = hook.headers.items() if self.adds_headers else ()
        return {n: v for n, v in kept if n.lower() not in own} | dict(self.headers)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one hook.

    `hook` is what BigCommerce answered; None when it `FAILED`, with the reason in `problem`.
    `changed` names the fields that an update changed, `differs` those in which BigCommerce's
    answer is not what it was asked for, and `asked` is what it was asked for.
    """

    change: Change
    hook_id: int
    hook: Hook | None = None
    changed: tuple[str, ...] = ()
    differs: tuple[str, ...] = ()
    asked: Wanted = field(default_factory=Wanted)
    problem: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether the hook is now as it was asked for."""
        return self.change is not Change.FAILED and not self.differs


@dataclass(frozen=True, slots=True)
class Listing:
    """Hooks that the token sees, and what BigCommerce itself did to them.

    `deactivated` are ids of hooks that BigCommerce switched off. `problem` says why nothing is
    known of that, if so.
    """

    hooks: tuple[Hook, ...]
    deactivated: frozenset[int] = frozenset()
    blocked: tuple[BlockedDomain, ...] = ()
    problem: str = ""

    def status(self, hook: Hook) -> str:
        """In BigCommerce's words: active, inactive, or deactivated (by BigCommerce)."""
        if hook.id in self.deactivated:
            return "deactivated"
        return "active" if hook.is_active else "inactive"


def list_hooks(
    client: BigCommerceClient,
    *,
    scope: str | None = None,
    destination: str | None = None,
    is_active: bool | None = None,
    api_version: ApiVersion = "v3",
) -> Listing:
    """The hooks that meet all conditions. BigCommerce tells of deactivation on v3 only."""
    hooks = client.list_hooks(scope=scope, is_active=is_active, api_version=api_version)
    # Not left to BigCommerce: a query travels in addresses, and a destination can hold a key.
    found = [
        h for h in hooks if destination is None or same_destination(destination, h.destination)
    ]
    return _with_state(client, found, api_version)


def get_hook(client: BigCommerceClient, hook_id: int, *, api_version: ApiVersion = "v3") -> Listing:
    """One hook. Raises NotFoundError."""
    return _with_state(client, [find_hook(client, hook_id, api_version)], api_version)


def find_hook(client: BigCommerceClient, hook_id: int, api_version: ApiVersion = "v3") -> Hook:
    """One hook, without its state. Raises NotFoundError that speaks of other accounts' hooks."""
    try:
        return client.get_hook(hook_id, api_version=api_version)
    except NotFoundError:
        raise NotFoundError(
            f"There is no hook {hook_id} that this token can see.", hint=INVISIBLE
        ) from None


def create_hooks(
    client: BigCommerceClient,
    scopes: Iterable[str],
    destination: str,
    *,
    is_active: bool = True,
    headers: Mapping[str, str] | None = None,
    adds_headers: bool = False,
    api_version: ApiVersion = "v3",
) -> Iterator[Outcome]:
    """One hook to `destination` for each scope: what exists is left or corrected. It then has
    just these `headers` (its own with None), or with `adds_headers` these beside its own.

    Nothing is changed before everything was checked. Raises InputError for a scope or destination
    that cannot be, and RejectedError when BigCommerce takes no further hook.
    """
    targets = {s: Wanted(s, destination, is_active, headers, adds_headers) for s in scopes}
    for target in targets.values():
        target.check()
    listing = list_hooks(client, api_version=api_version)
    existing = {scope: _existing(listing.hooks, scope, destination) for scope in targets}
    for scope, hook in existing.items():
        same_scope = sum(h.scope == scope for h in listing.hooks)
        if hook is None and same_scope >= HOOKS_PER_SCOPE:
            raise RejectedError(
                f"There are {same_scope} hooks for {scope} already, which is all that "
                "BigCommerce allows an API account.",
                hint=f"`bc2ot hooks list --scope '{scope}'` shows them; delete one.",
            )
    for scope, target in targets.items():
        hook = existing[scope]
        if hook is None:
            yield _create(client, scope, destination, target, api_version)
        else:
            yield _correct(client, hook, target, api_version, deactivated=listing.deactivated)


def update_hook(
    client: BigCommerceClient, hook_id: int, wanted: Wanted, *, api_version: ApiVersion = "v3"
) -> Outcome:
    """Change what is not as wanted. Raises InputError, NotFoundError and RejectedError."""
    wanted.check()
    listing = get_hook(client, hook_id, api_version=api_version)
    (hook,) = listing.hooks
    return _correct(client, hook, wanted, api_version, deactivated=listing.deactivated)


def switch_hooks(
    client: BigCommerceClient,
    hook_ids: Iterable[int],
    *,
    is_active: bool,
    api_version: ApiVersion = "v3",
) -> Iterator[Outcome]:
    """Enable or disable each. One that fails does not keep the others from being tried."""
    deactivated = _with_state(client, (), api_version).deactivated if is_active else frozenset()

    def switch(hook_id: int) -> Outcome:
        hook = find_hook(client, hook_id, api_version)
        wanted = Wanted(is_active=is_active)
        return _correct(client, hook, wanted, api_version, deactivated=deactivated)

    return _each(hook_ids, switch)


def delete_hooks(
    client: BigCommerceClient, hook_ids: Iterable[int], *, api_version: ApiVersion = "v3"
) -> Iterator[Outcome]:
    """Delete each. One that fails does not keep the others from being tried."""

    def delete(hook_id: int) -> Outcome:
        hook = find_hook(client, hook_id, api_version)
        client.delete_hook(hook_id, api_version=api_version)
        return Outcome(Change.DELETED, hook_id, hook)

    return _each(hook_ids, delete)


def _each(hook_ids: Iterable[int], act: Callable[[int], Outcome]) -> Iterator[Outcome]:
    for hook_id in dict.fromkeys(hook_ids):
        try:
            yield act(hook_id)
        except (NotFoundError, RejectedError) as error:
            yield Outcome(Change.FAILED, hook_id, problem=str(error))


def _existing(hooks: Sequence[Hook], scope: str, destination: str) -> Hook | None:
    """The hook that is meant, the likeliest first.

    One Tribe's page shows an answer with another path to the same key: such a hook is corrected,
    since a second one would have One Tribe called twice.
    """
    same_scope = [hook for hook in hooks if hook.scope == scope]
    for is_same in (str.__eq__, same_destination, same_merchant):
        for hook in same_scope:
            if is_same(destination, hook.destination):
                return hook
    return None


def _create(
    client: BigCommerceClient,
    scope: str,
    destination: str,
    wanted: Wanted,
    api_version: ApiVersion,
) -> Outcome:
    try:
        hook = client.create_hook(
            scope=scope,
            destination=destination,
            is_active=wanted.is_active is not False,
            headers=wanted.headers,
            api_version=api_version,
        )
    except RejectedError as error:
        if nearest_scope(scope) is None:
            error.hint = _ROOM
        raise
    except UnreachableError as error:
        if _may_have_worked(error):
            error.hint = _RUN_AGAIN
        raise
    return Outcome(Change.CREATED, hook.id, hook, differs=_differs(wanted, hook), asked=wanted)


def _may_have_worked(error: UnreachableError) -> bool:
    """Whether a request may have been carried out although it failed."""
    refused = isinstance(error, RetryLaterError) and error.status == HTTPStatus.TOO_MANY_REQUESTS
    return not (refused or isinstance(error, NoConnectionError))


def _correct(
    client: BigCommerceClient,
    hook: Hook,
    wanted: Wanted,
    api_version: ApiVersion,
    *,
    deactivated: frozenset[int],
) -> Outcome:
    changes = wanted.changes(hook)
    if wanted.is_active and hook.id in deactivated:
        # Said in any case: BigCommerce may call a hook active that it has switched off.
        changes["is_active"] = True
    if not changes:
        return Outcome(Change.UNCHANGED, hook.id, hook, asked=wanted)
    answered = client.update_hook(hook.id, changes, api_version=api_version)
    return Outcome(
        Change.UPDATED,
        hook.id,
        answered,
        changed=tuple(changes),
        differs=_differs(wanted, answered),
        asked=wanted,
    )


def _differs(asked: Wanted, answered: Hook) -> tuple[str, ...]:
    """Headers are left out: a service does well not to repeat what is secret."""
    return tuple(name for name in asked.changes(answered) if name != "headers")


def _with_state(
    client: BigCommerceClient, hooks: Sequence[Hook], api_version: ApiVersion
) -> Listing:
    admin, problem = HooksAdmin(emails=()), ""
    if api_version == "v3":
        try:
            admin = client.hooks_admin()
        except (RefusedError, RejectedError, UnreachableError) as error:
            problem = str(error)
    deactivated = frozenset(i for i, status in admin.statuses.items() if status == "deactivated")
    return Listing(tuple(hooks), deactivated, admin.blocked_domains, problem)


def _names_lowered(headers: Mapping[str, str]) -> dict[str, str]:
    """HTTP does not tell upper from lower case in a header's name."""
    return {name.lower(): value for name, value in headers.items()}
