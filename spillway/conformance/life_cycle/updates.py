"""Updates and deletions that a service refuses while something else stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from spillway.conformance.graph import Graph
from spillway.conformance.life_cycle.access import endpoint_config
from spillway.conformance.life_cycle.naming import is_fixed
from spillway.conformance.rule import Finding, Rule, Source
from spillway.contracts.property_values import document, items, text

_DEPLOYMENT: Final = "azure-native:machinelearningservices:OnlineDeployment"
_ENDPOINT: Final = "azure-native:machinelearningservices:OnlineEndpoint"


def _slug(value: str) -> str:
    return re.sub(r"[^a-z0-9]", "", value.lower())


def _types_under_targets(graph: Graph) -> Iterator[Finding]:
    endpoints = {text(e.get("name")): e for e in graph.of("aws:sagemaker/endpoint:Endpoint")}
    for target in graph.of("aws:appautoscaling/target:Target"):
        match = re.fullmatch(r"endpoint/([^/]+)/variant/([^/]+)", text(target.get("resourceId")))
        endpoint = endpoints.get(match[1]) if match else None
        config = endpoint_config(graph, endpoint) if endpoint else None
        for variant in items(config.get("productionVariants")) if config and match else ():
            type_ = text(variant.get("instanceType"))
            if variant.get("variantName") == (match[2] if match else None) and _slug(type_) not in _slug(
                match[1] if match else ""
            ):
                yield Finding(
                    "sagemaker-type-under-target",
                    endpoint,
                    "endpointConfigName",
                    "another instance type is refused: UpdateEndpoint fails while the variant is a scalable target,"
                    " and a deployer updates the endpoint before it touches the target",
                    "Put the instance type into the endpoint's name, so that a change makes a new endpoint and a new"
                    " target. A new variant name does not help: removing a scalable variant is refused, too.",
                )


def _types_of_deployments(graph: Graph) -> Iterator[Finding]:
    for deployment in graph.of(_DEPLOYMENT):
        size, name = text(deployment.get("properties.instanceType")), text(deployment.get("deploymentName"))
        if size and name and _slug(size.removeprefix("Standard_")) not in _slug(name):
            yield Finding(
                "azure-ml-type-create-only",
                deployment,
                "properties.instanceType",
                "another VM size deletes the deployment first and then makes it anew under its name: the endpoint is"
                " without it for as long as that takes, and while it has traffic the deletion is refused",
                "Put the VM size into the deployment's name, so that a change is create, shift traffic, delete.",
            )


def _deleted_with_traffic(graph: Graph) -> Iterator[Finding]:
    split = dict(_splits(graph))
    for deployment in graph.of(_DEPLOYMENT):
        endpoint = text(deployment.get("endpointName"))
        weight = split.get(endpoint, {}).get(text(deployment.get("deploymentName")))
        own = next((e for e in graph.of(_ENDPOINT) if e.get("endpointName") == endpoint), None)
        if not isinstance(weight, int | float) or not weight:
            continue
        if own is not None and deployment.deleted_with == own.urn:
            continue
        yield Finding(
            "azure-ml-delete-with-traffic",
            deployment,
            "",
            "`destroy` deletes it before its endpoint, while the endpoint still sends it traffic, and that is refused",
            "Let it be deleted with its endpoint (the option `deletedWith`), which takes its deployments along.",
        )


def _splits(graph: Graph) -> Iterator[tuple[str, dict[str, Any]]]:
    """(endpoint, its split), of the endpoint itself and of ARM deployments that set it."""
    for endpoint in graph.of(_ENDPOINT):
        if isinstance(traffic := endpoint.get("properties.traffic"), dict):
            yield text(endpoint.get("endpointName")), traffic
    for step in graph.of("azure-native:resources:Deployment"):
        template = document(step.get("properties.template"))
        for resource in items(template.get("resources")) if isinstance(template, dict) else ():
            traffic = (resource.get("properties") or {}).get("traffic")
            if text(resource.get("type")).endswith("/onlineEndpoints") and isinstance(traffic, dict):
                yield text(resource.get("name")).rpartition("/")[2], traffic


def _bootstrap(graph: Graph) -> Iterator[Finding]:
    key = "accessConfig.bootstrapClusterCreatorAdminPermissions"
    for cluster in graph.of("aws:eks/cluster:Cluster"):
        kept = {key, "accessConfig"} & set(cluster.ignore_changes)
        if cluster.get(key) is not None and not kept and is_fixed(cluster, cluster.get("name")):
            yield Finding(
                "eks-bootstrap-create-only",
                cluster,
                key,
                "another value replaces the cluster, and the new one is refused, since the old one still has its name",
                "Ignore changes of it (the option `ignoreChanges`), and name admins by access entries.",
            )


def _whole_expressions(graph: Graph) -> Iterator[Finding]:
    for monitor in graph.of("aws:costexplorer/anomalyMonitor:AnomalyMonitor"):
        expression = document(monitor.get("monitorSpecification"))
        missing = sorted(_EXPRESSION - set(expression)) if isinstance(expression, dict) else []
        missing += _unmatched(expression)
        if missing:
            yield Finding(
                "costexplorer-expression-whole",
                monitor,
                "monitorSpecification",
                "each `up` replaces the monitor: the provider reads the whole expression back, and what is asked for"
                f" lacks {', '.join(missing)}",
                "Write every member, null where there is nothing.",
            )


_EXPRESSION: Final = frozenset({"And", "CostCategories", "Dimensions", "Not", "Or", "Tags"})


def _unmatched(expression: Any) -> list[str]:
    """``Tags``, ``Dimensions`` and ``CostCategories`` have match options, which are read back as null, too."""
    parts = expression.items() if isinstance(expression, dict) else ()
    return [f"{k}.MatchOptions" for k, v in parts if isinstance(v, dict) and "Key" in v and "MatchOptions" not in v]


RULES: Final = (
    Rule(
        "eks-bootstrap-create-only",
        "Whether a cluster's creator becomes its admin is said at the cluster's creation.",
        Source(
            "Terraform's AWS provider, internal/service/eks/cluster.go: ForceNew",
            "https://github.com/hashicorp/terraform-provider-aws/blob/main/internal/service/eks/cluster.go",
            "2026-11-30",
        ),
        _bootstrap,
    ),
    Rule(
        "sagemaker-type-under-target",
        "An update that changes the instance type of a scalable variant, or takes the variant away, fails.",
        Source(
            "Amazon SageMaker AI: update endpoints that use auto scaling",
            "https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-scaling-update.html",
            "2026-11-29",
        ),
        _types_under_targets,
    ),
    Rule(
        "azure-ml-type-create-only",
        "The instance type of an online deployment is given at its creation.",
        Source(
            "Azure REST API specs, machinelearningservices 2024-10-01, mfe.json: `instanceType` is create, read",
            "https://github.com/Azure/azure-rest-api-specs/tree/main/specification/machinelearningservices",
            "2024-10-01",
        ),
        _types_of_deployments,
    ),
    Rule(
        "azure-ml-delete-with-traffic",
        "An online deployment with traffic is not deleted; its endpoint is, with all its deployments.",
        Source(
            "Azure Machine Learning: safe rollout for online endpoints",
            "https://learn.microsoft.com/azure/machine-learning/how-to-safely-rollout-online-endpoints",
            "2026-11-29",
        ),
        _deleted_with_traffic,
    ),
    Rule(
        "costexplorer-expression-whole",
        "An anomaly monitor's expression is compared as text with what Cost Explorer answers: all its members.",
        Source(
            "Terraform's AWS provider, `aws_ce_anomaly_monitor`: the custom example",
            "https://registry.terraform.io/providers/hashicorp/aws/latest/docs/resources/ce_anomaly_monitor",
            "2026-11-29",
        ),
        _whole_expressions,
    ),
)
