from __future__ import annotations

from typing import Any

import pytest

from components.connectivity.settings import MirrorSettings
from components.gateway.kubernetes import KubernetesGateway, KubernetesGatewayArgs
from components.gateway.settings import GatewaySettings
from spillway.contracts.routing import Listen, ServerTls
from tests.support.recording import Recorded, context, of_type, record

RUNTIME = "/var/run/spillway"
STATUS = {"status": {"loadBalancer": {"ingress": [{"hostname": "gw.example", "ip": "10.0.0.9"}]}}}


def build(listen: Listen | None = None, **changes: Any) -> list[Recorded]:
    args: dict[str, Any] = {
        "settings": GatewaySettings(operator_key_secret="operator"),
        "mirror": MirrorSettings(),
        "listen": listen or Listen(),
        "runtime_dir": RUNTIME,
        "cluster_kind": "eks",
        "exposure": "internal",
        "client_cidrs": ("10.0.0.0/8",),
        "aws_region": "eu-west-1",
        "role_arn": "arn:aws:iam::123456789012:role/gateway",
        "envoy_yaml": "{}",
        "routing_json": "{}",
        "priority_class": "spillway-p0",
        "keys": {"azure_ml.key": "abc"},
    }
    return record(
        lambda: KubernetesGateway(context(), KubernetesGatewayArgs(**{**args, **changes})),
        {"kubernetes:core/v1:Service": STATUS},
    )


def pod(found: list[Recorded]) -> dict[str, Any]:
    (deployment,) = of_type(found, "kubernetes:apps/v1:Deployment")
    return deployment.inputs["spec"]["template"]["spec"]


def mounts(container: dict[str, Any]) -> dict[str, str]:
    return {m["name"]: m["mountPath"] for m in container["volumeMounts"]}


def test_endpoint_files_are_there_before_envoy_starts() -> None:
    spec = pod(build())
    (first,) = spec["initContainers"]
    envoy, agent = spec["containers"]
    assert first["command"] == [*agent["command"], "--once"]
    assert first["image"] == agent["image"]
    assert mounts(first)["runtime"] == mounts(envoy)["runtime"] == mounts(agent)["runtime"] == RUNTIME
    assert first["securityContext"]["allowPrivilegeEscalation"] is False


@pytest.mark.parametrize("tls", [None, ServerTls(certificate_file="/tls/tls.crt", key_file="/tls/tls.key")])
def test_envoy_is_probed_on_the_clients_port(tls: ServerTls | None) -> None:
    envoy = pod(build(Listen(tls=tls)))["containers"][0]
    for probe in ("readinessProbe", "livenessProbe"):
        wanted = {"path": "/healthz", "port": "http", "scheme": "HTTPS" if tls else "HTTP"}
        assert envoy[probe]["httpGet"] == wanted
    assert {p["name"]: p["containerPort"] for p in envoy["ports"]} == {"http": 8080, "metrics": 9903}


def test_service_is_internal_and_for_known_networks_only() -> None:
    (service,) = of_type(build(), "kubernetes:core/v1:Service")
    scheme = "service.beta.kubernetes.io/aws-load-balancer-scheme"
    assert service.inputs["metadata"]["annotations"][scheme] == "internal"
    assert service.inputs["spec"]["loadBalancerSourceRanges"] == ["10.0.0.0/8"]
    assert service.inputs["spec"]["externalTrafficPolicy"] == "Local"


def test_new_config_is_a_new_pod() -> None:
    def digest(**changes: Any) -> str:
        (deployment,) = of_type(build(**changes), "kubernetes:apps/v1:Deployment")
        return deployment.inputs["spec"]["template"]["metadata"]["annotations"]["spillway.dev/config-sha256"]

    assert digest() == digest()
    assert digest() != digest(routing_json='{"a":1}')
