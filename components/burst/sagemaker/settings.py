"""The burst site on SageMaker: the stack file's ``burst.sagemaker`` part."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import Field, field_validator, model_validator

from components.burst.bounds import check_bounds
from components.retention import RetentionDays
from spillway.contracts.frozen import Settings
from spillway.contracts.prices import catalogue
from spillway.contracts.problems import nearest
from spillway.contracts.trt_engines import ENGINE_NAME

_GPUS: Final = ("dl1", "g4dn", "g5", "g6", "g6e", "g7", "g7e", "p4d", "p4de", "p5", "p5e", "p5en")
_OTHERS: Final = ("c5d", "c6gd", "m5d", "m6gd", "r5d", "r6gd", "r7gd", "trn1", "trn1n", "trn2")
LOCAL_STORAGE_FAMILIES: Final = frozenset((*_GPUS, *_OTHERS))
"""Instance families with NVMe disks of their own, beside all of p6: SageMaker takes neither a KMS key nor a volume
size for them, the hardware encrypts (CreateEndpointConfig, KmsKeyId)."""

TARGET_SHARE: Final = 0.7
"""Of an instance's slots: the gateway lets no more requests in than there are slots, so that a target at or above them
would never be passed."""

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
        known = nearest(value, {price.instance_type for price in catalogue() if price.cloud == "sagemaker"})
        raise ValueError(f"no SageMaker instance type; {known}they start with 'ml.', e.g. ml.g5.xlarge")
    return value


class SageMakerAutoscaling(Settings):
    """Target tracking of the real-time endpoint."""

    metric: Literal["invocations_per_instance", "concurrency_per_model"] = "concurrency_per_model"
    """What is held at the target: invocations per instance and minute, or concurrent requests, measured every ten
    seconds, which reacts faster and needs no knowledge of the request's length."""
    target: float | None = Field(default=None, gt=0)
    """The value to hold: requests in flight per instance, by default 70 % of the package's slots, so that a new one is
    up before they are full; or invocations per instance and minute, which nobody can guess."""
    scale_out_cooldown_s: int = Field(default=30, ge=0, le=3600)
    """Seconds after growing before it may grow again."""
    scale_in_cooldown_s: int = Field(default=300, ge=0, le=3600)
    """Seconds after shrinking before it may shrink again; long, because a GPU instance takes minutes to come."""

    @model_validator(mode="after")
    def _has_a_target(self) -> SageMakerAutoscaling:
        if self.metric == "invocations_per_instance" and self.target is None:
            raise ValueError("metric is invocations_per_instance, so give target: invocations per instance and minute")
        return self

    def target_for(self, slots: int) -> float:
        """The value to hold, for a package that serves so many requests at once on one instance."""
        return self.target if self.target is not None else round(TARGET_SHARE * slots, 2)


class SageMakerRollout(Settings):
    """Blue/green update with a canary, rolled back by CloudWatch alarms."""

    canary_percent: int = Field(default=10, ge=1, le=50)
    """Share of capacity that takes traffic first; SageMaker allows at most 50. One instance is switched all at once."""
    canary_wait_s: int = Field(default=300, ge=0, le=3600)
    """Seconds the canary is watched before the rest follows."""
    termination_wait_s: int = Field(default=300, ge=0, le=3600)
    """Seconds the old fleet is kept after the switch."""
    max_execution_s: int = Field(default=3600, ge=600, le=14400)
    """Seconds after which an update that is not done is given up; the provider takes no more than four hours."""
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
    max_job_hours: int = Field(default=6, ge=1, le=240)
    """Hours after which a job of the gateways that has no answer yet fires an alarm."""

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
    """The endpoint for P2 batches: for jobs that clients leave at a gateway (`Prefer: respond-async`) and for clients
    with AWS rights of their own (docs/how-to/batches.md); null for none, then every answer is given at once or refused.
    """
    data_capture: SageMakerDataCapture | None = None
    """Capture of requests and answers; off by default."""
    engine: Annotated[str, Field(pattern=ENGINE_NAME)] | None = None
    """A compiled engine that the endpoint runs instead of the portable model: ``<hardware key>/<precision>``, a folder
    below the package's ``engines/``. It fits one GPU and the container's TensorRT only."""
    container_version: str | None = None
    """Version of the serving container, from the table in components/burst. Left out: the newest that the package was
    made for, of a package that names none the newest whose driver inference_ami_version brings."""
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
        check_bounds("sagemaker", self.min_instances, self.max_instances, self.initial_instances)
        return self
