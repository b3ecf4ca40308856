from __future__ import annotations

import pytest

from policies.resources import Resource
from tests.policies.support import Case, check_case, resource

_ML = "azure-native:machinelearningservices"


def workspace(access: str = "Disabled", mode: str = "AllowOnlyApprovedOutbound") -> Resource:
    return resource(f"{_ML}:Workspace", publicNetworkAccess=access, managedNetwork={"isolationMode": mode})


def endpoint(access: str) -> Resource:
    return resource(f"{_ML}:OnlineEndpoint", properties={"publicNetworkAccess": access})


def deployment(egress: str) -> Resource:
    return resource(f"{_ML}:OnlineDeployment", properties={"egressPublicNetworkAccess": egress})


CASES = {
    "azure-ml-private-workspace": Case([workspace()], [workspace("Enabled")]),
    "azure-ml-private-endpoint": Case([endpoint("Disabled")], [endpoint("Enabled")]),
    "azure-ml-egress": Case([workspace(), deployment("Disabled")], [deployment("Enabled")]),
}


@pytest.mark.parametrize("policy", CASES)
def test_policy(policy: str) -> None:
    check_case(policy, CASES[policy])


def test_a_workspace_has_a_managed_network() -> None:
    check_case("azure-ml-egress", Case([], [workspace(mode="Nowhere")]))
