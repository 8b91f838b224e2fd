"""How hooks are shown, and what became of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onetribe_bc.cli.signals import interruptible

if TYPE_CHECKING:
    from datetime import datetime

    from onetribe_bc.api.bigcommerce import ApiVersion, BigCommerceClient
    from onetribe_bc.api.hooks import Hook
    from onetribe_bc.cli.console import Console
    from onetribe_bc.clock import Clock
    from onetribe_bc.commands.hooks import Listing, Outcome
    from onetribe_bc.config import Settings


@dataclass(frozen=True)
class Desk:
    """What every command here needs."""

    console: Console
    settings: Settings
    api_version: ApiVersion
    as_json: bool

    @contextmanager
    def connect(self) -> Iterator[tuple[BigCommerceClient, Clock]]:
        """BigCommerce, and a clock that an interrupt stops."""
        from onetribe_bc.delivery.context import connect_bigcommerce

        with (
            interruptible(self.console) as clock,
            closing(connect_bigcommerce(self.settings, clock)) as client,
        ):
            yield client, clock

    def shown(self, destination: str) -> str:
        """`destination` without its keys."""
        from onetribe_bc.api.hooks import mask_destination

        return mask_destination(destination, self.settings.onetribe.url)

    def is_onetribe(self, hook: Hook) -> bool:
        """Whether the hook leads to the configured URL."""
        from onetribe_bc.api.hooks import same_destination

        url = self.settings.onetribe.url
        return url is not None and same_destination(url.reveal(), hook.destination)


# What became of it


def follow(desk: Desk, outcomes: Iterable[Outcome], clock: Clock) -> list[Outcome]:
    """Say what became of each hook, as it becomes known; as JSON at the end, whatever ends it."""
    from onetribe_bc.commands.hooks import INVISIBLE, Change
    from onetribe_bc.errors import Bc2otError, InterruptedRunError

    done: list[Outcome] = []
    ended: Bc2otError | None = None
    try:
        for outcome in outcomes:
            done.append(outcome)
            if not desk.as_json:
                _print_outcome(desk, outcome)
            _say_problem(desk, outcome)
            if clock.stopping:
                raise InterruptedRunError("Stopped. What is said to be done is done.")
    except Bc2otError as error:
        ended = error
        raise
    finally:
        if desk.as_json:
            desk.console.json(
                {
                    "store_hash": desk.settings.bigcommerce.store_hash,
                    "complete": ended is None,
                    "ended_by": None if ended is None else str(ended),
                    "hooks": [_outcome_json(desk, outcome) for outcome in done],
                }
            )
    if any(outcome.change is Change.FAILED for outcome in done):
        desk.console.info(INVISIBLE)
    return done


def exit_code_of(outcomes: Iterable[Outcome]) -> int:
    from onetribe_bc.errors import ExitCode

    complete = all(outcome.is_complete for outcome in outcomes)
    return ExitCode.DONE if complete else ExitCode.INCOMPLETE


def _print_outcome(desk: Desk, outcome: Outcome) -> None:
    if outcome.hook is not None:
        changed = f" (changed: {', '.join(outcome.changed)})" if outcome.changed else ""
        desk.console.data(f"{outcome.change}: {hook_line(desk, outcome.hook)}{changed}")


def _say_problem(desk: Desk, outcome: Outcome) -> None:
    hook = outcome.hook
    if hook is None:
        desk.console.error(outcome.problem)
        return
    for name in outcome.differs:
        asked, answered = getattr(outcome.asked, name), getattr(hook, name)
        if name == "destination":
            asked, answered = desk.shown(asked), desk.shown(answered)
        unseen = " (they differ in what is masked)" if asked == answered else ""
        desk.console.error(
            f"Hook {hook.id}: BigCommerce was asked for the {name} {asked} and answered with "
            f"{answered}{unseen}."
        )
    if outcome.differs:
        desk.console.info(
            f"Correct it with `bc2ot hooks update {hook.id}`, or delete it with "
            f"`bc2ot hooks delete {hook.id}`."
        )


def say_what_comes_next(desk: Desk, outcomes: Iterable[Outcome], *, to_receiver: bool) -> None:
    from onetribe_bc.commands.hooks import Change

    created = [o.hook for o in outcomes if o.change is Change.CREATED and o.hook is not None]
    if not created or desk.as_json:
        return
    if to_receiver:
        desk.console.info(
            "BigCommerce may take a minute until it calls a new hook.\n"
            "Next, if it does not run yet, the receiver: bc2ot serve"
        )
        return
    desk.console.info(
        "BigCommerce may take a minute until it calls a new hook.\n"
        "It tells the id of an order only; the order itself is sent by this tool: "
        "bc2ot backfill --since 7d"
    )
    if any(desk.is_onetribe(hook) for hook in created):
        desk.console.info('"Check Integration" on One Tribe\'s site confirms that the hook works.')


# How a hook is shown


def hook_line(desk: Desk, hook: Hook) -> str:
    activity = "" if hook.is_active else ", inactive"
    return f"hook {hook.id}, {hook.scope} to {desk.shown(hook.destination)}{activity}"


def hook_json(desk: Desk, hook: Hook, status: str) -> dict[str, object]:
    from onetribe_bc.secret import MASK

    return {
        "id": hook.id,
        "scope": hook.scope,
        "destination": desk.shown(hook.destination),
        "is_onetribe": desk.is_onetribe(hook),
        "is_active": hook.is_active,
        "status": status,
        "headers": dict.fromkeys(hook.headers, MASK),
        "created_at": hook.created_at and hook.created_at.isoformat(),
        "updated_at": hook.updated_at and hook.updated_at.isoformat(),
    }


def _outcome_json(desk: Desk, outcome: Outcome) -> dict[str, object]:
    hook = outcome.hook
    if hook is None:
        return {"change": outcome.change, "id": outcome.hook_id, "problem": outcome.problem}
    return {
        "change": outcome.change,
        "changed": outcome.changed,
        "differs": outcome.differs,
        **hook_json(desk, hook, "active" if hook.is_active else "inactive"),
    }


def print_listing_json(desk: Desk, listing: Listing) -> None:
    desk.console.json(
        {
            "store_hash": desk.settings.bigcommerce.store_hash,
            "hooks": [hook_json(desk, hook, listing.status(hook)) for hook in listing.hooks],
            "blocked_domains": [
                {
                    "destination": desk.shown(blocked.destination),
                    "time_left_s": blocked.time_left_s,
                    "reasons": blocked.reasons,
                }
                for blocked in listing.blocked
            ],
        }
    )
    say_state(desk, listing)


def print_listing(desk: Desk, listing: Listing) -> None:
    from onetribe_bc.commands.hooks import INVISIBLE

    if listing.hooks:
        columns = ("ID", "SCOPE", "DESTINATION", "STATUS", "HEADERS", "UPDATED")
        desk.console.table(
            columns,
            (
                (
                    hook.id,
                    hook.scope,
                    desk.shown(hook.destination),
                    listing.status(hook),
                    ", ".join(hook.headers),
                    _moment(desk, hook.updated_at),
                )
                for hook in listing.hooks
            ),
        )
    else:
        desk.console.info(f"No such hook. {INVISIBLE}")
    say_state(desk, listing)


def print_hook(desk: Desk, hook: Hook, status: str) -> None:
    from onetribe_bc.secret import MASK

    fields = {
        "id": str(hook.id),
        "scope": hook.scope,
        "destination": desk.shown(hook.destination),
        "status": status,
        "headers": ", ".join(f"{name}={MASK}" for name in hook.headers) or "none",
        "created": _moment(desk, hook.created_at),
        "updated": _moment(desk, hook.updated_at),
    }
    for name, value in fields.items():
        desk.console.data(f"{name:<12} {value}")


def say_state(desk: Desk, listing: Listing) -> None:
    """What BigCommerce itself did to the hooks, and how to undo it."""
    off = [str(hook.id) for hook in listing.hooks if hook.id in listing.deactivated]
    if off:
        desk.console.info(
            "BigCommerce deactivates hooks that were idle for 90 days or whose callbacks kept "
            f"failing. Switch on again: bc2ot hooks enable {' '.join(off)}"
        )
    for blocked in listing.blocked:
        reasons = f" ({', '.join(blocked.reasons)})" if blocked.reasons else ""
        desk.console.warning(
            f"BigCommerce calls {desk.shown(blocked.destination)} again in "
            f"{blocked.time_left_s} s at the earliest: too many callbacks failed{reasons}."
        )
    if listing.problem:
        desk.console.warning(f"deactivated hooks may be shown as inactive: {listing.problem}")


def _moment(desk: Desk, moment: datetime | None) -> str:
    from onetribe_bc.dates import format_time

    return "" if moment is None else format_time(moment, desk.settings.timezone)
