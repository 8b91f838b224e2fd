from __future__ import annotations

from collections.abc import Iterator

import pytest

from onetribe_bc.sandbox import Quota, Sandbox
from tests.sandbox.client import Answer, Client, api, control, onetribe

WINDOW = "X-Rate-Limit-Time-Window-Ms"
RESET = "X-Rate-Limit-Time-Reset-Ms"
QUOTA = "X-Rate-Limit-Requests-Quota"
LEFT = "X-Rate-Limit-Requests-Left"


class Ticks:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


@pytest.fixture
def limited(ticks: Ticks) -> Iterator[Sandbox]:
    with Sandbox(orders=5, quota=Quota(requests=3, window_s=30), monotonic=ticks) as sandbox:
        yield sandbox


@pytest.fixture
def client(limited: Sandbox) -> Iterator[Client]:
    with api(limited) as client:
        yield client


def quota_of(answer: Answer) -> tuple[str, ...]:
    return tuple(answer.headers[name] for name in (WINDOW, RESET, QUOTA, LEFT))


def test_every_response_has_quota_headers_204_and_errors_too(client: Client, ticks: Ticks) -> None:
    answers = [client.get("/v2/time")]
    ticks.now += 10.5
    answers += [client.get("/v2/orders", page=9), client.get("/v2/orders/1")]

    assert [answer.status for answer in answers] == [200, 204, 404]
    assert [quota_of(answer) for answer in answers] == [
        ("30000", "30000", "3", "2"),
        ("30000", "19500", "3", "1"),
        ("30000", "19500", "3", "0"),
    ]


def test_above_the_quota_is_a_429_with_the_time_to_wait(client: Client, ticks: Ticks) -> None:
    for _ in range(3):
        client.get("/v2/time")
    ticks.now += 27.5
    answers = [client.get("/v2/time"), client.get("/v3/hooks")]

    assert [answer.status for answer in answers] == [429, 429]
    assert quota_of(answers[0]) == ("30000", "2500", "3", "0")
    assert answers[0].headers["X-Retry-After"] == "3"
    assert answers[0].json()[0]["status"] == answers[1].json()["status"] == 429


def test_a_new_window_has_a_new_quota(client: Client, ticks: Ticks) -> None:
    for _ in range(4):
        client.get("/v2/time")
    ticks.now += 30

    assert quota_of(client.get("/v2/time")) == ("30000", "30000", "3", "2")


def test_other_apps_eat_from_the_same_quota(limited: Sandbox, client: Client) -> None:
    limited.eat_quota(2)

    assert [client.get("/v2/time").status for _ in range(2)] == [200, 429]


def test_the_quota_can_be_changed_and_removed(limited: Sandbox, client: Client) -> None:
    limited.eat_quota(9)
    limited.quota = Quota(requests=100, window_s=1)
    assert client.get("/v2/time").headers[LEFT] == "99"

    limited.quota = None
    answer = client.get("/v2/time")
    assert limited.quota is None
    assert answer.status == 200
    assert LEFT not in answer.headers


def test_one_tribe_and_the_control_path_have_no_quota(limited: Sandbox) -> None:
    limited.eat_quota(9)
    with onetribe(limited) as tribe, control(limited) as remote:
        assert LEFT not in tribe.send("POST", "", {"id": 1}).headers
        assert remote.get("/received").status == 200
