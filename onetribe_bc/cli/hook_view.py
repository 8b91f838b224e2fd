"""Print webhooks and the outcomes of changes; keys and header values are masked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cached_property

from onetribe_bc.api.bigcommerce import ApiVersion
from onetribe_bc.api.hooks import Hook, mask_destination, same_destination
from onetribe_bc.cli.console import Console
from onetribe_bc.cli.context import Context
from onetribe_bc.cli.running import end_json
from onetribe_bc.clock import Clock
from onetribe_bc.commands.hooks import INVISIBLE, Change, Listing, Outcome
from onetribe_bc.config import Settings
from onetribe_bc.dates import format_time
from onetribe_bc.errors import Bc2otError, ExitCode, InterruptedRunError
from onetribe_bc.secret import MASK


@dataclass(frozen=True)
class HookView:
    """Prints webhooks of the configured store."""

    cli: Context
    console: Console
    api_version: ApiVersion

    @cached_property
    def settings(self) -> Settings:
        """The configuration, loaded when it is first needed: wrong usage is reported first."""
        return self.cli.settings(self.console)

    def masked(self, destination: str) -> str:
        """Return `destination` without its keys."""
        return mask_destination(destination, self.settings.onetribe.url)

    def is_onetribe(self, hook: Hook) -> bool:
        """Whether the webhook points to the configured One Tribe URL."""
        url = self.settings.onetribe.url
        return url is not None and same_destination(url.reveal(), hook.destination)

    def line(self, hook: Hook) -> str:
        """Describe a webhook in one line."""
        activity = "" if hook.is_active else ", inactive"
        return f"webhook {hook.id}, {hook.scope} to {self.masked(hook.destination)}{activity}"

    # Outcomes

    def follow(self, outcomes: Iterable[Outcome], clock: Clock) -> tuple[list[Outcome], ExitCode]:
        """Print each outcome when it is known; JSON at the end, even after an error."""
        done: list[Outcome] = []
        ended_by: Bc2otError | None = None
        try:
            for outcome in outcomes:
                done.append(outcome)
                self._print_outcome(outcome)
                if clock.stopping:
                    raise InterruptedRunError("Interrupted. The reported changes are done.")
        except Bc2otError as error:
            ended_by = error
        if self.console.as_json:
            store = {"store_hash": self.settings.bigcommerce.store_hash}
            hooks = [self._outcome_json(outcome) for outcome in done]
            self.console.json({**store, **end_json(ended_by), "hooks": hooks})
        if ended_by is not None:
            raise ended_by
        if any(outcome.change is Change.FAILED for outcome in done):
            self.console.info(INVISIBLE)
        complete = all(outcome.is_complete for outcome in done)
        return done, ExitCode.DONE if complete else ExitCode.INCOMPLETE

    def _print_outcome(self, outcome: Outcome) -> None:
        hook = outcome.hook
        if hook is None:
            self.console.error(outcome.problem)
            return
        if not self.console.as_json:
            changed = f" (changed: {', '.join(outcome.changed)})" if outcome.changed else ""
            self.console.data(f"{outcome.change}: {self.line(hook)}{changed}")
        for name in outcome.differs:
            asked, returned = getattr(outcome.asked, name), getattr(hook, name)
            if name == "destination":
                asked, returned = self.masked(asked), self.masked(returned)
            unseen = " (they differ in what is masked)" if asked == returned else ""
            self.console.error(
                f"Webhook {hook.id}: bc2ot asked BigCommerce for the {name} {asked}, and it "
                f"returned {returned}{unseen}."
            )
        if outcome.differs:
            self.console.info(
                f"Correct it with `bc2ot hooks update {hook.id}`, or delete it with "
                f"`bc2ot hooks delete {hook.id}`."
            )

    def _outcome_json(self, outcome: Outcome) -> Mapping[str, object]:
        hook = outcome.hook
        if hook is None:
            return {"change": outcome.change, "id": outcome.hook_id, "problem": outcome.problem}
        return {
            "change": outcome.change,
            "changed": outcome.changed,
            "differs": outcome.differs,
            **self._hook_json(hook, "active" if hook.is_active else "inactive"),
        }

    # Webhooks

    def print_hook(self, listing: Listing) -> None:
        """Print the one webhook of the listing, with all of its fields."""
        (hook,) = listing.hooks
        facts = self._hook_json(hook, listing.status(hook))
        if self.console.as_json:
            self.console.json(facts)
        else:
            for name in ("id", "scope", "destination", "status"):
                self.console.data(f"{name:<12} {facts[name]}")
            headers = ", ".join(f"{name}={MASK}" for name in hook.headers)
            self.console.data(f"headers      {headers or 'none'}")
            self.console.data(f"created      {self._local(hook.created_at)}")
            self.console.data(f"updated      {self._local(hook.updated_at)}")
        self._print_state(listing)

    def print_listing(self, listing: Listing) -> None:
        """Print a table of the webhooks."""
        if self.console.as_json:
            blocked = [
                {**asdict(each), "destination": self.masked(each.destination)}
                for each in listing.blocked
            ]
            self.console.json(
                {
                    "store_hash": self.settings.bigcommerce.store_hash,
                    "hooks": [
                        self._hook_json(hook, listing.status(hook)) for hook in listing.hooks
                    ],
                    "blocked_domains": blocked,
                }
            )
        elif listing.hooks:
            columns: dict[str, Callable[[Hook], object]] = {
                "ID": lambda hook: hook.id,
                "SCOPE": lambda hook: hook.scope,
                "DESTINATION": lambda hook: self.masked(hook.destination),
                "STATUS": listing.status,
                "HEADERS": lambda hook: ", ".join(hook.headers),
                "UPDATED": lambda hook: self._local(hook.updated_at),
            }
            self.console.table(columns, listing.hooks)
        else:
            self.console.info(f"No webhook found. {INVISIBLE}")
        self._print_state(listing)

    def _hook_json(self, hook: Hook, status: str) -> Mapping[str, object]:
        return {
            "id": hook.id,
            "scope": hook.scope,
            "destination": self.masked(hook.destination),
            "is_onetribe": self.is_onetribe(hook),
            "is_active": hook.is_active,
            "status": status,
            "headers": dict.fromkeys(hook.headers, MASK),
            "created_at": hook.created_at,
            "updated_at": hook.updated_at,
        }

    def _print_state(self, listing: Listing) -> None:
        """Print which webhooks BigCommerce itself has deactivated or blocked, and the fix."""
        off = [str(hook.id) for hook in listing.hooks if hook.id in listing.deactivated]
        if off:
            self.console.info(
                "BigCommerce deactivates webhooks that were idle for 90 days or whose callbacks "
                f"kept failing. To enable them: bc2ot hooks enable {' '.join(off)}"
            )
        for blocked in listing.blocked:
            reasons = f" ({', '.join(blocked.reasons)})" if blocked.reasons else ""
            self.console.warning(
                f"BigCommerce will not call {self.masked(blocked.destination)} again in the next "
                f"{blocked.time_left_s} s: too many callbacks failed{reasons}."
            )
        if listing.problem:
            self.console.warning(
                f"deactivated webhooks may be shown as inactive: {listing.problem}"
            )

    def _local(self, time: datetime | None) -> str:
        return "" if time is None else format_time(time, self.settings.timezone)
