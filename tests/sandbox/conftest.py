from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from onetribe_bc.sandbox import Sandbox
from tests.sandbox.client import Client, api, control, onetribe

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(orders=40, seed=7, now=NOW, quota=None, example=True) as sandbox:
        yield sandbox


@pytest.fixture
def bigcommerce(sandbox: Sandbox) -> Iterator[Client]:
    with api(sandbox) as client:
        yield client


@pytest.fixture
def tribe(sandbox: Sandbox) -> Iterator[Client]:
    with onetribe(sandbox) as client:
        yield client


@pytest.fixture
def remote(sandbox: Sandbox) -> Iterator[Client]:
    with control(sandbox) as client:
        yield client
