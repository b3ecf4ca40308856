"""Retention: logs are kept long enough to look into an incident, and not for ever."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from policies.policy import Finding, Policy, PolicySettings
from policies.resources import Stack, number, refers
from policies.rules.buckets import BUCKETS
from spillway.contracts.resources import UNKNOWN


class RetentionSettings(PolicySettings):
    """Bounds, in days."""

    min_days: Annotated[int, Field(ge=1)] = 30
    """Logs are kept at least so long."""

    max_days: Annotated[int, Field(ge=1)] = 731
    """Logs are kept at most so long; a log group without a retention keeps them for ever."""


_LOGS = ("aws:cloudwatch/logGroup:LogGroup", "azure-native:operationalinsights:Workspace")


def _logs(stack: Stack, settings: RetentionSettings) -> Iterator[Finding]:
    for logs in stack.of(*_LOGS):
        value = logs.get("retentionInDays")
        days = number(value) or 0
        if value is not UNKNOWN and not settings.min_days <= days <= settings.max_days:
            yield Finding(logs, f"retentionInDays has to be between {settings.min_days} and {settings.max_days}")


_LIFECYCLES = (
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
    "aws:s3/bucketLifecycleConfigurationV2:BucketLifecycleConfigurationV2",
)


def _buckets(stack: Stack, settings: PolicySettings) -> Iterator[Finding]:
    for bucket in stack.of(*BUCKETS):
        if not any(refers(lifecycle, "bucket", bucket, "bucket") for lifecycle in stack.of(*_LIFECYCLES)):
            yield Finding(bucket, "no lifecycle configuration ever removes old versions or parts of uploads")


POLICIES = (
    Policy(
        "log-retention",
        "Logs are kept for a stated time, within the bounds.",
        "Set the retention (`retentionInDays`) between the policy's `min_days` and `max_days`.",
        _logs,
        RetentionSettings,
    ),
    Policy(
        "bucket-lifecycle",
        "A bucket has a lifecycle, so that old versions do not pile up.",
        "Give the bucket a lifecycle configuration.",
        _buckets,
        level="advisory",
        severity="low",
        whole_stack=True,
    ),
)
