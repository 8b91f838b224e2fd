"""BigCommerce's hooks over HTTP: v3 wraps in data and meta, v2 has the bare object or list.

Not documented, hence chosen: a second hook with the same scope and destination, and an eleventh
with the same scope, are a 422, since the reference has 400, 401, 404 and 422 only; an empty v2 list
is `[]`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict

from onetribe_bc.sandbox.hooks import Hook, HookError, HookStore
from onetribe_bc.sandbox.messages import Request, Response, api_error, json_response

_DEFAULT_LIMIT = 50
_MAX_LIMIT = 250


def respond_to_hooks(hooks: HookStore, request: Request, version: str, resource: str) -> Response:
    """Respond for `resource`, the path from `hooks` on. Any token may: hooks need no scope."""
    name = resource.partition("/")[2]
    try:
        if version == "v3" and name == "admin":
            return _admin(hooks, request)
        if not name:
            return _collection(hooks, request, version)
        return _single(hooks, request, version, int(name))
    except HookError as error:
        if version == "v2":
            return api_error(version, 422, f"{error.field}: {error}")
        message = "JSON data is missing or invalid"
        return api_error(version, 422, message, {error.field: str(error)})
    except KeyError:
        return api_error(version, 404, f"Webhook with id [{name}] not found")
    except ValueError:  # an id that is not a number, or a body that is not a JSON object
        return api_error(version, 400, "Input is invalid.")


def _collection(hooks: HookStore, request: Request, version: str) -> Response:
    if request.method == "POST":
        return _one(version, hooks.create(_object(request)))
    if request.method != "GET":
        return api_error(version, 405)
    found = _filtered(hooks.visible(), request.params())
    if version == "v2":
        return json_response(200, [hook.as_json() for hook in found])
    page, pagination = _page(found, request)
    data = [hook.as_json() for hook in page]
    return json_response(200, {"data": data, "meta": {"pagination": pagination}})


def _single(hooks: HookStore, request: Request, version: str, hook_id: int) -> Response:
    match request.method:
        case "GET":
            return _one(version, hooks.get(hook_id))
        case "PUT":
            return _one(version, hooks.update(hook_id, _object(request)))
        case "DELETE":
            return _one(version, hooks.delete(hook_id))
        case _:
            return api_error(version, 405)


def _admin(hooks: HookStore, request: Request) -> Response:
    if request.method == "PUT":
        hooks.set_emails(_object(request).get("emails"))
        return Response(204)
    if request.method != "GET":
        return api_error("v3", 405)
    found = _filtered(hooks.visible(), request.params())
    data = {
        "emails": hooks.emails,
        "hooks_list": [hook.as_json() | {"status": hook.status} for hook in found],
        "blocked_domains": [asdict(domain) for domain in hooks.blocked()],
    }
    _, pagination = _page(found, request)
    return json_response(200, {"data": data, "meta": {"pagination": pagination}})


def _one(version: str, hook: Hook) -> Response:
    body: object = hook.as_json() if version == "v2" else {"data": hook.as_json(), "meta": {}}
    return json_response(200, body)


def _object(request: Request) -> Mapping[str, object]:
    value = json.loads(request.body)
    if not isinstance(value, dict):
        raise ValueError("Expected a JSON object.")
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
    """One page and its `pagination`. Raises ValueError for an invalid number."""
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
