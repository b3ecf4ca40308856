from __future__ import annotations

import pytest

from spillway.contracts.resources import Resource
from tests.policies.support import Case, check_case, resource

_ML = "azure-native:machinelearningservices"


def workspace(access: str = "Disabled", mode: str = "AllowOnlyApprovedOutbound") -> Resource:
    return resource(f"{_ML}:Workspace", publicNetworkAccess=access, managedNetwork={"isolationMode": mode})


def endpoint(access: str) -> Resource:
    return resource(f"{_ML}:OnlineEndpoint", properties={"publicNetworkAccess": access})


CASES = {
    "azure-ml-private-workspace": Case([workspace()], [workspace("Enabled")]),
    "azure-ml-private-endpoint": Case([endpoint("Disabled")], [endpoint("Enabled")]),
    "azure-ml-egress": Case([workspace()], [workspace(mode="Nowhere")]),
}


@pytest.mark.parametrize("policy", CASES)
def test_policy(policy: str) -> None:
    check_case(policy, CASES[policy])
