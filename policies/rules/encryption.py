"""Encryption at rest: volumes, and keys of one's own."""

from __future__ import annotations

from collections.abc import Iterator

from policies.policy import Finding, Policy, PolicySettings
from policies.resources import Stack, entries, is_missing, is_not_true, is_other_than, refers
from policies.rules.buckets import BUCKETS
from policies.rules.capacity import AGENT_POOL, INSTANCE, LAUNCH_TEMPLATE, MANAGED_CLUSTER
from spillway.contracts.resources import Resource, at


def _volumes(stack: Stack, settings: PolicySettings) -> Iterator[Finding]:
    for volume in stack.of("aws:ebs/volume:Volume", "aws:efs/fileSystem:FileSystem", "aws:rds/instance:Instance"):
        key = "storageEncrypted" if volume.type.startswith("aws:rds") else "encrypted"
        if is_not_true(volume.get(key)):
            yield Finding(volume, f"{key} has to be true")
    for template in stack.of(LAUNCH_TEMPLATE):
        for index, device in enumerate(entries(template.get("blockDeviceMappings"))):
            if is_not_true(at(device, "ebs.encrypted")):
                yield Finding(template, f"blockDeviceMappings.{index}.ebs.encrypted has to be true")
    for instance in stack.of(INSTANCE):
        root = instance.get("rootBlockDevice")
        by_template = is_missing(root) and not is_missing(instance.get("launchTemplate"))
        if not by_template and is_not_true(instance.get("rootBlockDevice.encrypted")):
            yield Finding(instance, "rootBlockDevice.encrypted has to be true")
    for pool in stack.of(AGENT_POOL):
        if is_not_true(pool.get("enableEncryptionAtHost")):
            yield Finding(pool, "enableEncryptionAtHost has to be true")
    for cluster in stack.of(MANAGED_CLUSTER):
        for index, pool in enumerate(entries(cluster.get("agentPoolProfiles"))):
            if is_not_true(pool.get("enableEncryptionAtHost")):
                yield Finding(cluster, f"agentPoolProfiles.{index}.enableEncryptionAtHost has to be true")


_KEYS = {
    "aws:cloudwatch/logGroup:LogGroup": "kmsKeyId",
    "aws:secretsmanager/secret:Secret": "kmsKeyId",
    "aws:sns/topic:Topic": "kmsMasterKeyId",
    "aws:lambda/function:Function": "kmsKeyArn",
    "aws:eks/cluster:Cluster": "encryptionConfig.provider.keyArn",
    "aws:ebs/volume:Volume": "kmsKeyId",
}
"""Property that names the key, by type."""
_ENCRYPTION = (
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
    "aws:s3/bucketServerSideEncryptionConfigurationV2:BucketServerSideEncryptionConfigurationV2",
)


def _own_keys(stack: Stack, settings: PolicySettings) -> Iterator[Finding]:
    for type_, path in _KEYS.items():
        for resource in stack.of(type_):
            if is_missing(resource.get(path)):
                yield Finding(resource, f"{path} has to name a KMS key")
    for queue in stack.of("aws:sqs/queue:Queue"):
        if is_missing(queue.get("kmsMasterKeyId")) and is_not_true(queue.get("sqsManagedSseEnabled")):
            yield Finding(queue, "kmsMasterKeyId has to name a KMS key, or sqsManagedSseEnabled has to be true")
    for bucket in stack.of(*BUCKETS):
        rules = next((r for r in stack.of(*_ENCRYPTION) if refers(r, "bucket", bucket, "bucket")), None)
        if rules is None:
            yield Finding(bucket, "no encryption configuration names a KMS key for it")
        else:
            yield from _bucket_key(rules)


def _bucket_key(configuration: Resource) -> Iterator[Finding]:
    default = "rules.0.applyServerSideEncryptionByDefault"
    algorithm = configuration.get(f"{default}.sseAlgorithm")
    if is_other_than(algorithm, "aws:kms", "aws:kms:dsse") or is_missing(
        configuration.get(f"{default}.kmsMasterKeyId")
    ):
        yield Finding(configuration, f"{default} has to name a KMS key")


def _rotation(stack: Stack, settings: PolicySettings) -> Iterator[Finding]:
    for key in stack.of("aws:kms/key:Key"):
        symmetric = key.get("customerMasterKeySpec") in (None, "SYMMETRIC_DEFAULT")
        if symmetric and is_not_true(key.get("enableKeyRotation")):
            yield Finding(key, "enableKeyRotation has to be true")
    for vault in stack.of("azure-native:keyvault:Vault"):
        for switch in ("enableSoftDelete", "enablePurgeProtection"):
            if is_not_true(vault.get(f"properties.{switch}")):
                yield Finding(vault, f"properties.{switch} has to be true")


POLICIES = (
    Policy(
        "encrypted-volumes",
        "Volumes of machines are encrypted.",
        "Set `encrypted: true` on the volume, or encryption at host on Azure.",
        _volumes,
        severity="high",
    ),
    Policy(
        "own-keys",
        "What holds data on AWS is encrypted with a KMS key of one's own.",
        "Name a KMS key; the key policy then says who can read, and its use is logged.",
        _own_keys,
        severity="high",
        whole_stack=True,
    ),
    Policy(
        "key-care",
        "KMS keys rotate, and a deleted vault can be brought back.",
        "Set `enableKeyRotation`, and soft delete with purge protection on vaults.",
        _rotation,
    ),
)
