"""What earlier updates left behind: configurations, models and packages that no endpoint serves any more.

An update keeps them (``retain_on_delete``): an endpoint that rolls back, by hand or by an alarm, serves from them.
``spillway sweep`` ends those of another day.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class OldFleets:
    """Names of what may go: ``endpoints`` whose creation failed, which serve nothing and keep their name from the next
    one, ``configurations`` and ``models`` of SageMaker, ``packages``: prefixes in the bucket."""

    endpoints: tuple[str, ...]
    configurations: tuple[str, ...]
    models: tuple[str, ...]
    packages: tuple[str, ...]


@dataclass(frozen=True)
class _Served:
    """What an endpoint runs, or is about to."""

    configurations: frozenset[str]
    models: frozenset[str]
    addresses: frozenset[str]


def unserved(sagemaker: Any, s3: Any, prefix: str, bucket: str, before: datetime) -> OldFleets:
    """What no endpoint of the stack serves, and is older than ``before``; failed endpoints of any age.

    ``prefix``: the stack's, ``<name>-<stack>``. The newest version of each package stays, served or not: the private
    site loads it. boto3 clients of the region.
    """
    ours = f"{prefix}-burst-"
    served = _served(sagemaker, ours)
    failed = [one for one in _endpoints(sagemaker, ours) if one["EndpointStatus"] == "Failed"]
    return OldFleets(
        endpoints=tuple(one["EndpointName"] for one in failed),
        configurations=tuple(
            name
            for name in _older(sagemaker, "list_endpoint_configs", "EndpointConfig", ours, before)
            if name not in served.configurations
        ),
        models=tuple(
            name for name in _older(sagemaker, "list_models", "Model", ours, before) if name not in served.models
        ),
        packages=tuple(
            version
            for version in _old_versions(s3, bucket, before)
            if not any(address.startswith(f"s3://{bucket}/{version}") for address in served.addresses)
        ),
    )


def sweep(sagemaker: Any, s3: Any, bucket: str, found: OldFleets) -> None:
    """Delete them. The bucket keeps what was deleted for as long as its life cycle says."""
    for name in found.endpoints:
        sagemaker.delete_endpoint(EndpointName=name)
    for name in found.configurations:
        sagemaker.delete_endpoint_config(EndpointConfigName=name)
    for name in found.models:
        sagemaker.delete_model(ModelName=name)
    for version in found.packages:
        keys = [{"Key": key} for key, _ in _objects(s3, bucket, version)]
        for start in range(0, len(keys), 1000):
            s3.delete_objects(Bucket=bucket, Delete={"Objects": keys[start : start + 1000], "Quiet": True})


def _served(sagemaker: Any, ours: str) -> _Served:
    endpoints = [
        sagemaker.describe_endpoint(EndpointName=one["EndpointName"])
        for one in _endpoints(sagemaker, ours)
        if one["EndpointStatus"] != "Failed"
    ]
    pending = [endpoint.get("PendingDeploymentSummary") or {} for endpoint in endpoints]
    configurations = {one["EndpointConfigName"] for one in [*endpoints, *pending] if one.get("EndpointConfigName")}
    described = [sagemaker.describe_endpoint_config(EndpointConfigName=name) for name in configurations]
    models = {v["ModelName"] for one in described for v in one["ProductionVariants"] if v.get("ModelName")}
    addresses = {address for name in models for address in _addresses(sagemaker.describe_model(ModelName=name))}
    return _Served(frozenset(configurations), frozenset(models), frozenset(addresses))


def _endpoints(sagemaker: Any, ours: str) -> list[dict[str, Any]]:
    pages = sagemaker.get_paginator("list_endpoints").paginate(NameContains=ours)
    return [one for page in pages for one in page["Endpoints"] if one["EndpointName"].startswith(ours)]


def _addresses(model: dict[str, Any]) -> Iterator[str]:
    for container in (model.get("PrimaryContainer") or {}, *(model.get("Containers") or ())):
        source = (container.get("ModelDataSource") or {}).get("S3DataSource") or {}
        yield from (address for address in (container.get("ModelDataUrl"), source.get("S3Uri")) if address)


def _older(sagemaker: Any, operation: str, noun: str, ours: str, before: datetime) -> Iterator[str]:
    for page in sagemaker.get_paginator(operation).paginate(NameContains=ours):
        for one in page[f"{noun}s"]:
            if one[f"{noun}Name"].startswith(ours) and one["CreationTime"] < before:
                yield one[f"{noun}Name"]


def _old_versions(s3: Any, bucket: str, before: datetime) -> Iterator[str]:
    """Prefixes ``packages/<name>/<version>/`` but the newest of each package. A bucket that is gone has none."""
    written: dict[str, dict[str, datetime]] = {}
    for key, at in _objects(s3, bucket, "packages/"):
        package, version = key.split("/")[1:3]
        known = written.setdefault(package, {})
        known[version] = max(known.get(version, at), at)
    for package, versions in written.items():
        newest = max(versions.values())
        for version, at in versions.items():
            if at < min(newest, before):
                yield f"packages/{package}/{version}/"


def _objects(s3: Any, bucket: str, prefix: str) -> Iterator[tuple[str, datetime]]:
    try:
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            yield from ((one["Key"], one["LastModified"]) for one in page.get("Contents", ()))
    except s3.exceptions.NoSuchBucket:
        return
