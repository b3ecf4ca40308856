"""What the program deployed, as far as the twin can run it: read from the emulated providers and from nowhere else."""

from __future__ import annotations

import base64
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Final

from spillway.contracts.classes import Site
from spillway.contracts.task_files import FILES_VARIABLE, SECRETS_VARIABLE, unpack

SERVING_NAMESPACE: Final = "spillway-serving"
GATEWAY_NAMESPACE: Final = "spillway-gateway"
SYSTEM_NAMESPACE: Final = "spillway-system"
AZURE_ML_API: Final = "2024-10-01"

SHA256_ANNOTATION: Final = "spillway.dev/package-sha256"
KIND_ANNOTATION: Final = "spillway.dev/kind"
ENTRY_MODEL_ANNOTATION: Final = "spillway.dev/entry-model"


@dataclass(frozen=True)
class Served:
    """One model server: what it serves. ``source``: an archive, ``s3://bucket/key``, or a folder,
    ``blob://account/container/prefix``.

    ``sha256``: of the archive, empty where the platform has none. ``model``: the entry model. ``endpoint``: the
    endpoint's name in its cloud; ``host``, ``region`` and ``keys`` are what its callers need. ``concurrency``: requests
    at once of one of its ``instances``.
    """

    site: Site
    source: str
    sha256: str = ""
    model: str = ""
    endpoint: str = ""
    region: str = ""
    host: str = ""
    keys: tuple[str, ...] = field(default=(), repr=False)
    concurrency: int = 1
    instances: int = 1
    timeout_s: float = 5.0


@dataclass(frozen=True)
class Gateway:
    """One gateway: its role (``private`` | ``standby``), Envoy's config and the agent's routing table, as text.

    ``files``: what its platform mounts from secrets, by path.
    """

    role: str
    envoy: str
    routing: str
    files: dict[str, bytes] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Deployed:
    """Everything that becomes processes. ``problems``: what cannot, ``<site>: why``."""

    served: tuple[Served, ...] = ()
    gateways: tuple[Gateway, ...] = ()
    redis: bool = False
    zones: bool = False
    functions: bool = False
    region: str = ""
    problems: tuple[str, ...] = ()


def aws_client(service: str, endpoint: str, region: str = "us-east-1") -> Any:
    """A boto3 client of the twin's AWS, with credentials that open nothing else."""
    import boto3
    from botocore.config import Config

    options = Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}, connect_timeout=5, read_timeout=30)
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name=region,
        aws_access_key_id="twin",
        aws_secret_access_key="twin",
        config=options,
    )


class DeployedReader:
    """Reads the three emulated providers. ``endpoints``: base URL by ``aws``, ``azure``, ``kubernetes``."""

    def __init__(self, endpoints: dict[str, str]) -> None:
        self._endpoints = endpoints
        self._problems: list[str] = []

    def read(self) -> Deployed:
        """Raises ``OSError`` when a provider does not answer."""
        self._problems = []
        gateways = tuple(self._gateways())
        region = _aws_region(gateways)
        served = (*self._private(), *self._sagemaker(region), *self._azure_ml())
        return Deployed(
            served=served,
            gateways=gateways,
            redis=self._kubernetes("apis/apps/v1", SYSTEM_NAMESPACE, "deployments", "redis") is not None,
            zones=bool(aws_client("route53", self._endpoints["aws"]).list_hosted_zones()["HostedZones"]),
            functions=bool(aws_client("lambda", self._endpoints["aws"], region).list_functions()["Functions"]),
            region=region,
            problems=tuple(self._problems),
        )

    def _private(self) -> Iterator[Served]:
        deployment = self._kubernetes("apis/apps/v1", SERVING_NAMESPACE, "deployments", "model-server")
        if deployment is None:
            return
        template = deployment["spec"]["template"]
        notes = template["metadata"].get("annotations", {})
        if notes.get(KIND_ANNOTATION, "triton") != "triton":
            self._problems.append(f"{Site.PRIVATE}: the twin has no vLLM; package a model of kind triton")
            return
        container = template["spec"]["containers"][0]
        environment = {entry["name"]: entry.get("value", "") for entry in container.get("env", ())}
        yield Served(
            site=Site.PRIVATE,
            source=environment["SPILLWAY_PACKAGE_URI"],
            sha256=notes.get(SHA256_ANNOTATION, ""),
            model=notes.get(ENTRY_MODEL_ANNOTATION, ""),
        )

    def _sagemaker(self, region: str) -> Iterator[Served]:
        client = aws_client("sagemaker", self._endpoints["aws"], region)
        for listed in client.list_endpoints()["Endpoints"]:
            endpoint = client.describe_endpoint(EndpointName=listed["EndpointName"])
            config = client.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
            if "AsyncInferenceConfig" in config:
                continue
            model = client.describe_model(ModelName=config["ProductionVariants"][0]["ModelName"])
            container = model.get("PrimaryContainer") or model["Containers"][0]
            name = container.get("Environment", {}).get("SAGEMAKER_TRITON_DEFAULT_MODEL_NAME", "")
            if not name or "ModelDataUrl" not in container:
                self._problems.append(
                    f"{Site.SAGEMAKER}: {endpoint['EndpointName']} is no Triton endpoint with an archive"
                )
                continue
            yield Served(
                site=Site.SAGEMAKER,
                source=container["ModelDataUrl"],
                model=name,
                endpoint=endpoint["EndpointName"],
                region=region,
            )
            return

    def _azure_ml(self) -> Iterator[Served]:
        """The first online endpoint that sends traffic to a deployment."""
        for endpoint in self._online_endpoints():
            traffic = endpoint["properties"].get("traffic") or {}
            name = max(traffic, key=traffic.__getitem__, default="")
            if not traffic.get(name):
                self._problems.append(f"{Site.AZURE_ML}: {endpoint['name']} sends no traffic to any deployment")
                continue
            deployment = self._arm(f"{endpoint['id']}/deployments/{name}")
            properties = deployment["properties"]
            requests = properties.get("requestSettings", {})
            keys = self._arm(f"{endpoint['id']}/listKeys", post=True)
            yield Served(
                site=Site.AZURE_ML,
                source=self._blob_folder(self._arm(properties["model"])["properties"]["modelUri"]),
                endpoint=endpoint["name"],
                region=endpoint["location"],
                host=f"{endpoint['name']}.{endpoint['location']}.inference.ml.azure.com",
                keys=(keys["primaryKey"], keys["secondaryKey"]),
                concurrency=requests.get("maxConcurrentRequestsPerInstance", 1),
                instances=deployment.get("sku", {}).get("capacity", 1),
                timeout_s=_seconds(requests.get("requestTimeout", "PT5S")),
            )
            return

    def _online_endpoints(self) -> Iterator[dict[str, Any]]:
        for subscription in self._arm("/subscriptions")["value"]:
            for group in self._arm(f"{subscription['id']}/resourceGroups")["value"]:
                workspaces = f"{group['id']}/providers/Microsoft.MachineLearningServices/workspaces"
                for workspace in self._arm(workspaces)["value"]:
                    yield from self._arm(f"{workspace['id']}/onlineEndpoints")["value"]

    def _blob_folder(self, uri: str) -> str:
        """``blob://account/container/folder`` of an ``azureml://…/datastores/<name>/paths/<folder>`` address."""
        store, _, folder = uri.removeprefix("azureml:/").partition("/paths/")
        workspace, _, name = store.partition("/datastores/")
        properties = self._arm(f"{_resource_id(workspace)}/dataStores/{name}")["properties"]
        return f"blob://{properties['accountName']}/{properties['containerName']}/{folder.strip('/')}"

    def _arm(self, path: str, post: bool = False) -> Any:
        url = f"{self._endpoints['azure']}{path}?api-version={AZURE_ML_API}"
        request = urllib.request.Request(url, data=b"{}" if post else None, method="POST" if post else "GET")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def _gateways(self) -> Iterator[Gateway]:
        config = self._kubernetes("api/v1", GATEWAY_NAMESPACE, "configmaps", "gateway-config")
        deployment = self._kubernetes("apis/apps/v1", GATEWAY_NAMESPACE, "deployments", "gateway")
        if not config or not deployment:
            return
        pod = deployment["spec"]["template"]["spec"]
        private = Gateway("private", config["data"]["envoy.yaml"], config["data"]["routing.json"], self._mounted(pod))
        yield private
        yield from self._standby(_aws_region((private,)))

    def _standby(self, region: str) -> Iterator[Gateway]:
        """The gateway on Fargate: its first container carries the files that the others start with."""
        client = aws_client("ecs", self._endpoints["aws"], region)
        for cluster in client.list_clusters()["clusterArns"]:
            names = client.list_services(cluster=cluster)["serviceArns"]
            services = client.describe_services(cluster=cluster, services=names)["services"] if names else []
            for service in services:
                task = client.describe_task_definition(taskDefinition=service["taskDefinition"])["taskDefinition"]
                yield from self._gateway_of_task(task["containerDefinitions"], region)

    def _gateway_of_task(self, containers: list[dict[str, Any]], region: str) -> Iterator[Gateway]:
        for container in containers:
            environment = {entry["name"]: entry["value"] for entry in container.get("environment", ())}
            if FILES_VARIABLE not in environment:
                continue
            files = {PurePosixPath(path).name: text for path, text in unpack(environment[FILES_VARIABLE]).items()}
            arns = {secret["name"]: secret["valueFrom"] for secret in container.get("secrets", ())}
            wanted = json.loads(environment.get(SECRETS_VARIABLE, "{}"))
            secrets = {path: self._aws_secret(arns[variable], region) for path, variable in wanted.items()}
            yield Gateway("standby", files["envoy.yaml"], files["routing.json"], secrets)

    def _aws_secret(self, arn: str, region: str) -> bytes:
        client = aws_client("secretsmanager", self._endpoints["aws"], region)
        return client.get_secret_value(SecretId=arn)["SecretString"].encode()

    def _mounted(self, pod: dict[str, Any]) -> dict[str, bytes]:
        """What secrets put into the pod's containers, by path."""
        secrets = {v["name"]: v["secret"]["secretName"] for v in pod.get("volumes", ()) if "secret" in v}
        files: dict[str, bytes] = {}
        for container in pod["containers"]:
            for mount in container.get("volumeMounts", ()):
                if mount["name"] not in secrets:
                    continue
                secret = self._kubernetes("api/v1", GATEWAY_NAMESPACE, "secrets", secrets[mount["name"]]) or {}
                for key, value in secret.get("data", {}).items():
                    path = mount["mountPath"] if mount.get("subPath") == key else f"{mount['mountPath']}/{key}"
                    files[path] = base64.b64decode(value)
        return files

    def _kubernetes(self, api: str, namespace: str, plural: str, name: str) -> dict[str, Any] | None:
        return _get_json(f"{self._endpoints['kubernetes']}/{api}/namespaces/{namespace}/{plural}/{name}")


def _aws_region(gateways: tuple[Gateway, ...]) -> str:
    """Where the burst endpoint stands: the gateways sign for that region."""
    for gateway in gateways:
        for site in json.loads(gateway.routing)["sites"]:
            if site["site"] == Site.SAGEMAKER:
                return site["region"]
    return "us-east-1"


def _resource_id(workspace: str) -> str:
    """Azure ML's addresses shorten what a resource id spells out."""
    _, subscription, _, group, _, name = (part for part in workspace.split("/") if part)
    provider = "providers/Microsoft.MachineLearningServices/workspaces"
    return f"/subscriptions/{subscription}/resourceGroups/{group}/{provider}/{name}"


def _seconds(duration: str) -> float:
    """Of an ISO 8601 duration as Azure ML writes request timeouts: ``PT5S``, ``PT1M30S``."""
    found = re.fullmatch(r"PT(?:(\d+)M)?(?:([\d.]+)S)?", duration)
    if found is None:
        raise ValueError(f"request timeout {duration!r} is no duration in minutes and seconds")
    return int(found[1] or 0) * 60 + float(found[2] or 0)


def _get_json(url: str) -> Any:
    """The answer, or ``None`` for 404."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise
