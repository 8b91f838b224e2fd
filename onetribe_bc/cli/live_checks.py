"""What `init` asks the services, as a person is told it; and the hook that it makes there."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from onetribe_bc.api.bigcommerce import BigCommerceClient, OrderQuery
from onetribe_bc.api.hooks import hook_obstacle, host_of, mask_destination
from onetribe_bc.api.onetribe import OneTribeClient, looks_like_onetribe
from onetribe_bc.cli.answers import Answers
from onetribe_bc.cli.console import Console
from onetribe_bc.cli.hooks import DEFAULT_SCOPES
from onetribe_bc.clock import Clock, SystemClock
from onetribe_bc.commands.hooks import create_hooks
from onetribe_bc.config import keys
from onetribe_bc.doctor import ATTEMPTS, Finding, Level
from onetribe_bc.doctor.onetribe import reach_onetribe
from onetribe_bc.doctor.store import check_clock, store_name
from onetribe_bc.errors import Bc2otError, ExitCode
from onetribe_bc.secret import Secret, is_loopback
from onetribe_bc.text import plural


@dataclass(frozen=True)
class LiveChecks:
    """BigCommerce and One Tribe, by the answers so far. No order is filed.

    The checks raise CredentialsError, ScopeError, OneTribeUrlError and UnreachableError.
    """

    console: Console
    answers: Answers

    def check_store(self) -> None:
        """Whether the token is the store's and reads its orders, and what the clock says."""
        clock = SystemClock()
        self.console.say("Asking BigCommerce ...")
        with closing(self._bigcommerce(clock)) as client:
            name = store_name(client)
            orders = plural(client.count_orders(OrderQuery()), "order")
            about_clock = check_clock(client, clock)
        if name:
            self.console.explain(f'OK: the store is "{name}"; the token reads its {orders}.')
        else:
            unread = " It may not read the store's name, which is fine." if name is None else ""
            self.console.explain(f"OK: the token reads the store's {orders}.{unread}")
        self._tell(about_clock)

    def check_onetribe(self) -> None:
        """Whether One Tribe is there; of its merchant key nobody can tell."""
        url = self._onetribe_url()
        self.console.say("Asking One Tribe, without an order ...")
        with closing(OneTribeClient(url, clock=SystemClock())) as client:
            self._tell(reach_onetribe(client))
        if not looks_like_onetribe(url):
            self.console.warn(
                "the address is not of the form …/direct/webhook/big-commerce/order/KEY, which "
                "One Tribe's page shows. Compare them."
            )

    def hook_obstacle(self) -> str:
        """Why no hook can lead to One Tribe's URL, as a sentence; empty when one can."""
        return hook_obstacle(self._onetribe_url())

    def is_sandbox(self) -> bool:
        """Whether One Tribe's URL is on this machine."""
        return is_loopback(host_of(self._onetribe_url().reveal()))

    def create_hook(self) -> int:
        """Its trouble does not undo the file. Returns the exit code."""
        url = self._onetribe_url()
        try:
            with closing(self._bigcommerce(SystemClock())) as client:
                outcomes = list(create_hooks(client, DEFAULT_SCOPES, url.reveal()))
        except Bc2otError as error:
            self.console.fail(f"{error}", f"{error.hint} Later: bc2ot hooks create".lstrip())
            return error.exit_code
        for outcome in outcomes:
            self.console.explain(
                f"Hook {outcome.hook_id} {outcome.change}: {', '.join(DEFAULT_SCOPES)} to "
                f"{mask_destination(url.reveal(), url)}"
            )
            if outcome.differs:
                self.console.urgent(
                    f"BigCommerce answered with another {', '.join(outcome.differs)} than it "
                    "was asked for: see `bc2ot hooks list`."
                )
        complete = all(outcome.is_complete for outcome in outcomes)
        return ExitCode.DONE if complete else ExitCode.INCOMPLETE

    def _tell(self, finding: Finding) -> None:
        """What `doctor` would say. No finding stops a set-up: what does is raised."""
        text = f"{finding.text} {finding.mend}".rstrip()
        if finding.level is Level.OK:
            self.console.explain(f"OK: {text}")
        elif finding.level is Level.NOTE:
            self.console.explain(text)
        else:
            self.console.warn(text)

    def _bigcommerce(self, clock: Clock) -> BigCommerceClient:
        token = self.answers.value(keys.ACCESS_TOKEN)
        assert token is not None  # noqa: S101 - it was asked for
        return BigCommerceClient(
            store_hash=self.answers.value(keys.STORE_HASH),
            access_token=token,
            api_url=self.answers.value(keys.API_URL),
            clock=clock,
            attempts=ATTEMPTS,
        )

    def _onetribe_url(self) -> Secret:
        url = self.answers.value(keys.ONETRIBE_URL)
        assert url is not None  # noqa: S101 - it was asked for
        return url
