from __future__ import annotations

from spillway.conformance.places.lengths import RULES
from tests.conformance.plan import accused, made


def test_a_long_prefix_in_a_long_region() -> None:
    def bucket(prefix: str) -> list[str]:
        props = {"bucket": f"{prefix}-burst-async-123456789012-ap-southeast-2"}
        return accused(RULES, "name-length", made("aws:s3/bucket:Bucket", "results", props))

    assert bucket("speech-search-production") == ["results"]
    assert bucket("spillway-production") == []


def test_a_load_balancers_name() -> None:
    balancer = "aws:lb/loadBalancer:LoadBalancer"
    assert accused(RULES, "name-length", made(balancer, "lb", {"name": "a" * 33})) == ["lb"]
    assert accused(RULES, "name-length", made(balancer, "lb", {"name": "a" * 32})) == []
