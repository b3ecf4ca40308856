"""The model servers on the private cluster: Deployment, Service, disruption budget and autoscaler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pulumi
import pulumi_kubernetes as k8s

from components.base import Component, StackContext
from components.connectivity.settings import MirrorSettings
from components.kubernetes_documents import (
    SERVING_NAMESPACE,
    aws_token_environment,
    aws_token_mount,
    aws_token_volume,
    container_security,
    disruption_budget,
    environment,
    memory_volume,
    metadata,
    mount,
    pod_security,
    resources,
    selector,
    service_account,
    spread,
)
from components.model_server import triton, vllm
from components.model_server.settings import ModelServerSettings
from components.private_cluster.settings import GPU_TAINT_KEYS, Accelerator

NAME = "model-server"

FETCH = """set -eu
rm -rf /cache/staging && mkdir -p /cache/staging
rclone copyto ":s3,env_auth,provider=AWS,region=$AWS_REGION:$PACKAGE_OBJECT" /cache/staging/package.tar.gz
echo "$SPILLWAY_PACKAGE_SHA256  /cache/staging/package.tar.gz" | sha256sum -c -
rm -rf /cache/repository && mkdir -p /cache/repository
tar -xzf /cache/staging/package.tar.gz -C /cache/repository
rm -rf /cache/staging
"""
"""Fetch, check, unpack. The digest is checked before anything is unpacked."""

FETCH_FOLDER = """set -eu
rm -rf /cache/staging && mkdir -p /cache/staging
rclone copy ":s3,env_auth,provider=AWS,region=$AWS_REGION:$PACKAGE_OBJECT" /cache/staging
cd /cache/staging
echo "$SPILLWAY_PACKAGE_SHA256  SHA256SUMS" | sha256sum -c -
sha256sum -c SHA256SUMS
test "$(find . -type f | wc -l)" -eq "$(($(wc -l < SHA256SUMS) + 1))"
cd /
rm -rf /cache/repository && mv /cache/staging /cache/repository
"""
"""The same for a language model's folder: its list of digests is checked, then each file; nothing else may be there."""


@dataclass(frozen=True)
class ModelServerArgs:
    """``package_uri``: s3:// address of the package's archive; ``package_sha256``: its digest, hexadecimal.

    Of a package for vLLM they are the folder's address, ending in ``/``, and the digest of the ``SHA256SUMS`` in it.

    ``kind`` and ``entry_model`` come from the package's manifest. ``role_arn``: the AWS role that may read packages,
    for which the pods' tokens are exchanged. ``engine_host_code``: an engine is served that brings its own runtime.
    ``depends_on``: the platform and the uploaded package.
    """

    settings: ModelServerSettings
    mirror: MirrorSettings
    accelerator: Accelerator
    kind: Literal["triton", "vllm"]
    entry_model: str
    package_uri: pulumi.Input[str]
    package_sha256: str
    aws_region: str
    priority_class: pulumi.Input[str]
    role_arn: pulumi.Input[str]
    redis_host: str | None = None
    engine_host_code: bool = False
    depends_on: tuple[pulumi.Resource, ...] = ()


class ModelServer(Component):
    """Outputs: ``host`` (name inside the cluster) and ``port``."""

    def __init__(
        self, context: StackContext, args: ModelServerArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("model_server", context, opts)
        self.args = args
        self.host = f"{NAME}.{SERVING_NAMESPACE}.svc.cluster.local"
        self.port = triton.HTTP_PORT
        after = list(args.depends_on)
        account = service_account(self, NAME, SERVING_NAMESPACE, after)
        self.deployment = self._deployment(account, after)
        self._service(after)
        wanted = args.settings.min_available
        disruption_budget(self, NAME, SERVING_NAMESPACE, int(wanted) if wanted.isdigit() else wanted, after)
        self._autoscaler()
        self.register_outputs({"host": self.host, "port": self.port})

    def _deployment(self, account: k8s.core.v1.ServiceAccount, after: list[pulumi.Resource]) -> k8s.apps.v1.Deployment:
        settings, args = self.args.settings, self.args
        gpu = GPU_TAINT_KEYS[args.accelerator]
        pod = k8s.core.v1.PodSpecArgs(
            service_account_name=account.metadata.name,
            automount_service_account_token=False,
            priority_class_name=args.priority_class,
            security_context=pod_security(),
            # Longer than the drain itself: endpoints disappear first, then requests in flight end, then the process.
            termination_grace_period_seconds=settings.drain_s + 30,
            topology_spread_constraints=spread(NAME),
            tolerations=[k8s.core.v1.TolerationArgs(key=gpu, operator="Exists", effect="NoSchedule")]
            if settings.gpus
            else None,
            init_containers=[self._fetch()],
            containers=[self._server(gpu)],
            volumes=[
                self._cache_volume(),
                aws_token_volume(),
                memory_volume("shm", settings.shared_memory),
                memory_volume("tmp", "1Gi"),
            ],
        )
        return k8s.apps.v1.Deployment(
            f"{self.context.prefix}-{NAME}-deployment",
            metadata=metadata(self.context, NAME, SERVING_NAMESPACE),
            spec=k8s.apps.v1.DeploymentSpecArgs(
                replicas=settings.autoscaling.min_replicas,
                revision_history_limit=5,
                progress_deadline_seconds=settings.start_timeout_s + 60,
                selector=k8s.meta.v1.LabelSelectorArgs(match_labels=selector(NAME)),
                strategy=k8s.apps.v1.DeploymentStrategyArgs(
                    type="RollingUpdate",
                    rolling_update=k8s.apps.v1.RollingUpdateDeploymentArgs(max_surge=1, max_unavailable=0),
                ),
                template=k8s.core.v1.PodTemplateSpecArgs(
                    metadata=k8s.meta.v1.ObjectMetaArgs(
                        labels={**self.context.labels, **selector(NAME)},
                        annotations={
                            "spillway.dev/package-sha256": args.package_sha256,
                            "spillway.dev/entry-model": args.entry_model,
                            "spillway.dev/kind": args.kind,
                        },
                    ),
                    spec=pod,
                ),
            ),
            # The autoscaler owns the number of replicas once the Deployment is there.
            opts=self.child(depends_on=after, ignore_changes=["spec.replicas"]),
        )

    def _fetch(self) -> k8s.core.v1.ContainerArgs:
        args = self.args
        package_object = pulumi.Output.from_input(args.package_uri).apply(lambda uri: uri.removeprefix("s3://"))
        return k8s.core.v1.ContainerArgs(
            name="fetch-package",
            image=args.mirror.image(args.settings.fetch_image),
            command=["/bin/sh", "-c", FETCH_FOLDER if args.kind == "vllm" else FETCH],
            env=environment(
                {
                    **aws_token_environment(args.role_arn, args.aws_region),
                    "HOME": "/tmp",
                    "PACKAGE_OBJECT": package_object,
                    "SPILLWAY_PACKAGE_SHA256": args.package_sha256,
                    "SPILLWAY_PACKAGE_URI": args.package_uri,
                }
            ),
            resources=resources("500m", "1Gi"),
            security_context=container_security(),
            volume_mounts=[aws_token_mount(), mount("cache", "/cache"), mount("tmp", "/tmp")],
        )

    def _server(self, gpu: str) -> k8s.core.v1.ContainerArgs:
        settings, args = self.args.settings, self.args
        is_vllm = args.kind == "vllm"
        image = settings.vllm_image if is_vllm else settings.triton_image
        command = (
            vllm.command(args.entry_model)
            if is_vllm
            else triton.command(settings, args.redis_host, host_code=args.engine_host_code)
        )
        ready = vllm.READINESS_PATH if is_vllm else triton.readiness_path(args.entry_model)
        alive = vllm.READINESS_PATH if is_vllm else "/v2/health/live"
        devices = {gpu: str(settings.gpus)} if settings.gpus else {}
        return k8s.core.v1.ContainerArgs(
            name=args.kind,
            image=args.mirror.image(image),
            command=command,
            env=environment({"HOME": "/tmp", "SPILLWAY_PACKAGE_URI": args.package_uri}),
            ports=_container_ports(is_vllm),
            resources=resources(settings.cpu, settings.memory, **devices),
            security_context=container_security(),
            startup_probe=_probe(ready, period=5, failures=max(1, settings.start_timeout_s // 5)),
            readiness_probe=_probe(ready, period=2, failures=2),
            liveness_probe=_probe(alive, period=10, failures=6),
            lifecycle=k8s.core.v1.LifecycleArgs(
                # Time for the gateway to notice that the endpoint is gone before the server refuses new work.
                pre_stop=k8s.core.v1.LifecycleHandlerArgs(exec_=k8s.core.v1.ExecActionArgs(command=["sleep", "10"]))
            ),
            volume_mounts=[mount("cache", "/cache"), mount("shm", "/dev/shm"), mount("tmp", "/tmp")],
        )

    def _cache_volume(self) -> k8s.core.v1.VolumeArgs:
        cache = self.args.settings.cache
        if cache.storage_class is None:
            return k8s.core.v1.VolumeArgs(
                name="cache", empty_dir=k8s.core.v1.EmptyDirVolumeSourceArgs(size_limit=cache.size)
            )
        claim = k8s.core.v1.PersistentVolumeClaimTemplateArgs(
            spec=k8s.core.v1.PersistentVolumeClaimSpecArgs(
                access_modes=["ReadWriteOnce"],
                storage_class_name=cache.storage_class,
                resources=k8s.core.v1.VolumeResourceRequirementsArgs(requests={"storage": cache.size}),
            )
        )
        return k8s.core.v1.VolumeArgs(
            name="cache", ephemeral=k8s.core.v1.EphemeralVolumeSourceArgs(volume_claim_template=claim)
        )

    def _service(self, after: list[pulumi.Resource]) -> None:
        names = ("http",) if self.args.kind == "vllm" else ("http", "grpc", "metrics")
        ports = {"http": triton.HTTP_PORT, "grpc": triton.GRPC_PORT, "metrics": triton.METRICS_PORT}
        k8s.core.v1.Service(
            f"{self.context.prefix}-{NAME}-service",
            metadata=metadata(self.context, NAME, SERVING_NAMESPACE),
            spec=k8s.core.v1.ServiceSpecArgs(
                # Headless: the gateway resolves every pod and balances itself.
                cluster_ip="None",
                selector=selector(NAME),
                ports=[k8s.core.v1.ServicePortArgs(name=n, port=ports[n], target_port=n) for n in names],
            ),
            # There are no ready pods behind it yet when the cluster waits for nodes to grow.
            opts=self.child(depends_on=after),
        )

    def _autoscaler(self) -> None:
        scaling = self.args.settings.autoscaling
        load = "DCGM_FI_PROF_GR_ENGINE_ACTIVE" if scaling.mig else "DCGM_FI_DEV_GPU_UTIL"
        # The graphics engine's activity is a ratio, GPU utilisation a percentage.
        load_target = (
            f"{scaling.gpu_utilisation_percent * 10}m" if scaling.mig else str(scaling.gpu_utilisation_percent)
        )
        queue = "vllm_num_requests_waiting" if self.args.kind == "vllm" else "triton_queue_ms"
        metrics = [(queue, str(scaling.queue_ms))]
        if self.args.settings.gpus:
            metrics.insert(0, (load, load_target))
        k8s.autoscaling.v2.HorizontalPodAutoscaler(
            f"{self.context.prefix}-{NAME}-hpa",
            metadata=metadata(self.context, NAME, SERVING_NAMESPACE),
            spec=k8s.autoscaling.v2.HorizontalPodAutoscalerSpecArgs(
                scale_target_ref=k8s.autoscaling.v2.CrossVersionObjectReferenceArgs(
                    api_version="apps/v1", kind="Deployment", name=NAME
                ),
                min_replicas=scaling.min_replicas,
                max_replicas=scaling.max_replicas,
                metrics=[_pods_metric(name, target) for name, target in metrics],
                behavior=k8s.autoscaling.v2.HorizontalPodAutoscalerBehaviorArgs(
                    scale_down=k8s.autoscaling.v2.HPAScalingRulesArgs(
                        stabilization_window_seconds=scaling.scale_down_after_s
                    ),
                    scale_up=k8s.autoscaling.v2.HPAScalingRulesArgs(stabilization_window_seconds=0),
                ),
            ),
            opts=self.child(depends_on=[self.deployment]),
        )


def _pods_metric(name: str, target: str) -> k8s.autoscaling.v2.MetricSpecArgs:
    return k8s.autoscaling.v2.MetricSpecArgs(
        type="Pods",
        pods=k8s.autoscaling.v2.PodsMetricSourceArgs(
            metric=k8s.autoscaling.v2.MetricIdentifierArgs(name=name),
            target=k8s.autoscaling.v2.MetricTargetArgs(type="AverageValue", average_value=target),
        ),
    )


def _probe(path: str, period: int, failures: int) -> k8s.core.v1.ProbeArgs:
    return k8s.core.v1.ProbeArgs(
        http_get=k8s.core.v1.HTTPGetActionArgs(path=path, port="http"),
        period_seconds=period,
        timeout_seconds=2,
        failure_threshold=failures,
    )


def _container_ports(is_vllm: bool) -> list[k8s.core.v1.ContainerPortArgs]:
    http = k8s.core.v1.ContainerPortArgs(name="http", container_port=triton.HTTP_PORT)
    if is_vllm:
        return [http]
    return [
        http,
        k8s.core.v1.ContainerPortArgs(name="grpc", container_port=triton.GRPC_PORT),
        k8s.core.v1.ContainerPortArgs(name="metrics", container_port=triton.METRICS_PORT),
    ]
