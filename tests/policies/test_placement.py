from __future__ import annotations

import pytest

from tests.policies.support import Case, check_case, found, resource

L4 = resource("aws:eks/nodeGroup:NodeGroup", in_region="eu-west-1", instanceTypes=["g6.12xlarge"])
H100 = resource("aws:eks/nodeGroup:NodeGroup", in_region="us-east-1", instanceTypes=["p5.48xlarge"])
AZURE = resource("azure-native:storage:StorageAccount", location="westeurope")

CASES = {
    "allowed-instance-types": Case([L4], [H100], {"allowed": ["g6.*"]}),
    "allowed-regions": Case([L4, AZURE], [H100, AZURE], {"allowed": ["eu-*", "westeurope"]}),
    "allowed-accelerators": Case([L4], [H100], {"allowed": ["L4"]}),
}


@pytest.mark.parametrize("policy", CASES)
def test_policy(policy: str) -> None:
    check_case(policy, CASES[policy])


@pytest.mark.parametrize("policy", CASES)
def test_everything_is_allowed_by_default(policy: str) -> None:
    assert found(policy, [L4, H100, AZURE]).violations == ()
