"""What only Azure ML's documentation says of one resource."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from spillway.conformance.graph import Graph
from spillway.conformance.rule import Rule, Source
from spillway.conformance.services.documented import Found, items, rule
from spillway.contracts.property_values import document
from spillway.contracts.resources import UNKNOWN, Resource

_ML: Final = "azure-native:machinelearningservices"
_DOCS: Final = "https://learn.microsoft.com/en-us/azure/machine-learning"
_READ: Final = "2026-11-29"


def _workspaces(graph: Graph) -> dict[Any, Resource]:
    """Those with a managed network, by name."""
    return {
        each.get("workspaceName"): each
        for each in graph.of(f"{_ML}:Workspace")
        if each.get("managedNetwork.isolationMode") in ("AllowOnlyApprovedOutbound", "AllowInternetOutbound")
    }


@rule(
    "azure-ml-egress-flag",
    "With a workspace's managed network, a deployment's egressPublicNetworkAccess has nothing to say.",
    Source(
        "Azure ML: network isolation with managed online endpoints",
        f"{_DOCS}/concept-secure-online-endpoint",
        _READ,
    ),
)
def _egress_flag(graph: Graph) -> Iterator[Found]:
    workspaces = _workspaces(graph)
    for deployment in graph.of(f"{_ML}:OnlineDeployment"):
        flag = deployment.get("properties.egressPublicNetworkAccess")
        # "Enabled" is what every client sends where nothing is said.
        if flag == "Disabled" and deployment.get("workspaceName") in workspaces:
            yield (
                deployment,
                "properties.egressPublicNetworkAccess",
                "switches the legacy isolation: the workspace's managed network decides, and Azure may refuse it",
                "Leave it out.",
            )


@rule(
    "azure-ml-batch-code",
    "A batch deployment of a model that is not MLflow has a scoring script and an environment.",
    Source(
        "Azure ML: author scoring scripts for batch deployments",
        f"{_DOCS}/how-to-batch-scoring-script",
        _READ,
    ),
)
def _batch_code(graph: Graph) -> Iterator[Found]:
    for deployment in graph.of(f"{_ML}:BatchDeployment"):
        model = graph.named(deployment.get("properties.model.assetId"), f"{_ML}:ModelVersion")
        if model is None or model.get("properties.modelType") in ("mlflow_model", UNKNOWN):
            continue
        missing = [key for key in ("codeConfiguration", "environmentId") if deployment.get(f"properties.{key}") is None]
        if missing:
            yield (
                deployment,
                "properties",
                f"lacks {' and '.join(missing)}, and its model is no MLflow model: it is refused",
                "Give it code and an environment, or set `burst.azure_ml.batch: null`.",
            )


@rule(
    "azure-ml-traffic-deployments",
    "An endpoint's traffic goes to deployments that it has.",
    Source(
        "Azure ML: safe rollout for online endpoints",
        f"{_DOCS}/how-to-safely-rollout-online-endpoints",
        _READ,
    ),
)
def _traffic(graph: Graph) -> Iterator[Found]:
    made = {(each.get("endpointName"), each.get("deploymentName")) for each in graph.of(f"{_ML}:OnlineDeployment")}
    for resource, endpoint, path, traffic in _splits(graph):
        for name in sorted(traffic):
            if (endpoint, name) not in made and endpoint in {each for each, _ in made}:
                yield (
                    resource,
                    path,
                    f"sends traffic to {name}, a deployment that nothing makes: it is refused",
                    "Name deployments of the endpoint only.",
                )


def _splits(graph: Graph) -> Iterator[tuple[Resource, Any, str, Mapping[str, Any]]]:
    """(resource, endpoint, path, split) wherever a split is set."""
    for endpoint in graph.of(f"{_ML}:OnlineEndpoint"):
        for key in ("traffic", "mirrorTraffic"):
            split = endpoint.get(f"properties.{key}")
            if isinstance(split, Mapping):
                yield endpoint, endpoint.get("endpointName"), f"properties.{key}", split
    for step in graph.of("azure-native:resources:Deployment"):
        template = document(step.get("properties.template"))
        for index, made in enumerate(items(template.get("resources")) if isinstance(template, Mapping) else []):
            if str(made.get("type")).endswith("/onlineEndpoints"):
                for key in ("traffic", "mirrorTraffic"):
                    split = made.get("properties", {}).get(key)
                    if isinstance(split, Mapping):
                        path = f"properties.template.resources.{index}.properties.{key}"
                        yield step, str(made.get("name")).rsplit("/", 1)[-1], path, split


@rule(
    "azure-ml-endpoint-keeps-split",
    "An update of an endpoint replaces all of it: without a split in its body it sends its traffic to nobody.",
    Source(
        "Azure REST API specs, machinelearningservices 2024-10-01, mfe.json: OnlineEndpoints_CreateOrUpdate, `traffic`",
        "https://github.com/Azure/azure-rest-api-specs/tree/main/specification/machinelearningservices",
        "2024-10-01",
    ),
)
def _keeps_split(graph: Graph) -> Iterator[Found]:
    set_elsewhere = {name for resource, name, _, _ in _splits(graph) if resource.type != f"{_ML}:OnlineEndpoint"}
    for endpoint in graph.of(f"{_ML}:OnlineEndpoint"):
        changing = [key for key in ("tags", "identity", "properties") if key not in endpoint.ignore_changes]
        own = endpoint.get("properties.traffic")
        if endpoint.get("endpointName") in set_elsewhere and not own and changing:
            yield (
                endpoint,
                "properties.traffic",
                f"another resource sets its split; a change of {', '.join(changing)} puts the endpoint without one, and"
                " until that other resource comes it serves nobody",
                "Ignore changes of the endpoint's own body, and make them where the split is.",
            )


@rule(
    "azure-ml-container-model",
    "A container of one's own finds the model where it is mounted, or is told where it is.",
    Source(
        "Azure ML: managed online deployment YAML schema, model_mount_path",
        f"{_DOCS}/reference-yaml-deployment-managed-online",
        "2026-11-30",
    ),
)
def _container_model(graph: Graph) -> Iterator[Found]:
    for deployment, _ in _own_images(graph):
        told = deployment.get("properties.modelMountPath") or deployment.get("properties.environmentVariables")
        if deployment.get("properties.model") and not told:
            yield (
                deployment,
                "properties.modelMountPath",
                "its image is told neither where the model is mounted nor any variable: the server finds no model",
                "Set modelMountPath, and a variable that names it.",
            )


@rule(
    "azure-ml-image-reachable",
    "A managed network that allows approved ways out alone reaches Microsoft's registry and the workspace's own.",
    Source(
        "Azure ML: workspace managed virtual network isolation, required rules",
        f"{_DOCS}/how-to-managed-network",
        "2026-11-30",
    ),
)
def _image_reachable(graph: Graph) -> Iterator[Found]:
    for deployment, environment in _own_images(graph):
        workspace = _workspaces(graph).get(deployment.get("workspaceName"))
        host = str(environment.get("properties.image")).partition("/")[0].lower()
        if workspace is None or workspace.get("managedNetwork.isolationMode") != "AllowOnlyApprovedOutbound":
            continue
        own = str(workspace.get("containerRegistry")).rpartition("/")[2].lower()
        rules = [one.get("properties") for one in graph.of(f"{_ML}:ManagedNetworkSettingsRule")]
        rules += list((workspace.get("managedNetwork.outboundRules") or {}).values())
        named = {str(one.get("destination")).lower() for one in rules if isinstance(one, Mapping)}
        if host not in {"mcr.microsoft.com", f"{own}.azurecr.io", *named}:
            yield (
                environment,
                "properties.image",
                f"the workspace's network has no way out to {host}: the image is not pulled",
                "Import the image into the workspace's registry (`az acr import`).",
            )


def _own_images(graph: Graph) -> Iterator[tuple[Resource, Resource]]:
    """(deployment, environment) where the environment is an image that serves by itself."""
    for deployment in graph.of(f"{_ML}:OnlineDeployment"):
        environment = graph.named(deployment.get("properties.environmentId"), f"{_ML}:EnvironmentVersion")
        if environment and environment.get("properties.inferenceConfig") and environment.get("properties.image"):
            yield deployment, environment


RULES: Final[tuple[Rule, ...]] = (
    _egress_flag,
    _batch_code,
    _traffic,
    _keeps_split,
    _container_model,
    _image_reachable,
)
