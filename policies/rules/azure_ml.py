"""Azure ML: workspaces and endpoints are not reached from the Internet, deployments leave through the network only."""

from __future__ import annotations

from collections.abc import Iterator

from policies.policy import Finding, Policy, PolicySettings
from policies.resources import Stack, is_other_than
from policies.rules.capacity import ONLINE_ENDPOINT


def _workspace(stack: Stack, settings: PolicySettings) -> Iterator[Finding]:
    for workspace in stack.of("azure-native:machinelearningservices:Workspace"):
        if is_other_than(workspace.get("publicNetworkAccess"), "Disabled"):
            yield Finding(workspace, "publicNetworkAccess has to be Disabled")


def _endpoint(stack: Stack, settings: PolicySettings) -> Iterator[Finding]:
    for endpoint in stack.of(ONLINE_ENDPOINT):
        if is_other_than(endpoint.get("properties.publicNetworkAccess"), "Disabled"):
            yield Finding(endpoint, "properties.publicNetworkAccess has to be Disabled")


def _egress(stack: Stack, settings: PolicySettings) -> Iterator[Finding]:
    for workspace in stack.of("azure-native:machinelearningservices:Workspace"):
        mode = workspace.get("managedNetwork.isolationMode")
        if is_other_than(mode, "AllowOnlyApprovedOutbound", "AllowInternetOutbound"):
            yield Finding(workspace, "managedNetwork.isolationMode leaves the workspace without a managed network")


POLICIES = (
    Policy(
        "azure-ml-private-workspace",
        "An Azure ML workspace refuses the public network.",
        "Set `publicNetworkAccess: Disabled` and give the workspace a private endpoint.",
        _workspace,
        severity="high",
    ),
    Policy(
        "azure-ml-private-endpoint",
        "An Azure ML endpoint is reached through the network, not from the Internet.",
        "Set `connectivity.burst_egress: vpn`; with `public_with_key` exempt the endpoint in the stack file.",
        _endpoint,
        severity="high",
    ),
    Policy(
        "azure-ml-egress",
        "What Azure ML runs leaves through the workspace's managed network only.",
        "Set `managedNetwork.isolationMode`; `egressPublicNetworkAccess: Disabled` is the isolation that it replaces.",
        _egress,
    ),
)
