"""What a deletion leaves behind: names that stay taken, and what is too full to be deleted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from spillway.conformance.graph import Graph
from spillway.conformance.life_cycle.naming import is_fixed
from spillway.conformance.rule import Finding, Rule, Source
from spillway.contracts.names import ending_of

_IDENTITY: Final = "azure-native:managedidentity:UserAssignedIdentity"
_SOFT_DELETED: Final = {
    "azure-native:keyvault:Vault": ("vaultName", "the vault stays soft-deleted for 7 to 90 days"),
    "azure-native:machinelearningservices:Workspace": ("workspaceName", "the workspace stays soft-deleted for 14 days"),
}
"""Azure type → the property that names it, and what happens to it when it is deleted."""


def _secrets(graph: Graph) -> Iterator[Finding]:
    for secret in graph.of("aws:secretsmanager/secret:Secret"):
        if is_fixed(secret, secret.get("name")) and secret.get("recoveryWindowInDays") != 0:
            yield Finding(
                "secretsmanager-name-taken",
                secret,
                "name",
                "after `destroy` the secret is only scheduled for deletion: an `up` within its recovery window is"
                " refused, since a secret with this name is scheduled for deletion",
                "Leave the name out, so that each secret has one of its own, or set `recoveryWindowInDays` to 0.",
            )


def _buckets(graph: Graph) -> Iterator[Finding]:
    for bucket in graph.of("aws:s3/bucket:Bucket", "aws:s3/bucketV2:BucketV2"):
        if bucket.protect or bucket.retain_on_delete or bucket.get("forceDestroy"):
            continue
        yield Finding(
            "s3-bucket-left-full",
            bucket,
            "forceDestroy",
            "it is not protected, and `destroy` ends in BucketNotEmpty as soon as it holds an object",
            "Set `forceDestroy` where data is not protected (`protect_data`), or protect it.",
        )


def _soft_deleted(graph: Graph) -> Iterator[Finding]:
    for type_, (key, stays) in _SOFT_DELETED.items():
        for resource in graph.of(type_):
            if is_fixed(resource, resource.get(key)) and not _is_drawn(graph, resource.get(key)):
                yield Finding(
                    "azure-name-taken",
                    resource,
                    key,
                    f"after `destroy` {stays}, and its name is the same the next time: `up` is refused until then",
                    "Give it a name that is drawn anew, or purge it by hand before the next `up`.",
                )


def _is_drawn(graph: Graph, name: str) -> bool:
    """Whether it ends with what the ID of a principal gives: Entra draws that anew whenever an identity is made."""
    drawn = [each.outputs.get("principalId") for each in graph.of(_IDENTITY)]
    return any(name.endswith(ending_of(id_)) for id_ in drawn if isinstance(id_, str))


RULES: Final = (
    Rule(
        "secretsmanager-name-taken",
        "A deleted secret keeps its name until its recovery window has ended.",
        Source(
            "AWS Secrets Manager: delete a secret",
            "https://docs.aws.amazon.com/secretsmanager/latest/userguide/manage_delete-secret.html",
            "2026-11-29",
        ),
        _secrets,
    ),
    Rule(
        "s3-bucket-left-full",
        "Only an empty bucket is deleted.",
        Source(
            "Amazon S3: deleting a bucket",
            "https://docs.aws.amazon.com/AmazonS3/latest/userguide/delete-bucket.html",
            "2026-11-29",
        ),
        _buckets,
    ),
    Rule(
        "azure-name-taken",
        "A deleted key vault or machine learning workspace keeps its name while it is soft-deleted.",
        Source(
            "Azure Machine Learning: workspace soft delete; Key Vault: soft-delete overview",
            "https://learn.microsoft.com/azure/machine-learning/concept-soft-delete",
            "2026-11-29",
        ),
        _soft_deleted,
    ),
)
