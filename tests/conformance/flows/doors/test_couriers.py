"""The container that brings packages: each of its doors, open and closed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from spillway.conformance.flows.families.packages import FAMILY
from spillway.contracts.azure_roles import ROLES
from spillway.contracts.resources import Resource
from tests.conformance.flows.doors.test_private_links import ENDPOINT, LINK, NETWORK, SUBNET, ZONE, firewall, zones
from tests.conformance.flows.plans import ACCOUNT, allow, asked, azure, inline, made, role, world

ISSUER = "sts.windows.net/tenant/"
AUDIENCE = "https://management.azure.com/"
PROVIDER = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{ISSUER}"
STORE = azure("storage:StorageAccount", "store", {"accountName": "store", "publicNetworkAccess": "Disabled"})
LINKED = replace(
    ENDPOINT,
    props={
        **ENDPOINT.props,
        "privateLinkServiceConnections": [{"privateLinkServiceId": STORE.id, "groupIds": ["blob"]}],
    },
)
PLACE = made(
    "azure-native:network:Subnet",
    "courier",
    {
        "defaultOutboundAccess": False,
        "natGateway": {"id": "nat"},
        "delegations": [{"serviceName": "Microsoft.ContainerInstance/containerGroups"}],
    },
    id=f"{NETWORK.id}/subnets/courier",
)
VARIABLES = {
    "AWS_ROLE_ARN": f"arn:aws:iam::{ACCOUNT}:role/courier",
    "AZURE_CLIENT_ID": "client",
    "PACKAGE_SOURCE": ":s3,env_auth,provider=AWS,region=us-east-1:bucket/packages/p",
    "PACKAGE_TARGET": ":azureblob,use_msi,msi_client_id=client,account=store:models/packages/p",
}
GROUP = azure(
    "containerinstance:ContainerGroup",
    "courier",
    {
        "subnetIds": [{"id": PLACE.id}],
        "containers": [{"environmentVariables": [{"name": k, "value": v} for k, v in VARIABLES.items()]}],
    },
)
IDENTITY = azure("managedidentity:UserAssignedIdentity", "courier", {}, principalId="principal", clientId="client")
CONTAINER = azure("storage:BlobContainer", "models", {"containerName": "models"})
GRANT = azure(
    "authorization:RoleAssignment",
    "grant",
    {
        "scope": CONTAINER.id,
        "principalId": "principal",
        "roleDefinitionId": f"/roleDefinitions/{ROLES['Storage Blob Data Contributor']}",
    },
)
OIDC = made(
    "aws:iam/openIdConnectProvider:OpenIdConnectProvider",
    "entra",
    {"url": f"https://{ISSUER}", "clientIdLists": [AUDIENCE]},
    arn=PROVIDER,
)


def courier_role(subject: str = "principal") -> Resource:
    trust = {
        "Effect": "Allow",
        "Principal": {"Federated": PROVIDER},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": {f"{ISSUER}:sub": subject, f"{ISSUER}:aud": AUDIENCE}},
    }
    return role("courier", trust)


RIGHTS = inline(courier_role(), allow("s3:GetObject", "arn:aws:s3:::bucket/*"), allow("s3:ListBucket"))
PARTS: dict[str, Resource] = {
    "network": NETWORK,
    "zone": ZONE,
    "link": LINK,
    "ends": SUBNET,
    "endpoint": LINKED,
    "firewall": firewall(),
    "zones": zones(),
    "store": STORE,
    "place": PLACE,
    "group": GROUP,
    "identity": IDENTITY,
    "container": CONTAINER,
    "grant": GRANT,
    "oidc": OIDC,
    "role": courier_role(),
    "rights": RIGHTS,
}


def closed(**changes: Resource | None) -> list[str]:
    parts = [part for part in {**PARTS, **changes}.values() if part is not None]
    flows = [flow for flow in FAMILY.flows(world(*parts)) if flow.source == "courier"]
    return [one.resource.name if one.resource else "" for flow in flows for one in asked(flow.doors)]


def _without(resource: Resource, key: str) -> Resource:
    props: dict[str, Any] = {name: value for name, value in resource.props.items() if name != key}
    return replace(resource, props=props)


def test_the_courier_carries() -> None:
    assert closed() == []


@pytest.mark.parametrize(
    ("changes", "accused"),
    [
        ({"place": _without(PLACE, "natGateway")}, "courier"),
        ({"place": _without(PLACE, "delegations")}, "courier"),
        ({"group": _without(GROUP, "subnetIds")}, "courier"),
        ({"endpoint": None}, "store"),
        ({"zones": None}, "store"),
        ({"grant": None}, "models"),
        ({"role": courier_role("another")}, "courier"),
        ({"rights": None}, "courier"),
    ],
    ids=["no way out", "no delegation", "no network", "no endpoint", "no name", "no right", "no trust", "no S3"],
)
def test_each_of_its_doors_can_be_closed(changes: dict[str, Resource | None], accused: str) -> None:
    assert set(closed(**changes)) == {accused}
