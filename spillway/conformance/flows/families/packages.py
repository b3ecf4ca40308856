"""Packages: deployer → stores, pods → store, and the copy from one cloud's store to the other's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from spillway.conformance.flows.documents import Call
from spillway.conformance.flows.doors import couriers, rights
from spillway.conformance.flows.doors.vpc_endpoints import caller_context
from spillway.conformance.flows.flow import Closed, Door, Family, Flow
from spillway.conformance.flows.gateways import pod_caller, reaches, signs
from spillway.conformance.flows.workloads import Pod
from spillway.conformance.flows.world import World
from spillway.conformance.rule import Source
from spillway.contracts.resources import Resource

ACCOUNT: Final = "azure-native:storage:StorageAccount"
_BUCKET: Final = "aws:s3/bucket:Bucket"
_POLICY: Final = "aws:s3/bucketPolicy:BucketPolicy"
_OBJECT: Final = re.compile(r"s3://[^\s,]+")


def flows(world: World) -> Iterator[Flow]:
    for pod in world.pods:
        for uri in dict.fromkeys(one for one in pod.environment("SPILLWAY_PACKAGE_URI") if _OBJECT.fullmatch(one)):
            bucket, key = split(uri)
            yield _from_bucket(world, pod, bucket, reads(world, bucket, key))
    for group, variables in couriers.couriers(world):
        yield from _carried(world, group, variables)
    yield from _uploads(world)


def _carried(world: World, group: Resource, variables: Mapping[str, str]) -> Iterator[Flow]:
    source = couriers.SOURCE.fullmatch(variables["PACKAGE_SOURCE"])
    assert source is not None
    bucket = source["bucket"]
    calls = [*reads(world, bucket, f"{source['folder']}/any"), Call("s3:ListBucket", f"arn:aws:s3:::{bucket}")]
    doors = [*couriers.from_bucket(world, group, variables, calls), *bucket_doors(world, bucket, calls)]
    yield Flow(group.name, f"bucket {bucket}", "tcp/443", tuple(doors))
    yield from couriers.to_account(world, group, variables)


def split(uri: str) -> tuple[str, str]:
    """Bucket and key of an ``s3://`` address."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key.rstrip("/")


def reads(world: World, bucket: str, key: str) -> list[Call]:
    """What reading an object takes, with the key that the bucket encrypts by."""
    calls = [Call("s3:GetObject", f"arn:aws:s3:::{bucket}/{key}")]
    calls.append(Call("s3:ListBucket", f"arn:aws:s3:::{bucket}", {"s3:prefix": key}))
    for found in world.graph.of(
        "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
    ):
        if found.props.get("bucket") == bucket:
            calls += rights.decrypts(world, found.get("rules.0.applyServerSideEncryptionByDefault.kmsMasterKeyId"))
    return calls


def bucket_doors(world: World, bucket: str, calls: Sequence[Call]) -> list[Door]:
    """What the bucket itself says of the calls, and the policy of the key that encrypts it."""
    doors = [Door("bucket policy", partial(rights.resource_policy, world, _POLICY, "bucket", bucket, calls))]
    for found in world.graph.of(
        "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
    ):
        if found.props.get("bucket") == bucket:
            doors += rights.key_policy(world, found.get("rules.0.applyServerSideEncryptionByDefault.kmsMasterKeyId"))
    return doors


def _from_bucket(world: World, pod: Pod, bucket: str, calls: list[Call]) -> Flow:
    caller, host = pod_caller(world, pod), f"s3.{world.region}.amazonaws.com"
    objects = [one for one in calls if one.action.startswith("s3:")]
    own = [Call(one.action, one.resource, {**caller_context(world.account), **one.context}) for one in objects]
    doors = [*reaches(world, caller, host, objects), *signs(world, caller, calls), *bucket_doors(world, bucket, own)]
    return Flow(pod.name, f"bucket {bucket}", "tcp/443", tuple(doors))


def _firewall(account: Resource) -> Iterator[Closed]:
    if account.get("networkRuleSet.defaultAction") == "Deny" and not account.get("networkRuleSet.ipRules"):
        yield Closed(
            account, "networkRuleSet", "the account's firewall lets no address in", "Name the caller's address."
        )


def _uploads(world: World) -> Iterator[Flow]:
    """The deployer's own uploads. Its rights in AWS are its own affair; what the plan refuses is told."""
    for bucket in world.graph.of(_BUCKET):
        objects = [
            one
            for one in world.graph.of("aws:s3/bucketObjectv2:BucketObjectv2")
            if one.props.get("bucket") == bucket.id
        ]
        if objects:
            calls = [Call("s3:PutObject", f"arn:aws:s3:::{bucket.id}/any", caller_context(world.account))]
            yield Flow("deployer", f"bucket {bucket.id}", "tcp/443", tuple(bucket_doors(world, str(bucket.id), calls)))
    for account in world.graph.of(ACCOUNT):
        name = account.props.get("accountName")
        if any(one.props.get("accountName") == name for one in world.graph.of("azure-native:storage:Blob")):
            doors = (
                Door("way from the deployer", partial(_deployer_way, account)),
                Door("credential", partial(_shared_key, account)),
            )
            yield Flow("deployer", f"storage account {name}", "tcp/443", doors)


def _deployer_way(account: Resource) -> Iterator[Closed]:
    if account.props.get("publicNetworkAccess") == "Disabled":
        yield Closed(
            account,
            "publicNetworkAccess",
            "the provider uploads blobs over the account's public address, which is off",
            "Upload from inside the network, or name the deployer's addresses (deployer_cidrs).",
        )
    else:
        yield from _firewall(account)


def _shared_key(account: Resource) -> Iterator[Closed]:
    """https://github.com/pulumi/pulumi-azure-native/issues/2015 (read 2026-11-29)."""
    if account.props.get("allowSharedKeyAccess") is False:
        yield Closed(
            account,
            "allowSharedKeyAccess",
            "the provider uploads blobs with the account's key, and keys are switched off",
            "Upload with an Entra identity instead of storage.Blob.",
        )


FAMILY: Final = Family(
    "flow-packages",
    "Packages reach their stores, and whoever serves them reads them there",
    Source(
        "pulumi-azure-native: a blob cannot be created where shared keys are off",
        "https://github.com/pulumi/pulumi-azure-native/issues/2015",
        "2026-11-29",
    ),
    flows,
)
