"""What the program deployed, as far as the twin can run it: read from the emulated providers and from nowhere else."""

from __future__ import annotations

import base64
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import quote, urlencode

from spillway.contracts import names
from spillway.contracts.azure_calls import CLIENT_VARIABLE, TENANT_VARIABLE, TOKEN_AUDIENCE, TOKEN_FILE_VARIABLE
from spillway.contracts.classes import Site
from spillway.contracts.routing import canary_name
from spillway.contracts.task_files import FILES_VARIABLE, SECRETS_VARIABLE, unpack

AZURE_VARIABLES: Final = (TENANT_VARIABLE, CLIENT_VARIABLE, TOKEN_FILE_VARIABLE)
AZURE_ML_API: Final = "2024-10-01"


@dataclass(frozen=True)
class Served:
    """One model server: what it serves. ``source``: an archive, ``s3://bucket/key``, or a folder,
    ``blob://account/container/prefix``.

    ``sha256``: of the archive, empty where the platform has none. ``model``: the entry model. ``endpoint``: the
    endpoint's name in its cloud; ``host``, ``region`` and ``keys`` are what its callers need, or ``callers``, who are
    known by tokens. ``concurrency``: requests at once of one of its ``instances``. ``options``: vLLM's, without dashes,
    and then ``source`` is a folder in S3, too, ``s3://bucket/prefix/``; ``None`` for a package for Triton. ``group``:
    of its processes.
    """

    site: Site
    source: str
    sha256: str = ""
    model: str = ""
    endpoint: str = ""
    region: str = ""
    host: str = ""
    keys: tuple[str, ...] = field(default=(), repr=False)
    callers: dict[str, Any] | None = None
    concurrency: int = 1
    instances: int = 1
    timeout_s: float = 5.0
    options: dict[str, str] | None = None
    is_canary: bool = False

    @property
    def group(self) -> str:
        return canary_name(self.site) if self.is_canary else self.site


@dataclass(frozen=True)
class Gateway:
    """One gateway: its role (``private`` | ``standby``), Envoy's config and the agent's routing table, as text.

    ``files``: what its platform mounts from secrets, by path. ``arn``: of who it is in AWS;
    ``azure``: the agent's variables that say who it is there.
    """

    role: str
    envoy: str
    routing: str
    files: dict[str, bytes] = field(default_factory=dict, repr=False)
    arn: str = ""
    azure: dict[str, str] = field(default_factory=dict)


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


_GROUPS: Final = "/apis/leaderworkerset.x-k8s.io/v1/leaderworkersets"


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
            redis=self._deployment("redis") is not None,
            zones=bool(aws_client("route53", self._endpoints["aws"]).list_hosted_zones()["HostedZones"]),
            functions=bool(aws_client("lambda", self._endpoints["aws"], region).list_functions()["Functions"]),
            region=region,
            problems=tuple(self._problems),
        )

    def _private(self) -> Iterator[Served]:
        if _get_json(f"{self._endpoints['kubernetes']}{_GROUPS}")["items"]:
            self._problems.append(f"{Site.PRIVATE}: a server on several nodes is not run here")
        for name in (names.MODEL_SERVER, names.CANARY):
            deployment = self._deployment(name)
            if deployment is None:
                continue
            template = deployment["spec"]["template"]
            notes = template["metadata"].get("annotations", {})
            container = template["spec"]["containers"][0]
            environment = {entry["name"]: entry.get("value", "") for entry in container.get("env", ())}
            yield Served(
                site=Site.PRIVATE,
                source=environment["SPILLWAY_PACKAGE_URI"],
                sha256=notes.get(names.PACKAGE_SHA256, ""),
                model=notes.get(names.ENTRY_MODEL, ""),
                options=from_words(container["command"]) if notes.get(names.PACKAGE_KIND) == "vllm" else None,
                is_canary=name == names.CANARY,
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
            what = _served_by_sagemaker(container)
            if what is None:
                self._problems.append(
                    f"{Site.SAGEMAKER}: {endpoint['EndpointName']} is no Triton endpoint with an archive, and no vLLM "
                    "endpoint with a folder"
                )
                continue
            yield Served(site=Site.SAGEMAKER, endpoint=endpoint["EndpointName"], region=region, **what)
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
            yield Served(
                site=Site.AZURE_ML,
                source=self._blob_folder(self._arm(properties["model"])["properties"]["modelUri"]),
                endpoint=endpoint["name"],
                region=endpoint["location"],
                host=f"{endpoint['name']}.{endpoint['location']}.inference.ml.azure.com",
                **self._admitted(endpoint),
                concurrency=requests.get("maxConcurrentRequestsPerInstance", 1),
                instances=deployment.get("sku", {}).get("capacity", 1),
                timeout_s=_seconds(requests.get("requestTimeout", "PT5S")),
                options=_azure_options(properties.get("environmentVariables") or {}),
            )
            return

    def _admitted(self, endpoint: dict[str, Any]) -> dict[str, Any]:
        """Who may call an endpoint: the fields of :class:`Served`."""
        if endpoint["properties"]["authMode"] == "AADToken":
            return {"callers": _get_json(f"{self._endpoints['azure']}/_spillway/callers{endpoint['id']}")}
        keys = self._arm(f"{endpoint['id']}/listKeys", post=True)
        return {"keys": (keys["primaryKey"], keys["secondaryKey"])}

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
        deployment = self._deployment(names.GATEWAY)
        if deployment is None:
            return
        namespace, pod = deployment["metadata"]["namespace"], deployment["spec"]["template"]["spec"]
        config = self._kubernetes(namespace, "configmaps", "gateway-config")
        if config is None:
            return
        texts, files = config["data"], self._mounted(namespace, pod) | self._projected(namespace, pod)
        said = {one["name"]: one.get("value", "") for each in pod["containers"] for one in each.get("env", ())}
        arn = said.get("AWS_ROLE_ARN", "")
        private = Gateway("private", texts["envoy.yaml"], texts["routing.json"], files, arn, _azure_identity(said))
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
                yield from self._gateway_of_task(task, region)

    def _gateway_of_task(self, task: dict[str, Any], region: str) -> Iterator[Gateway]:
        for container in task["containerDefinitions"]:
            environment = {entry["name"]: entry["value"] for entry in container.get("environment", ())}
            if FILES_VARIABLE not in environment:
                continue
            files = {PurePosixPath(path).name: text for path, text in unpack(environment[FILES_VARIABLE]).items()}
            arns = {secret["name"]: secret["valueFrom"] for secret in container.get("secrets", ())}
            wanted = json.loads(environment.get(SECRETS_VARIABLE, "{}"))
            secrets = {path: self._aws_secret(arns[variable], region) for path, variable in wanted.items()}
            arn, azure = task["taskRoleArn"], _azure_identity(environment)
            yield Gateway("standby", files["envoy.yaml"], files["routing.json"], secrets, arn, azure)

    def _aws_secret(self, value: str, region: str) -> bytes:
        """``value``: as ECS takes it, ``<ARN>:<JSON key>:<stage>:<version>`` or the ARN alone."""
        parts = value.split(":")
        version = {"VersionId": parts[9]} if parts[9:] and parts[9] else {}
        client = aws_client("secretsmanager", self._endpoints["aws"], region)
        return client.get_secret_value(SecretId=":".join(parts[:7]), **version)["SecretString"].encode()

    def _mounted(self, namespace: str, pod: dict[str, Any]) -> dict[str, bytes]:
        """What secrets put into the pod's containers, by path."""
        secrets = {v["name"]: v["secret"]["secretName"] for v in pod.get("volumes", ()) if "secret" in v}
        files: dict[str, bytes] = {}
        for container in pod["containers"]:
            for mount in container.get("volumeMounts", ()):
                if mount["name"] not in secrets:
                    continue
                secret = self._kubernetes(namespace, "secrets", secrets[mount["name"]]) or {}
                for key, value in secret.get("data", {}).items():
                    path = mount["mountPath"] if mount.get("subPath") == key else f"{mount['mountPath']}/{key}"
                    files[path] = base64.b64decode(value)
        return files

    def _projected(self, namespace: str, pod: dict[str, Any]) -> dict[str, bytes]:
        """The cluster's tokens for Entra, by path; new ones each time, as the kubelet renews them."""
        subject = f"system:serviceaccount:{namespace}:{pod.get('serviceAccountName', 'default')}"
        files: dict[str, bytes] = {}
        for volume in pod.get("volumes", ()):
            for source in volume.get("projected", {}).get("sources", ()):
                asked = source.get("serviceAccountToken", {})
                if asked.get("audience") != TOKEN_AUDIENCE:
                    continue
                query = urlencode({"subject": subject, "audience": asked["audience"]})
                token = _get_json(f"{self._endpoints['azure']}/_spillway/aks/token?{query}")["token"]
                files |= {f"{folder}/{asked['path']}": token.encode() for folder in _folders(pod, volume["name"])}
        return files

    def _deployment(self, name: str) -> dict[str, Any] | None:
        """The stack's: whatever its namespaces are called, its objects' names are fixed."""
        labels = quote(f"app.kubernetes.io/name={name}")
        found = _get_json(f"{self._endpoints['kubernetes']}/apis/apps/v1/deployments?labelSelector={labels}")
        return next(iter(found["items"]), None)

    def _kubernetes(self, namespace: str, plural: str, name: str) -> dict[str, Any] | None:
        return _get_json(f"{self._endpoints['kubernetes']}/api/v1/namespaces/{namespace}/{plural}/{name}")


def _folders(pod: dict[str, Any], volume: str) -> set[str]:
    mounts = (mount for container in pod["containers"] for mount in container.get("volumeMounts", ()))
    return {mount["mountPath"] for mount in mounts if mount["name"] == volume}


def _azure_identity(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: variables[name] for name in AZURE_VARIABLES if name in variables}


def from_words(words: Iterable[str]) -> dict[str, str]:
    """The options in a command line, as vLLM's parser would take it; a bare option is ``true``."""
    found: dict[str, str] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name, _, value = word[2:].partition("=")
            found[name] = value or "true"
        elif name:
            found[name] = word
    return found


def from_variables(variables: Mapping[str, str]) -> dict[str, str]:
    """The options in the variables of AWS's vLLM container (its ``sagemaker_args.py``)."""
    prefix = "SM_VLLM_"
    return {
        name.removeprefix(prefix).lower().replace("_", "-"): value
        for name, value in variables.items()
        if name.startswith(prefix)
    }


def _served_by_sagemaker(container: dict[str, Any]) -> dict[str, Any] | None:
    """The fields of :class:`Served` that a model's container says: AWS's Triton or AWS's vLLM."""
    variables = container.get("Environment", {})
    options = from_variables(variables)
    folder = container.get("ModelDataSource", {}).get("S3DataSource", {})
    if options and folder.get("S3DataType") == "S3Prefix":
        return {"source": folder["S3Uri"], "model": options.get("served-model-name", ""), "options": options}
    name = variables.get("SAGEMAKER_TRITON_DEFAULT_MODEL_NAME", "")
    return {"source": container["ModelDataUrl"], "model": name} if name and "ModelDataUrl" in container else None


def _azure_options(variables: dict[str, str]) -> dict[str, str] | None:
    """Of Spillway's own vLLM image (``components/burst/azure_ml/vllm_image``)."""
    words = variables.get("SPILLWAY_VLLM_ARGUMENTS")
    return from_words(json.loads(words)) if words else None


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
