"""Create, list, enable, disable and delete webhooks; creating is idempotent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
    same_url,
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
    "A token can see and change only the webhooks that its own API account created, not those of "
    "other accounts and apps."
)
_RUN_AGAIN = "The webhook may exist now. Run it again: existing webhooks are not duplicated."
_LIMITS = (
    f"An API account may have {HOOKS_PER_SCOPE} webhooks for a scope, and one for a scope and "
    "destination. `bc2ot hooks list` shows them."
)


class Change(StrEnum):
    """What was done to a hook."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    DELETED = "deleted"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The wanted fields of a hook; None leaves a field as it is.

    `headers` replace all headers of the hook, or with `adds_headers` are added to them.
    """

    scope: str | None = None
    destination: str | None = field(default=None, repr=False)
    is_active: bool | None = None
    headers: Mapping[str, str] | None = field(default=None, repr=False)
    adds_headers: bool = False

    def check(self) -> None:
        """Raise InputError for a scope or destination that BigCommerce would not accept."""
        if self.scope is not None:
            check_scope(self.scope)
        if self.destination is not None:
            check_destination(self.destination)

    def changes(self, hook: Hook) -> dict[str, object]:
        """Return the fields of `hook` to change, by BigCommerce's names."""
        changes: dict[str, object] = {}
        if self.scope not in (None, hook.scope):
            changes["scope"] = self.scope
        url = self.destination
        if url is not None and not same_url(url, hook.destination):
            changes["destination"] = url
        if self.is_active not in (None, hook.is_active):
            changes["is_active"] = self.is_active
        if self.headers is not None:
            own = _names_lowered(self.headers)
            kept = hook.headers.items() if self.adds_headers else ()
            headers = {n: v for n, v in kept if n.lower() not in own} | dict(self.headers)
            if _names_lowered(headers) != _names_lowered(hook.headers):
                changes["headers"] = headers
        return changes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done to one hook.

    `hook` is what BigCommerce returned, or None if the change failed, with the reason in
    `problem`. `changed` names the fields that an update changed, `differs` those in which
    `hook` differs from `asked`.
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
        """Whether the hook is now as requested."""
        return self.change is not Change.FAILED and not self.differs


@dataclass(frozen=True, slots=True)
class Listing:
    """Hooks that the token can see, and what BigCommerce itself did to them.

    `deactivated` are the IDs of hooks that BigCommerce disabled. `problem` says why these could
    not be read, if so.
    """

    hooks: tuple[Hook, ...]
    deactivated: frozenset[int] = frozenset()
    blocked: tuple[BlockedDomain, ...] = ()
    problem: str = ""

    def status(self, hook: Hook) -> str:
        """Return active, inactive, or deactivated (by BigCommerce), as BigCommerce calls it."""
        if hook.id in self.deactivated:
            return "deactivated"
        return "active" if hook.is_active else "inactive"


@dataclass(frozen=True, slots=True)
class Webhooks:
    """The webhooks that one token can see, by either version of BigCommerce's API."""

    client: BigCommerceClient
    api_version: ApiVersion = "v3"

    def list(
        self,
        *,
        scope: str | None = None,
        destination: str | None = None,
        is_active: bool | None = None,
    ) -> Listing:
        """List the hooks that match. Only v3 reports deactivated ones."""
        hooks = self.client.list_hooks(
            scope=scope, is_active=is_active, api_version=self.api_version
        )
        # Filter here: a destination can hold a key, which must not appear in a request's URL.
        return self._with_state(
            h for h in hooks if destination is None or same_destination(destination, h.destination)
        )

    def get(self, hook_id: int) -> Listing:
        """List one hook. Raises NotFoundError."""
        return self._with_state([self._find(hook_id)])

    def create(self, scopes: Iterable[str], wanted: Wanted) -> Iterator[Outcome]:
        """Create a hook for each scope, or update the existing one. Raises as `create_hooks`."""
        destination = wanted.destination or ""
        targets = {scope: replace(wanted, scope=scope) for scope in scopes}
        for target in targets.values():
            target.check()
        listing = self.list()
        existing = {scope: _existing(listing.hooks, scope, destination) for scope in targets}
        for scope, hook in existing.items():
            same_scope = sum(h.scope == scope for h in listing.hooks)
            if hook is None and same_scope >= HOOKS_PER_SCOPE:
                raise RejectedError(
                    f"There are already {same_scope} webhooks for {scope}, the most that "
                    "BigCommerce allows an API account.",
                    hint=f"Delete one; `bc2ot hooks list --scope '{scope}'` shows them.",
                )
        for scope, target in targets.items():
            hook = existing[scope]
            if hook is None:
                yield self._create(scope, destination, target)
                continue
            if same_destination(destination, hook.destination):
                target = replace(target, destination=hook.destination)
            yield self._update(hook, target, listing.deactivated)

    def update(self, hook_id: int, wanted: Wanted) -> Outcome:
        """Change what differs. Raises InputError, NotFoundError and RejectedError."""
        wanted.check()
        listing = self.get(hook_id)
        (hook,) = listing.hooks
        return self._update(hook, wanted, listing.deactivated)

    def switch(self, hook_ids: Iterable[int], *, is_active: bool) -> Iterator[Outcome]:
        """Enable or disable each hook; one that fails does not stop the others."""
        deactivated = self._with_state(()).deactivated if is_active else frozenset()
        wanted = Wanted(is_active=is_active)
        return _each(hook_ids, lambda i: self._update(self._find(i), wanted, deactivated))

    def delete(self, hook_ids: Iterable[int]) -> Iterator[Outcome]:
        """Delete each hook; one that fails does not stop the others."""

        def delete(hook_id: int) -> Outcome:
            hook = self._find(hook_id)
            self.client.delete_hook(hook_id, api_version=self.api_version)
            return Outcome(Change.DELETED, hook_id, hook)

        return _each(hook_ids, delete)

    def _find(self, hook_id: int) -> Hook:
        try:
            return self.client.get_hook(hook_id, api_version=self.api_version)
        except NotFoundError:
            message = f"The token can see no webhook {hook_id}."
            raise NotFoundError(message, hint=INVISIBLE) from None

    def _with_state(self, hooks: Iterable[Hook]) -> Listing:
        admin, problem = HooksAdmin(), ""
        if self.api_version == "v3":
            try:
                admin = self.client.hooks_admin()
            except (RefusedError, RejectedError, NotFoundError, UnreachableError) as error:
                problem = str(error)
        deactivated = frozenset(i for i, each in admin.statuses.items() if each == "deactivated")
        return Listing(tuple(hooks), deactivated, admin.blocked_domains, problem)

    def _create(self, scope: str, destination: str, wanted: Wanted) -> Outcome:
        try:
            hook = self.client.create_hook(
                scope=scope,
                destination=destination,
                is_active=wanted.is_active is not False,
                headers=wanted.headers,
                api_version=self.api_version,
            )
        except RejectedError as error:
            if nearest_scope(scope) is None:
                error.hint = _LIMITS
            raise
        except UnreachableError as error:
            if _may_have_worked(error):
                error.hint = _RUN_AGAIN
            raise
        return Outcome(Change.CREATED, hook.id, hook, differs=_differs(wanted, hook), asked=wanted)

    def _update(self, hook: Hook, wanted: Wanted, deactivated: frozenset[int]) -> Outcome:
        changes = wanted.changes(hook)
        if wanted.is_active and hook.id in deactivated:
            # Set it in any case: BigCommerce may report a deactivated hook as active.
            changes["is_active"] = True
        if not changes:
            return Outcome(Change.UNCHANGED, hook.id, hook, asked=wanted)
        new = self.client.update_hook(hook.id, changes, api_version=self.api_version)
        differs = _differs(wanted, new)
        return Outcome(Change.UPDATED, hook.id, new, tuple(changes), differs, asked=wanted)


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
    """Create a hook to `destination` for each scope, or update the existing one.

    Each hook then has only these `headers`, or with `adds_headers` these and its own; with None
    it keeps its own. Everything is checked before the first change. Raises InputError for an
    invalid scope or destination, and RejectedError if the API account has too many hooks.
    """
    wanted = Wanted(None, destination, is_active, headers, adds_headers)
    return Webhooks(client, api_version).create(scopes, wanted)


def _each(hook_ids: Iterable[int], act: Callable[[int], Outcome]) -> Iterator[Outcome]:
    for hook_id in dict.fromkeys(hook_ids):
        try:
            yield act(hook_id)
        except (NotFoundError, RejectedError) as error:
            yield Outcome(Change.FAILED, hook_id, problem=str(error))


def _existing(hooks: Sequence[Hook], scope: str, destination: str) -> Hook | None:
    """Return the hook to update, best match first; None if there is none.

    One Tribe's page shows another path to the same merchant key. Such a hook is updated, as a
    second one would call One Tribe twice.
    """
    same_scope = [hook for hook in hooks if hook.scope == scope]
    for is_same in (str.__eq__, same_destination, same_merchant):
        for hook in same_scope:
            if is_same(destination, hook.destination):
                return hook
    return None


def _may_have_worked(error: UnreachableError) -> bool:
    """Whether BigCommerce may have executed the failed request."""
    refused = isinstance(error, RetryLaterError) and error.status == HTTPStatus.TOO_MANY_REQUESTS
    return not (refused or isinstance(error, NoConnectionError))


def _differs(asked: Wanted, returned: Hook) -> tuple[str, ...]:
    """Compare all fields but the headers, which a service need not return."""
    return tuple(name for name in asked.changes(returned) if name != "headers")


def _names_lowered(headers: Mapping[str, str]) -> dict[str, str]:
    """Names of headers are case-insensitive."""
    return {name.lower(): value for name, value in headers.items()}
