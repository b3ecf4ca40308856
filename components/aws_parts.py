"""AWS resources that several components make alike: a key of one's own, and a bucket that gives nothing away."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.aws_documents import policy, tls_only
from components.base import Component


def own_key(
    component: Component,
    name: str,
    description: str,
    document: str,
    *,
    holds_data: bool,
    deletion_days: int = 30,
    region: str | None = None,
) -> aws.kms.Key:
    """A customer-managed key that rotates, with the alias ``alias/<name>``. ``document``: its key policy.

    ``holds_data``: what it encrypts is lost with it, so the settings may protect it from deletion. ``deletion_days``:
    between the order to delete it and its end, 7 to 30. ``region``: another one than the stack's.
    """
    key = aws.kms.Key(
        f"{name}-key",
        description=description,
        enable_key_rotation=True,
        deletion_window_in_days=deletion_days,
        policy=document,
        region=region,
        tags=component.context.tags,
        opts=component.child(holds_data=holds_data),
    )
    aws.kms.Alias(
        f"{name}-key-alias", name=f"alias/{name}", target_key_id=key.key_id, region=region, opts=component.child()
    )
    return key


@dataclass(frozen=True)
class SecureBucket:
    """``encryption``: what objects have to wait for, or they are stored under AWS's own key."""

    bucket: aws.s3.Bucket
    encryption: aws.s3.BucketServerSideEncryptionConfiguration


def secure_bucket(
    component: Component, label: str, name: str, kms_key_arn: pulumi.Input[str], *, force_destroy: bool | None = None
) -> SecureBucket:
    """A bucket without public access, over TLS only, whose objects are its owner's and encrypted with ``kms_key_arn``.

    ``label`` starts the resources' names; ``name`` is the bucket's. Versions, expiry and logs are the caller's matter.
    """
    bucket = aws.s3.Bucket(
        f"{label}-bucket",
        bucket=name,
        force_destroy=force_destroy,
        tags=component.context.tags,
        opts=component.child(holds_data=True),
    )
    block = aws.s3.BucketPublicAccessBlock(
        f"{label}-private",
        bucket=bucket.id,
        block_public_acls=True,
        block_public_policy=True,
        ignore_public_acls=True,
        restrict_public_buckets=True,
        opts=component.child(),
    )
    aws.s3.BucketOwnershipControls(
        f"{label}-ownership",
        bucket=bucket.id,
        rule=aws.s3.BucketOwnershipControlsRuleArgs(object_ownership="BucketOwnerEnforced"),
        opts=component.child(),
    )
    aws.s3.BucketPolicy(
        f"{label}-policy",
        bucket=bucket.id,
        policy=bucket.arn.apply(lambda arn: policy(tls_only(arn))),
        opts=component.child(depends_on=[block]),
    )
    rule = aws.s3.BucketServerSideEncryptionConfigurationRuleArgs(
        apply_server_side_encryption_by_default=(
            aws.s3.BucketServerSideEncryptionConfigurationRuleApplyServerSideEncryptionByDefaultArgs(
                sse_algorithm="aws:kms", kms_master_key_id=kms_key_arn
            )
        ),
        bucket_key_enabled=True,
    )
    encryption = aws.s3.BucketServerSideEncryptionConfiguration(
        f"{label}-encryption", bucket=bucket.id, rules=[rule], opts=component.child()
    )
    return SecureBucket(bucket, encryption)
