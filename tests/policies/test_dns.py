from __future__ import annotations

import pytest

from spillway.contracts.resources import Resource
from tests.policies.support import Case, check_case, resource


def record(**props: object) -> Resource:
    given = {"ttl": 30, "failoverRoutingPolicies": [{"type": "PRIMARY"}], "healthCheckId": "check-1", **props}
    return resource("aws:route53/record:Record", **given)


def profile(**props: object) -> Resource:
    given = {"trafficRoutingMethod": "Priority", "dnsConfig": {"ttl": 30}, "monitorConfig": {"path": "/"}, **props}
    return resource("azure-native:trafficmanager:Profile", **given)


CASES = {
    "dns-ttl": Case([record(), profile()], [record(ttl=300)]),
    "failover-health-check": Case([record(), profile()], [record(healthCheckId=None)]),
}


@pytest.mark.parametrize("policy", CASES)
def test_policy(policy: str) -> None:
    check_case(policy, CASES[policy])


def test_the_bound_is_the_stacks_to_choose() -> None:
    check_case("dns-ttl", Case([record(ttl=10)], [record(ttl=20)], {"max_ttl_s": 10}))


def test_traffic_manager() -> None:
    check_case("dns-ttl", Case([], [profile(dnsConfig={"ttl": 300})]))
    check_case("failover-health-check", Case([], [profile(monitorConfig=None)]))
