"""Protection: what holds data is not deleted by a slip."""

from __future__ import annotations

from collections.abc import Iterator

from policies.policy import Finding, Policy, PolicySettings
from policies.resources import Stack


class ProtectionSettings(PolicySettings):
    """What counts as holding data."""

    types: tuple[str, ...] = (
        "aws:dynamodb/table:Table",
        "aws:rds/instance:Instance",
        "aws:route53/zone:Zone",
        "aws:s3/bucket:Bucket",
        "aws:sagemaker/modelPackageGroup:ModelPackageGroup",
        "azure-native:containerregistry:Registry",
        "azure-native:keyvault:Vault",
        "azure-native:machinelearningservices:Workspace",
        "azure-native:network:Zone",
        "azure-native:dns:Zone",
        "azure-native:resources:ResourceGroup",
        "azure-native:storage:BlobContainer",
        "azure-native:storage:StorageAccount",
    )
    """Resource types that hold data; names and keys count as data, since others depend on them."""


def _protected(stack: Stack, settings: ProtectionSettings) -> Iterator[Finding]:
    for resource in stack.of(*settings.types):
        if not resource.protect:
            yield Finding(resource, "it holds data and lacks the option `protect`")


POLICIES = (
    Policy(
        "protected-data",
        "What holds data is protected from deletion.",
        "Set `protect_data: true` in the stack file, or pass `protect` to the resource.",
        _protected,
        ProtectionSettings,
        severity="high",
    ),
)
