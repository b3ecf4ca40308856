"""The gateway beside the private cluster: Envoy and its agent in one pod, with config, service, budget, autoscaler."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import pulumi
import pulumi_kubernetes as k8s

from components.base import Component, StackContext
from components.connectivity.settings import MirrorSettings
from components.gateway.settings import GatewaySettings
from components.kubernetes_documents import (
    aws_token_environment,
    aws_token_mount,
    aws_token_volume,
    azure_token_mount,
    azure_token_volume,
    container_security,
    disruption_budget,
    environment,
    leave_a_dead_node,
    memory_volume,
    metadata,
    mount,
    pod_security,
    pull_secrets,
    resources,
    selector,
    service_account,
    spread,
)
from spillway.contracts.answer_cache import ANSWERS_FOLDER
from spillway.contracts.azure_calls import TOKEN_FILE_VARIABLE
from spillway.contracts.names import AZURE_TOKEN_FILE, CONFIG_SHA256, GATEWAY, GATEWAY_PEERS, KEYS_FOLDER
from spillway.contracts.routing import Listen

CONFIG_FOLDER = "/etc/spillway"
TLS_FOLDER = "/etc/spillway-tls"
AGENT = ("python", "-m", "spillway.runtime.gateway.agent", "--routing", f"{CONFIG_FOLDER}/routing.json")

_PREFIX: Final = "service.beta.kubernetes.io/aws-load-balancer-"

_CLIENTS_OWN_ADDRESS = {f"{_PREFIX}target-group-attributes": "preserve_client_ip.enabled=true"}
"""For targets by address it is off by default; the network policy admits clients by theirs.
https://docs.aws.amazon.com/elasticloadbalancing/latest/network/edit-target-group-attributes.html, 2026-11-29"""

LOAD_BALANCER_ANNOTATIONS: dict[tuple[str, str], dict[str, str]] = {
    ("eks", "internal"): {
        f"{_PREFIX}type": "external",
        f"{_PREFIX}nlb-target-type": "ip",
        f"{_PREFIX}scheme": "internal",
        **_CLIENTS_OWN_ADDRESS,
    },
    ("eks", "public"): {
        f"{_PREFIX}type": "external",
        f"{_PREFIX}nlb-target-type": "ip",
        f"{_PREFIX}scheme": "internet-facing",
        **_CLIENTS_OWN_ADDRESS,
    },
    ("aks", "internal"): {"service.beta.kubernetes.io/azure-load-balancer-internal": "true"},
}
"""How each cloud is told what kind of load balancer a Service wants."""


DEREGISTERED_AFTER_S: Final = 130
"""Seconds until no load balancer sends to a pod any more: AWS's network load balancer takes two minutes, whatever its
delay is set to (https://github.com/kubernetes-sigs/aws-load-balancer-controller/issues/2366, measured there, and
https://github.com/aws/containers-roadmap/issues/470)."""
_ENDS_WITHIN_S: Final = 15
"""Seconds for what is left to do when a gateway has gone on for long enough."""

_TLS_POLICY: Final = "ELBSecurityPolicy-TLS13-1-2-2021-06"


@dataclass(frozen=True)
class Tls:
    """Where clients' TLS ends and with which certificate: one of the three.

    ``certificate_arn``: of ACM, at the load balancer. ``pem``: certificate chain and private key, of which a Secret is
    made; ``secret_name``: of one that is there. With these two Envoy ends it.
    """

    certificate_arn: pulumi.Input[str] | None = None
    pem: tuple[pulumi.Input[str], pulumi.Input[str]] | None = None
    secret_name: pulumi.Input[str] | None = None

    @property
    def annotations(self) -> dict[str, pulumi.Input[str]]:
        """Of the Service, for AWS's load balancer controller
        (https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/service/annotations/#ssl-cert)."""
        if self.certificate_arn is None:
            return {}
        return {
            f"{_PREFIX}ssl-cert": self.certificate_arn,
            f"{_PREFIX}ssl-ports": "443",
            f"{_PREFIX}ssl-negotiation-policy": _TLS_POLICY,
            f"{_PREFIX}backend-protocol": "tcp",
        }


@dataclass(frozen=True)
class KubernetesGatewayArgs:
    """``envoy_yaml`` and ``routing_json`` come from one routing table, which holds no secret.

    ``drain_s``: how long a gateway that is to end goes on, at least until its load balancer knows and as long as an
    answer may take. ``keys``: file name -> secret content, e.g. a burst site's key. ``role_arn``: what pods' tokens are
    exchanged for. ``environment``: of the agent. ``azure_token``: whether pods get a token for Entra, too.
    """

    settings: GatewaySettings
    mirror: MirrorSettings
    listen: Listen
    tls: Tls | None
    runtime_dir: str
    cluster_kind: Literal["eks", "aks", "existing"]
    exposure: Literal["internal", "public"]
    client_cidrs: tuple[str, ...]
    aws_region: str
    role_arn: pulumi.Input[str]
    envoy_yaml: pulumi.Input[str]
    routing_json: pulumi.Input[str]
    priority_class: pulumi.Input[str]
    drain_s: int = DEREGISTERED_AFTER_S
    keys: dict[str, pulumi.Input[str]] = field(default_factory=dict)
    environment: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    azure_token: bool = False
    depends_on: tuple[pulumi.Resource, ...] = ()


class KubernetesGateway(Component):
    """Outputs: ``address`` (of the load balancer) and ``address_kind`` (``ip`` or ``hostname``)."""

    def __init__(
        self, context: StackContext, args: KubernetesGatewayArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("gateway", context, opts)
        self.args = args
        after = list(args.depends_on)
        account = service_account(self, GATEWAY, self.context.namespaces.gateway, after)
        config = self._config(after)
        keys = self._keys(after)
        deployment = self._deployment(account, config, keys, self._certificate(after))
        service = self._service(after)
        self._peers(after)
        disruption_budget(self, GATEWAY, self.context.namespaces.gateway, 1, after)
        self._autoscaler(deployment)
        self.address_kind: Literal["ip", "hostname"] = "hostname" if args.cluster_kind == "eks" else "ip"
        self.address = service.status.apply(self._address_of)
        self.register_outputs({"address": self.address})

    def _address_of(self, status: k8s.core.v1.outputs.ServiceStatus | None) -> str:
        ingress = status.load_balancer.ingress if status and status.load_balancer else None
        if not ingress:
            raise pulumi.RunError(
                "the gateway's Service has no load balancer address: the cluster needs a load balancer controller"
            )
        found = ingress[0].hostname if self.address_kind == "hostname" else ingress[0].ip
        if not found:
            raise pulumi.RunError(
                f"the gateway's load balancer has no {self.address_kind}, which DNS needs: a cluster of kind: "
                f"{self.args.cluster_kind} has to give its load balancers one"
            )
        return found

    def _config(self, after: list[pulumi.Resource]) -> k8s.core.v1.ConfigMap:
        return k8s.core.v1.ConfigMap(
            f"{self.context.prefix}-gateway-config",
            metadata=metadata(self.context, "gateway-config", self.context.namespaces.gateway),
            data={"envoy.yaml": self.args.envoy_yaml, "routing.json": self.args.routing_json},
            opts=self.child(depends_on=after),
        )

    def _keys(self, after: list[pulumi.Resource]) -> k8s.core.v1.Secret | None:
        if not self.args.keys:
            return None
        return k8s.core.v1.Secret(
            f"{self.context.prefix}-gateway-keys",
            metadata=metadata(self.context, "gateway-keys", self.context.namespaces.gateway),
            string_data={name: pulumi.Output.secret(value) for name, value in self.args.keys.items()},
            opts=self.child(depends_on=after, additional_secret_outputs=["data", "stringData"]),
        )

    def _certificate(self, after: list[pulumi.Resource]) -> pulumi.Input[str] | None:
        """Name of the Secret with the certificate that Envoy shows; ``None`` where it shows none."""
        tls = self.args.tls
        if tls is None or tls.pem is None:
            return tls.secret_name if tls else None
        made = k8s.core.v1.Secret(
            f"{self.context.prefix}-gateway-tls",
            metadata=metadata(self.context, "gateway-tls", self.context.namespaces.gateway),
            type="kubernetes.io/tls",
            string_data={"tls.crt": pulumi.Output.secret(tls.pem[0]), "tls.key": pulumi.Output.secret(tls.pem[1])},
            opts=self.child(depends_on=after, additional_secret_outputs=["data", "stringData"]),
        )
        return made.metadata.name

    def _deployment(
        self,
        account: k8s.core.v1.ServiceAccount,
        config: k8s.core.v1.ConfigMap,
        keys: k8s.core.v1.Secret | None,
        certificate: pulumi.Input[str] | None,
    ) -> k8s.apps.v1.Deployment:
        args = self.args
        shown = [pulumi.Output.unsecret(pulumi.Output.from_input(args.tls.pem[0]))] if args.tls and args.tls.pem else []
        digest = pulumi.Output.all(args.envoy_yaml, args.routing_json, *shown).apply(
            lambda texts: hashlib.sha256("\n".join(texts).encode()).hexdigest()
        )
        volumes = [
            aws_token_volume(),
            memory_volume("runtime", "16Mi"),
            memory_volume("tmp", "64Mi"),
            k8s.core.v1.VolumeArgs(
                name="config", config_map=k8s.core.v1.ConfigMapVolumeSourceArgs(name=config.metadata.name)
            ),
        ]
        if keys is not None:
            secret = k8s.core.v1.SecretVolumeSourceArgs(secret_name=keys.metadata.name, default_mode=0o440)
            volumes.append(k8s.core.v1.VolumeArgs(name="keys", secret=secret))
        if args.azure_token:
            volumes.append(azure_token_volume())
        if disk := self._answers_disk:
            volumes.append(
                k8s.core.v1.VolumeArgs(name="answers", empty_dir=k8s.core.v1.EmptyDirVolumeSourceArgs(size_limit=disk))
            )
        if certificate is not None:
            tls = k8s.core.v1.SecretVolumeSourceArgs(secret_name=certificate, default_mode=0o440)
            volumes.append(k8s.core.v1.VolumeArgs(name="tls", secret=tls))
        return k8s.apps.v1.Deployment(
            f"{self.context.prefix}-gateway-deployment",
            metadata=metadata(self.context, GATEWAY, self.context.namespaces.gateway),
            spec=k8s.apps.v1.DeploymentSpecArgs(
                replicas=args.settings.replicas,
                revision_history_limit=5,
                selector=k8s.meta.v1.LabelSelectorArgs(match_labels=selector(GATEWAY)),
                strategy=k8s.apps.v1.DeploymentStrategyArgs(
                    type="RollingUpdate",
                    rolling_update=k8s.apps.v1.RollingUpdateDeploymentArgs(max_surge=1, max_unavailable=0),
                ),
                template=k8s.core.v1.PodTemplateSpecArgs(
                    metadata=k8s.meta.v1.ObjectMetaArgs(
                        labels={**self.context.labels, **selector(GATEWAY)},
                        # A new config or certificate is a new pod: Envoy reads them once.
                        annotations={CONFIG_SHA256: digest},
                    ),
                    spec=k8s.core.v1.PodSpecArgs(
                        service_account_name=account.metadata.name,
                        automount_service_account_token=False,
                        image_pull_secrets=pull_secrets(self.context, args.mirror),
                        priority_class_name=args.priority_class,
                        security_context=pod_security(),
                        termination_grace_period_seconds=args.drain_s + _ENDS_WITHIN_S,
                        topology_spread_constraints=spread(GATEWAY),
                        tolerations=leave_a_dead_node(),
                        init_containers=[self._endpoint_files()],
                        containers=[self._envoy(), self._agent()],
                        volumes=volumes,
                    ),
                ),
            ),
            # The autoscaler owns the number of replicas once the Deployment is there.
            # On full nodes each new gateway waits for an old one's end.
            opts=self.child(
                depends_on=[config, *([keys] if keys else [])],
                ignore_changes=["spec.replicas"],
                ready_within_s=600 + args.settings.autoscaler.max_replicas * (args.drain_s + _ENDS_WITHIN_S),
            ),
        )

    def _endpoint_files(self) -> k8s.core.v1.ContainerArgs:
        """Envoy does not start without its endpoint files, which the agent keeps up to date afterwards."""
        args = self.args
        settings = args.settings
        return k8s.core.v1.ContainerArgs(
            name="endpoint-files",
            image=args.mirror.image(settings.agent_image),
            command=[*AGENT, "--once"],
            env=self._agent_environment(),
            resources=resources(settings.agent_resources.cpu, settings.agent_resources.memory),
            security_context=container_security(),
            volume_mounts=self._agent_mounts(),
        )

    def _agent_environment(self) -> list[k8s.core.v1.EnvVarArgs]:
        args = self.args
        azure = {TOKEN_FILE_VARIABLE: AZURE_TOKEN_FILE} if args.azure_token else {}
        aws = aws_token_environment(args.role_arn, args.aws_region)
        return environment({**aws, **azure, **args.environment, "HOME": "/tmp"})

    def _envoy(self) -> k8s.core.v1.ContainerArgs:
        args = self.args
        settings = args.settings
        mounts = [*self._mounts(), *([mount("tls", TLS_FOLDER, read_only=True)] if args.listen.tls else [])]
        # Envoy answers this itself, once every cluster has been warmed and the listener is open.
        ready = k8s.core.v1.HTTPGetActionArgs(
            path="/healthz", port="http", scheme="HTTPS" if args.listen.tls else "HTTP"
        )
        listens = k8s.core.v1.TCPSocketActionArgs(port="http")
        return k8s.core.v1.ContainerArgs(
            name="envoy",
            image=args.mirror.image(settings.image),
            args=["--config-path", f"{CONFIG_FOLDER}/envoy.yaml", "--log-level", "warning"],
            # Envoy ends at once on SIGTERM. Until then it serves: load balancers send for a while, streams go on.
            lifecycle=k8s.core.v1.LifecycleArgs(
                pre_stop=k8s.core.v1.LifecycleHandlerArgs(sleep=k8s.core.v1.SleepActionArgs(seconds=args.drain_s))
            ),
            env=environment(aws_token_environment(args.role_arn, args.aws_region)),
            ports=[
                k8s.core.v1.ContainerPortArgs(name="http", container_port=args.listen.port),
                k8s.core.v1.ContainerPortArgs(name="metrics", container_port=args.listen.metrics_port),
            ],
            resources=resources(settings.resources.cpu, settings.resources.memory),
            security_context=container_security(),
            readiness_probe=k8s.core.v1.ProbeArgs(
                http_get=ready, period_seconds=2, timeout_seconds=2, failure_threshold=2
            ),
            # It listens once every cluster is warm, which waits for names and first health checks.
            startup_probe=k8s.core.v1.ProbeArgs(
                tcp_socket=listens, period_seconds=2, timeout_seconds=2, failure_threshold=60
            ),
            # One that is to end fails its health check and lives on.
            liveness_probe=k8s.core.v1.ProbeArgs(
                tcp_socket=listens, period_seconds=10, timeout_seconds=5, failure_threshold=3
            ),
            volume_mounts=mounts,
        )

    def _agent(self) -> k8s.core.v1.ContainerArgs:
        args = self.args
        settings = args.settings
        # The agent listens on loopback, out of the kubelet's reach, so the probe runs inside the container.
        check = (
            "import urllib.request; "
            f"urllib.request.urlopen('http://127.0.0.1:{args.listen.agent_port}/healthz', timeout=2)"
        )
        return k8s.core.v1.ContainerArgs(
            name="agent",
            image=args.mirror.image(settings.agent_image),
            command=[*AGENT, "--until-envoy-ends"],
            env=self._agent_environment(),
            resources=resources(settings.agent_resources.cpu, settings.agent_resources.memory),
            security_context=container_security(),
            liveness_probe=k8s.core.v1.ProbeArgs(
                exec_=k8s.core.v1.ExecActionArgs(command=["python", "-c", check]),
                period_seconds=20,
                timeout_seconds=5,
                failure_threshold=3,
            ),
            readiness_probe=k8s.core.v1.ProbeArgs(
                exec_=k8s.core.v1.ExecActionArgs(command=["python", "-c", check]), period_seconds=10, timeout_seconds=5
            ),
            volume_mounts=[*self._agent_mounts(), *([mount("answers", ANSWERS_FOLDER)] if self._answers_disk else [])],
        )

    @property
    def _answers_disk(self) -> str | None:
        cache = self.args.settings.cache
        return cache.disk if cache else None

    def _agent_mounts(self) -> list[k8s.core.v1.VolumeMountArgs]:
        return [*self._mounts(), *([azure_token_mount()] if self.args.azure_token else [])]

    def _mounts(self) -> list[k8s.core.v1.VolumeMountArgs]:
        return [
            aws_token_mount(),
            mount("config", CONFIG_FOLDER, read_only=True),
            *([mount("keys", KEYS_FOLDER, read_only=True)] if self.args.keys else []),
            mount("runtime", self.args.runtime_dir),
            mount("tmp", "/tmp"),
        ]

    def _peers(self, after: list[pulumi.Resource]) -> None:
        """By it the gateways count themselves: what is for all of them is divided by how many there are."""
        k8s.core.v1.Service(
            f"{self.context.prefix}-{GATEWAY_PEERS}",
            metadata=metadata(self.context, GATEWAY_PEERS, self.context.namespaces.gateway),
            spec=k8s.core.v1.ServiceSpecArgs(
                cluster_ip="None",
                selector=selector(GATEWAY),
                ports=[k8s.core.v1.ServicePortArgs(name="http", port=self.args.listen.port, target_port="http")],
            ),
            opts=self.child(depends_on=after),
        )

    def _service(self, after: list[pulumi.Resource]) -> k8s.core.v1.Service:
        args = self.args
        return k8s.core.v1.Service(
            f"{self.context.prefix}-gateway-service",
            metadata=metadata(
                self.context,
                GATEWAY,
                self.context.namespaces.gateway,
                annotations={
                    **LOAD_BALANCER_ANNOTATIONS.get((args.cluster_kind, args.exposure), {}),
                    **(self._attributes() if args.cluster_kind == "eks" else {}),
                    **(args.tls.annotations if args.tls else {}),
                }
                or None,
            ),
            spec=k8s.core.v1.ServiceSpecArgs(
                type="LoadBalancer",
                load_balancer_source_ranges=list(args.client_cidrs),
                # Keeps the client's address, which the network policy and the rate limits look at.
                external_traffic_policy="Local",
                # EKS's load balancer goes to the pods' own addresses.
                allocate_load_balancer_node_ports=False if args.cluster_kind == "eks" else None,
                selector=selector(GATEWAY),
                ports=[
                    k8s.core.v1.ServicePortArgs(
                        name="https" if args.tls else "http",
                        port=443 if args.tls else 80,
                        target_port="http",
                    )
                ],
            ),
            opts=self.child(depends_on=after),
        )

    def _attributes(self) -> dict[str, str]:
        """Of the load balancer
        (https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/service/annotations/)."""
        found = {"deletion_protection.enabled": str(self.context.protect_data).lower()}
        if bucket := self.args.settings.access_log_bucket:
            logs = {"enabled": "true", "bucket": bucket, "prefix": f"{self.context.prefix}-gateway"}
            found |= {f"access_logs.s3.{key}": value for key, value in logs.items()}
        return {f"{_PREFIX}attributes": ",".join(f"{key}={value}" for key, value in found.items())}

    def _autoscaler(self, deployment: k8s.apps.v1.Deployment) -> None:
        settings = self.args.settings
        cpu = k8s.autoscaling.v2.MetricSpecArgs(
            type="Resource",
            resource=k8s.autoscaling.v2.ResourceMetricSourceArgs(
                name="cpu",
                target=k8s.autoscaling.v2.MetricTargetArgs(
                    type="Utilization", average_utilization=settings.autoscaler.cpu_percent
                ),
            ),
        )
        k8s.autoscaling.v2.HorizontalPodAutoscaler(
            f"{self.context.prefix}-gateway-hpa",
            metadata=metadata(self.context, GATEWAY, self.context.namespaces.gateway),
            spec=k8s.autoscaling.v2.HorizontalPodAutoscalerSpecArgs(
                scale_target_ref=k8s.autoscaling.v2.CrossVersionObjectReferenceArgs(
                    api_version="apps/v1", kind="Deployment", name=GATEWAY
                ),
                min_replicas=settings.replicas,
                max_replicas=settings.autoscaler.max_replicas,
                metrics=[cpu],
            ),
            opts=self.child(depends_on=[deployment]),
        )
