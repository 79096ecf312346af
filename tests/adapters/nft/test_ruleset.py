"""Objects of the table that no packet shows at once."""

from __future__ import annotations

from cloudroute.adapters.nft.ruleset import base
from tests.adapters.nft.kit import RULESET


def test_every_masqueraded_connection_gets_a_random_port() -> None:
    """Of two that begin at the same moment with the same port, the kernel would drop the second one's first packet."""
    verdicts = [
        body["expr"][-1]["masquerade"]
        for kind, body in base(RULESET)
        if kind == "rule" and "masquerade" in body["expr"][-1]
    ]
    assert verdicts == [{"flags": "fully-random"}] * 4
