"""The job that compiles a package's engines inside the serving image.

For Kubernetes a Job of the serving namespace, for SageMaker the input of ``aws sagemaker create-processing-job``. Both
start :mod:`model_packaging.tensorrt.compile` and hold no secret: credentials come from the pod's service account or
from the job's role.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import yaml

from model_packaging.tensorrt.settings import EngineSettings
from spillway.contracts.names import COMPILE_JOB, PACKAGE_URI

Place = Literal["kubernetes", "sagemaker"]

ENTRY: Final = ("python", "-m", "model_packaging.tensorrt.compile")
_GPU: Final = "nvidia.com/gpu"
"""The resource that the pod asks for, and the taint that it tolerates."""
_USER: Final = 10001
"""A user id that no image needs to know: nothing is written outside the mounted volumes."""
_TOKEN_VOLUME: Final = "aws-token"
_TOKEN_FOLDER: Final = "/var/run/secrets/spillway-aws"
_TOKEN_FILE: Final = "token"
_LOCAL_SCHEMES: Final = ("", "file", "local", "memory")
_AZURE_SCHEMES: Final = ("abfs", "abfss", "az")
_KEPT_S: Final = 24 * 3600
"""How long a finished Job and its log stay, seconds."""
_LONGEST_NAME: Final = 63
"""Of a Kubernetes Job's pods' labels and of a SageMaker job."""
_LONGEST_ARGUMENT: Final = 256
"""SageMaker's limit (API reference, AppSpecification)."""
_ROLE: Final = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/\S+")
_GPU_INSTANCE: Final = re.compile(r"ml\.[gp]\d\w*\.\d*\w+")
_ECR_IMAGE: Final = re.compile(r"\d{12}\.dkr[.-]ecr\S+/\S+")
_OBJECT_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_MEMORY: Final = re.compile(r"\d+(\.\d+)?(M|G|Mi|Gi)")
_SELECTOR: Final = re.compile(r"(?:[a-z0-9.-]+/)?[A-Za-z0-9][A-Za-z0-9._-]*=[A-Za-z0-9]?[A-Za-z0-9._-]*")


class JobError(Exception):
    """A job that could not run. The message names the option at fault and what it may be."""


@dataclass(frozen=True)
class CompileJob:
    """What both kinds of job run. ``disk_gib``: scratch room for the package and its engines."""

    name: str
    package_url: str
    image: str
    arguments: tuple[str, ...]
    max_minutes: int
    disk_gib: int
    region: str = ""


def make_job(
    package_url: str, settings: Sequence[EngineSettings], image: str, *, max_minutes: int, disk_gib: int, region: str
) -> CompileJob:
    """A job under a name of its own, for a package at ``package_url``. Raises :class:`JobError`."""
    _check_url(package_url)
    _must_be(r"\S+", "--image", image, "the reference of an image, as registry.example/compile:24.10")
    return CompileJob(
        name=_unique_name(package_url),
        package_url=package_url,
        image=image,
        arguments=("--package", package_url, *_settings_arguments(settings)),
        max_minutes=max_minutes,
        disk_gib=disk_gib,
        region=region,
    )


def kubernetes_job(
    job: CompileJob,
    *,
    namespace: str,
    service_account: str,
    memory: str,
    node_selector: Iterable[str] = (),
    role_arn: str = "",
) -> dict[str, Any]:
    """A ``batch/v1`` Job for one GPU, which the ``restricted`` pod security standard accepts.

    ``role_arn``: exchange the pod's token for this role, as the model servers do; without it credentials are what the
    cluster gives ``service_account``.
    """
    _must_be(_OBJECT_NAME, "--namespace", namespace, "the name of a namespace")
    _must_be(_OBJECT_NAME, "--service-account", service_account, "the name of a service account")
    _must_be(_MEMORY, "--memory", memory, "a Kubernetes quantity, as 12Gi")
    labels = {"app.kubernetes.io/name": COMPILE_JOB, "app.kubernetes.io/instance": job.name}
    token = _aws_token(role_arn, job.region) if role_arn else None
    environment = {"HOME": "/tmp", **_region(job), **(token.environment if token else {})}
    container = {
        "name": "compile",
        "image": job.image,
        "command": list(ENTRY),
        "args": list(job.arguments),
        "env": [{"name": name, "value": value} for name, value in sorted(environment.items())],
        "resources": {"requests": {"cpu": "2", "memory": memory, _GPU: "1"}, "limits": {"memory": memory, _GPU: "1"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, *(token.mounts if token else [])],
    }
    pod = {
        "serviceAccountName": service_account,
        "automountServiceAccountToken": False,
        "restartPolicy": "Never",
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "tolerations": [{"key": _GPU, "operator": "Exists", "effect": "NoSchedule"}],
        **_node_selector(node_selector),
        "containers": [container],
        "volumes": [
            {"name": "tmp", "emptyDir": {"sizeLimit": f"{job.disk_gib}Gi"}},
            *(token.volumes if token else []),
        ],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job.name,
            "namespace": namespace,
            "labels": labels,
            "annotations": {PACKAGE_URI: job.package_url},
        },
        "spec": {
            "backoffLimit": 1,
            "activeDeadlineSeconds": job.max_minutes * 60,
            "ttlSecondsAfterFinished": _KEPT_S,
            # Wrong usage fails again; a node that went away is nobody's fault.
            "podFailurePolicy": {
                "rules": [
                    {
                        "action": "FailJob",
                        "onExitCodes": {"containerName": "compile", "operator": "In", "values": [2]},
                    },
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                ]
            },
            "template": {"metadata": {"labels": dict(labels)}, "spec": pod},
        },
    }


def sagemaker_request(job: CompileJob, *, instance_type: str, role_arn: str) -> dict[str, Any]:
    """A ``CreateProcessingJob`` request. Raises :class:`JobError` for what SageMaker would refuse."""
    if not job.package_url.startswith("s3://"):
        raise JobError(f"{job.package_url}: a SageMaker job's role opens S3; give a package there, s3://….")
    _must_be(
        _GPU_INSTANCE,
        "--instance-type",
        instance_type,
        "SageMaker's type that serves, with a GPU, as ml.g5.xlarge",
    )
    _must_be(_ECR_IMAGE, "--image", job.image, "an image in ECR, which is where SageMaker's jobs take theirs from")
    too_long = next((argument for argument in job.arguments if len(argument) > _LONGEST_ARGUMENT), None)
    if too_long is not None:
        raise JobError(
            f"{too_long[:40]}…: SageMaker takes arguments of {_LONGEST_ARGUMENT} characters, this has {len(too_long)}. "
            "Shorten the URL or that key of --settings, or compile on Kubernetes."
        )
    environment = _region(job)
    return {
        "ProcessingJobName": job.name,
        "RoleArn": _checked_role(role_arn),
        "AppSpecification": {
            "ImageUri": job.image,
            "ContainerEntrypoint": list(ENTRY),
            "ContainerArguments": list(job.arguments),
        },
        "ProcessingResources": {
            "ClusterConfig": {"InstanceCount": 1, "InstanceType": instance_type, "VolumeSizeInGB": job.disk_gib}
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": job.max_minutes * 60},
        **({"Environment": environment} if environment else {}),
    }


def document(on: Place, made: Mapping[str, Any]) -> str:
    """YAML for kubectl, JSON for the AWS CLI."""
    if on == "sagemaker":
        return json.dumps(made, indent=2) + "\n"
    return yaml.safe_dump(made, sort_keys=False, allow_unicode=True, width=4096)


def start_command(on: Place, path: Path | None) -> str:
    """What starts a job that was written to ``path``."""
    if on == "sagemaker":
        return f"aws sagemaker create-processing-job --cli-input-json file://{path or 'job.json'}"
    return f"kubectl apply -f {path or '-'}"


@dataclass(frozen=True)
class _Token:
    environment: dict[str, str]
    mounts: list[dict[str, Any]]
    volumes: list[dict[str, Any]]


def _aws_token(role_arn: str, region: str) -> _Token:
    """A short-lived token of the pod's service account, which AWS exchanges for the role."""
    if not region:
        raise JobError("--role-arn on Kubernetes: give --region, too; the token is exchanged there.")
    environment = {
        "AWS_REGION": region,
        "AWS_ROLE_ARN": _checked_role(role_arn),
        "AWS_WEB_IDENTITY_TOKEN_FILE": f"{_TOKEN_FOLDER}/{_TOKEN_FILE}",
    }
    token = {"audience": "sts.amazonaws.com", "expirationSeconds": 3600, "path": _TOKEN_FILE}
    return _Token(
        environment,
        [{"name": _TOKEN_VOLUME, "mountPath": _TOKEN_FOLDER, "readOnly": True}],
        [
            {
                "name": _TOKEN_VOLUME,
                "projected": {"sources": [{"serviceAccountToken": token}], "defaultMode": 0o440},
            }
        ],
    )


def _region(job: CompileJob) -> dict[str, str]:
    """AWS's Python SDK reads this name and no other."""
    return {"AWS_DEFAULT_REGION": job.region} if job.region else {}


def _checked_role(role_arn: str) -> str:
    _must_be(_ROLE, "--role-arn", role_arn, "a role's ARN, as arn:aws:iam::123456789012:role/compile")
    return role_arn


def _must_be(pattern: str | re.Pattern[str], option: str, value: str, what: str) -> None:
    if not re.fullmatch(pattern, value):
        raise JobError(f"{option} {value!r}: give {what}.")


def _check_url(package_url: str) -> None:
    try:
        parts = urlsplit(package_url)
    except ValueError as error:
        raise JobError(f"{package_url}: is no URL: {error}.") from None
    if parts.scheme in _LOCAL_SCHEMES or not parts.netloc:
        raise JobError(
            f"{package_url}: a job cannot see this machine's folders. Push the package to a store first, as a folder "
            f"(`aws s3 cp --recursive {package_url or 'PACKAGE'} s3://BUCKET/NAME/VERSION`), and give that URL."
        )
    # Azure's addresses name the container where others name a user.
    user = parts.username if parts.scheme not in _AZURE_SCHEMES else None
    if parts.password or user or parts.query:
        raise JobError(
            f"{parts.scheme}://{parts.hostname}…: a job holds no secret. Leave user, password and query out of the URL "
            "(a shared access signature is a query): the service account or the role gives the job its credentials."
        )


def _node_selector(pairs: Iterable[str]) -> dict[str, Any]:
    given = tuple(pairs)
    for pair in given:
        _must_be(_SELECTOR, "--node-selector", pair, "LABEL=VALUE, as node.kubernetes.io/instance-type=g6.xlarge")
    return {"nodeSelector": dict(pair.split("=", 1) for pair in given)} if given else {}


def _settings_arguments(settings: Sequence[EngineSettings]) -> Iterable[str]:
    """``--precision`` for each, and what the file gave besides: the same for all of them."""
    for one in settings:
        yield from ("--precision", one.precision)
    given = settings[0].model_dump(mode="json", exclude_unset=True, exclude={"precision"})
    for key, value in given.items():
        yield from ("--set", f"{key}={json.dumps(value, separators=(',', ':'))}")


def _unique_name(package_url: str) -> str:
    """From the last two parts of the URL, which are a package's name and version. SageMaker never lets a name recur."""
    parts = [re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-") for part in urlsplit(package_url).path.split("/")]
    stem = "-".join(["compile", *[part[:20].strip("-") for part in parts if part][-2:]])
    suffix = secrets.token_hex(4)
    return f"{stem[: _LONGEST_NAME - len(suffix) - 1].rstrip('-')}-{suffix}"
