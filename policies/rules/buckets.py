"""Buckets and containers: nothing in object storage is public, and transport is encrypted."""

from __future__ import annotations

from collections.abc import Iterator

from policies.policy import Finding, Policy, PolicySettings
from policies.resources import Stack, entries, is_not_true, is_other_than, is_true, refers
from policies.rules.identity import everybody
from spillway.contracts.property_values import document
from spillway.contracts.resources import Resource, at

BUCKET = "aws:s3/bucket:Bucket"
BUCKETS = (BUCKET, "aws:s3/bucketV2:BucketV2")
_BLOCK = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
_BLOCKS = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")


def _public(stack: Stack, settings: PolicySettings) -> Iterator[Finding]:
    for bucket in stack.of(*BUCKETS):
        block = next((b for b in stack.of(_BLOCK) if refers(b, "bucket", bucket, "bucket")), None)
        if block is None:
            yield Finding(bucket, "no public access block closes it")
        else:
            yield from (Finding(block, f"{key} has to be true") for key in _BLOCKS if is_not_true(block.get(key)))
        if is_other_than(bucket.get("acl") or "private", "private", "log-delivery-write"):
            yield Finding(bucket, "acl makes it public")
    for policy in stack.of("aws:s3/bucketPolicy:BucketPolicy"):
        for index, statement in enumerate(entries(at(document(policy.get("policy")), "Statement"))):
            allows = statement.get("Effect") == "Allow" and not statement.get("Condition")
            if allows and everybody(statement.get("Principal")):
                yield Finding(policy, f"policy.Statement.{index} lets everybody in")
    for container in stack.of("azure-native:storage:BlobContainer"):
        if is_other_than(container.get("publicAccess") or "None", "None"):
            yield Finding(container, "publicAccess has to be None")
    for account in stack.of("azure-native:storage:StorageAccount"):
        if is_true(account.get("allowBlobPublicAccess")):
            yield Finding(account, "allowBlobPublicAccess has to be false")


def _transport(stack: Stack, settings: PolicySettings) -> Iterator[Finding]:
    for listener in stack.of("aws:lb/listener:Listener"):
        yield from _listener(listener)
    for account in stack.of("azure-native:storage:StorageAccount"):
        if account.get("enableHttpsTrafficOnly") is False:
            yield Finding(account, "enableHttpsTrafficOnly has to be true")
        if is_other_than(account.get("minimumTlsVersion"), "TLS1_2", "TLS1_3"):
            yield Finding(account, "minimumTlsVersion has to be TLS1_2 or newer")


def _listener(listener: Resource) -> Iterator[Finding]:
    redirects = any(action.get("type") == "redirect" for action in entries(listener.get("defaultActions")))
    if listener.get("protocol") == "HTTP" and not redirects:
        yield Finding(listener, "protocol has to be HTTPS, or the listener redirects there")
    policy = listener.get("sslPolicy")
    if isinstance(policy, str) and not any(version in policy for version in ("TLS13", "TLS-1-2", "FS-1-2")):
        yield Finding(listener, "sslPolicy has to ask for TLS 1.2 or newer")


POLICIES = (
    Policy(
        "private-buckets",
        "No bucket or blob container is public.",
        "Give the bucket a public access block with all four switches on; set blob public access off.",
        _public,
        severity="critical",
        whole_stack=True,
    ),
    Policy(
        "encrypted-transport",
        "Load balancers and storage accounts speak TLS 1.2 or newer only.",
        "Use an HTTPS listener with a current security policy, and `minimumTlsVersion: TLS1_2`.",
        _transport,
        severity="high",
    ),
)
