"""The model servers on the private cluster: the stack file's ``model_server`` part."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from spillway.contracts.classes import RequestClass
from spillway.contracts.frozen import Settings
from spillway.contracts.quantities import CpuQuantity, MemoryQuantity
from spillway.contracts.trt_engines import ENGINE_NAME


class CacheVolume(Settings):
    """Where the package lies on the node: local NVMe where there is some."""

    size: MemoryQuantity = "50Gi"
    """Room for the package and compiled engines."""

    storage_class: str | None = None
    """Storage class of local NVMe volumes; by default the node's ephemeral storage: NVMe on EKS, the OS disk on
    AKS (``gpu_pool.disk_gib``)."""

    shared: bool = False
    """One volume for all vLLM servers, of a class that many nodes write to at once (EFS, FSx, Azure Files, CephFS): the
    package is fetched once, and what is compiled outlives the pods."""

    @model_validator(mode="after")
    def _class_for_many(self) -> CacheVolume:
        if self.shared and self.storage_class is None:
            raise ValueError(
                "shared is true without a storage_class; name one whose volumes many nodes write to (ReadWriteMany)"
            )
        return self


class KvTiersSettings(Settings):
    """Where vLLM keeps the KV of prompts that its GPUs have no room for, so that a prefix that comes again is read and
    not computed. Of the private site: a cloud's servers have none."""

    memory: MemoryQuantity
    """Memory for it, over all GPUs of a server; a part of ``model_server.memory``, beside ``shared_memory``."""

    disk: MemoryQuantity | None = None
    """Disk for it, of the kind that the package lies on (``cache``); none when left out."""


class ServerAutoscaling(Settings):
    """Horizontal autoscaling on GPU load and queue time."""

    min_replicas: Annotated[int, Field(ge=1)] = 1
    """Servers that are always there."""

    max_replicas: Annotated[int, Field(ge=1)] = 4
    """Servers at most; more than the GPU pool holds would only wait."""

    spare_servers: Annotated[int, Field(ge=0)] = 0
    """Places on nodes that are kept free for further servers: one takes such a place at once, and the node for the next
    is started meanwhile. With 0 a server that finds no place waits for its node."""

    gpu_utilisation_percent: Annotated[int, Field(ge=10, le=100)] = 80
    """Target of the GPUs' utilisation under Triton, averaged over the pods; a vLLM server's GPU is never idle."""

    queue_ms: Annotated[int, Field(ge=1)] = 100
    """Target of the time a request waits in Triton's queue, milliseconds."""

    queue_requests: Annotated[int, Field(ge=1)] = 4
    """Target of the requests that wait in one vLLM server."""

    kv_cache_percent: Annotated[int, Field(ge=10, le=100)] = 80
    """Target of the share of vLLM's KV cache in use, averaged over the pods."""

    busy_percent: Annotated[int, Field(ge=10, le=100)] = 70
    """Target of the requests in flight, at whatever site, as a share of the servers' slots. Those that spill count, so
    a surge is seen whole."""

    mig: bool = False
    """GPUs are split by MIG, by somebody else than ``private_cluster.gpu_sharing``: DCGM_FI_DEV_GPU_UTIL is not defined
    there, so the graphics engine's activity is used."""

    scale_down_after_s: Annotated[int, Field(ge=0, le=3600)] = 300
    """Seconds of lower load before a server is removed."""

    @model_validator(mode="after")
    def _ordered(self) -> ServerAutoscaling:
        if self.min_replicas > self.max_replicas:
            raise ValueError(
                f"min_replicas {self.min_replicas} is above max_replicas {self.max_replicas}; "
                "allowed: min_replicas <= max_replicas"
            )
        return self


class CanarySettings(Settings):
    """A release that a share of the requests is tried with, beside the package that serves."""

    package: str
    """Folder of the release's package, relative to the project; it answers what ``package.path`` answers."""

    percent: Annotated[int, Field(ge=1, le=50)] = 5
    """Share of the private site's requests that it gets."""

    servers: Annotated[int, Field(ge=1)] = 1
    """Its servers; their GPUs are the pool's, so ``autoscaling.max_replicas`` leaves room for them."""

    max_error_percent: Annotated[float, Field(ge=0, le=100)] = 5.0
    """How many more of a hundred requests may fail than with the package that serves; above, it gets none any more."""

    max_slowdown: Annotated[float, Field(ge=1)] = 1.5
    """How many times as long as that package it may take, on average; above, it gets no requests any more."""

    requests: Annotated[int, Field(ge=10)] = 50
    """Of how many requests in a row, in each gateway, it is judged; enough failures in fewer end it sooner."""


class SpanSettings(Settings):
    """A server on several nodes, for a model that one does not hold; vLLM's alone."""

    nodes: Annotated[int, Field(ge=2, le=16)]
    """Nodes of one server; each gives it ``gpus``. Where the package is made for the GPUs of one node, each node holds
    a part of the layers (pipeline parallelism)."""

    topology: Annotated[str, Field(pattern=r"^[A-Za-z0-9./_-]+$")] = "topology.kubernetes.io/zone"
    """Label whose value a server's nodes have in common. By default they stand in one zone; a label of racks or network
    layers keeps them closer."""

    exclusive: bool = False
    """Whether a value of that label has room for one server only."""

    fabric: Literal["efa", "devices", "tcp"] | None = None
    """By what a server's nodes exchange what they compute: Elastic Fabric Adapters, which the stack sets up on EKS and
    which are the default there; ``devices`` of an existing cluster; or TCP, which pipeline parallelism can bear and
    tensor or expert parallelism over nodes cannot. For ``efa`` the image needs EFA's libfabric and NCCL plugin."""

    devices: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """With ``fabric: devices``, what each pod asks an existing cluster for, e.g. ``rdma/hca_shared_devices_a: 1``; the
    cluster's device plugins name them."""

    @model_validator(mode="after")
    def _devices_where_they_are_the_fabric(self) -> SpanSettings:
        if bool(self.devices) != (self.fabric == "devices"):
            raise ValueError(
                f"fabric is {self.fabric or 'not given'} and devices are {self.devices or 'not given'}; devices are "
                "named with fabric: devices, and only with that, e.g. {fabric: devices, devices: "
                "{rdma/hca_shared_devices_a: 1}}"
            )
        return self


class ModelServerSettings(Settings):
    """Triton or vLLM, by the package's kind."""

    triton_image: str = "nvcr.io/nvidia/tritonserver:24.10-py3"
    """Triton's image; give it with its digest in production."""

    engine: Annotated[str, Field(pattern=ENGINE_NAME)] | None = None
    """A compiled engine that the servers run instead of the portable model: ``<hardware key>/<precision>``, a folder
    below the package's ``engines/``. It fits one GPU and the image's TensorRT only."""

    vllm_image: str = "docker.io/vllm/vllm-openai:v0.30.0"
    """vLLM's image, used when the package is for vLLM."""

    fetch_image: str = "docker.io/rclone/rclone:1.71.2"
    """Image that fetches the package from the model store."""

    gpus: Annotated[int, Field(ge=0, le=16)] = 1
    """GPUs of one server, on each of its nodes; 0 serves on CPU."""

    span: SpanSettings | None = None
    """A server on several nodes. LeaderWorkerSet makes it, whose controller the stack installs
    (``private_cluster.leader_worker_set``)."""

    cpu: CpuQuantity | None = None
    """CPUs of one server, on each of its nodes; by default 4, or its GPUs' share of the node where that is less."""

    memory: MemoryQuantity | None = None
    """Memory of one server, on each of its nodes; by default 16Gi, or its GPUs' share of a node where that is less."""

    shared_memory: MemoryQuantity = "2Gi"
    """Size of /dev/shm, which Triton's Python models and vLLM's workers use; part of ``memory``."""

    gpu_device_gids: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Groups that own the GPUs' devices on the nodes, for ``accelerator: amd``: `getent group render`."""

    cache: CacheVolume = CacheVolume()
    """Where the package lies."""

    kv_tiers: KvTiersSettings | None = None
    """KV caches of a vLLM server beside its GPUs'; none when left out."""

    autoscaling: ServerAutoscaling = ServerAutoscaling()
    """When servers are added and removed."""

    canary: CanarySettings | None = None
    """A release on trial. It becomes the release when ``package.path`` names it and this part goes."""

    max_unavailable: Annotated[str, Field(pattern=r"^([1-9]\d*|[1-9]\d?%|100%)$")] = "50%"
    """Servers that may be gone while nodes are drained; a share is rounded up, so one always may."""

    request_class: RequestClass = RequestClass.P0
    """Pod priority: the class of the most urgent requests served."""

    start_timeout_s: Annotated[int, Field(ge=30, le=7200)] = 900
    """Seconds for fetching and loading the model before a pod is restarted."""

    drain_s: Annotated[int, Field(ge=5, le=600)] = 60
    """Seconds for requests in flight when a pod is stopped."""

    @property
    def nodes(self) -> int:
        """Nodes of one server."""
        return self.span.nodes if self.span else 1

    @property
    def gpus_in_all(self) -> int:
        """GPUs of one server, over its nodes."""
        return self.gpus * self.nodes
