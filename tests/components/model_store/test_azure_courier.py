"""What the courier is: an identity of its own, rights on one container and one folder, and no key."""

from __future__ import annotations

import json
from typing import Any

import pytest

from components.connectivity.settings import MirrorSettings
from components.model_store.azure_courier import AUDIENCE, PackageCourier, PackageCourierArgs, PackageCourierError
from components.model_store.settings import CourierSettings
from spillway.contracts.azure_roles import ROLES
from tests.support.recording import Recorded, context, of_type, record

TENANT = "00000000-0000-0000-0000-000000000002"
FOLDER = "packages/minilm/abc/azureml/models"
CONTAINER = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/a/containers/models"
IDENTITY = "azure-native:managedidentity:UserAssignedIdentity"
ASKED = "azure-native:containerinstance:getContainerGroup"
GROUP = "azure-native:containerinstance:ContainerGroup"


def ended(code: int) -> dict[str, Any]:
    return {"restartCount": 0, "currentState": {"state": "Terminated", "exitCode": code}}


ANSWERS = {
    IDENTITY: {"principalId": "principal", "clientId": "client"},
    GROUP: {"identity": {"type": "UserAssigned", "userAssignedIdentities": {}}},
}


def courier(version: str = "abc", code: int = 0, **settings: Any) -> list[Recorded]:
    args = PackageCourierArgs(
        settings=CourierSettings(**settings),
        mirror=MirrorSettings(),
        resource_group_name="rg",
        location="westeurope",
        subscription_id="s",
        tenant_id=TENANT,
        subnet_id="/subnets/courier",
        version=version,
        folder=FOLDER,
        account_name="store",
        container_name="models",
        container_id=CONTAINER,
        aws_region="eu-west-1",
        bucket_name="packages",
        bucket_arn="arn:aws:s3:::packages",
        bucket_key_arn="arn:aws:kms:eu-west-1:123456789012:key/k",
    )
    answer = {ASKED: {"containers": [{"instanceView": ended(code)}]}}
    return record(lambda: PackageCourier(context(), args), {**ANSWERS, **answer})


def test_a_package_that_does_not_arrive_stops_the_deployment() -> None:
    with pytest.raises(
        PackageCourierError, match=r"az container logs --resource-group rg --name spillway-test-courier"
    ):
        courier(code=1)


def test_it_writes_to_one_container_as_itself() -> None:
    [grant] = of_type(courier(), "azure-native:authorization:RoleAssignment")
    assert grant.inputs["scope"] == CONTAINER
    assert grant.inputs["principalId"] == "principal"
    assert grant.inputs["roleDefinitionId"].endswith(ROLES["Storage Blob Data Contributor"])


def test_aws_trusts_its_token_and_no_other() -> None:
    found = courier()
    [provider] = of_type(found, "aws:iam/openIdConnectProvider:OpenIdConnectProvider")
    assert provider.inputs["url"] == f"https://sts.windows.net/{TENANT}/"
    [role] = of_type(found, "aws:iam/role:Role")
    [statement] = json.loads(role.inputs["assumeRolePolicy"])["Statement"]
    issuer = f"sts.windows.net/{TENANT}/"
    assert statement["Condition"]["StringEquals"] == {f"{issuer}:sub": "principal", f"{issuer}:aud": AUDIENCE}
    [rights] = of_type(found, "aws:iam/rolePolicy:RolePolicy")
    reads = {s["Sid"]: s["Resource"] for s in json.loads(rights.inputs["policy"])["Statement"]}
    assert reads["Read"] == f"arn:aws:s3:::packages/{FOLDER}/*"


def test_a_provider_that_the_account_has_is_used() -> None:
    arn = f"arn:aws:iam::123456789012:oidc-provider/sts.windows.net/{TENANT}/"
    found = courier(entra_provider_arn=arn)
    assert not of_type(found, "aws:iam/openIdConnectProvider:OpenIdConnectProvider")
    [role] = of_type(found, "aws:iam/role:Role")
    assert json.loads(role.inputs["assumeRolePolicy"])["Statement"][0]["Principal"] == {"Federated": arn}


def test_each_package_has_a_container_group_of_its_own_without_any_key() -> None:
    names = []
    for version in ("abc", "def"):
        [group] = of_type(courier(version), GROUP)
        names.append(group.inputs["containerGroupName"])
        variables = {v["name"]: v["value"] for v in group.inputs["containers"][0]["environmentVariables"]}
        assert not {name for name in variables if "KEY" in name or "SECRET" in name}
        assert variables["PACKAGE_TARGET"].endswith(f"account=store:models/{FOLDER}")
    assert len(set(names)) == 2
