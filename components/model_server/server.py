"""The model servers on the private cluster: Deployment or groups, Service, disruption budget and autoscaler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pulumi
import pulumi_kubernetes as k8s

from components.base import Component, StackContext
from components.connectivity.settings import MirrorSettings
from components.kubernetes_documents import (
    RUN_AS_USER,
    aws_token_environment,
    aws_token_mount,
    aws_token_volume,
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
from components.model_server import group, kv_tiers, places, shared_cache, triton, vllm
from components.model_server.settings import ModelServerSettings
from components.monitoring.queries import DEMAND
from components.private_cluster.settings import GPU_TAINT_KEYS, Accelerator, Taint
from spillway.contracts.names import ENTRY_MODEL, MODEL_SERVER, PACKAGE_KIND, PACKAGE_SHA256
from spillway.contracts.traces import Traces, vllm_option

NOTICED_AFTER_S = 40
"""Seconds until no gateway sends to a server any more that is told to end. The cluster's DNS names it for 30, as AKS
(https://github.com/Azure/AKS/issues/3661) and Kubernetes by itself configure CoreDNS
(https://kubernetes.io/docs/tasks/administer-cluster/dns-custom-nameservers/), and gateways ask again within 5."""
ENDS_WITHIN_S = 20
"""Seconds for a server's process when nothing is in flight any more."""
NODE_WITHIN_S = 600
"""Seconds for a node to come, with its driver and the server's image."""

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
    for which the pods' tokens are exchanged. ``vllm_arguments``: of ``contracts.vllm_serving``, where that serves.
    ``mig``: the stack divides its GPUs. ``engine_host_code``: an engine is served that brings its own runtime.

    ``slots``: requests at once of one server; ``cpu``, ``memory``: what it asks for. ``taints``: of its nodes, beside
    the GPU's own. ``spare_gpu``: the pool has room for one server more than the autoscaler may start.
    ``fabric``: between the nodes of one server. ``depends_on``: the platform and the uploaded package. ``name``: of the
    workload; ``trial_servers``: how many, where they try a release beside the others: no autoscaler moves them, and
    they use the others' ``account``. ``traces``: where its spans go.
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
    slots: int
    cpu: str
    memory: str
    role_arn: pulumi.Input[str]
    vllm_arguments: Mapping[str, Any] = field(default_factory=dict)
    redis_host: str | None = None
    engine_host_code: bool = False
    mig: bool = False
    taints: tuple[Taint, ...] = ()
    spare_gpu: bool = False
    fabric: group.Fabric = field(default_factory=group.Fabric)
    depends_on: tuple[pulumi.Resource, ...] = ()
    name: str = MODEL_SERVER
    trial_servers: int | None = None
    account: k8s.core.v1.ServiceAccount | None = None
    traces: Traces | None = None


class ModelServer(Component):
    """Outputs: ``host`` (name inside the cluster) and ``port``."""

    def __init__(
        self, context: StackContext, args: ModelServerArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(args.name, context, opts)
        self.args = args
        self.name = args.name
        self.namespace = context.namespaces.serving
        self.host = f"{self.name}.{self.namespace}.svc.cluster.local"
        self.port = triton.HTTP_PORT
        after = list(args.depends_on)
        self.account = args.account or service_account(self, self.name, self.namespace, after)
        cache = args.settings.cache
        if cache.shared and cache.storage_class and args.trial_servers is None:
            after.append(shared_cache.claim(self, self.namespace, cache.storage_class, cache.size, after))
        self.workload = self._group(after) if args.settings.span else self._deployment(after)
        self._service(after)
        # A group is lost with any of its pods, so of groups one goes at a time.
        gone = "1" if args.settings.span else args.settings.max_unavailable
        disruption_budget(self, self.name, self.namespace, int(gone) if gone.isdigit() else gone, after)
        if args.trial_servers is None:
            self._autoscaler()
            self._spare_places(after)
        self.register_outputs({"host": self.host, "port": self.port})

    def _spare_places(self, after: list[pulumi.Resource]) -> None:
        count, image = self.args.settings.autoscaling.spare_servers, self.args.settings.fetch_image
        if count:
            asked = self._resources(GPU_TAINT_KEYS[self.args.accelerator])
            places.hold(self, count, self._pod(), asked, self.args.mirror.image(image), after)

    def _pod(self, *, leads: bool = True) -> k8s.core.v1.PodSpecArgs:
        """Of a server, or of one node of it: the one that answers, or one that computes with that."""
        settings, args = self.args.settings, self.args
        gpu = GPU_TAINT_KEYS[args.accelerator]
        return k8s.core.v1.PodSpecArgs(
            service_account_name=self.account.metadata.name,
            automount_service_account_token=False,
            image_pull_secrets=pull_secrets(self.context, args.mirror),
            priority_class_name=args.priority_class,
            security_context=pod_security(groups=settings.gpu_device_gids),
            # Endpoints disappear first, then requests in flight end, then the process.
            termination_grace_period_seconds=NOTICED_AFTER_S + settings.drain_s + ENDS_WITHIN_S,
            topology_spread_constraints=None if settings.span else spread(self.name),
            affinity=group.together(self.name, settings.span) if settings.span else None,
            tolerations=self._tolerations(gpu),
            init_containers=[self._fetch()],
            containers=[self._server(gpu) if leads else self._worker(gpu), *self._sweeper()],
            volumes=[
                self._cache_volume(),
                aws_token_volume(),
                memory_volume("shm", self._shared_memory()),
                memory_volume("tmp", "1Gi"),
                *([self._disk_volume(kv_tiers.VOLUME, disk)] if (disk := self._kv_disk()) else []),
            ],
        )

    def _shared_memory(self) -> str:
        settings = self.args.settings
        tiers = settings.kv_tiers
        return kv_tiers.together(settings.shared_memory, tiers.memory) if tiers else settings.shared_memory

    def _cache_volume(self) -> k8s.core.v1.VolumeArgs:
        cache = self.args.settings.cache
        if not cache.shared:
            return self._disk_volume("cache", cache.size)
        claim = k8s.core.v1.PersistentVolumeClaimVolumeSourceArgs(claim_name=shared_cache.CLAIM)
        return k8s.core.v1.VolumeArgs(name="cache", persistent_volume_claim=claim)

    def _cache_mount(self) -> k8s.core.v1.VolumeMountArgs:
        found = mount("cache", "/cache")
        if self.args.settings.cache.shared:
            found.sub_path = self.args.package_sha256
        return found

    def _kv_disk(self) -> str | None:
        tiers = self.args.settings.kv_tiers
        return tiers.disk if tiers else None

    def _sweeper(self) -> list[k8s.core.v1.ContainerArgs]:
        """What keeps the KV on disk within its size."""
        disk, args = self._kv_disk(), self.args
        if disk is None:
            return []
        return [
            k8s.core.v1.ContainerArgs(
                name="sweep-kv",
                image=args.mirror.image(args.settings.fetch_image),
                command=["/bin/sh", "-c", kv_tiers.SWEEP],
                env=environment(dict(kv_tiers.sweeper_environment(disk))),
                resources=resources("10m", "32Mi"),
                liveness_probe=(sweeps := _exec_probe(kv_tiers.SWEEPS)),
                readiness_probe=sweeps,
                security_context=container_security(),
                volume_mounts=[mount(kv_tiers.VOLUME, kv_tiers.FOLDER)],
            )
        ]

    def _group(self, after: list[pulumi.Resource]) -> pulumi.Resource:
        settings, args = self.args.settings, self.args
        assert settings.span is not None
        return group.leader_worker_set(
            self,
            self.name,
            group.Pods(self._pod(), self._pod(leads=False), self._annotations()),
            settings.span,
            groups=args.trial_servers or settings.autoscaling.min_replicas,
            spare=args.spare_gpu,
            opts=self._of_a_workload(after),
        )

    def _of_a_workload(self, after: list[pulumi.Resource]) -> pulumi.ResourceOptions:
        """The autoscaler owns the number of servers once they are there. Nodes, drivers and images may come before the
        first is ready."""
        return self.child(
            depends_on=after,
            ignore_changes=["spec.replicas"] if self.args.trial_servers is None else None,
            ready_within_s=self.args.settings.start_timeout_s + NODE_WITHIN_S,
        )

    def _annotations(self) -> dict[str, str]:
        args = self.args
        return {
            PACKAGE_SHA256: args.package_sha256,
            ENTRY_MODEL: args.entry_model,
            PACKAGE_KIND: args.kind,
            # Nothing on the node is missed when the cluster autoscaler takes it away.
            "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes": "cache,shm,tmp,kv",
        }

    def _deployment(self, after: list[pulumi.Resource]) -> k8s.apps.v1.Deployment:
        settings, args = self.args.settings, self.args
        return k8s.apps.v1.Deployment(
            f"{self.context.prefix}-{self.name}-deployment",
            metadata=metadata(self.context, self.name, self.namespace),
            spec=k8s.apps.v1.DeploymentSpecArgs(
                replicas=args.trial_servers or settings.autoscaling.min_replicas,
                revision_history_limit=5,
                progress_deadline_seconds=settings.start_timeout_s + 60,
                selector=k8s.meta.v1.LabelSelectorArgs(match_labels=selector(self.name)),
                strategy=k8s.apps.v1.DeploymentStrategyArgs(
                    type="RollingUpdate",
                    # A full pool has no GPU for one more: there a server goes first, and the burst sites step in.
                    rolling_update=k8s.apps.v1.RollingUpdateDeploymentArgs(
                        max_surge=int(args.spare_gpu), max_unavailable=int(not args.spare_gpu)
                    ),
                ),
                template=k8s.core.v1.PodTemplateSpecArgs(
                    metadata=k8s.meta.v1.ObjectMetaArgs(
                        labels={**self.context.labels, **selector(self.name)},
                        annotations=self._annotations(),
                    ),
                    spec=self._pod(),
                ),
            ),
            opts=self._of_a_workload(after),
        )

    def _tolerations(self, gpu: str) -> list[k8s.core.v1.TolerationArgs]:
        if not self.args.settings.gpus:
            return leave_a_dead_node()
        own = k8s.core.v1.TolerationArgs(key=gpu, operator="Exists", effect="NoSchedule")
        further = [
            k8s.core.v1.TolerationArgs(key=taint.key, operator="Exists", effect=taint.effect)
            for taint in self.args.taints
        ]
        return [own, *further, *leave_a_dead_node()]

    def _fetch_script(self) -> str:
        script = FETCH_FOLDER if self.args.kind == "vllm" else FETCH
        return shared_cache.once(script) if self.args.settings.cache.shared else script

    def _fetch(self) -> k8s.core.v1.ContainerArgs:
        args = self.args
        package_object = pulumi.Output.from_input(args.package_uri).apply(lambda uri: uri.removeprefix("s3://"))
        return k8s.core.v1.ContainerArgs(
            name="fetch-package",
            image=args.mirror.image(args.settings.fetch_image),
            command=["/bin/sh", "-c", self._fetch_script()],
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
            volume_mounts=[aws_token_mount(), self._cache_mount(), mount("tmp", "/tmp")],
        )

    def _server(self, gpu: str) -> k8s.core.v1.ContainerArgs:
        settings, args = self.args.settings, self.args
        is_vllm = args.kind == "vllm"
        image = settings.vllm_image if is_vllm else settings.triton_image
        command = self._vllm(leads=True) if is_vllm else self._triton()
        ready = vllm.READINESS_PATH if is_vllm else triton.readiness_path(args.entry_model)
        alive = vllm.READINESS_PATH if is_vllm else "/v2/health/live"
        return k8s.core.v1.ContainerArgs(
            name=args.kind,
            image=args.mirror.image(image),
            command=command,
            env=self._server_environment(),
            ports=_container_ports(is_vllm),
            resources=self._resources(gpu),
            security_context=container_security(),
            startup_probe=_probe(ready, period=5, failures=max(1, settings.start_timeout_s // 5)),
            readiness_probe=_probe(ready, period=2, failures=2),
            liveness_probe=_probe(alive, period=10, failures=6),
            lifecycle=k8s.core.v1.LifecycleArgs(
                # Time for the gateway to notice that the endpoint is gone before the server refuses new work.
                pre_stop=k8s.core.v1.LifecycleHandlerArgs(
                    exec_=k8s.core.v1.ExecActionArgs(command=["sleep", str(NOTICED_AFTER_S)])
                )
            ),
            volume_mounts=self._mounts(),
        )

    def _worker(self, gpu: str) -> k8s.core.v1.ContainerArgs:
        """It serves nothing: it is well as long as it runs, and the leader is ready when all of them are."""
        settings, args = self.args.settings, self.args
        return k8s.core.v1.ContainerArgs(
            name=args.kind,
            image=args.mirror.image(settings.vllm_image),
            command=self._vllm(leads=False),
            env=self._server_environment(),
            resources=self._resources(gpu),
            security_context=container_security(),
            lifecycle=k8s.core.v1.LifecycleArgs(
                # All of a group are told to end at once, and the leader's last answers are computed here.
                pre_stop=k8s.core.v1.LifecycleHandlerArgs(
                    sleep=k8s.core.v1.SleepActionArgs(seconds=NOTICED_AFTER_S + settings.drain_s)
                )
            ),
            volume_mounts=self._mounts(),
        )

    def _triton(self) -> list[str]:
        args = self.args
        cache = self._response_cache()
        host_code, traces = args.engine_host_code, args.traces
        return triton.command(args.settings, args.entry_model, cache, host_code=host_code, traces=traces)

    def _vllm(self, *, leads: bool) -> list[str]:
        settings = self.args.settings
        of_group = group.arguments(settings.nodes, leads=leads) if settings.span else {}
        traced = vllm_option(self.args.traces.url) if self.args.traces else {}
        given = {**self.args.vllm_arguments, **self._kv_arguments(), **traced}
        return vllm.command(given, settings.drain_s, of_group)

    def _resources(self, gpu: str) -> k8s.core.v1.ResourceRequirementsArgs:
        gpus = self.args.settings.gpus
        devices = {gpu: str(gpus)} if gpus else {}
        return resources(self.args.cpu, self.args.memory, self._disk(), **devices, **self.args.fabric.devices)

    def _kv_arguments(self) -> dict[str, Any]:
        tiers = self.args.settings.kv_tiers
        return kv_tiers.arguments(tiers) if tiers else {}

    def _mounts(self) -> list[k8s.core.v1.VolumeMountArgs]:
        kept = [mount(kv_tiers.VOLUME, kv_tiers.FOLDER)] if self._kv_disk() else []
        return [self._cache_mount(), mount("shm", "/dev/shm"), mount("tmp", "/tmp"), *kept]

    def _response_cache(self) -> triton.ResponseCache | None:
        host = self.args.redis_host
        return triton.ResponseCache(host, self.args.package_sha256) if host else None

    def _server_environment(self) -> list[k8s.core.v1.EnvVarArgs]:
        plain = {"HOME": "/tmp", "SPILLWAY_PACKAGE_URI": self.args.package_uri}
        if self.args.kind == "vllm":
            told = vllm.environment(RUN_AS_USER, self.args.traces)
            return environment({**plain, **told, **self.args.fabric.environment})
        uid = k8s.core.v1.EnvVarSourceArgs(field_ref=k8s.core.v1.ObjectFieldSelectorArgs(field_path="metadata.uid"))
        return [*environment(plain), k8s.core.v1.EnvVarArgs(name=triton.POD_UID, value_from=uid)]

    def _disk(self) -> str | None:
        """What package and KV take of the node's own disk, so that no more servers come to it than that holds."""
        cache, disk = self.args.settings.cache, self._kv_disk()
        if cache.storage_class is not None:
            return None
        return kv_tiers.together(cache.size, disk) if disk else cache.size

    def _disk_volume(self, name: str, size: str) -> k8s.core.v1.VolumeArgs:
        cache = self.args.settings.cache
        if cache.storage_class is None:
            return k8s.core.v1.VolumeArgs(name=name, empty_dir=k8s.core.v1.EmptyDirVolumeSourceArgs(size_limit=size))
        claim = k8s.core.v1.PersistentVolumeClaimTemplateArgs(
            spec=k8s.core.v1.PersistentVolumeClaimSpecArgs(
                access_modes=["ReadWriteOnce"],
                storage_class_name=cache.storage_class,
                resources=k8s.core.v1.VolumeResourceRequirementsArgs(requests={"storage": size}),
            )
        )
        return k8s.core.v1.VolumeArgs(
            name=name, ephemeral=k8s.core.v1.EphemeralVolumeSourceArgs(volume_claim_template=claim)
        )

    def _service(self, after: list[pulumi.Resource]) -> None:
        names = ("http",) if self.args.kind == "vllm" else ("http", "metrics")
        ports = {"http": triton.HTTP_PORT, "metrics": triton.METRICS_PORT}
        k8s.core.v1.Service(
            f"{self.context.prefix}-{self.name}-service",
            metadata=metadata(self.context, self.name, self.namespace),
            spec=k8s.core.v1.ServiceSpecArgs(
                # Headless: the gateway resolves every pod and balances itself.
                cluster_ip="None",
                selector={**selector(self.name), **(group.LEADERS if self.args.settings.span else {})},
                ports=[k8s.core.v1.ServicePortArgs(name=n, port=ports[n], target_port=n) for n in names],
            ),
            # There are no ready pods behind it yet when the cluster waits for nodes to grow.
            opts=self.child(depends_on=after),
        )

    def _autoscaler(self) -> None:
        scaling = self.args.settings.autoscaling
        k8s.autoscaling.v2.HorizontalPodAutoscaler(
            f"{self.context.prefix}-{self.name}-hpa",
            metadata=metadata(self.context, self.name, self.namespace),
            spec=k8s.autoscaling.v2.HorizontalPodAutoscalerSpecArgs(
                scale_target_ref=self._scaled(),
                min_replicas=scaling.min_replicas,
                max_replicas=scaling.max_replicas,
                metrics=self._metrics(),
                behavior=k8s.autoscaling.v2.HorizontalPodAutoscalerBehaviorArgs(
                    scale_down=k8s.autoscaling.v2.HPAScalingRulesArgs(
                        stabilization_window_seconds=scaling.scale_down_after_s
                    ),
                    scale_up=k8s.autoscaling.v2.HPAScalingRulesArgs(stabilization_window_seconds=0),
                ),
            ),
            opts=self.child(depends_on=[self.workload]),
        )

    def _scaled(self) -> k8s.autoscaling.v2.CrossVersionObjectReferenceArgs:
        """What the autoscaler grows. A set names its leaders as the pods whose metrics count."""
        version, kind, name = ("apps/v1", "Deployment", self.name)
        if self.args.settings.span:
            version, kind, name = (group.API_VERSION, group.KIND, group.set_name(self.name))
        return k8s.autoscaling.v2.CrossVersionObjectReferenceArgs(api_version=version, kind=kind, name=name)

    def _metrics(self) -> list[k8s.autoscaling.v2.MetricSpecArgs]:
        """The one that asks for most servers counts. Demand does not saturate: one step reaches what a surge needs."""
        scaling = self.args.settings.autoscaling
        if self.args.kind == "vllm":
            # An engine's GPU is busy with its first request, so that says nothing.
            own = [
                _pods_metric("vllm_num_requests_waiting", str(scaling.queue_requests)),
                _pods_metric("vllm_kv_cache_usage", f"{scaling.kv_cache_percent * 10}m"),
            ]
        else:
            own = [_pods_metric("triton_queue_ms", str(scaling.queue_ms)), *self._gpu_load()]
        busy = f"{self.args.slots * scaling.busy_percent * 10}m"
        return [_demand(self.context.namespaces.gateway, busy), *own]

    def _gpu_load(self) -> list[k8s.autoscaling.v2.MetricSpecArgs]:
        scaling = self.args.settings.autoscaling
        if not self.args.settings.gpus:
            return []
        if scaling.mig or self.args.mig:
            # The graphics engine's activity is a ratio, GPU utilisation a percentage.
            return [_pods_metric("DCGM_FI_PROF_GR_ENGINE_ACTIVE", f"{scaling.gpu_utilisation_percent * 10}m")]
        return [_pods_metric("DCGM_FI_DEV_GPU_UTIL", str(scaling.gpu_utilisation_percent))]


def _demand(gateways: str, target: str) -> k8s.autoscaling.v2.MetricSpecArgs:
    """Requests in flight at any site, seen by the gateways of that namespace, for each server."""
    return k8s.autoscaling.v2.MetricSpecArgs(
        type="External",
        external=k8s.autoscaling.v2.ExternalMetricSourceArgs(
            metric=k8s.autoscaling.v2.MetricIdentifierArgs(
                name=DEMAND, selector=k8s.meta.v1.LabelSelectorArgs(match_labels={"namespace": gateways})
            ),
            target=k8s.autoscaling.v2.MetricTargetArgs(type="AverageValue", average_value=target),
        ),
    )


def _pods_metric(name: str, target: str) -> k8s.autoscaling.v2.MetricSpecArgs:
    return k8s.autoscaling.v2.MetricSpecArgs(
        type="Pods",
        pods=k8s.autoscaling.v2.PodsMetricSourceArgs(
            metric=k8s.autoscaling.v2.MetricIdentifierArgs(name=name),
            target=k8s.autoscaling.v2.MetricTargetArgs(type="AverageValue", average_value=target),
        ),
    )


def _exec_probe(command: Sequence[str]) -> k8s.core.v1.ProbeArgs:
    return k8s.core.v1.ProbeArgs(
        exec_=k8s.core.v1.ExecActionArgs(command=list(command)), period_seconds=30, timeout_seconds=5
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
        k8s.core.v1.ContainerPortArgs(name="metrics", container_port=triton.METRICS_PORT),
    ]
