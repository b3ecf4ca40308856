"""What every private cluster gets, whoever runs it: namespaces, network policies, quotas, priorities, GPU operator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.base import Component, StackContext
from components.chart_values import merged, mirrored, pulled
from components.connectivity.settings import MirrorSettings
from components.kubernetes_documents import metadata
from components.private_cluster import operators, volumes
from components.private_cluster.chart_settings import ChartSettings
from components.private_cluster.settings import GPU_TAINT_KEYS, AksSettings, EksSettings, ExistingSettings, Quota
from spillway.contracts.answer_cache import REDIS_PORT
from spillway.contracts.classes import RequestClass
from spillway.contracts.names import COMPILE_JOB, GATEWAY, MODEL_SERVER, Namespaces
from spillway.contracts.traces import Traces

PRIORITIES = {RequestClass.P0: 1_000_000, RequestClass.P1: 500_000, RequestClass.P2: 100_000}
"""Pod priority by request class; far below the system classes, which start at 2,000,000,000."""


def pod_security_levels(names: Namespaces) -> dict[str, str]:
    """Pod Security Standard by namespace. Node exporter and the GPU operator need the host."""
    return {
        names.serving: "restricted",
        names.gateway: "restricted",
        names.system: "restricted",
        names.monitoring: "privileged",
        names.gpu_operator: "privileged",
    }


@dataclass(frozen=True)
class KubernetesPlatformArgs:
    """``gateway_clients``: networks that may call the gateway, its load balancer's own included. ``cluster_name``,
    ``region``, ``vpc_id``: of EKS, for its controllers; ``volumes_key_arn``: what encrypts its disks.

    ``servers``: the model servers' workloads. ``model_port``: theirs, for gateways; ``metrics_port``: for monitoring.
    ``grouped``: one of them stands on several nodes; ``efa``: which reach each other by Elastic Fabric Adapters.
    ``parts``: of each GPU, each of which counts as one.
    ``cached``: whether gateways keep answers in Redis.
    ``surge_gpus``: what an update of the model servers and their spare places take beyond the pool, which the quota
    leaves room for.
    ``pull_config``: docker config JSON that opens the mirror. ``certificates``: whether cert-manager is needed for the
    gateway's. ``traces``: where gateways and model servers send theirs.
    """

    settings: EksSettings | AksSettings | ExistingSettings
    mirror: MirrorSettings
    gateway_clients: tuple[str, ...]
    model_port: int
    metrics_port: int
    servers: tuple[str, ...] = (MODEL_SERVER,)
    grouped: bool = False
    efa: bool = False
    surge_gpus: int = 0
    parts: int = 1
    traces: Traces | None = None
    pull_config: pulumi.Input[str] | None = None
    cluster_name: pulumi.Input[str] | None = None
    region: str | None = None
    vpc_id: pulumi.Input[str] | None = None
    volumes_key_arn: pulumi.Input[str] | None = None
    certificates: bool = False
    cached: bool = False


class KubernetesPlatform(Component):
    """Outputs: ``namespaces`` (name -> resource), ``priority_classes`` (class -> name) and ``storage_class``, where the
    stack has one of its own."""

    def __init__(
        self, context: StackContext, args: KubernetesPlatformArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("private-cluster-platform", context, opts)
        self.args = args
        levels = pod_security_levels(context.namespaces)
        self.namespaces = {name: self._namespace(name, level) for name, level in levels.items()}
        self.priority_classes = {
            request_class: self._priority(request_class, value) for request_class, value in PRIORITIES.items()
        }
        self.storage_class = volumes.storage_class(self, args.volumes_key_arn) if args.volumes_key_arn else None
        quotas, names = args.settings.quotas, context.namespaces
        self._quota(names.serving, quotas.serving, default_gpus=_gpus(args.settings) * args.parts + args.surge_gpus)
        self._quota(names.gateway, quotas.gateway, default_gpus=0)
        self._quota(names.system, quotas.system, default_gpus=0)
        if self._has_cert_manager():
            self._certificates_namespace()
        self._network_policies()
        self._pull_secrets = self._open_the_mirror()
        self._operators()
        self.register_outputs({"namespaces": list(self.namespaces)})

    def _namespace(self, name: str, level: str) -> k8s.core.v1.Namespace:
        labels = {f"pod-security.kubernetes.io/{mode}": level for mode in ("enforce", "audit", "warn")}
        return k8s.core.v1.Namespace(name, metadata=metadata(self.context, name, labels=labels), opts=self.child())

    def _priority(self, request_class: RequestClass, value: int) -> pulumi.Output[str]:
        name = f"{self.context.prefix}-{request_class.lower()}"
        created = k8s.scheduling.v1.PriorityClass(
            name,
            metadata=metadata(self.context, name),
            value=value,
            preemption_policy="Never" if request_class is RequestClass.P2 else "PreemptLowerPriority",
            description=f"Pods that serve {request_class} requests.",
            opts=self.child(),
        )
        return created.metadata.name.apply(lambda found: found or name)

    def _open_the_mirror(self) -> list[pulumi.Resource]:
        """The pull secret, wherever something of ours runs."""
        args = self.args
        if args.pull_config is None:
            return []
        spaces: dict[str, None] = dict.fromkeys(self.namespaces)
        if isinstance(args.settings, EksSettings):
            chosen = args.settings
            fabric = (chosen.efa_device_plugin,) if args.efa else ()
            controllers = (chosen.autoscaler, chosen.load_balancer_controller, *fabric)
            spaces |= dict.fromkeys(one.namespace for one in controllers if one.enabled)
        return [self._pull_secret(space, args.pull_config) for space in spaces]

    def _pull_secret(self, namespace: str, config: pulumi.Input[str]) -> k8s.core.v1.Secret:
        own = [resource for name, resource in self.namespaces.items() if name == namespace]
        return k8s.core.v1.Secret(
            f"{self.context.prefix}-pull-{namespace}",
            metadata=metadata(self.context, self.context.pull_secret, namespace),
            type="kubernetes.io/dockerconfigjson",
            string_data={".dockerconfigjson": pulumi.Output.secret(config)},
            opts=self.child(depends_on=own, additional_secret_outputs=["data", "stringData"]),
        )

    def _quota(self, namespace: str, quota: Quota, default_gpus: int) -> None:
        gpu = GPU_TAINT_KEYS[self.args.settings.accelerator]
        gpus = default_gpus if quota.gpus is None else quota.gpus
        k8s.core.v1.ResourceQuota(
            f"{namespace}-quota",
            metadata=metadata(self.context, "spillway", namespace),
            spec=k8s.core.v1.ResourceQuotaSpecArgs(
                hard={
                    "requests.cpu": quota.cpu,
                    "requests.memory": quota.memory,
                    "limits.memory": quota.memory,
                    f"requests.{gpu}": str(gpus),
                    "pods": str(quota.pods),
                }
            ),
            opts=self.child(depends_on=[self.namespaces[namespace]]),
        )

    def _network_policies(self) -> None:
        names = self.context.namespaces
        for namespace in (names.serving, names.gateway, names.system):
            self._policy(namespace, "default-deny", pods={}, ingress=[], egress=[])
        # Redis, alone in the third namespace, looks no name up.
        for namespace in (names.serving, names.gateway):
            self._policy(namespace, "allow-dns", pods={}, egress=[_to_dns()])
        for name in self.args.servers:
            self._servers(name)
        self._policy(names.serving, COMPILE_JOB, pods={"app.kubernetes.io/name": COMPILE_JOB}, egress=[_to_https()])
        self._policy(
            names.gateway,
            GATEWAY,
            pods={"app.kubernetes.io/name": GATEWAY},
            ingress=[_from_networks(self.args.gateway_clients, 8080), _from_namespace(names.monitoring, 9903)],
            egress=[
                _to_https(),
                _to_namespace(names.serving, self.args.model_port),
                *([_to_namespace(names.system, REDIS_PORT)] if self.args.cached else []),
                *self._to_collector(),
            ],
        )
        self._policy(
            names.system,
            "redis",
            pods={"app.kubernetes.io/name": "redis"},
            ingress=[
                _from_namespace(names.serving, REDIS_PORT),
                *([_from_namespace(names.gateway, REDIS_PORT)] if self.args.cached else []),
            ],
        )

    def _servers(self, name: str) -> None:
        names, pods = self.context.namespaces, {"app.kubernetes.io/name": name}
        # The nodes of one server exchange what they compute on ports that NCCL, Gloo and ZeroMQ choose. Whoever reached
        # those could run code: https://docs.vllm.ai/en/v0.30.0/usage/security/
        peers = [k8s.networking.v1.NetworkPolicyPeerArgs(pod_selector=k8s.meta.v1.LabelSelectorArgs(match_labels=pods))]
        inward = [k8s.networking.v1.NetworkPolicyIngressRuleArgs(from_=peers)] if self.args.grouped else []
        outward = [k8s.networking.v1.NetworkPolicyEgressRuleArgs(to=peers)] if self.args.grouped else []
        self._policy(
            names.serving,
            name,
            pods=pods,
            ingress=[
                _from_namespace(names.gateway, self.args.model_port),
                _from_namespace(names.monitoring, self.args.metrics_port),
                *inward,
            ],
            egress=[_to_https(), _to_namespace(names.system, REDIS_PORT), *self._to_collector(), *outward],
        )

    def _to_collector(self) -> list[k8s.networking.v1.NetworkPolicyEgressRuleArgs]:
        traces = self.args.traces
        return [_to_namespace(traces.namespace, traces.port)] if traces else []

    def _policy(
        self,
        namespace: str,
        name: str,
        pods: dict[str, str],
        ingress: list[k8s.networking.v1.NetworkPolicyIngressRuleArgs] | None = None,
        egress: list[k8s.networking.v1.NetworkPolicyEgressRuleArgs] | None = None,
    ) -> None:
        kinds = [kind for kind, rules in (("Ingress", ingress), ("Egress", egress)) if rules is not None]
        k8s.networking.v1.NetworkPolicy(
            f"{namespace}-{name}",
            metadata=metadata(self.context, name, namespace),
            spec=k8s.networking.v1.NetworkPolicySpecArgs(
                pod_selector=k8s.meta.v1.LabelSelectorArgs(match_labels=pods or None),
                policy_types=kinds,
                ingress=ingress or None,
                egress=egress or None,
            ),
            opts=self.child(depends_on=[self.namespaces[namespace]]),
        )

    def _operators(self) -> None:
        settings = self.args.settings
        if self.args.grouped and settings.leader_worker_set.enabled:
            values = operators.group_values(settings)
            self._release("lws", settings.leader_worker_set, self.context.namespaces.gpu_operator, values)
        if isinstance(settings, ExistingSettings) and settings.metrics_server.enabled:
            values = {"replicas": 2, "podDisruptionBudget": {"enabled": True, "minAvailable": 1}}
            self._release("metrics-server", settings.metrics_server, self.context.namespaces.monitoring, values)
        first = [self._cert_manager()] if self._has_cert_manager() else []
        if isinstance(settings, EksSettings):
            self._eks_controllers(settings)
        elif settings.accelerator == "amd":
            self._amd_operator(settings, first)
            return
        namespace = self.context.namespaces.gpu_operator
        if settings.nvidia_operator.enabled:
            self._release("gpu-operator", settings.nvidia_operator, namespace, operators.nvidia_values(settings))
        elif settings.dcgm.enabled:
            self._release("dcgm-exporter", settings.dcgm, namespace, operators.dcgm_values(settings))

    def _has_cert_manager(self) -> bool:
        settings = self.args.settings
        amd = settings.accelerator == "amd" and not isinstance(settings, EksSettings)
        builds = amd and settings.amd_operator.enabled and settings.amd_operator.driver
        return settings.cert_manager.enabled and (self.args.certificates or builds)

    def _certificates_namespace(self) -> None:
        """cert-manager's: its webhook is asked by the API server, it asks that, the authority and Route 53."""
        name = self.args.settings.cert_manager.namespace
        self.namespaces[name] = self._namespace(name, "restricted")
        api_server = k8s.networking.v1.NetworkPolicyIngressRuleArgs(ports=_ports(10250))
        other_api_server = k8s.networking.v1.NetworkPolicyEgressRuleArgs(ports=_ports(6443))
        egress = [_to_dns(), _to_https(), other_api_server]
        self._policy(name, "cert-manager", pods={}, ingress=[api_server], egress=egress)

    def _cert_manager(self) -> k8s.helm.v3.Release:
        chart = self.args.settings.cert_manager
        return self._release("cert-manager", chart, chart.namespace, operators.cert_manager_values(chart))

    def _amd_operator(self, settings: AksSettings | ExistingSettings, first: Sequence[pulumi.Resource]) -> None:
        if not settings.amd_operator.enabled:
            return
        namespace = self.context.namespaces.gpu_operator
        self._release(
            "gpu-operator-charts", settings.amd_operator, namespace, operators.amd_values(settings), after=first
        )

    def _eks_controllers(self, settings: EksSettings) -> None:
        args, scaler, balancer = self.args, settings.autoscaler, settings.load_balancer_controller
        plugin = settings.efa_device_plugin
        if args.efa and plugin.enabled:
            self._release("aws-efa-k8s-device-plugin", plugin, plugin.namespace, operators.efa_values(settings))
        if scaler.enabled:
            values = operators.autoscaler_values(settings, args.cluster_name, args.region)
            self._release("cluster-autoscaler", scaler, scaler.namespace, values)
        if balancer.enabled:
            values = operators.balancer_values(settings, args.cluster_name, args.region, args.vpc_id)
            self._release("aws-load-balancer-controller", balancer, balancer.namespace, values)

    def _release(
        self,
        chart: str,
        settings: ChartSettings,
        namespace: str,
        values: dict[str, Any],
        after: Sequence[pulumi.Resource] = (),
    ) -> k8s.helm.v3.Release:
        repository = self.args.mirror.chart_repository(settings.repository)
        is_oci = repository.startswith("oci://")
        own = [resource for name, resource in self.namespaces.items() if name == namespace]
        secret = self.context.pull_secret if self._pull_secrets else None
        images = merged(
            mirrored(self.args.mirror, operators.IMAGES[chart]), pulled(secret, operators.PULL_SECRETS[chart])
        )
        return k8s.helm.v3.Release(
            f"{self.context.prefix}-{chart}",
            name=f"{self.context.prefix}-{chart}",
            chart=f"{repository}/{chart}" if is_oci else chart,
            repository_opts=None if is_oci else k8s.helm.v3.RepositoryOptsArgs(repo=repository),
            version=settings.version,
            namespace=namespace,
            values=merged(merged(values, images), settings.values),
            atomic=True,
            timeout=900,
            opts=self.child(depends_on=[*own, *self._pull_secrets, *after]),
        )


def _gpus(settings: EksSettings | AksSettings | ExistingSettings) -> int:
    """GPUs that the cluster can grow to."""
    if isinstance(settings, ExistingSettings):
        return settings.gpus
    return settings.gpu_pool.max_nodes * settings.gpu_pool.gpus_per_node


def _ports(*numbers: int, protocol: str = "TCP") -> list[k8s.networking.v1.NetworkPolicyPortArgs]:
    return [k8s.networking.v1.NetworkPolicyPortArgs(port=number, protocol=protocol) for number in numbers]


def _namespace_peer(name: str) -> k8s.networking.v1.NetworkPolicyPeerArgs:
    labels = {"kubernetes.io/metadata.name": name}
    return k8s.networking.v1.NetworkPolicyPeerArgs(
        namespace_selector=k8s.meta.v1.LabelSelectorArgs(match_labels=labels)
    )


def _from_namespace(name: str, *ports: int) -> k8s.networking.v1.NetworkPolicyIngressRuleArgs:
    return k8s.networking.v1.NetworkPolicyIngressRuleArgs(from_=[_namespace_peer(name)], ports=_ports(*ports))


def _from_networks(cidrs: tuple[str, ...], *ports: int) -> k8s.networking.v1.NetworkPolicyIngressRuleArgs:
    peers = [
        k8s.networking.v1.NetworkPolicyPeerArgs(ip_block=k8s.networking.v1.IPBlockArgs(cidr=cidr)) for cidr in cidrs
    ]
    return k8s.networking.v1.NetworkPolicyIngressRuleArgs(from_=peers, ports=_ports(*ports))


def _to_namespace(name: str, *ports: int) -> k8s.networking.v1.NetworkPolicyEgressRuleArgs:
    return k8s.networking.v1.NetworkPolicyEgressRuleArgs(to=[_namespace_peer(name)], ports=_ports(*ports))


def _to_dns() -> k8s.networking.v1.NetworkPolicyEgressRuleArgs:
    return k8s.networking.v1.NetworkPolicyEgressRuleArgs(
        to=[_namespace_peer("kube-system")], ports=[*_ports(53, protocol="UDP"), *_ports(53)]
    )


def _to_https() -> k8s.networking.v1.NetworkPolicyEgressRuleArgs:
    """Cloud APIs and burst endpoints have no fixed addresses, so the port is what can be held."""
    return k8s.networking.v1.NetworkPolicyEgressRuleArgs(ports=_ports(443))
