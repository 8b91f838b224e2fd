from __future__ import annotations

import pytest

from onetribe_bc.sandbox import Fault, FaultKind, parse_fault


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ("onetribe:5xx=0.1", Fault("onetribe", "5xx", rate=0.1)),
        ("bigcommerce:reset=0.05", Fault("bigcommerce", "reset", rate=0.05)),
        ("onetribe:slow=0.2@1.5", Fault("onetribe", "slow", rate=0.2, delay_s=1.5)),
        ("onetribe:lost_reply", Fault("onetribe", "lost_reply")),
        (" onetribe:status@410*3 ", Fault("onetribe", "status", status=410, times=3)),
        ("onetribe:html@200", Fault("onetribe", "html", status=200)),
        ("bigcommerce:drip=0.5@0*1", Fault("bigcommerce", "drip", rate=0.5, delay_s=0, times=1)),
        ("bigcommerce:long_list@0", Fault("bigcommerce", "long_list", number=0)),
        ("onetribe:retry_after@-1", Fault("onetribe", "retry_after", delay_s=-1)),
        (
            "onetribe:reset*2#218,219",
            Fault("onetribe", "reset", times=2, order_ids=frozenset({218, 219})),
        ),
    ],
)
def test_a_spec_is_read(spec: str, fault: Fault) -> None:
    assert parse_fault(spec) == fault


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("5xx", r"not of the form SERVICE:KIND\[=RATE\].* such as 'onetribe:5xx=0.1'"),
        ("onetribe:5xx*many", "not of the form"),
        ("shopify:5xx", "names an unknown service: known are bigcommerce, onetribe"),
        ("onetribe:explode", "an unknown kind: known are 5xx, status, html"),
        ("onetribe:hold", "an unknown kind"),
        ("onetribe:5xx=often", "malformed: could not convert"),
        ("onetribe:5xx=2", "malformed: A fault's rate"),
        ("onetribe:5xx@503", "malformed: 5xx takes no argument"),
        ("onetribe:status@abc", "malformed: invalid literal"),
        ("onetribe:status@999", "malformed: 999 is not an HTTP status"),
        ("onetribe:slow@-1", "malformed: A fault's delay"),
        ("onetribe:slow@nan", "malformed: A fault's delay"),
        ("onetribe:not_ascending", "malformed: not_ascending is a fault of bigcommerce only"),
        ("onetribe:unfetchable", "malformed: unfetchable is a fault of bigcommerce only"),
        ("onetribe:endless_quota", "malformed: endless_quota is a fault of bigcommerce only"),
        ("bigcommerce:refuse_copy", "malformed: refuse_copy is a fault of onetribe only"),
        ("bigcommerce:long_list@-1", "malformed: A fault's number"),
        ("onetribe:reset#,", "malformed: invalid literal"),
    ],
)
def test_a_malformed_spec_is_refused_with_a_hint(spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_fault(spec)


def test_every_kind_but_hold_can_be_written() -> None:
    for kind in set(FaultKind) - {FaultKind.HOLD}:
        service = "onetribe" if kind is FaultKind.REFUSE_COPY else "bigcommerce"
        assert parse_fault(f"{service}:{kind}").kind is kind
