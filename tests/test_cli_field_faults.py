"""Whole runs while a service does what services did wrong in the field."""

from __future__ import annotations

import pytest

from tests.shell import Shell, shell_fixture  # noqa: F401


@pytest.mark.parametrize(
    "fault",
    [
        "onetribe:interim@0.2",
        "onetribe:many_headers",
        "onetribe:long_header",
        "onetribe:drip_head@0.0001",
        "onetribe:retry_after*3",
        "onetribe:retry_after@-1*3",
        "bigcommerce:interim@0.01",
        "bigcommerce:many_headers",
        "bigcommerce:long_header",
        "bigcommerce:retry_after@-1*2",
        "bigcommerce:continue_forever*1",
        "bigcommerce:idle_reset*3",
        "bigcommerce:late@1*1",
    ],
)
def test_every_order_is_delivered_once_despite(shell: Shell, fault: str) -> None:
    shell.configure(delivery={"timeout": {"connect": 1, "read": 0.5}})
    shell.sandbox.faults.add(fault)
    shell.run("backfill").says(0, f"{shell.eligible} delivered")

    assert len(shell.sandbox.onetribe.counts()) == shell.eligible
    assert set(shell.sandbox.onetribe.counts().values()) == {1}


@pytest.mark.parametrize(
    "fault",
    [
        "onetribe:continue_forever*1#218",
        "onetribe:late@2*1#218",
        "onetribe:drip_head@1*1#218",
    ],
)
def test_an_order_without_a_response_is_unknown_named_and_counted(shell: Shell, fault: str) -> None:
    shell.configure(delivery={"timeout": {"connect": 1, "read": 0.3}, "on_unknown": "hold"})
    shell.sandbox.faults.add(fault)
    told = shell.run("backfill").says(1, "Order 218 unknown", f"{shell.eligible - 1} delivered")

    assert "It may have arrived" in told.err
    assert shell.states()["unknown"] == 1
    shell.run("retry", "--unknown").says(0, "1 delivered", "1 possible duplicate")
