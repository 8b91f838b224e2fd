from __future__ import annotations

from typing import Any

import pytest

from onetribe_bc.sandbox import Sandbox
from tests.sandbox.client import Answer, Client

CREATED = "store/order/created"
DESTINATION = "https://shop.example.com/callback"
VERSIONS = pytest.mark.parametrize("version", ["v2", "v3"])


def post(client: Client, version: str, **fields: object) -> Answer:
    wanted = {"scope": CREATED, "destination": DESTINATION} | fields
    return client.send("POST", f"/{version}/hooks", wanted)


def hook_in(answer: Answer, version: str) -> Any:
    assert answer.status == 200
    body = answer.json()
    return body if version == "v2" else body["data"]


def error_in(answer: Answer, version: str) -> str:
    body = answer.json()
    if version == "v2":
        assert body[0]["status"] == answer.status
        return str(body[0]["message"])
    assert body["status"] == answer.status
    return f"{body['title']} {body['errors']}"


@VERSIONS
def test_a_hook_is_created_read_and_listed(
    sandbox: Sandbox, bigcommerce: Client, version: str
) -> None:
    assert hook_in(bigcommerce.get(f"/{version}/hooks"), version) == []
    created = hook_in(post(bigcommerce, version, headers={"X-Secret": "s"}), version)

    assert set(created) == {
        "id", "client_id", "store_hash", "scope", "destination", "headers", "is_active",
        "created_at", "updated_at",
    }  # fmt: skip
    assert created["is_active"] is True
    assert created["headers"] == {"X-Secret": "s"}
    assert created["store_hash"] == sandbox.store_hash
    assert hook_in(bigcommerce.get(f"/{version}/hooks/{created['id']}"), version) == created
    for either in ("v2", "v3"):
        assert hook_in(bigcommerce.get(f"/{either}/hooks"), either) == [created]


@VERSIONS
def test_an_update_changes_what_is_given_and_the_time(bigcommerce: Client, version: str) -> None:
    created = hook_in(post(bigcommerce, version, headers={"A": "1"}), version)
    path = f"/{version}/hooks/{created['id']}"
    updated = hook_in(bigcommerce.send("PUT", path, {"is_active": False}), version)

    assert updated["updated_at"] > created["updated_at"]
    assert updated == created | {"is_active": False, "updated_at": updated["updated_at"]}
    assert hook_in(bigcommerce.send("PUT", path, {"headers": None}), version)["headers"] is None


@VERSIONS
def test_a_deleted_hook_is_returned_and_then_gone(bigcommerce: Client, version: str) -> None:
    created = hook_in(post(bigcommerce, version), version)
    path = f"/{version}/hooks/{created['id']}"

    assert hook_in(bigcommerce.send("DELETE", path), version) == created
    for method in ("GET", "DELETE"):
        answer = bigcommerce.send(method, path)
        assert answer.status == 404
        assert f"Webhook with id [{created['id']}] not found" in error_in(answer, version)
    assert bigcommerce.send("PUT", path, {"is_active": True}).status == 404


@VERSIONS
@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"scope": None}, "scope"),
        ({"destination": None}, "destination"),
        ({"scope": "store/order/paid"}, "scope"),
        ({"scope": 7}, "scope"),
        ({"destination": "http://shop.example.com/callback"}, "destination"),
        ({"destination": "https://shop.example.com:8443/callback"}, "destination"),
        ({"destination": "https://shop.example.com:port/"}, "destination"),
        ({"destination": "https://"}, "destination"),
        ({"destination": ["https://shop.example.com"]}, "destination"),
        ({"is_active": "yes"}, "is_active"),
        ({"headers": ["X-Secret"]}, "headers"),
        ({"headers": {"X-Number": 7}}, "headers"),
    ],
)
def test_an_invalid_hook_is_a_422_that_names_the_field(
    bigcommerce: Client, version: str, fields: dict[str, object], wrong: str
) -> None:
    answer = post(bigcommerce, version, **fields)

    assert answer.status == 422
    assert wrong in error_in(answer, version)
    assert bigcommerce.get("/v2/hooks").json() == []


@VERSIONS
@pytest.mark.parametrize("body", [b"{", b"[]", b""])
def test_a_body_other_than_a_json_object_is_a_400(
    bigcommerce: Client, version: str, body: bytes
) -> None:
    answer = bigcommerce.send("POST", f"/{version}/hooks", body)

    assert answer.status == 400
    assert "Input is invalid" in error_in(answer, version)


@VERSIONS
def test_an_empty_update_is_a_422_and_an_invalid_id_a_400(
    bigcommerce: Client, version: str
) -> None:
    created = hook_in(post(bigcommerce, version), version)

    assert bigcommerce.send("PUT", f"/{version}/hooks/{created['id']}", {}).status == 422
    assert bigcommerce.get(f"/{version}/hooks/abc").status == 400


@VERSIONS
def test_a_second_hook_with_scope_and_destination_is_refused(
    bigcommerce: Client, version: str
) -> None:
    post(bigcommerce, version)
    assert post(bigcommerce, version).status == 422

    other = hook_in(post(bigcommerce, version, scope="store/order/updated"), version)
    path = f"/{version}/hooks/{other['id']}"
    assert bigcommerce.send("PUT", path, {"scope": CREATED}).status == 422
    assert bigcommerce.send("PUT", path, {"scope": "store/order/updated"}).status == 200


@VERSIONS
def test_a_scope_holds_ten_hooks(bigcommerce: Client, version: str) -> None:
    answers = [post(bigcommerce, version, destination=f"{DESTINATION}/{n}") for n in range(11)]

    assert [answer.status for answer in answers] == [200] * 10 + [422]
    assert post(bigcommerce, version, scope="store/order/*").status == 200


@VERSIONS
@pytest.mark.parametrize("path", ["/hooks", "/hooks/1"])
def test_other_methods_are_a_405(bigcommerce: Client, version: str, path: str) -> None:
    assert bigcommerce.send("PATCH", f"/{version}{path}").status == 405


@VERSIONS
def test_lists_are_filtered(sandbox: Sandbox, bigcommerce: Client, version: str) -> None:
    first = sandbox.hooks.add(CREATED, DESTINATION)
    second = sandbox.hooks.add("store/order/*", DESTINATION, is_active=False)
    third = sandbox.hooks.add(CREATED, "https://other.example.com/")

    def ids(**params: object) -> list[int]:
        answer = bigcommerce.get(f"/{version}/hooks", **params)
        return [hook["id"] for hook in hook_in(answer, version)]

    assert ids(scope=CREATED) == [first.id, third.id]
    assert ids(is_active="false") == [second.id]
    assert ids(is_active="true", scope=CREATED) == [first.id, third.id]


def test_v3_lists_come_in_pages(sandbox: Sandbox, bigcommerce: Client) -> None:
    hooks = [sandbox.hooks.add(CREATED, f"{DESTINATION}/{n}") for n in range(5)]
    pages = [bigcommerce.get("/v3/hooks", page=page, limit=2).json() for page in (1, 2, 3, 4)]

    listed = [hook["id"] for page in pages for hook in page["data"]]
    assert listed == [hook.id for hook in hooks]
    assert pages[1]["meta"]["pagination"] == {
        "total": 5,
        "count": 2,
        "per_page": 2,
        "current_page": 2,
        "total_pages": 3,
    }
    assert bigcommerce.get("/v3/hooks", page="x").status == 400


def test_hooks_of_other_clients_are_hidden_and_do_not_count(
    sandbox: Sandbox, bigcommerce: Client
) -> None:
    foreign = sandbox.hooks.add(CREATED, DESTINATION, foreign=True)

    assert bigcommerce.get("/v2/hooks").json() == []
    assert bigcommerce.get(f"/v3/hooks/{foreign.id}").status == 404
    assert bigcommerce.send("DELETE", f"/v3/hooks/{foreign.id}").status == 404
    assert post(bigcommerce, "v3").status == 200
    assert len(sandbox.hooks.all()) == 2


def test_admin_lists_deactivated_hooks_and_blocked_domains(
    sandbox: Sandbox, bigcommerce: Client
) -> None:
    off = sandbox.hooks.add(CREATED, DESTINATION)
    sandbox.hooks.add("store/order/updated", DESTINATION, is_active=False)
    sandbox.hooks.add("store/order/*", DESTINATION)
    sandbox.hooks.deactivate(off.id)
    sandbox.hooks.block(DESTINATION, time_left_s=90)
    answer = bigcommerce.get("/v3/hooks/admin").json()

    hooks = answer["data"]["hooks_list"]
    assert [hook["status"] for hook in hooks] == ["deactivated", "inactive", "active"]
    assert hooks[0]["is_active"] is False
    assert answer["meta"]["pagination"]["total"] == 3
    (domain,) = answer["data"]["blocked_domains"]
    assert (domain["destination"], domain["time_left"]) == (DESTINATION, 90)
    assert domain["reasons"][0]["count"] > 0

    bigcommerce.send("PUT", f"/v3/hooks/{off.id}", {"is_active": True})
    answer = bigcommerce.get("/v3/hooks/admin").json()
    assert answer["data"]["hooks_list"][0]["status"] == "active"


def test_admin_keeps_the_alert_addresses(sandbox: Sandbox, bigcommerce: Client) -> None:
    answer = bigcommerce.send("PUT", "/v3/hooks/admin", {"emails": ["ops@example.com"]})

    assert answer.status == 204
    assert bigcommerce.get("/v3/hooks/admin").json()["data"]["emails"] == ["ops@example.com"]
    assert bigcommerce.send("PUT", "/v3/hooks/admin", {"emails": "ops"}).status == 422
    assert bigcommerce.send("PUT", "/v3/hooks/admin", {"emails": ["ops"]}).status == 422
    assert bigcommerce.send("DELETE", "/v3/hooks/admin").status == 405


@VERSIONS
def test_a_different_destination_can_be_returned_than_requested(
    sandbox: Sandbox, bigcommerce: Client, version: str
) -> None:
    sandbox.hooks.answer_destination = "https://shop.example.com/api/shopify"

    created = hook_in(post(bigcommerce, version), version)
    assert created["destination"] == "https://shop.example.com/api/shopify"
    assert hook_in(bigcommerce.get(f"/{version}/hooks"), version) == [created]
