"""The model store's parts inside the cluster: the job that carries packages across clouds, and Redis."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s

from components.base import Component, StackContext
from components.connectivity.settings import MirrorSettings
from components.kubernetes_documents import (
    SYSTEM_NAMESPACE,
    aws_token_environment,
    aws_token_mount,
    aws_token_volume,
    container_security,
    environment,
    memory_volume,
    metadata,
    mount,
    pod_security,
    resources,
    selector,
    service_account,
)
from components.model_store.settings import ModelStoreSettings, RedisSettings

SYNC = "package-sync"
REDIS = "redis"
REDIS_PORT = 6379


@dataclass(frozen=True)
class AzureTarget:
    """Where packages are carried to. ``client_id``, ``tenant_id``: the identity that the pods' tokens stand for."""

    account_name: pulumi.Input[str]
    container_name: pulumi.Input[str]
    client_id: pulumi.Input[str]
    tenant_id: str


@dataclass(frozen=True)
class KubernetesModelStoreArgs:
    """``azure``: ``None`` where there is nothing to carry packages to, then there is no job."""

    settings: ModelStoreSettings
    mirror: MirrorSettings
    aws_region: str
    bucket_name: pulumi.Input[str]
    role_arn: pulumi.Input[str]
    priority_class: pulumi.Input[str]
    azure: AzureTarget | None = None
    depends_on: tuple[pulumi.Resource, ...] = ()


class KubernetesModelStore(Component):
    """Outputs: ``redis_host`` (inside the cluster), ``None`` without Redis."""

    def __init__(
        self, context: StackContext, args: KubernetesModelStoreArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("model_store_cluster", context, opts)
        self.args = args
        if args.azure is not None:
            self._sync(args.azure)
        self.redis_host = None
        if args.settings.redis is not None:
            self._redis(args.settings.redis)
            self.redis_host = f"{REDIS}.{SYSTEM_NAMESPACE}.svc.cluster.local"
        self.register_outputs({"redis_host": self.redis_host})

    def _sync(self, azure: AzureTarget) -> None:
        args, rclone = self.args, self.args.settings.rclone
        account = service_account(self, SYNC, SYSTEM_NAMESPACE, list(args.depends_on))
        source = pulumi.Output.concat(
            ":s3,env_auth,provider=AWS,region=", args.aws_region, ":", args.bucket_name, "/packages"
        )
        target = pulumi.Output.concat(
            ":azureblob,env_auth,account=", azure.account_name, ":", azure.container_name, "/packages"
        )
        container = k8s.core.v1.ContainerArgs(
            name="rclone",
            image=args.mirror.image(rclone.image),
            # Packages never change once written: compare by checksum, refuse to overwrite, delete nothing.
            args=[
                "copy",
                source,
                target,
                "--checksum",
                "--immutable",
                f"--transfers={rclone.transfers}",
                f"--bwlimit={rclone.bandwidth}",
                "--use-json-log",
                "--stats=30s",
            ],
            env=environment(
                {
                    **aws_token_environment(args.role_arn, args.aws_region),
                    "AZURE_CLIENT_ID": azure.client_id,
                    "AZURE_FEDERATED_TOKEN_FILE": "/var/run/secrets/spillway-azure/token",
                    "AZURE_TENANT_ID": azure.tenant_id,
                    "HOME": "/tmp",
                }
            ),
            resources=resources("250m", "512Mi"),
            security_context=container_security(),
            volume_mounts=[
                aws_token_mount(),
                mount("azure-token", "/var/run/secrets/spillway-azure", read_only=True),
                mount("tmp", "/tmp"),
            ],
        )
        azure_token = k8s.core.v1.ServiceAccountTokenProjectionArgs(
            audience="api://AzureADTokenExchange", expiration_seconds=3600, path="token"
        )
        k8s.batch.v1.CronJob(
            f"{self.context.prefix}-{SYNC}-job",
            metadata=metadata(self.context, SYNC, SYSTEM_NAMESPACE),
            spec=k8s.batch.v1.CronJobSpecArgs(
                schedule=rclone.schedule,
                time_zone="Etc/UTC",
                # A second copy at the same time would only race the first.
                concurrency_policy="Forbid",
                starting_deadline_seconds=300,
                successful_jobs_history_limit=3,
                failed_jobs_history_limit=3,
                job_template=k8s.batch.v1.JobTemplateSpecArgs(
                    spec=k8s.batch.v1.JobSpecArgs(
                        backoff_limit=3,
                        active_deadline_seconds=3600,
                        template=k8s.core.v1.PodTemplateSpecArgs(
                            metadata=k8s.meta.v1.ObjectMetaArgs(labels={**self.context.labels, **selector(SYNC)}),
                            spec=k8s.core.v1.PodSpecArgs(
                                service_account_name=account.metadata.name,
                                automount_service_account_token=False,
                                priority_class_name=args.priority_class,
                                restart_policy="Never",
                                security_context=pod_security(),
                                containers=[container],
                                volumes=[
                                    aws_token_volume(),
                                    k8s.core.v1.VolumeArgs(
                                        name="azure-token",
                                        projected=k8s.core.v1.ProjectedVolumeSourceArgs(
                                            sources=[
                                                k8s.core.v1.VolumeProjectionArgs(service_account_token=azure_token)
                                            ],
                                            default_mode=0o440,
                                        ),
                                    ),
                                    memory_volume("tmp", "256Mi"),
                                ],
                            ),
                        ),
                    )
                ),
            ),
            opts=self.child(depends_on=list(args.depends_on)),
        )

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
            metadata=metadata(self.context, REDIS, SYSTEM_NAMESPACE),
            spec=k8s.apps.v1.DeploymentSpecArgs(
                replicas=1,
                selector=k8s.meta.v1.LabelSelectorArgs(match_labels=selector(REDIS)),
                strategy=k8s.apps.v1.DeploymentStrategyArgs(type="Recreate"),
                template=k8s.core.v1.PodTemplateSpecArgs(
                    metadata=k8s.meta.v1.ObjectMetaArgs(labels={**self.context.labels, **selector(REDIS)}),
                    spec=k8s.core.v1.PodSpecArgs(
                        automount_service_account_token=False,
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
            metadata=metadata(self.context, REDIS, SYSTEM_NAMESPACE),
            spec=k8s.core.v1.ServiceSpecArgs(
                selector=selector(REDIS),
                ports=[k8s.core.v1.ServicePortArgs(name="redis", port=REDIS_PORT, target_port="redis")],
            ),
            opts=self.child(depends_on=list(args.depends_on)),
        )


def _mebibytes(quantity: str) -> int:
    number, unit = int(quantity[:-2]), quantity[-2:]
    return number * {"Mi": 1, "Gi": 1024}[unit]
