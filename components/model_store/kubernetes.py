"""The model store's part inside the cluster: Redis."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s

from components.base import Component, StackContext
from components.connectivity.settings import MirrorSettings
from components.kubernetes_documents import (
    container_security,
    memory_volume,
    metadata,
    mount,
    pod_security,
    pull_secrets,
    resources,
    selector,
)
from components.model_server.triton import CACHES
from components.model_store.settings import ModelStoreSettings, RedisSettings
from spillway.contracts.answer_cache import REDIS_PORT
from spillway.contracts.names import REDIS


@dataclass(frozen=True)
class KubernetesModelStoreArgs:
    settings: ModelStoreSettings
    mirror: MirrorSettings
    priority_class: pulumi.Input[str]
    depends_on: tuple[pulumi.Resource, ...] = ()


class KubernetesModelStore(Component):
    """Outputs: ``redis_host`` (inside the cluster), ``None`` without Redis."""

    def __init__(
        self, context: StackContext, args: KubernetesModelStoreArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("model-store-cluster", context, opts)
        self.args = args
        self.redis_host = None
        if args.settings.redis is not None:
            self._redis(args.settings.redis)
            self.redis_host = f"{REDIS}.{self.context.namespaces.system}.svc.cluster.local"
        self.register_outputs({"redis_host": self.redis_host})

    def _redis(self, redis: RedisSettings) -> None:
        """A cache and nothing else: no persistence, least-used entries go first."""
        args = self.args
        limit = _mebibytes(redis.memory)
        probe = k8s.core.v1.ProbeArgs(
            tcp_socket=k8s.core.v1.TCPSocketActionArgs(port="redis"), period_seconds=5, timeout_seconds=2
        )
        container = k8s.core.v1.ContainerArgs(
            name=REDIS,
            image=args.mirror.image(redis.image),
            args=[
                "--databases",
                str(CACHES),
                "--maxmemory",
                f"{limit * 80 // 100}mb",
                "--maxmemory-policy",
                "allkeys-lru",
                "--save",
                "",
                "--appendonly",
                "no",
                "--dir",
                "/data",
                # Who may connect is held by the network policy; nothing but a cache is behind it.
                "--protected-mode",
                "no",
            ],
            ports=[k8s.core.v1.ContainerPortArgs(name="redis", container_port=REDIS_PORT)],
            resources=resources("250m", redis.memory),
            security_context=container_security(),
            readiness_probe=probe,
            liveness_probe=probe,
            volume_mounts=[mount("data", "/data")],
        )
        k8s.apps.v1.Deployment(
            f"{self.context.prefix}-{REDIS}",
            metadata=metadata(self.context, REDIS, self.context.namespaces.system),
            spec=k8s.apps.v1.DeploymentSpecArgs(
                replicas=1,
                selector=k8s.meta.v1.LabelSelectorArgs(match_labels=selector(REDIS)),
                strategy=k8s.apps.v1.DeploymentStrategyArgs(type="Recreate"),
                template=k8s.core.v1.PodTemplateSpecArgs(
                    metadata=k8s.meta.v1.ObjectMetaArgs(labels={**self.context.labels, **selector(REDIS)}),
                    spec=k8s.core.v1.PodSpecArgs(
                        automount_service_account_token=False,
                        image_pull_secrets=pull_secrets(self.context, args.mirror),
                        priority_class_name=args.priority_class,
                        security_context=pod_security(),
                        containers=[container],
                        volumes=[memory_volume("data", "16Mi")],
                    ),
                ),
            ),
            opts=self.child(depends_on=list(args.depends_on)),
        )
        k8s.core.v1.Service(
            f"{self.context.prefix}-{REDIS}-service",
            metadata=metadata(self.context, REDIS, self.context.namespaces.system),
            spec=k8s.core.v1.ServiceSpecArgs(
                selector=selector(REDIS),
                ports=[k8s.core.v1.ServicePortArgs(name="redis", port=REDIS_PORT, target_port="redis")],
            ),
            opts=self.child(depends_on=list(args.depends_on)),
        )


def _mebibytes(quantity: str) -> int:
    number, unit = int(quantity[:-2]), quantity[-2:]
    return number * {"Mi": 1, "Gi": 1024}[unit]
