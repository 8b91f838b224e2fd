"""The sandbox for other processes: `/_sandbox/…` on the BigCommerce port, without token or quota.

| path | method | what it does |
|---|---|---|
| `/_sandbox` | GET | what there is: store hash, URLs, number of orders |
| `/_sandbox/received` | GET | per order how often it was filed, and the SHA-256 of each body |
| `/_sandbox/faults` | GET, PUT | the faults in force, as a list of texts (see `fault_specs`) |
| `/_sandbox/orders` | GET, POST | every id; POST adds an order, the body holds its fields |
| `/_sandbox/orders/{id}` | GET, PUT, DELETE | the order; PUT changes the fields in the body |
| `/_sandbox/requests` | GET | the requests to the BigCommerce side, without headers |
| `/_sandbox/reset` | POST | forgets received orders, requests, faults and the used quota |
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from onetribe_bc.sandbox.fault_specs import format_fault
from onetribe_bc.sandbox.faults import Faults
from onetribe_bc.sandbox.messages import Request, Response, json_response
from onetribe_bc.sandbox.onetribe import OneTribe
from onetribe_bc.sandbox.order_store import OrderStore
from onetribe_bc.sandbox.request_log import RequestLog

PREFIX = "/_sandbox"


class Control:
    """Answers the control path. Errors are `{"error": "…"}`: 400, 404 or 405."""

    def __init__(
        self,
        store: OrderStore,
        onetribe: OneTribe,
        faults: Faults,
        requests: RequestLog,
        *,
        about: Callable[[], Mapping[str, object]],
        reset: Callable[[], None],
    ) -> None:
        self._store = store
        self._onetribe = onetribe
        self._faults = faults
        self._requests = requests
        self._about = about
        self._reset = reset

    def answer(self, request: Request) -> Response:
        name = request.path.removeprefix(PREFIX).strip("/")
        try:
            return self._answer(request, name)
        except KeyError:
            return json_response(404, {"error": f"There is no order {name.partition('/')[2]}."})
        except ValueError as error:
            return json_response(400, {"error": str(error)})

    def _answer(self, request: Request, name: str) -> Response:
        match request.method, *name.split("/"):
            case "GET", "":
                return json_response(200, self._about())
            case "GET", "received":
                return json_response(200, self._onetribe.summary())
            case "GET", "requests":
                return json_response(200, self._requested())
            case "GET", "faults":
                return self._in_force()
            case "PUT", "faults":
                self._faults.replace(_specs(request))
                return self._in_force()
            case "GET", "orders":
                return json_response(200, {"ids": self._store.ids()})
            case "POST", "orders":
                return json_response(200, {"id": self._store.add(**_fields(request))})
            case method, "orders", order_id:
                return self._order(method, int(order_id), request)
            case "POST", "reset":
                self._reset()
                return Response(204)
            case _:
                return json_response(404, {"error": f"No {request.method} {request.path} here."})

    def _order(self, method: str, order_id: int, request: Request) -> Response:
        match method:
            case "GET":
                return Response(200, self._store.raw(order_id))
            case "PUT":
                self._store.modify(order_id, **_fields(request))
                return Response(200, self._store.raw(order_id))
            case "DELETE":
                self._store.remove(order_id)
                return Response(204)
            case _:
                return json_response(405, {"error": "An order takes GET, PUT and DELETE."})

    def _in_force(self) -> Response:
        return json_response(200, {"faults": [format_fault(f) for f in self._faults.active()]})

    def _requested(self) -> list[dict[str, object]]:
        return [
            {
                "method": record.method,
                "path": record.path,
                "query": record.query,
                "status": record.status,
                "at": record.at.isoformat(),
            }
            for record in self._requests.records()
        ]


def _fields(request: Request) -> dict[str, object]:
    fields = json.loads(request.body or b"{}")
    if not isinstance(fields, dict):
        raise ValueError("The body needs to be a JSON object with the fields of an order.")
    return fields


def _specs(request: Request) -> list[str]:
    wanted = _fields(request).get("faults")
    if not isinstance(wanted, list) or not all(isinstance(spec, str) for spec in wanted):
        raise ValueError('The body needs to be {"faults": ["onetribe:5xx=0.1", …]}.')
    return wanted
