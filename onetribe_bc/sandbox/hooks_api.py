"""BigCommerce's hooks over HTTP: v3 wraps in data and meta, v2 gives the bare object or list.

Not documented, hence chosen: a second hook with a scope and destination, and an eleventh with a
scope, are a 422, since the reference knows of 400, 401, 404 and 422 only; an empty v2 list is `[]`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict

from onetribe_bc.sandbox.api_errors import v2_error, v3_error
from onetribe_bc.sandbox.hooks import Hook, HookBook, HookError
from onetribe_bc.sandbox.messages import Request, Response, json_response

_DEFAULT_LIMIT = 50
_MAX_LIMIT = 250


class HooksApi:
    """Answers `/v2/hooks…` and `/v3/hooks…`. Any token may: hooks need no scope."""

    def __init__(self, hooks: HookBook) -> None:
        self._hooks = hooks

    def answer(self, request: Request, version: str, resource: str) -> Response:
        """Answer `resource`, the path from `hooks` on. `version` is v2 or v3."""
        name = resource.partition("/")[2]
        try:
            if version == "v3" and name == "admin":
                return self._admin(request)
            if not name:
                return self._collection(request, version)
            return self._single(request, version, int(name))
        except HookError as error:
            if version == "v2":
                return v2_error(422, f"{error.field}: {error}")
            return v3_error(422, "JSON data is missing or invalid", {error.field: str(error)})
        except KeyError:
            return _error(version, 404, f"Webhook with id [{name}] not found")
        except ValueError:  # an id that is no number, or a body that is no JSON object
            return _error(version, 400, "Input is invalid.")

    def _collection(self, request: Request, version: str) -> Response:
        if request.method == "POST":
            return _one(version, self._hooks.create(_object(request)))
        if request.method != "GET":
            return _error(version, 405)
        hooks = _filtered(self._hooks.visible(), request.params())
        if version == "v2":
            return json_response(200, [hook.as_json() for hook in hooks])
        page, pagination = _page(hooks, request)
        return json_response(
            200,
            {"data": [hook.as_json() for hook in page], "meta": {"pagination": pagination}},
        )

    def _single(self, request: Request, version: str, hook_id: int) -> Response:
        match request.method:
            case "GET":
                return _one(version, self._hooks.get(hook_id))
            case "PUT":
                return _one(version, self._hooks.update(hook_id, _object(request)))
            case "DELETE":
                return _one(version, self._hooks.delete(hook_id))
            case _:
                return _error(version, 405)

    def _admin(self, request: Request) -> Response:
        if request.method == "PUT":
            self._hooks.set_emails(_object(request).get("emails"))
            return Response(204)
        if request.method != "GET":
            return v3_error(405)
        hooks = _filtered(self._hooks.visible(), request.params())
        data = {
            "emails": self._hooks.emails,
            "hooks_list": [hook.as_json() | {"status": hook.status} for hook in hooks],
            "blocked_domains": [asdict(domain) for domain in self._hooks.blocked()],
        }
        _, pagination = _page(hooks, request)
        return json_response(200, {"data": data, "meta": {"pagination": pagination}})


def _error(version: str, status: int, message: str = "") -> Response:
    return v2_error(status, message) if version == "v2" else v3_error(status, message)


def _one(version: str, hook: Hook) -> Response:
    body: object = hook.as_json() if version == "v2" else {"data": hook.as_json(), "meta": {}}
    return json_response(200, body)


def _object(request: Request) -> Mapping[str, object]:
    value = json.loads(request.body)
    if not isinstance(value, dict):
        raise ValueError("A JSON object is needed.")
    return value


def _filtered(hooks: tuple[Hook, ...], params: Mapping[str, str]) -> list[Hook]:
    scope, destination = params.get("scope"), params.get("destination")
    active = {"true": True, "1": True, "false": False, "0": False}.get(params.get("is_active", ""))
    return [
        hook
        for hook in hooks
        if scope in (None, hook.scope)
        and destination in (None, hook.destination)
        and active in (None, hook.is_active)
    ]


def _page(hooks: list[Hook], request: Request) -> tuple[list[Hook], dict[str, object]]:
    """One page, and BigCommerce's `pagination` about it. Raises ValueError for no number."""
    params = request.params()
    number = max(1, int(params.get("page", "1")))
    limit = min(_MAX_LIMIT, max(1, int(params.get("limit", _DEFAULT_LIMIT))))
    page = hooks[(number - 1) * limit : number * limit]
    pages = -(-len(hooks) // limit)
    links = {"current": f"?page={number}&limit={limit}"}
    if number > 1:
        links["previous"] = f"?page={number - 1}&limit={limit}"
    if number < pages:
        links["next"] = f"?page={number + 1}&limit={limit}"
    return page, {
        "total": len(hooks),
        "count": len(page),
        "per_page": limit,
        "current_page": number,
        "total_pages": pages,
        "links": links,
    }
