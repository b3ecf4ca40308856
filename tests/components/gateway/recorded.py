"""Both gateways as a stack registers them, and the containers that they start."""

from __future__ import annotations

import json
from typing import Any, Literal

from components.connectivity.settings import MirrorSettings
from components.gateway.kubernetes import KubernetesGateway, KubernetesGatewayArgs
from components.gateway.settings import GatewaySettings, StandbySettings
from components.gateway.standby import StandbyGateway, StandbyGatewayArgs
from spillway.contracts.routing import Listen
from tests.support.recording import Recorded, context, of_type, record

RUNTIME = "/var/run/spillway"
STATUS = {"status": {"loadBalancer": {"ingress": [{"hostname": "gw.example", "ip": "10.0.0.9"}]}}}


def private_gateway(
    listen: Listen | None = None, status: dict[str, Any] | None = None, **changes: Any
) -> list[Recorded]:
    """The gateway beside the private cluster, as a stack registers it. ``status``: of its Service."""
    args: dict[str, Any] = {
        "settings": GatewaySettings(operator_key_secret="operator"),
        "mirror": MirrorSettings(),
        "listen": listen or Listen(),
        "tls": None,
        "runtime_dir": RUNTIME,
        "cluster_kind": "eks",
        "exposure": "internal",
        "client_cidrs": ("10.0.0.0/8",),
        "aws_region": "eu-west-1",
        "role_arn": "arn:aws:iam::123456789012:role/gateway",
        "envoy_yaml": "{}",
        "routing_json": "{}",
        "priority_class": "spillway-test-p0",
        "keys": {"azure_ml.key": "abc"},
    }
    return record(
        lambda: KubernetesGateway(context(), KubernetesGatewayArgs(**{**args, **changes})),
        {"kubernetes:core/v1:Service": status or STATUS},
    )


def pod(found: list[Recorded]) -> dict[str, Any]:
    """The pod that its Deployment starts."""
    (deployment,) = of_type(found, "kubernetes:apps/v1:Deployment")
    return deployment.inputs["spec"]["template"]["spec"]


ENDPOINT = "arn:aws:sagemaker:eu-west-1:123456789012:endpoint/spillway-test-burst"
KEY_FILE = "/run/secrets/spillway/azure-ml-key"
CERTIFICATE = "arn:aws:acm:eu-west-1:123456789012:certificate/c"


def standby(
    exposure: Literal["internal", "public"] = "internal",
    routing_json: str = '{"role": "standby"}',
    logs: str | None = None,
    answer_timeout_s: float = 30.0,
    **settings: Any,
) -> list[Recorded]:
    """The standby gateway, as a stack registers it."""
    args = StandbyGatewayArgs(
        mirror=MirrorSettings(),
        settings=GatewaySettings(standby=StandbySettings(**settings), access_log_bucket=logs),
        region="eu-west-1",
        account_id="123456789012",
        exposure=exposure,
        host="inference.example.com",
        vpc_id="vpc-1",
        vpc_cidr="10.40.0.0/16",
        private_subnet_ids=["private-a", "private-b", "private-c"],
        public_subnet_ids=["public-a", "public-b", "public-c"],
        client_cidrs=["10.0.0.0/8"],
        logs_key_arn="arn:logs-key",
        envoy_yaml="static_resources: {}",
        routing_json=routing_json,
        endpoint_arns=[ENDPOINT],
        parameter_arns=["arn:cutoff", "arn:live"],
        secret_files={KEY_FILE: "azure-key-value"},
        certificate_arn=CERTIFICATE,
        answer_timeout_s=answer_timeout_s,
    )
    return record(lambda: StandbyGateway(context(), args))


def containers(resources: list[Recorded]) -> dict[str, dict[str, Any]]:
    """The containers of its task, by name."""
    (definition,) = of_type(resources, "aws:ecs/taskDefinition:TaskDefinition")
    return {c["name"]: c for c in json.loads(definition.inputs["containerDefinitions"])}
