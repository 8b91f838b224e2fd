"""The sandbox for other processes, on the BigCommerce port, without token or quota.

| path | method | what it does |
|---|---|---|
| `/_sandbox/received` | GET | how often each order was filed, with the SHA-256 of each body |
| `/_sandbox/orders` | POST | adds an order; the body has fields of it |
| `/_sandbox/orders/{id}` | PUT | changes the fields in the body |
| `/_sandbox/faults` | PUT | replaces the faults by those in the body's `faults` |
"""

from __future__ import annotations

import re

from onetribe_bc.sandbox.faults import Faults
from onetribe_bc.sandbox.messages import Request, Response, json_object, json_response
from onetribe_bc.sandbox.onetribe import OneTribe
from onetribe_bc.sandbox.order_store import OrderStore

PREFIX = "/_sandbox/"


def respond_to_control(
    store: OrderStore, onetribe: OneTribe, faults: Faults, request: Request
) -> Response:
    """Respond to a request below PREFIX. An error is `{"error": "…"}`."""
    if "Origin" in request.headers or not _names_this_machine(request.headers.get("Host", "")):
        return json_response(403, {"error": "Web pages may not control the sandbox."})
    try:
        fields = json_object(request.body or b"{}")
        match request.method, *request.path.removeprefix(PREFIX).split("/"):
            case "GET", "received":
                return json_response(200, _received(onetribe))
            case "POST", "orders":
                return json_response(200, {"id": store.add(**fields)})
            case "PUT", "orders", order_id:
                store.modify(int(order_id), **fields)
                return Response(200, store.raw(int(order_id)))
            case "PUT", "faults":
                specs = fields.get("faults")
                if not isinstance(specs, list) or not all(isinstance(each, str) for each in specs):
                    raise ValueError('Expected {"faults": ["onetribe:5xx=0.1", …]}.')
                faults.replace(specs)
                return json_response(200, {"faults": specs})
    except KeyError as error:
        return json_response(404, {"error": f"There is no order {error}."})
    except ValueError as error:
        return json_response(400, {"error": str(error)})
    return json_response(404, {"error": f"There is no {request.method} {request.path}."})


def _names_this_machine(authority: str) -> bool:
    """Whether a Host header is the sandbox's own, and not a name that a web page's owner had point
    to this machine (DNS rebinding).
    """
    return re.fullmatch(r"(localhost|127\.0\.0\.1)?(:\d+)?", authority, re.IGNORECASE) is not None


def _received(onetribe: OneTribe) -> dict[str, object]:
    received = onetribe.received
    digests: dict[int, list[str]] = {}
    for each in received:
        if each.filed and each.order_id is not None:
            digests.setdefault(each.order_id, []).append(each.sha256)
    return {
        "received": len(received),
        "filed": sum(map(len, digests.values())),
        "orders": {
            str(order_id): {"filed": len(sha256), "sha256": sha256}
            for order_id, sha256 in sorted(digests.items())
        },
    }
