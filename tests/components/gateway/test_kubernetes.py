from __future__ import annotations

from typing import Any

import pytest
from pulumi import RunError

from components.gateway.kubernetes import Tls
from components.gateway.settings import GatewaySettings
from spillway.contracts.credentials import ServerTls
from spillway.contracts.routing import Listen
from tests.components.gateway.recorded import CERTIFICATE, RUNTIME, pod, private_gateway
from tests.support.recording import Recorded, of_type


def mounts(container: dict[str, Any]) -> dict[str, str]:
    return {m["name"]: m["mountPath"] for m in container["volumeMounts"]}


def test_endpoint_files_are_there_before_envoy_starts() -> None:
    spec = pod(private_gateway())
    (first,) = spec["initContainers"]
    envoy, agent = spec["containers"]
    assert first["command"] == [*agent["command"][:-1], "--once"]
    assert first["image"] == agent["image"]
    assert mounts(first)["runtime"] == mounts(envoy)["runtime"] == mounts(agent)["runtime"] == RUNTIME
    assert first["securityContext"]["allowPrivilegeEscalation"] is False


@pytest.mark.parametrize("tls", [None, ServerTls(certificate_file="/tls/tls.crt", key_file="/tls/tls.key")])
def test_envoy_is_probed_on_the_clients_port(tls: ServerTls | None) -> None:
    envoy = pod(private_gateway(Listen(tls=tls)))["containers"][0]
    wanted = {"path": "/healthz", "port": "http", "scheme": "HTTPS" if tls else "HTTP"}
    assert envoy["readinessProbe"]["httpGet"] == wanted
    # One that is told to end fails its health check, and goes on.
    assert envoy["livenessProbe"]["tcpSocket"] == envoy["startupProbe"]["tcpSocket"] == {"port": "http"}
    assert envoy["startupProbe"]["periodSeconds"] * envoy["startupProbe"]["failureThreshold"] >= 120
    assert {p["name"]: p["containerPort"] for p in envoy["ports"]} == {"http": 8080, "metrics": 9903}


def test_a_gateway_that_ends_goes_on_until_nobody_sends_and_all_is_answered() -> None:
    """AWS's network load balancer was measured to send for two minutes more
    (https://github.com/kubernetes-sigs/aws-load-balancer-controller/issues/2366)."""
    longer: dict[str, Any] = {"drain_s": 300}
    for changes, least in (({}, 120), (longer, 300)):
        spec = pod(private_gateway(**changes))
        envoy, agent = spec["containers"]
        waits = envoy["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert spec["terminationGracePeriodSeconds"] > waits >= least
        # Its SIGTERM comes first: it tells Envoy, and outlasts it.
        assert "lifecycle" not in agent
        assert "--until-envoy-ends" in agent["command"]


def test_service_is_internal_and_for_known_networks_only() -> None:
    service = entrance(private_gateway())
    scheme = "service.beta.kubernetes.io/aws-load-balancer-scheme"
    assert service.inputs["metadata"]["annotations"][scheme] == "internal"
    assert service.inputs["spec"]["loadBalancerSourceRanges"] == ["10.0.0.0/8"]
    assert service.inputs["spec"]["externalTrafficPolicy"] == "Local"


SERVICE = "kubernetes:core/v1:Service"


def entrance(found: list[Recorded]) -> Recorded:
    """The Service that clients reach."""
    services = {one.inputs["metadata"]["name"]: one for one in of_type(found, SERVICE)}
    assert services.keys() == {"gateway", "gateway-peers"}
    return services["gateway"]


def test_gateways_are_counted_behind_a_name_of_their_own() -> None:
    services = {one.inputs["metadata"]["name"]: one.inputs["spec"] for one in of_type(private_gateway(), SERVICE)}
    assert services["gateway-peers"]["clusterIP"] == "None"
    assert services["gateway-peers"]["selector"] == services["gateway"]["selector"]


def attributes(found: list[Recorded]) -> dict[str, str]:
    """Of the load balancer, as its controller reads them
    (https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/service/annotations/)."""
    service = entrance(found)
    text = service.inputs["metadata"]["annotations"]["service.beta.kubernetes.io/aws-load-balancer-attributes"]
    return dict(pair.split("=") for pair in text.split(","))


def test_what_a_platform_team_asks_of_the_load_balancer() -> None:
    assert attributes(private_gateway()) == {"deletion_protection.enabled": "true"}
    settings = GatewaySettings(operator_key_secret="operator", access_log_bucket="company-logs")
    assert attributes(private_gateway(settings=settings)) == {
        "deletion_protection.enabled": "true",
        "access_logs.s3.enabled": "true",
        "access_logs.s3.bucket": "company-logs",
        "access_logs.s3.prefix": "spillway-test-gateway",
    }


def test_new_config_is_a_new_pod() -> None:
    def digest(**changes: Any) -> str:
        (deployment,) = of_type(private_gateway(**changes), "kubernetes:apps/v1:Deployment")
        return deployment.inputs["spec"]["template"]["metadata"]["annotations"]["spillway.dev/config-sha256"]

    assert digest() == digest()
    assert digest() != digest(routing_json='{"a":1}')


def test_a_certificate_of_acm_is_shown_by_the_load_balancer() -> None:
    found = private_gateway(tls=Tls(certificate_arn=CERTIFICATE))
    service = entrance(found)
    annotations = service.inputs["metadata"]["annotations"]
    ends = {key.rpartition("aws-load-balancer-")[2]: value for key, value in annotations.items()}
    assert (ends["ssl-cert"], ends["ssl-ports"], ends["backend-protocol"]) == (CERTIFICATE, "443", "tcp")
    assert ends["target-group-attributes"] == "preserve_client_ip.enabled=true"
    assert [(port["port"], port["targetPort"]) for port in service.inputs["spec"]["ports"]] == [(443, "http")]
    assert "tls" not in {volume["name"] for volume in pod(found)["volumes"]}


def test_a_certificate_of_the_stacks_secrets_is_mounted_and_a_new_one_starts_new_pods() -> None:
    listen = Listen(tls=ServerTls(certificate_file="/etc/spillway-tls/tls.crt", key_file="/etc/spillway-tls/tls.key"))
    digests = []
    for chain in ("chain", "next year's"):
        found = private_gateway(listen, tls=Tls(pem=(chain, "key")))
        (secret,) = [r for r in of_type(found, "kubernetes:core/v1:Secret") if r.inputs.get("type")]
        assert secret.inputs["type"] == "kubernetes.io/tls"
        assert set(secret.inputs["stringData"]["value"]) == {"tls.crt", "tls.key"}
        (mounted,) = [volume for volume in pod(found)["volumes"] if volume["name"] == "tls"]
        assert mounted["secret"]["secretName"] == secret.inputs["metadata"]["name"]
        (deployment,) = of_type(found, "kubernetes:apps/v1:Deployment")
        digests.append(deployment.inputs["spec"]["template"]["metadata"]["annotations"]["spillway.dev/config-sha256"])
    assert digests[0] != digests[1]


def test_a_balancer_without_an_address_that_dns_can_name_is_refused() -> None:
    """An existing cluster's may have a host name alone, and an A record of that would be empty."""
    status = {"status": {"loadBalancer": {"ingress": [{"hostname": "gw.example"}]}}}
    with pytest.raises(RunError, match="has no ip, which DNS needs"):
        private_gateway(status=status, cluster_kind="existing")
