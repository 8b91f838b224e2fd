"""BigCommerce and One Tribe, simulated on loopback, with faults on request.

It imports nothing from the rest of the package and follows only what the two services publish, so
that a test against it does not share a mistake with the code it tests.
"""

from __future__ import annotations

from onetribe_bc.sandbox.bigcommerce import INFORMATION_SCOPE, ORDERS_SCOPE
from onetribe_bc.sandbox.fault import (
    FAULT_SYNTAX,
    Fault,
    FaultKind,
    Gate,
    Group,
    Service,
    parse_fault,
)
from onetribe_bc.sandbox.messages import Request
from onetribe_bc.sandbox.quota import Quota
from onetribe_bc.sandbox.sandbox import Sandbox

__all__ = [
    "FAULT_SYNTAX",
    "INFORMATION_SCOPE",
    "ORDERS_SCOPE",
    "Fault",
    "FaultKind",
    "Gate",
    "Group",
    "Quota",
    "Request",
    "Sandbox",
    "Service",
    "parse_fault",
]
