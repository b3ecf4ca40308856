"""Every policy of the pack."""

from __future__ import annotations

from typing import Final

from policies.policy import Policy
from policies.rules import (
    azure_ml,
    buckets,
    conformance,
    cost,
    dns,
    encryption,
    identity,
    network,
    packages,
    placement,
    protection,
    residency,
    retention,
    sagemaker,
    secrets,
    tagging,
    workloads,
)

CONCERNS: Final = {
    "Cost": cost,
    "Placement": placement,
    "Residency": residency,
    "Network exposure": network,
    "Buckets and transport": buckets,
    "Encryption at rest": encryption,
    "Identity": identity,
    "Tags": tagging,
    "DNS": dns,
    "SageMaker": sagemaker,
    "Azure ML": azure_ml,
    "Retention": retention,
    "Protection": protection,
    "Kubernetes workloads": workloads,
    "Packages": packages,
    "Secrets": secrets,
    "Conformance": conformance,
}
"""Title → module, in the order of the docs."""

ALL: Final[tuple[Policy, ...]] = tuple(policy for module in CONCERNS.values() for policy in module.POLICIES)
