"""BigCommerce and One Tribe, simulated on loopback, with faults on request.

It imports nothing from the rest of the package and tells nothing but what the two services publish:
a test against it does not share a mistake with the code it tests.
"""

from __future__ import annotations

from onetribe_bc.sandbox.fault import Fault, FaultKind, Gate, Service
from onetribe_bc.sandbox.fault_specs import SYNTAX as FAULT_SYNTAX
from onetribe_bc.sandbox.fault_specs import format_fault, parse_fault
from onetribe_bc.sandbox.faults import Faults
from onetribe_bc.sandbox.hooks import Hook, HookBook
from onetribe_bc.sandbox.messages import Headers, Request
from onetribe_bc.sandbox.onetribe import OneTribe
from onetribe_bc.sandbox.order_store import OrderStore
from onetribe_bc.sandbox.orders_api import INFORMATION_SCOPE, ORDERS_SCOPE
from onetribe_bc.sandbox.quota import Quota
from onetribe_bc.sandbox.received import Received
from onetribe_bc.sandbox.request_log import RequestRecord
from onetribe_bc.sandbox.sandbox import Sandbox

__all__ = [
    "FAULT_SYNTAX",
    "INFORMATION_SCOPE",
    "ORDERS_SCOPE",
    "Fault",
    "FaultKind",
    "Faults",
    "Gate",
    "Headers",
    "Hook",
    "HookBook",
    "OneTribe",
    "OrderStore",
    "Quota",
    "Received",
    "Request",
    "RequestRecord",
    "Sandbox",
    "Service",
    "format_fault",
    "parse_fault",
]
