"""The gateway's part of the stack file. Whether it is internal or public is the stack's ``exposure``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from spillway import __version__
from spillway.contracts.classes import RequestClass, Site, SiteName
from spillway.contracts.connections import Connections
from spillway.contracts.frozen import Settings
from spillway.contracts.quantities import CpuQuantity, MemoryQuantity
from spillway.contracts.routing import DEFAULT_CLASSES, PROMPT_TOKENS_PER_S, ClassRoute, MaySpill, Origin
from spillway.contracts.web_tokens import Claim

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

    requests_at_once: int = Field(default=10, ge=1)
    """Requests above the contracted rate that are let through at once."""

    tokens_per_minute: dict[RequestClass, Annotated[int, Field(gt=0)]] = Field(default_factory=dict)
    """Contracted tokens of prompts and answers by class, over all gateway replicas; above them requests for generated
    text are refused with 429. What a request may use at most is taken first, and what it did not use given back."""

    tokens_per_month: int | None = Field(default=None, gt=0)
    """Quota of tokens of prompts and answers in a calendar month (UTC), all classes together; above it requests for
    generated text are refused with 429 until the next. It is read every five minutes, so a little more may pass."""

    may_spill: MaySpill = "anywhere"
    """Where their data may go besides the private site: ``anywhere``, ``never``, or a list of sites and regions."""


class ClientSettings(CallerSettings):
    """A client with a key of its own, or with tokens of `tokens.issuer` that name it."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
    """Name in logs and metrics."""

    key_secret: SecretName | None = None
    """Name of the stack secret with the client's key (``spillway-secrets:<name>``); only its hash is deployed. None
    where it brings tokens."""


class TokensSettings(Settings):
    """JSON Web Tokens in place of keys (``Authorization: Bearer``), verified by the gateways."""

    issuer: Annotated[str, Field(pattern=r"^\S{1,512}$")]
    """``iss`` of the tokens, letter by letter."""

    audiences: tuple[Annotated[str, Field(pattern=r"^\S{1,512}$")], ...] = Field(min_length=1)
    """One of these has to be in a token's ``aud``, so that tokens for other services mean nothing here."""

    jwks_url: Annotated[str, Field(pattern=r"^https://[^\s/:]+/\S*$")]
    """Where the issuer's public keys are (``jwks_uri`` of its OpenID configuration); kept for five minutes."""

    client_claim: Claim = "sub"
    """The claim whose value is the name of one of `clients`; a token that names none is refused with 403."""

    class_claim: Claim | None = None
    """A claim that lowers the client's ``max_class`` (``P0``, ``P1`` or ``P2``); None: tokens say nothing of it."""


class AnonymousSettings(CallerSettings):
    """Callers without a key."""

    max_class: RequestClass = RequestClass.P2
    """The most urgent class they get; the least urgent by default, so that a forgotten key is noticed."""


class ClassSettings(Settings):
    """How long one class's requests may take, and how hard they are tried."""

    try_timeout_s: float = Field(gt=0)
    """Seconds a site has to begin its answer before the next one is asked."""

    timeout_s: float = Field(gt=0)
    """Seconds for the whole answer over all sites; keep it under the class's deadline plus two seconds."""

    first_token_s: float = Field(default=6.0, gt=0)
    """Seconds a site has to the first token of a streamed answer before the next one is asked; a prompt adds the time
    that it takes to read (``gateway.prompt_tokens_per_s``). How long the answer becomes is not limited by it."""

    token_s: float = Field(default=0.1, gt=0)
    """Seconds for each further token of a stream, on average, that are in time: an alert watches them
    (``monitoring.objectives``), and nothing is cut for them."""

    retry_budget_percent: float = Field(default=100.0, gt=0, le=100)
    """Share of the requests in flight that may be in a retry at once; below 100, this class is shed before others."""

    resume_streams: bool = False
    """Whether a chat's stream that breaks goes on at the next site where that is exact (greedy, without tools), and
    ends with an error event where it is not. Streams of the class then pass the agent."""

    spill_to: tuple[SiteName, ...] | None = None
    """Burst sites that the class may use, by their key below ``burst``; every one that is on when left out."""

    @model_validator(mode="after")
    def _try_fits(self) -> Self:
        if self.try_timeout_s > self.timeout_s:
            raise ValueError("try_timeout_s is more than timeout_s: a try cannot outlast the request, lower it")
        if Site.PRIVATE in (self.spill_to or ()):
            raise ValueError("spill_to names burst sites only: leave out private, which is always asked first")
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

    def routes(self, burst: Sequence[SiteName]) -> tuple[ClassRoute, ...]:
        """As the routing table has them. ``burst``: the sites that a class may use where its settings name none."""
        settings = {RequestClass.P0: self.p0, RequestClass.P1: self.p1, RequestClass.P2: self.p2}
        return tuple(
            ClassRoute(
                request_class=request_class,
                pool="batch" if request_class is RequestClass.P2 else "interactive",
                **{**chosen.model_dump(), "spill_to": tuple(burst) if chosen.spill_to is None else chosen.spill_to},
            )
            for request_class, chosen in settings.items()
        )


class SiteSlotsSettings(Settings):
    """How much the gateway sends to one site at once."""

    slots: int | None = Field(default=None, ge=1)
    """Requests at once over the whole site, however many instances live. None: the package's slots times those."""

    batch_slots: int | None = Field(default=None, ge=0)
    """How many of the slots P2 may use. None: half."""

    headroom: int | None = Field(default=None, ge=0)
    """Requests beyond the slots that P0 may bring when every site is full. None: what the package's servers accept
    besides (``vllm.max_concurrency``), of Triton as many as there are slots."""

    @model_validator(mode="after")
    def _batch_fits(self) -> Self:
        if self.slots is not None and self.batch_slots is not None and self.batch_slots > self.slots:
            raise ValueError(f"batch_slots is more than slots: give at most {self.slots}")
        return self


class ResourcesSettings(Settings):
    """CPU and memory of a container."""

    cpu: CpuQuantity = "1"
    """CPU request, as Kubernetes writes it; no limit is set, a throttled proxy is worse than a busy one."""

    memory: MemoryQuantity = "1Gi"
    """Memory request and limit, as Kubernetes writes it."""


class AutoscalerSettings(Settings):
    """How the private gateway grows."""

    max_replicas: int = Field(default=6, ge=1)
    """Most replicas."""

    cpu_percent: int = Field(default=60, ge=10, le=95)
    """CPU use at which it grows. Slots, rates and budgets are divided by the replicas that there are."""


class AcmeSettings(Settings):
    """A certificate by ACME, proved in the Route 53 zone of the name."""

    email: Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$")]
    """Whom the certificate authority tells of what concerns the account."""

    server: Annotated[str, Field(pattern=r"^https://\S+$")] = "https://acme-v02.api.letsencrypt.org/directory"
    """Directory of the authority; Let's Encrypt's by default."""


class TlsSettings(Settings):
    """Certificate of the gateways' common name, in one of four ways."""

    acm: bool = False
    """On EKS: the load balancer has the standby's certificate, of ACM, which renews it; behind it goes plain HTTP."""

    cert_manager: AcmeSettings | None = None
    """cert-manager asks for it, proves the name in Route 53 and renews it; on any cluster, and Envoy ends TLS."""

    certificate_secret: SecretName | None = None
    """Name of the stack secret with the certificate and its chain (PEM); ``key_secret`` goes with it."""

    key_secret: SecretName | None = None
    """Name of the stack secret with the private key (PEM)."""

    kubernetes_secret: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")] | None = None
    """On a cluster that is there: TLS secret in the namespace ``<name>-<stack>-gateway``, with the keys ``tls.crt`` and
    ``tls.key``, as cert-manager makes it."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.certificate_secret) != bool(self.key_secret):
            raise ValueError("certificate_secret and key_secret go together: give both")
        named = (self.cert_manager, self.certificate_secret, self.kubernetes_secret)
        if sum([self.acm, *(one is not None for one in named)]) != 1:
            raise ValueError(
                "give one of acm: true, cert_manager, certificate_secret with key_secret, or kubernetes_secret"
            )
        return self


class StandbySettings(Settings):
    """The gateway in AWS that takes over when the private site is gone."""

    enabled: bool = True
    """Whether there is one; without it there is nothing for DNS to fail over to."""

    cpu: Literal[256, 512, 1024, 2048, 4096] = 1024
    """Fargate CPU units of a task."""

    memory: int = 2048
    """Fargate memory of a task, MiB; Fargate offers certain sizes for each ``cpu``."""

    min_replicas: int = Field(default=2, ge=1)
    """Tasks; two, so that they stand in two zones."""

    max_replicas: int = Field(default=6, ge=1, le=8)
    """Most tasks that autoscaling starts. Slots, rates and budgets are divided by the tasks that there are, which count
    themselves by a name: DNS tells of eight addresses at most."""

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
        if self.max_replicas < self.min_replicas:
            raise ValueError(f"max_replicas is below min_replicas: give at least {self.min_replicas}")
        return self


class CacheSettings(Settings):
    """Answers of a deterministic model are kept, and given again to the same input. The nearest tier is asked first."""

    redis: bool = True
    """Whether the cluster's Redis (``model_store.redis``) keeps them."""

    disk: MemoryQuantity | None = None
    """Room on the disk of each gateway's node, as Kubernetes writes it; none when left out."""

    s3_bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")] | None = None
    """A bucket of yours in the stack's region, encrypted by SSE-S3, for requests that may leave for that region; the
    standby's only tier. Give it a lifecycle rule for ``answers/``: nothing is deleted. None when left out."""

    ttl_s: int = Field(default=86400, ge=1)
    """Seconds for which Redis and disks keep an answer."""

    max_answer_bytes: int = Field(default=MEGABYTE, ge=1)
    """Larger answers are not kept."""

    @model_validator(mode="after")
    def _some_tier(self) -> Self:
        if not (self.redis or self.disk or self.s3_bucket):
            raise ValueError("a cache without a tier keeps nothing: give redis: true, disk or s3_bucket")
        return self


class ConnectionsSettings(Settings):
    """What clients' connections may cost each gateway process. How long answers take is not limited here."""

    headers_s: float = Field(default=10.0, gt=0, le=300)
    """Seconds for a TLS handshake, and for a request's headers from their first byte; later ones get 408."""

    body_s: float = Field(default=60.0, gt=0, le=3600)
    """Seconds in which a whole request has to arrive; later ones get 408. Leave time for the largest body on your
    clients' slowest line."""

    idle_s: float = Field(default=300.0, gt=0)
    """Seconds that a connection without a request is kept."""

    age_s: float | None = Field(default=3600.0, gt=0)
    """Seconds after which a connection takes no further request, so that clients spread over new gateways; what is
    being answered goes on. None: they may stay."""

    max_connections: int = Field(default=10_000, ge=1)
    """Connections at once of each gateway process; more are closed as they come."""

    max_streams: int = Field(default=100, ge=1)
    """Requests at once on one connection of HTTP/2."""

    def limits(self, memory_bytes: int) -> Connections:
        """Of a process with so much memory."""
        times = self.model_dump(include={"headers_s", "body_s", "idle_s", "age_s"})
        return Connections(**times, most=self.max_connections, streams=self.max_streams, memory_bytes=memory_bytes)


class GatewaySettings(Settings):
    """The gateway beside the private cluster, and its standby."""

    replicas: int = Field(default=2, ge=1)
    """Replicas beside the private cluster; slots and rates are divided by this number."""

    image: Image = "docker.io/envoyproxy/envoy:distroless-v1.40.0"
    """Envoy 1.40 or newer; add ``@sha256:<digest>`` of your mirror's copy to pin the bytes."""

    agent_image: Image = f"ghcr.io/spillway/runtime:{__version__}"
    """The image that ``make image`` builds (docs/how-to/runtime-image.md): name your own, best with its digest."""

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

    access_log_bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")] | None = None
    """Bucket in the stack's region for the access logs of AWS's load balancers, encrypted by SSE-S3, which lets
    ``logdelivery.elasticloadbalancing.amazonaws.com`` and ``delivery.logs.amazonaws.com`` write; none when left out.
    EKS's load balancer logs TLS alone, so with ``tls.acm``."""

    operator_key_secret: SecretName = "gateway_operator_key"
    """Name of the stack secret with the operator's key, which allows choosing a site (``x-spillway-site``)."""

    clients: tuple[ClientSettings, ...] = ()
    """Known clients."""

    tokens: TokensSettings | None = None
    """Tokens that clients may bring in place of a key; none by default."""

    anonymous: AnonymousSettings | None = AnonymousSettings()
    """Callers without a key; null refuses them with 401. An unknown key is refused where there are `clients`."""

    model_may_spill: MaySpill = "anywhere"
    """Where requests to this model may go besides the private site, whoever asks."""

    classes: ClassesSettings = ClassesSettings()
    """Timeouts and retries by class."""

    slots: dict[SiteName, SiteSlotsSettings] = Field(default_factory=dict)
    """Slots by site: ``private``, or a key below ``burst``."""

    prefix_affinity_percent: int | None = Field(default=None, ge=110, le=400)
    """Turns of a chat, and prompts that begin alike or name one ``prompt_cache_key``, go to one private vLLM server,
    which has their KV, as long as it has at most so many percent of the servers' mean number of requests; then to the
    next one. None: to the server with the fewest."""

    prompt_tokens_per_s: float = Field(default=PROMPT_TOKENS_PER_S, gt=0)
    """Tokens of a prompt that the slowest site's vLLM server reads in a second, beside others: a stream has so much
    longer to its first token than ``first_token_s``, up to the package's ``request_timeout_s``, before it is asked for
    elsewhere. Too high a number, and long prompts are read at every site and answered by none."""

    kv_cache_percent: int = Field(default=90, ge=10, le=100)
    """Share of the private vLLM servers' KV caches that requests may fill before the next one spills, or is refused;
    P0 is let through where no site has room."""

    body_limit_bytes: int = Field(default=6 * MEGABYTE, ge=1024, le=64 * MEGABYTE)
    """Largest request body; every request is held whole, to be retried elsewhere. Default: what all sites take."""

    connections: ConnectionsSettings = ConnectionsSettings()
    """Bounds of slow and of many connections."""

    cors_origins: tuple[Origin, ...] = ()
    """Origins of web pages that may ask from a browser (``https://app.example.com``, no path); none by default. A key
    in a page is everybody's: give such pages a client of their own, or none."""

    cache: CacheSettings | None = None
    """Cache of answers; off when left out. Only for a model that answers the same to the same: whoever turns it on says
    so. It is keyed by the package, path and input, and shared by all clients."""

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
            ("key_secret", [client.key_secret for client in self.clients if client.key_secret]),
        ):
            twice = sorted({value for value in given if given.count(value) > 1})
            if twice:
                raise ValueError(f"two clients have {what} {twice[0]}: give each its own")
        keyless = [client.name for client in self.clients if client.key_secret is None]
        if keyless and self.tokens is None:
            raise ValueError(
                f"client {keyless[0]} has no key_secret: give it one, or give tokens, whose issuer names it"
            )
        return self
