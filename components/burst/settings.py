"""Burst sites: the stack file's ``burst`` part."""

from __future__ import annotations

import re
from ipaddress import IPv4Network
from typing import Annotated, Final, Literal

from pydantic import Field, field_validator, model_validator

from components.retention import RetentionDays
from spillway.contracts.engines import ENGINE_NAME
from spillway.contracts.settings import Settings

LOCAL_STORAGE_FAMILIES: Final = (
    "g4dn",
    "g5",
    "g6",
    "g6e",
    "gr6",
    "g7",
    "g7e",
    "p4d",
    "p4de",
    "p5",
    "p5e",
    "p5en",
    "p6",
)
"""Instance families with NVMe disks of their own: SageMaker takes neither a KMS key nor a volume size for them, the
hardware encrypts (CreateEndpointConfig, KmsKeyId)."""

InferenceAmi = Literal[
    "al2-ami-sagemaker-inference-gpu-2",
    "al2-ami-sagemaker-inference-gpu-2-1",
    "al2-ami-sagemaker-inference-gpu-3-1",
    "al2023-ami-sagemaker-inference-gpu-4-1",
]


def has_local_storage(instance_type: str) -> bool:
    """Whether a SageMaker instance type (``ml.g5.xlarge``) brings its own encrypted disks."""
    family = instance_type.split(".")[1]
    return family in LOCAL_STORAGE_FAMILIES or family.startswith("p6")


def _sagemaker_instance(value: str) -> str:
    if not re.fullmatch(r"ml\.[a-z0-9-]+\.(\d+)?(nano|micro|small|medium|large|xlarge)", value):
        raise ValueError(
            f"{value!r} is not a SageMaker instance type; SageMaker's names start with 'ml.', e.g. ml.g5.xlarge"
        )
    return value


def _range(minimum: int, maximum: int, what: str) -> None:
    if minimum > maximum:
        raise ValueError(
            f"{what}: min_instances {minimum} is above max_instances {maximum}; lower one, raise the other"
        )


class SageMakerAutoscaling(Settings):
    """Target tracking of the real-time endpoint."""

    metric: Literal["invocations_per_instance", "concurrency_per_model"] = "concurrency_per_model"
    """What is held at the target: invocations per instance and minute, or concurrent requests, measured every ten
    seconds, which reacts faster and needs no knowledge of the request's length."""
    target: float = Field(default=8.0, gt=0)
    """The value to hold: requests in flight per instance, or invocations per instance and minute."""
    scale_out_cooldown_s: int = Field(default=30, ge=0, le=3600)
    """Seconds after growing before it may grow again."""
    scale_in_cooldown_s: int = Field(default=300, ge=0, le=3600)
    """Seconds after shrinking before it may shrink again; long, because a GPU instance takes minutes to come."""


class SageMakerRollout(Settings):
    """Blue/green update with a canary, rolled back by CloudWatch alarms."""

    canary_percent: int = Field(default=10, ge=1, le=50)
    """Share of capacity that takes traffic first; SageMaker allows at most 50."""
    canary_wait_s: int = Field(default=300, ge=0, le=3600)
    """Seconds the canary is watched before the rest follows."""
    termination_wait_s: int = Field(default=300, ge=0, le=3600)
    """Seconds the old fleet is kept after the switch."""
    max_execution_s: int = Field(default=3600, ge=600, le=28800)
    """Seconds after which an update that is not done is given up."""
    max_5xx_rate: float = Field(default=0.05, gt=0, le=1)
    """Share of invocations answered 5xx, over a minute, that rolls an update back."""
    max_model_latency_p99_us: int = Field(default=2_000_000, gt=0)
    """P99 of ModelLatency that rolls an update back, in microseconds as SageMaker measures it: P1's deadline."""
    alarm_periods: int = Field(default=2, ge=1, le=10)
    """Minutes in a row above the threshold before an alarm fires."""

    @model_validator(mode="after")
    def _fits(self) -> SageMakerRollout:
        waits = self.canary_wait_s + self.termination_wait_s
        if waits >= self.max_execution_s:
            raise ValueError(
                f"canary_wait_s + termination_wait_s is {waits} s, which leaves nothing of max_execution_s "
                f"({self.max_execution_s} s); raise max_execution_s or shorten the waits"
            )
        return self


class SageMakerAsync(Settings):
    """The asynchronous endpoint for P2. It scales to zero when its queue is empty."""

    instance_type: str = "ml.g5.xlarge"
    """SageMaker instance type."""
    max_instances: int = Field(default=2, ge=1, le=100)
    """Most instances; the least is zero."""
    invocations_per_instance: int = Field(default=4, ge=1, le=1000)
    """Requests that one instance works on at once."""
    backlog_per_instance: float = Field(default=5.0, gt=0)
    """Queued requests per instance that autoscaling aims at."""
    scale_in_cooldown_s: int = Field(default=600, ge=0, le=3600)
    """Seconds between two scale-ins."""
    scale_out_cooldown_s: int = Field(default=300, ge=0, le=3600)
    """Seconds between two scale-outs."""
    result_days: int = Field(default=14, ge=1, le=3650)
    """Days that requests and results stay in the bucket."""

    _instance = field_validator("instance_type")(_sagemaker_instance)


class SageMakerDataCapture(Settings):
    """Copies of requests and answers for analysis. Off unless this part is present: they may hold personal data."""

    sampling_percent: int = Field(ge=1, le=100)
    """Share of invocations that are captured."""


class SageMakerSettings(Settings):
    """The burst site on SageMaker, in the stack's AWS region."""

    instance_type: str = "ml.g5.xlarge"
    """SageMaker instance type of the real-time endpoint."""
    min_instances: int = Field(default=1, ge=1, le=100)
    """Fewest instances; a real-time endpoint does not go below one."""
    max_instances: int = Field(default=4, ge=1, le=100)
    """Most instances: the ceiling of what overflow can cost."""
    initial_instances: int | None = Field(default=None, ge=1, le=100)
    """Instances of the very first deployment; the minimum when left out. Later ones keep the live count."""
    autoscaling: SageMakerAutoscaling = SageMakerAutoscaling()
    """When instances come and go."""
    rollout: SageMakerRollout = SageMakerRollout()
    """How an update replaces what is serving."""
    asynchronous: SageMakerAsync | None = SageMakerAsync()
    """The endpoint for P2; null for none, P2 then waits in the queue of the private site."""
    data_capture: SageMakerDataCapture | None = None
    """Capture of requests and answers; off by default."""
    engine: Annotated[str, Field(pattern=ENGINE_NAME)] | None = None
    """A compiled engine that the endpoint runs instead of the portable model: ``<hardware key>/<precision>``, a folder
    below the package's ``engines/``. It fits one GPU and the container's TensorRT only."""
    container_version: str | None = None
    """Version of the serving container, from the table in components/burst; the newest row whose driver
    inference_ami_version brings when left out."""
    container_image: str | None = None
    """Image address that overrides the table, e.g. a mirror in your own ECR."""
    inference_ami_version: InferenceAmi = "al2023-ami-sagemaker-inference-gpu-4-1"
    """Host image; it fixes the NVIDIA driver. CUDA 13 containers need driver 580, which only gpu-4-1 brings."""
    environment: dict[str, str] = Field(default_factory=dict)
    """More environment variables of the container. No secrets: they are shown in the console."""
    container_startup_timeout_s: int = Field(default=900, ge=60, le=3600)
    """Seconds for the container to answer its first health check, engine build included."""
    model_download_timeout_s: int = Field(default=900, ge=60, le=3600)
    """Seconds for the package to arrive from S3."""
    volume_gb: int = Field(default=100, ge=1, le=512)
    """EBS volume, GiB; only for instance types without disks of their own."""
    kms_key_arn: str | None = Field(default=None, pattern=r"^arn:aws[a-z-]*:kms:.+:key/.+$")
    """Customer-managed key for volumes, queue objects and topics; one is made when left out."""
    log_retention_days: RetentionDays = 30
    """Days that the containers' logs are kept."""

    _instance = field_validator("instance_type")(_sagemaker_instance)

    @model_validator(mode="after")
    def _bounds(self) -> SageMakerSettings:
        _range(self.min_instances, self.max_instances, "sagemaker")
        first = self.initial_instances
        if first is not None and not self.min_instances <= first <= self.max_instances:
            raise ValueError(
                f"initial_instances {first} is outside min_instances {self.min_instances} to max_instances "
                f"{self.max_instances}; choose one inside, or leave it out"
            )
        return self


class AzureMlAutoscaling(Settings):
    """Azure Monitor autoscale of the online deployment."""

    scale_out_above_percent: float = Field(default=70.0, gt=0, le=100)
    """GPU utilisation, average over the window, above which one instance is added."""
    scale_in_below_percent: float = Field(default=30.0, ge=0, lt=100)
    """GPU utilisation below which one instance is taken away."""
    window_minutes: int = Field(default=5, ge=1, le=60)
    """Minutes the average is taken over."""
    cooldown_minutes: int = Field(default=5, ge=1, le=60)
    """Minutes between two scale actions."""

    @model_validator(mode="after")
    def _gap(self) -> AzureMlAutoscaling:
        if self.scale_in_below_percent >= self.scale_out_above_percent:
            raise ValueError(
                f"scale_in_below_percent {self.scale_in_below_percent} is not below scale_out_above_percent "
                f"{self.scale_out_above_percent}; leave a gap, or it swings"
            )
        return self


class AzureMlBatch(Settings):
    """The batch endpoint for P2 and its compute cluster, which goes to zero nodes."""

    vm_size: str = Field(default="Standard_NC24ads_A100_v4", pattern=r"^Standard_\w+$")
    """Size of the cluster's nodes."""
    min_nodes: int = Field(default=0, ge=0, le=100)
    """Nodes kept when nothing runs."""
    max_nodes: int = Field(default=2, ge=1, le=100)
    """Most nodes."""
    low_priority: bool = False
    """Spot nodes: cheaper, and can be taken away in the middle of a job."""
    idle_seconds: int = Field(default=300, ge=60, le=7200)
    """Seconds of idleness before a node is given back."""
    mini_batch_size: int = Field(default=32, ge=1, le=10000)
    """Files that one call of the scoring code gets."""
    max_concurrency_per_instance: int = Field(default=1, ge=1, le=64)
    """Calls at once on one node."""
    retries: int = Field(default=3, ge=0, le=10)
    """Tries of one mini-batch after the first."""

    @model_validator(mode="after")
    def _bounds(self) -> AzureMlBatch:
        if self.min_nodes > self.max_nodes:
            raise ValueError(f"batch: min_nodes {self.min_nodes} is above max_nodes {self.max_nodes}; lower min_nodes")
        return self


class AzureMlSettings(Settings):
    """The burst site on Azure Machine Learning, in the stack's Azure location."""

    vm_size: str = Field(default="Standard_NC24ads_A100_v4", pattern=r"^Standard_\w+$")
    """Size of the online deployment's instances."""
    min_instances: int = Field(default=1, ge=1, le=100)
    """Fewest instances; managed online endpoints do not go to zero."""
    max_instances: int = Field(default=3, ge=1, le=100)
    """Most instances."""
    initial_instances: int | None = Field(default=None, ge=1, le=100)
    """Instances of the first deployment; the minimum when left out."""
    deployment_name: str = Field(default="blue", pattern=r"^[a-z][a-z0-9-]{1,30}[a-z0-9]$")
    """Name of the deployment that serves."""
    traffic: dict[str, int] = Field(default_factory=dict)
    """Percent of traffic per deployment name, 100 in all; all to deployment_name when left out."""
    mirror_traffic: dict[str, int] = Field(default_factory=dict)
    """Percent of live traffic that is copied to one other deployment; its answers are dropped. At most 50."""
    autoscaling: AzureMlAutoscaling = AzureMlAutoscaling()
    """When instances come and go."""
    batch: AzureMlBatch | None = AzureMlBatch()
    """The batch endpoint for P2; null for none."""
    max_concurrent_requests_per_instance: int | None = Field(default=None, ge=1, le=1024)
    """Requests at once on one instance; the manifest's when left out (Azure's own default is 1)."""
    request_timeout_s: float | None = Field(default=None, gt=0, le=180)
    """Seconds for one request; the manifest's when left out, 180 at most (Azure's own default is 5)."""
    container_image: str | None = None
    """Triton image of the environment; the table's when left out."""
    registry_sku: Literal["Premium"] = "Premium"
    """SKU of the container registry; private endpoints need Premium."""
    log_retention_days: int = Field(default=30, ge=30, le=730)
    """Days that Log Analytics keeps the site's logs."""
    vnet_cidr: str = "10.60.0.0/20"
    """Address range of the site's network, used where no other part of the stack brings one; must not overlap."""

    @field_validator("vnet_cidr")
    @classmethod
    def _network(cls, value: str) -> str:
        try:
            network = IPv4Network(value)
        except ValueError as error:
            raise ValueError(f"{value!r} is not an IPv4 network ({error}); write it like 10.60.0.0/20") from None
        if not network.is_private or network.prefixlen > 24:
            raise ValueError(f"{value!r} must be a private range of /24 or larger, e.g. 10.60.0.0/20")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> AzureMlSettings:
        _range(self.min_instances, self.max_instances, "azure_ml")
        first = self.initial_instances
        if first is not None and not self.min_instances <= first <= self.max_instances:
            raise ValueError(
                f"initial_instances {first} is outside min_instances {self.min_instances} to max_instances "
                f"{self.max_instances}; choose one inside, or leave it out"
            )
        if any(share < 0 for share in (*self.traffic.values(), *self.mirror_traffic.values())):
            raise ValueError("traffic and mirror_traffic are percentages; none may be negative")
        if self.traffic and sum(self.traffic.values()) != 100:
            raise ValueError(f"traffic adds up to {sum(self.traffic.values())} percent; make it 100")
        if len(self.mirror_traffic) > 1 or any(share > 50 for share in self.mirror_traffic.values()):
            raise ValueError("mirror_traffic takes one deployment and at most 50 percent")
        if mirrored := set(self.mirror_traffic) & {name for name, share in self.serving_traffic.items() if share > 0}:
            raise ValueError(
                f"mirror_traffic names {sorted(mirrored)[0]!r}, which takes live traffic; a mirror takes none"
            )
        return self

    @property
    def serving_traffic(self) -> dict[str, int]:
        """Percent of live traffic per deployment, the default filled in."""
        return self.traffic or {self.deployment_name: 100}


class BurstSettings(Settings):
    """Where overflow goes, in spill order: SageMaker, then Azure ML. Both absent is a private site alone."""

    sagemaker: SageMakerSettings | None = None
    """The burst site on SageMaker; absent for none."""
    azure_ml: AzureMlSettings | None = None
    """The burst site on Azure ML; absent for none."""
