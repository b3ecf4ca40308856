"""What every private cluster gets, whoever runs it: namespaces, network policies, quotas, priorities, GPU operator."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s

from components.base import Component, StackContext
from components.connectivity.settings import MirrorSettings
from components.kubernetes_documents import (
    COMPILE_JOB,
    GATEWAY_NAMESPACE,
    GPU_OPERATOR_NAMESPACE,
    MONITORING_NAMESPACE,
    SERVING_NAMESPACE,
    SYSTEM_NAMESPACE,
    metadata,
)
from components.private_cluster.settings import (
    GPU_TAINT_KEYS,
    AksSettings,
    EksSettings,
    ExistingSettings,
    NvidiaOperatorSettings,
    Quota,
)
from spillway.contracts.classes import RequestClass

PRIORITIES = {RequestClass.P0: 1_000_000, RequestClass.P1: 500_000, RequestClass.P2: 100_000}
"""Pod priority by request class; far below the system classes, which start at 2,000,000,000."""

POD_SECURITY = {
    SERVING_NAMESPACE: "restricted",
    GATEWAY_NAMESPACE: "restricted",
    SYSTEM_NAMESPACE: "restricted",
    MONITORING_NAMESPACE: "privileged",
    GPU_OPERATOR_NAMESPACE: "privileged",
}
"""Pod Security Standard by namespace. Node exporter and the GPU operator need the host."""


@dataclass(frozen=True)
class KubernetesPlatformArgs:
    """``gateway_clients``: networks that may call the gateway; ``cluster_name``, ``region``: for EKS nodes to grow."""

    settings: EksSettings | AksSettings | ExistingSettings
    mirror: MirrorSettings
    gateway_clients: tuple[str, ...]
    cluster_name: pulumi.Input[str] | None = None
    region: str | None = None


class KubernetesPlatform(Component):
    """Outputs: ``namespaces`` (name -> resource) and ``priority_classes`` (class -> name)."""

    def __init__(
        self, context: StackContext, args: KubernetesPlatformArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("private_cluster_platform", context, opts)
        self.args = args
        self.namespaces = {name: self._namespace(name, level) for name, level in POD_SECURITY.items()}
        self.priority_classes = {
            request_class: self._priority(request_class, value) for request_class, value in PRIORITIES.items()
        }
        quotas = args.settings.quotas
        self._quota(SERVING_NAMESPACE, quotas.serving, default_gpus=_gpus(args.settings))
        self._quota(GATEWAY_NAMESPACE, quotas.gateway, default_gpus=0)
        self._quota(SYSTEM_NAMESPACE, quotas.system, default_gpus=0)
        self._network_policies()
        self._operators()
        self.register_outputs({"namespaces": list(self.namespaces)})

    def _namespace(self, name: str, level: str) -> k8s.core.v1.Namespace:
        labels = {f"pod-security.kubernetes.io/{mode}": level for mode in ("enforce", "audit", "warn")}
        return k8s.core.v1.Namespace(
            f"{self.context.prefix}-{name}", metadata=metadata(self.context, name, labels=labels), opts=self.child()
        )

    def _priority(self, request_class: RequestClass, value: int) -> pulumi.Output[str]:
        name = f"spillway-{request_class.lower()}"
        created = k8s.scheduling.v1.PriorityClass(
            f"{self.context.prefix}-{request_class.lower()}",
            metadata=metadata(self.context, name),
            value=value,
            global_default=False,
            preemption_policy="Never" if request_class is RequestClass.P2 else "PreemptLowerPriority",
            description=f"Pods that serve {request_class} requests.",
            opts=self.child(),
        )
        return created.metadata.name.apply(lambda found: found or name)

    def _quota(self, namespace: str, quota: Quota, default_gpus: int) -> None:
        gpu = GPU_TAINT_KEYS[self.args.settings.accelerator]
        gpus = default_gpus if quota.gpus is None else quota.gpus
        k8s.core.v1.ResourceQuota(
            f"{self.context.prefix}-{namespace}-quota",
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
        for namespace in (SERVING_NAMESPACE, GATEWAY_NAMESPACE, SYSTEM_NAMESPACE):
            self._policy(namespace, "default-deny", pods={}, ingress=[], egress=[])
            self._policy(namespace, "allow-dns", pods={}, egress=[_to_dns()])
        self._policy(
            SERVING_NAMESPACE,
            "model-server",
            pods={"app.kubernetes.io/name": "model-server"},
            ingress=[
                _from_namespace(GATEWAY_NAMESPACE, 8000, 8001),
                _from_namespace(MONITORING_NAMESPACE, 8000, 8002),
            ],
            egress=[_to_https(), _to_namespace(SYSTEM_NAMESPACE, 6379)],
        )
        self._policy(SERVING_NAMESPACE, COMPILE_JOB, pods={"app.kubernetes.io/name": COMPILE_JOB}, egress=[_to_https()])
        self._policy(
            GATEWAY_NAMESPACE,
            "gateway",
            pods={"app.kubernetes.io/name": "gateway"},
            ingress=[_from_networks(self.args.gateway_clients, 8080), _from_namespace(MONITORING_NAMESPACE, 9903)],
            egress=[_to_https(), _to_namespace(SERVING_NAMESPACE, 8000, 8001)],
        )
        self._policy(
            SYSTEM_NAMESPACE,
            "redis",
            pods={"app.kubernetes.io/name": "redis"},
            ingress=[_from_namespace(SERVING_NAMESPACE, 6379)],
        )
        self._policy(
            SYSTEM_NAMESPACE, "package-sync", pods={"app.kubernetes.io/name": "package-sync"}, egress=[_to_https()]
        )

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
            f"{self.context.prefix}-{namespace}-{name}",
            metadata=metadata(self.context, name, namespace),
            spec=k8s.networking.v1.NetworkPolicySpecArgs(
                pod_selector=k8s.meta.v1.LabelSelectorArgs(match_labels=pods),
                policy_types=kinds,
                ingress=ingress or None,
                egress=egress or None,
            ),
            opts=self.child(depends_on=[self.namespaces[namespace]]),
        )

    def _operators(self) -> None:
        settings = self.args.settings
        if settings.accelerator == "amd":
            if settings.amd_operator.enabled:
                self._release(
                    "gpu-operator-charts",
                    settings.amd_operator.repository,
                    settings.amd_operator.version,
                    GPU_OPERATOR_NAMESPACE,
                    {
                        "deviceConfig": {
                            "spec": {
                                "driver": {"enable": settings.amd_operator.driver},
                                "metricsExporter": {"enable": True},
                            }
                        }
                    },
                )
        elif settings.nvidia_operator.enabled:
            self._release(
                "gpu-operator",
                settings.nvidia_operator.repository,
                settings.nvidia_operator.version,
                GPU_OPERATOR_NAMESPACE,
                self._nvidia_values(settings.nvidia_operator),
            )
        if settings.accelerator == "nvidia" and settings.dcgm.enabled and not settings.nvidia_operator.enabled:
            self._release(
                "dcgm-exporter",
                settings.dcgm.repository,
                settings.dcgm.version,
                GPU_OPERATOR_NAMESPACE,
                {"serviceMonitor": {"enabled": False}, "extraEnv": [_dcgm_interval(settings.dcgm.interval_s)]},
            )
        if isinstance(settings, EksSettings) and settings.autoscaler.enabled:
            self._release(
                "cluster-autoscaler",
                settings.autoscaler.repository,
                settings.autoscaler.version,
                settings.autoscaler.namespace,
                {
                    "autoDiscovery": {"clusterName": self.args.cluster_name},
                    "awsRegion": self.args.region,
                    "rbac": {"serviceAccount": {"name": settings.autoscaler.service_account}},
                },
            )

    def _nvidia_values(self, operator: NvidiaOperatorSettings) -> dict[str, object]:
        settings = self.args.settings
        driver = isinstance(settings, ExistingSettings) if operator.driver is None else operator.driver
        toolkit = driver if operator.toolkit is None else operator.toolkit
        return {
            "driver": {"enabled": driver},
            "toolkit": {"enabled": toolkit},
            "dcgmExporter": {
                "enabled": settings.dcgm.enabled,
                # The kind ServiceMonitor is not there yet: the monitoring component scrapes the exporter.
                "serviceMonitor": {"enabled": False},
                "env": [_dcgm_interval(settings.dcgm.interval_s)],
            },
            "operator": {"defaultRuntime": "containerd"},
        }

    def _release(
        self, chart: str, repository: str, version: str, namespace: str, values: dict[str, object]
    ) -> k8s.helm.v3.Release:
        mirrored = self.args.mirror.chart_repository(repository)
        is_oci = mirrored.startswith("oci://")
        return k8s.helm.v3.Release(
            f"{self.context.prefix}-{chart}",
            name=chart,
            chart=f"{mirrored}/{chart}" if is_oci else chart,
            repository_opts=None if is_oci else k8s.helm.v3.RepositoryOptsArgs(repo=mirrored),
            version=version,
            namespace=namespace,
            values=values,
            atomic=True,
            timeout=900,
            opts=self.child(depends_on=[self.namespaces[namespace]] if namespace in self.namespaces else None),
        )


def _dcgm_interval(seconds: int) -> dict[str, str]:
    return {"name": "DCGM_EXPORTER_INTERVAL", "value": str(seconds * 1000)}


def _gpus(settings: EksSettings | AksSettings | ExistingSettings) -> int:
    """GPUs that the cluster can grow to."""
    if isinstance(settings, ExistingSettings):
        return settings.gpus
    return settings.gpu_pool.max_size * settings.gpu_pool.gpus_per_node


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
