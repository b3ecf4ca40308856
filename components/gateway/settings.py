"""The gateway's part of the stack file. Whether it is internal or public is the stack's ``exposure``."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from spillway.contracts.classes import RequestClass, Site
from spillway.contracts.routing import DEFAULT_CLASSES, SPILL_ORDER, ClassRoute, MaySpill
from spillway.contracts.settings import Settings

SecretName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,62}$")]
Image = Annotated[str, Field(pattern=r"^[^\s:@]+(:\d+)?(/[^\s:@]+)*(:[\w.-]+)(@sha256:[0-9a-f]{64})?$")]

MEGABYTE = 1 << 20

FARGATE_MEMORY_MIB: dict[int, range] = {
    256: range(512, 2049, 512),
    512: range(1024, 4097, 1024),
    1024: range(2048, 8193, 1024),
    2048: range(4096, 16385, 1024),
    4096: range(8192, 30721, 1024),
}
"""Memory that Fargate offers for each CPU size
(https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html)."""


class CallerSettings(Settings):
    """What callers may do."""

    max_class: RequestClass = RequestClass.P1
    """The most urgent class they get; a more urgent one in a request is lowered to this."""

    requests_per_s: float | None = Field(default=None, gt=0)
    """Contracted rate over all gateway replicas; above it requests are refused with 429. None: no limit."""

    burst: int = Field(default=10, ge=1)
    """Requests above the contracted rate that are let through at once."""

    may_spill: MaySpill = "anywhere"
    """Where their data may go besides the private site: ``anywhere``, ``never``, or a list of sites and regions."""


class ClientSettings(CallerSettings):
    """A client with a key of its own."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
    """Name in logs and metrics."""

    key_secret: SecretName
    """Name of the stack secret with the client's key (``spillway-secrets:<name>``); only its hash is deployed."""


class AnonymousSettings(CallerSettings):
    """Callers without a known key."""

    max_class: RequestClass = RequestClass.P2
    """The most urgent class they get; the least urgent by default, so that a forgotten key is noticed."""


class ClassSettings(Settings):
    """How long one class's requests may take, and how hard they are tried."""

    try_timeout_s: float = Field(gt=0)
    """Seconds a site has to begin its answer before the next one is asked."""

    timeout_s: float = Field(gt=0)
    """Seconds for the whole answer over all sites; keep it under the class's deadline plus two seconds."""

    generation_try_timeout_s: float = Field(default=30.0, gt=0)
    """As ``try_timeout_s``, on routes that generate text."""

    retry_budget_percent: float = Field(default=100.0, gt=0, le=100)
    """Share of the requests in flight that may be in a retry at once; below 100, this class is shed before others."""

    spill_to: tuple[Site, ...] = (Site.SAGEMAKER, Site.AZURE_ML)
    """Burst sites that the class may use."""

    @model_validator(mode="after")
    def _try_fits(self) -> Self:
        if self.try_timeout_s > self.timeout_s:
            raise ValueError("try_timeout_s is more than timeout_s: a try cannot outlast the request, lower it")
        if Site.PRIVATE in self.spill_to:
            raise ValueError(f"spill_to names burst sites only: choose from {', '.join(SPILL_ORDER[1:])}")
        return self


def _default_class(request_class: RequestClass) -> ClassSettings:
    route = next(c for c in DEFAULT_CLASSES if c.request_class is request_class)
    return ClassSettings.model_validate(route.model_dump(exclude={"request_class", "pool"}))


class ClassesSettings(Settings):
    """The three classes."""

    p0: ClassSettings = _default_class(RequestClass.P0)
    """Interactive, due in 0.5 s."""

    p1: ClassSettings = _default_class(RequestClass.P1)
    """Near real time, due in 2 s."""

    p2: ClassSettings = _default_class(RequestClass.P2)
    """Batch that came over the gateway."""

    def routes(self) -> tuple[ClassRoute, ...]:
        """As the routing table has them."""
        settings = {RequestClass.P0: self.p0, RequestClass.P1: self.p1, RequestClass.P2: self.p2}
        return tuple(
            ClassRoute(
                request_class=request_class,
                pool="batch" if request_class is RequestClass.P2 else "interactive",
                **chosen.model_dump(),
            )
            for request_class, chosen in settings.items()
        )


class SiteSlotsSettings(Settings):
    """How much the gateway sends to one site at once."""

    slots: int | None = Field(default=None, ge=1)
    """Requests at once over the whole site. None: the package's slots times the site's instances."""

    batch_slots: int | None = Field(default=None, ge=0)
    """How many of the slots P2 may use. None: half."""

    headroom: int | None = Field(default=None, ge=0)
    """Requests beyond the slots that P0 may queue when every site is full. None: as many as there are slots."""

    @model_validator(mode="after")
    def _batch_fits(self) -> Self:
        if self.slots is not None and self.batch_slots is not None and self.batch_slots > self.slots:
            raise ValueError(f"batch_slots is more than slots: give at most {self.slots}")
        return self


class SlotsSettings(Settings):
    """Slots by site."""

    private: SiteSlotsSettings = SiteSlotsSettings()
    """The private cluster."""

    sagemaker: SiteSlotsSettings = SiteSlotsSettings()
    """The SageMaker endpoint."""

    azure_ml: SiteSlotsSettings = SiteSlotsSettings()
    """The Azure ML endpoint."""

    def of(self, site: Site) -> SiteSlotsSettings:
        """Those of one site."""
        return getattr(self, site.value)


class ResourcesSettings(Settings):
    """CPU and memory of a container."""

    cpu: str = "1"
    """CPU request, as Kubernetes writes it; no limit is set, a throttled proxy is worse than a busy one."""

    memory: str = "1Gi"
    """Memory request and limit, as Kubernetes writes it."""


class AutoscalerSettings(Settings):
    """How the private gateway grows."""

    max_replicas: int = Field(default=6, ge=1)
    """Most replicas."""

    cpu_percent: int = Field(default=60, ge=10, le=95)
    """CPU use at which it grows; slots and rates are divided by ``replicas``, so it grows for CPU alone."""


class TlsSettings(Settings):
    """Certificate of the gateways' common name."""

    kubernetes_secret: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]
    """TLS secret in ``spillway-gateway`` (keys ``tls.crt``, ``tls.key``), as cert-manager makes it."""


class StandbySettings(Settings):
    """The gateway in AWS that takes over when the private site is gone."""

    enabled: bool = True
    """Whether there is one; without it there is nothing for DNS to fail over to."""

    cpu: Literal[256, 512, 1024, 2048, 4096] = 1024
    """Fargate CPU units of a task."""

    memory: int = 2048
    """Fargate memory of a task, MiB; Fargate offers certain sizes for each ``cpu``."""

    desired_count: int = Field(default=2, ge=1)
    """Tasks; two, so that they stand in two zones."""

    max_count: int = Field(default=6, ge=1)
    """Most tasks that autoscaling starts."""

    certificate_arn: Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:acm:")] | None = None
    """ACM certificate of the gateways' common name. None: one is requested and validated over DNS."""

    @model_validator(mode="after")
    def _sizes_exist(self) -> Self:
        offered = FARGATE_MEMORY_MIB[self.cpu]
        if self.memory not in offered:
            raise ValueError(
                f"Fargate has no {self.memory} MiB with cpu {self.cpu}: "
                f"give {offered.start} to {offered.stop - 1} in steps of {offered.step}"
            )
        if self.max_count < self.desired_count:
            raise ValueError(f"max_count is below desired_count: give at least {self.desired_count}")
        return self


class GatewaySettings(Settings):
    """The gateway beside the private cluster, and its standby."""

    replicas: int = Field(default=2, ge=1)
    """Replicas beside the private cluster; slots and rates are divided by this number."""

    image: Image = "docker.io/envoyproxy/envoy:distroless-v1.40.0"
    """Envoy 1.40 or newer; add ``@sha256:<digest>`` of your mirror's copy to pin the bytes."""

    agent_image: Image = "ghcr.io/spillway/runtime:0.1.0"
    """Image that holds ``spillway.runtime``; built from this repository."""

    resources: ResourcesSettings = ResourcesSettings()
    """Envoy's container."""

    agent_resources: ResourcesSettings = ResourcesSettings(cpu="100m", memory="256Mi")
    """The agent's container."""

    autoscaler: AutoscalerSettings = AutoscalerSettings()
    """Growth beside the private cluster."""

    tls: TlsSettings | None = None
    """Certificate of the private gateway. None: plain HTTP inside the network."""

    standby: StandbySettings = StandbySettings()
    """The gateway in AWS."""

    operator_key_secret: SecretName = "gateway_operator_key"
    """Name of the stack secret with the operator's key, which allows choosing a site (``x-spillway-site``)."""

    clients: tuple[ClientSettings, ...] = ()
    """Known clients."""

    anonymous: AnonymousSettings | None = AnonymousSettings()
    """Callers without a known key; null refuses them with 401."""

    model_may_spill: MaySpill = "anywhere"
    """Where requests to this model may go besides the private site, whoever asks."""

    classes: ClassesSettings = ClassesSettings()
    """Timeouts and retries by class."""

    slots: SlotsSettings = SlotsSettings()
    """How much each site carries."""

    body_limit_bytes: int = Field(default=6 * MEGABYTE, ge=1024, le=64 * MEGABYTE)
    """Largest request body; every request is held whole, to be retried elsewhere. Default: what all sites take."""

    heartbeat_period_s: float = Field(default=20.0, gt=0, le=30)
    """Seconds between heartbeats; at least two have to fall into the alarm's 60 s."""

    cutoff_poll_s: float = Field(default=5.0, gt=0, le=60)
    """Seconds between reads of the spill cut-off."""

    probe_interval_s: float = Field(default=10.0, gt=0)
    """Seconds between the agent's small inferences at each burst site."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.autoscaler.max_replicas < self.replicas:
            raise ValueError(f"autoscaler.max_replicas is below replicas: give at least {self.replicas}")
        for what, given in (
            ("name", [client.name for client in self.clients]),
            ("key_secret", [client.key_secret for client in self.clients]),
        ):
            twice = sorted({value for value in given if given.count(value) > 1})
            if twice:
                raise ValueError(f"two clients have {what} {twice[0]}: give each its own")
        return self
