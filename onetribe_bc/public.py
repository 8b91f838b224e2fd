"""The public names of `onetribe_bc`, in one list.

`onetribe_bc.__init__` imports this module when the first of them is used.
"""

from onetribe_bc.api.bigcommerce import BigCommerceClient as BigCommerceClient
from onetribe_bc.api.bigcommerce import OrderQuery as OrderQuery
from onetribe_bc.api.onetribe import OneTribeClient as OneTribeClient
from onetribe_bc.clock import SystemClock as SystemClock
from onetribe_bc.commands.backfill import backfill as backfill
from onetribe_bc.commands.callback import deliver_callback as deliver_callback
from onetribe_bc.commands.callback import make_verifier as make_verifier
from onetribe_bc.commands.callback import take_callback as take_callback
from onetribe_bc.commands.hooks import create_hooks as create_hooks
from onetribe_bc.commands.reconcile import reconcile as reconcile
from onetribe_bc.commands.retry import choose_orders as choose_orders
from onetribe_bc.commands.retry import retry as retry
from onetribe_bc.commands.sync import plan_sync as plan_sync
from onetribe_bc.commands.sync import sync as sync
from onetribe_bc.config.load import load as _load
from onetribe_bc.config.settings import Settings as Settings
from onetribe_bc.delivery.context import connect_bigcommerce as connect_bigcommerce
from onetribe_bc.delivery.context import open_context as open_context
from onetribe_bc.delivery.context import open_ledger as open_ledger
from onetribe_bc.delivery.context import policy_of as policy_of
from onetribe_bc.delivery.report import Report as Report
from onetribe_bc.delivery.report import Summary as Summary
from onetribe_bc.delivery.selection import OrderFilter as OrderFilter
from onetribe_bc.delivery.selection import select as select
from onetribe_bc.ledger.ledger import Ledger as Ledger
from onetribe_bc.ledger.states import Disposition as Disposition
from onetribe_bc.ledger.states import State as State
from onetribe_bc.order import Order as Order
from onetribe_bc.secret import Secret as Secret

load_settings = _load
