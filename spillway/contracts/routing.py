"""The routing table: the one description of a gateway from which everything about it follows.

:class:`RoutingTable` is frozen and makes a JSON round trip (``table.model_dump_json()``,
``RoutingTable.model_validate_json(text)``). Who uses it:

* ``components.gateway.envoy_config.render(table)`` makes Envoy's bootstrap (config map key ``envoy.yaml``);
* ``python -m spillway.runtime.gateway.agent --routing routing.json`` reads the same table (key
  ``routing.json``);
* the twin fills it with loopback addresses, or relocates a rendered one.

Two gateways come from one table: the private one has all sites, ``table.standby()`` is the one that knows only burst
sites.
No secret is in it: keys are files (:class:`BearerKey`) or SHA-256 hashes (:class:`Client`, ``operator_key_sha256``).

Shape::

    RoutingTable
      role            "private" | "standby"
      model           entry model, as in /v2/models/<model>/infer
      server          "triton" | "vllm": whose routes clients may ask for (contracts.server_routes)
      model_may_spill "anywhere" | "never" | sites and regions
      sites           SiteRoute, in spill order (address, tls, auth, paths, slots, batch_slots, headroom, health, ...)
      classes         ClassRoute for P0, P1, P2 (spill_to, pool, try_timeout_s, timeout_s, first_token_s, retry budget)
      answer_timeout_s  how long a generated answer may take that comes in one piece
      clients         Client (key hash, max_class, contracted rate, may_spill)
      token_issuer    TokenIssuer | None (clients by JWT)
      anonymous       Anonymous | None (None: a request without a key is refused with 401)
      operator_key_sha256, body_limit_bytes, cors_origins, replicas, listen, connections, runtime_dir, probe, cutoff,
      heartbeat, usage, jobs, traces

``table.groups()`` lists the outer clusters: one for each class and set of sites that some client may use;
``table.endpoints(group)`` says which internal listeners such a cluster tries, in order.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from hashlib import sha256
from itertools import product
from math import floor
from typing import Annotated, Final, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from spillway.contracts import metrics
from spillway.contracts.answer_cache import AnswerCache
from spillway.contracts.classes import RequestClass, Site, SiteName, spill_order_problem
from spillway.contracts.connections import Connections
from spillway.contracts.credentials import Auth, NoAuth, ServerTls, UpstreamTls
from spillway.contracts.frozen import Frozen
from spillway.contracts.jobs import JobQueue
from spillway.contracts.names import MODEL_VERSION
from spillway.contracts.server_routes import ServerKind
from spillway.contracts.traces import Traces
from spillway.contracts.usage import UsageMetrics
from spillway.contracts.web_tokens import TokenIssuer

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
Origin = Annotated[str, Field(pattern=r"^https?://[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?$")]
"""Scheme, host and port as a browser sends them: no path, no capitals, no `*`."""
Port = Annotated[int, Field(ge=1, le=65535)]
MaySpill = Literal["anywhere", "never"] | tuple[str, ...]
"""Where data may go besides the private site: a tuple names sites (``sagemaker``) or regions (``eu-west-1``)."""


def hash_key(key: str) -> str:
    """The form in which a client's or the operator's key stands in a table: SHA-256, hexadecimal."""
    return sha256(key.encode()).hexdigest()


def infer_paths(model: str) -> tuple[str, ...]:
    """Every path of a package's inference request: a package has one version, and naming it changes nothing."""
    return (f"/v2/models/{model}/infer", f"/v2/models/{model}/versions/{MODEL_VERSION}/infer")


def probe_timeout_s(server: ServerKind) -> float:
    """Seconds until a probe has failed: a busy language model answers late, and closing it would be wrong just then."""
    return 15.0 if server == "vllm" else 3.0


ROUTE_HEADER = "X-Amzn-SageMaker-Custom-Attributes"
"""Opaque to SageMaker, which hands it on to the container; AWS's for vLLM finds its route there."""


class PathRule(Frozen):
    """A client's path and what it is called at a site."""

    client: str
    """Exact path, without query."""
    upstream: str
    """Path at the site."""
    streamed: str | None = None
    """Path at the site for an answer that comes as a stream; ``None``: ``upstream``."""
    route: str | None = None
    """Where the container routes a request whose path at the site does not say it; goes in :data:`ROUTE_HEADER`."""
    signed: bool = False
    """Whether it is signed although the site takes a token (:class:`AwsToken`), with the token's own credentials."""


class ActiveCheck(Frozen):
    """Envoy asks the site itself."""

    kind: Literal["active"] = "active"
    path: str = "/v2/health/ready"
    """Answers 200 when the model can serve."""
    interval_s: float = Field(default=1.0, gt=0)
    """Seconds between checks."""
    timeout_s: float = Field(default=0.5, gt=0)
    """Seconds until a check has failed."""
    unhealthy_after: int = Field(default=2, ge=1)
    """Failed checks in a row after which the site gets no requests."""
    healthy_after: int = Field(default=1, ge=1)
    """Good checks in a row after which it gets them again."""


class AgentCheck(Frozen):
    """The runtime agent judges the site, because a check has to be signed or keyed."""

    kind: Literal["agent"] = "agent"
    endpoint: str | None = None
    """SageMaker endpoint whose status is read; ``None``: only the probe counts."""
    interval_s: float = Field(default=5.0, gt=0)
    """Seconds between probes."""
    timeout_s: float = Field(default=3.0, gt=0)
    """Seconds until a probe has failed."""
    unhealthy_after: int = Field(default=2, ge=1)
    """Failed probes in a row after which the site gets no requests."""
    healthy_after: int = Field(default=2, ge=1)
    """Good probes in a row after which it gets them again."""


Health = Annotated[ActiveCheck | AgentCheck, Field(discriminator="kind")]


class Canary(Frozen):
    """Servers of the private site that try a release. The agent gives them their share of the requests while they are
    well, and takes it away for good where the release is worse than the one that serves."""

    host: str
    """Name that is connected to, at the site's own port."""
    version: str
    """Of the package."""
    percent: int = Field(ge=1, le=50)
    """Share of the site's requests."""
    slots: int = Field(ge=1)
    """Requests that all its servers serve at once."""
    max_error_percent: float = Field(ge=0, le=100)
    """Failures of a hundred requests, beyond those of the others, after which it gets none."""
    max_slowdown: float = Field(ge=1)
    """Mean time of an answer, as a multiple of the others', after which it gets none."""
    requests: int = Field(ge=1)
    """Of how many requests it is judged."""


class SiteRoute(Frozen):
    """One site: how it is reached, what it accepts, how much it carries."""

    site: SiteName
    host: str
    """Name or address that is connected to."""
    port: Port
    host_header: str | None = None
    """``Host`` sent to the site (signed, where signatures are used); ``None``: ``host``."""
    dns: Literal["strict", "logical"] = "strict"
    """``strict``: balance over every address the name has (a headless service); ``logical``: a cloud's public name."""
    region: str
    """Cloud region, or a name for where the private site stands; what ``may_spill`` compares with."""
    tls: UpstreamTls | None = None
    auth: Auth = NoAuth()
    paths: tuple[PathRule, ...] = ()
    """What the site can answer and under which path; empty: every path, unchanged."""
    slots: int = Field(ge=1)
    """Requests that the whole site serves at once."""
    batch_slots: int | None = Field(default=None, ge=0)
    """How many of the slots P2 may use; ``None``: half of them, at least one."""
    headroom: int | None = Field(default=None, ge=0)
    """Requests above the slots that P0 may bring here when every site is full; ``None``: as many as there are slots."""
    instances: int | float = Field(default=1, gt=0)
    """Instances that the slots were counted for; a fraction where requests are split over deployments."""
    capacity: Literal["fixed", "addresses", "endpoint", "published"] = "fixed"
    """What tells how many instances are live: nothing, the addresses behind ``host``, the SageMaker endpoint, or the
    table's ``live``."""
    max_body_bytes: int | None = Field(default=None, ge=1)
    """Largest body that the site takes; ``None``: the gateway's own limit."""
    connect_timeout_s: float = Field(default=0.25, gt=0)
    """Seconds until a connection attempt has failed."""
    health: Health
    canary: Canary | None = None
    """Of the private site: a release on trial."""

    @property
    def authority(self) -> str:
        """The ``Host`` header the site sees."""
        return self.host_header or self.host

    @property
    def room_above(self) -> int:
        """Requests of P0 above the slots."""
        return self.slots if self.headroom is None else self.headroom

    def with_instances(self, live: float) -> SiteRoute:
        """The route with another number of instances: slots grow and shrink with them, but not to nothing."""

        def scaled(slots: int | None) -> int | None:
            return None if slots is None else slots and max(1, floor(slots * live / self.instances + _ROUNDING))

        changed = {name: scaled(getattr(self, name)) for name in ("slots", "batch_slots", "headroom")}
        return self.model_copy(update=changed)

    @model_validator(mode="after")
    def _batch_fits(self) -> Self:
        if self.batch_slots is not None and self.batch_slots > self.slots:
            raise ValueError(
                f"batch_slots is {self.batch_slots} but the site has {self.slots} slots: give at most {self.slots}"
            )
        return self


class ClassRoute(Frozen):
    """How one class is routed."""

    request_class: RequestClass
    spill_to: tuple[SiteName, ...] | None = None
    """Burst sites it may use; ``None``: every one in the table."""
    pool: Literal["interactive", "batch"]
    """``interactive``: all slots of a site; ``batch``: its ``batch_slots``."""
    try_timeout_s: float = Field(gt=0)
    """Seconds one site has to begin its answer before the next one is asked."""
    timeout_s: float = Field(gt=0)
    """Seconds for the whole answer, over all sites."""
    first_token_s: float = Field(gt=0)
    """Seconds one site has to the first token of a streamed answer before the next one is asked. How long the answer
    becomes is nobody's fault."""
    token_s: float = Field(default=0.1, gt=0)
    """Seconds for each further token of a stream, on average, that are in time. It is watched, and nothing is cut."""
    retry_budget_percent: float = Field(default=100.0, gt=0, le=100)
    """Share of the requests in flight that may be in a retry at once."""
    resume_streams: bool = False
    """Whether streams of chats pass the agent's relay, which goes on elsewhere with one that breaks."""


DEFAULT_CLASSES = (
    ClassRoute(request_class=RequestClass.P0, pool="interactive", try_timeout_s=0.6, timeout_s=2.4, first_token_s=2.0),
    ClassRoute(request_class=RequestClass.P1, pool="interactive", try_timeout_s=1.2, timeout_s=3.8, first_token_s=6.0),
    ClassRoute(
        request_class=RequestClass.P2,
        pool="batch",
        try_timeout_s=15.0,
        timeout_s=55.0,
        first_token_s=30.0,
        token_s=1.0,
        retry_budget_percent=50.0,
    ),
)
"""Timeouts under the promises of ``contracts.classes``: a hung site costs one try, and two more sites fit before the
request would be lost."""

ANSWER_TIMEOUT_S = 120.0
PROMPT_TOKENS_PER_S = 2000.0
_ROUNDING = 1e-9
"""So that slots times three thirds are as many slots."""


class Limits(Frozen):
    """What a caller is allowed."""

    max_class: RequestClass = RequestClass.P1
    """The most urgent class it gets; a more urgent one in the header is lowered to this."""
    requests_per_s: float | None = Field(default=None, gt=0)
    """Contracted rate; above it requests are refused with 429. ``None``: no limit."""
    requests_at_once: int = Field(default=1, ge=1)
    """Requests above the rate that are let through at once."""
    tokens_per_minute: dict[RequestClass, Annotated[int, Field(gt=0)]] = Field(default_factory=dict)
    """Contracted tokens of prompts and answers by class; above them requests are refused with 429. A class that is not
    there has no limit."""
    tokens_per_month: int | None = Field(default=None, gt=0)
    """Tokens of a calendar month, all classes together; above them requests are refused with 429. ``None``: no
    quota."""
    may_spill: MaySpill = "anywhere"
    """Where its data may go besides the private site."""

    @property
    def budgeted(self) -> tuple[RequestClass, ...]:
        """Classes whose tokens are counted before a request is sent."""
        return tuple(RequestClass) if self.tokens_per_month else tuple(self.tokens_per_minute)


class Client(Limits):
    """A known caller."""

    name: Name
    key_sha256: Sha256 | None = None
    """:func:`hash_key` of its key; ``None``: it brings tokens of the table's issuer."""


ANONYMOUS, OPERATOR = "anonymous", "operator"
"""What callers without a key are called, and those with the operator's."""


class Anonymous(Limits):
    """Every caller without a key; where there are no clients, every caller."""

    max_class: RequestClass = RequestClass.P2


class Listen(Frozen):
    """Where the gateway listens."""

    address: str = "0.0.0.0"
    """Address for clients and metrics; admin and agent are always on 127.0.0.1."""
    port: Port = 8080
    admin_port: Port = 9901
    agent_port: Port = 9902
    """``/healthz`` and ``/metrics`` of the agent."""
    metrics_port: Port = 9903
    """``/metrics`` of Envoy and ``/agent/metrics`` of the agent, for Prometheus; nothing else of the admin page."""
    usage_port: Port = 9904
    """Where the agent is told what each answer used, on 127.0.0.1."""
    relay_port: Port = 9905
    """Where the agent takes streams that are to outlast their site, on 127.0.0.1."""
    inner_port: Port = 9906
    """Where Envoy takes requests from the agent, past the front, on 127.0.0.1."""
    cache_port: Port = 9907
    """Where the agent answers from the cache, on 127.0.0.1."""
    tls: ServerTls | None = None


GROUP_HEADER: Final = "x-spillway-group"
"""By which the front says what class and sites a request has; a client's own is dropped."""
PEERS_CLUSTER: Final = "gateways"
"""Envoy's cluster of the gateway's own processes."""


class Peers(Frozen):
    """The gateway's own processes, where an autoscaler changes their number."""

    host: str
    """The name behind which each of them has an address."""
    port: Port
    most: int = Field(ge=1)
    """As many as there may be."""


class Probe(Frozen):
    """The small inference with which the agent judges a burst site."""

    path: str
    """A client's path, e.g. ``/v2/models/minilm/infer``."""
    body: str
    """JSON."""


class Cutoff(Frozen):
    """Where the spill cut-off is read."""

    parameter: str
    """Name of the SSM parameter."""
    region: str
    poll_s: float = Field(default=5.0, gt=0)
    """Seconds between reads."""
    order: tuple[RequestClass, ...] = (RequestClass.P2, RequestClass.P1, RequestClass.P0)
    """Order in which classes close: closing one closes those before it."""


class LiveInstances(Frozen):
    """Where the live instances of sites are read whose ``capacity`` is ``published`` (``contracts.live_instances``)."""

    parameter: str
    """Name of the SSM parameter."""
    region: str
    poll_s: float = Field(default=20.0, gt=0)
    """Seconds between reads; what is read changes once a minute."""


class Heartbeat(Frozen):
    """The metric whose absence moves DNS to the standby gateway."""

    region: str
    namespace: str = metrics.NAMESPACE
    metric: str = metrics.HEARTBEAT
    gateway: str = "private"
    """Value of the dimension ``Gateway``."""
    period_s: float = Field(default=20.0, gt=0)
    """Seconds between beats."""


class Gate(StrEnum):
    """Internal listeners of a site, each counting against the next.

    ``batch`` lets ``batch_slots`` requests into ``interactive``, which lets ``slots`` into ``open``, which lets
    ``slots + headroom`` into the site. What does not fit is refused at once, and tried elsewhere.
    """

    BATCH = "batch"
    INTERACTIVE = "interactive"
    OPEN = "open"


def listener_name(site: SiteName, gate: Gate) -> str:
    """The name of a site's internal listener."""
    return f"{site}-{gate}"


def canary_name(site: SiteName) -> str:
    """The name of the cluster of a site's servers on trial, and of what their share stands under in Envoy's runtime."""
    return f"{site}-canary"


CERTIFICATE = "gateway-certificate"
"""The name of the secret that holds what is shown to clients."""


def token_name(site: SiteName) -> str:
    """The name of the secret that holds a site's token."""
    return f"{site}-token"


class Endpoint(NamedTuple):
    """One try of an outer cluster."""

    site: SiteName
    gate: Gate


class Group(NamedTuple):
    """An outer cluster: a class and the sites it may use, in spill order."""

    name: str
    request_class: RequestClass
    sites: tuple[SiteName, ...]


class RoutingTable(Frozen):
    """Everything one gateway does. See the top of this module."""

    role: Literal["private", "standby"] = "private"
    model: Name
    server: ServerKind = "triton"
    """What serves on every site: it decides which routes there are (``contracts.server_routes``)."""
    model_may_spill: MaySpill = "anywhere"
    sites: tuple[SiteRoute, ...] = Field(min_length=1)
    classes: tuple[ClassRoute, ...] = DEFAULT_CLASSES
    clients: tuple[Client, ...] = ()
    anonymous: Anonymous | None = Anonymous()
    token_issuer: TokenIssuer | None = None
    """Whose tokens clients may bring in place of a key."""
    operator_key_sha256: Sha256 | None = None
    body_limit_bytes: int = Field(default=6 * 1024 * 1024, ge=1024)
    cors_origins: tuple[Origin, ...] = ()
    """Origins whose web pages may ask from a browser."""
    answer_timeout_s: float = Field(default=ANSWER_TIMEOUT_S, gt=0)
    """Seconds for a generated answer that comes in one piece, and so says nothing while it is made."""
    prefix_affinity_percent: int | None = Field(default=None, ge=100)
    """How full, of the mean, a private server may be that gets requests which begin alike; ``None``: no matter how."""
    prompt_tokens_per_s: float = Field(default=PROMPT_TOKENS_PER_S, gt=0)
    """Tokens of a prompt that any vLLM server reads in a second: a stream has so much longer to its first token."""
    kv_cache_share: float = Field(default=0.9, gt=0, le=1)
    """Share of the private vLLM servers' KV caches that requests may fill before the next one spills."""
    replicas: int = Field(default=1, ge=1)
    """Gateway processes among which slots and rates are divided; with ``peers``, until they are counted."""
    peers: Peers | None = None
    listen: Listen = Listen()
    connections: Connections = Connections()
    runtime_dir: str = "/var/run/spillway"
    """Folder that the agent writes and Envoy watches."""
    probe: Probe | None = None
    """Needed where a site's health is ``agent``."""
    cutoff: Cutoff | None = None
    live: LiveInstances | None = None
    """Needed where a site's capacity is ``published``."""
    heartbeat: Heartbeat | None = None
    jobs: JobQueue | None = None
    """Where P2 requests wait that clients want answered later."""
    cache: AnswerCache | None = None
    """Where answers of a deterministic model are kept."""
    usage: UsageMetrics | None = None
    traces: Traces | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if problem := spill_order_problem([s.site for s in self.sites]):
            raise ValueError(problem)
        if [c.request_class for c in self.classes] != list(RequestClass):
            raise ValueError("classes have to be P0, P1 and P2, once each in that order")
        for what, values in (
            ("name", [c.name for c in self.clients]),
            ("key", [c.key_sha256 for c in self.clients if c.key_sha256]),
        ):
            if len(values) != len(set(values)):
                raise ValueError(f"two clients have the same {what}: give each its own")
        if self.probe is None and any(s.health.kind == "agent" for s in self.sites):
            raise ValueError("probe is missing: a site whose health the agent judges needs one")
        if self.live is None and any(s.capacity == "published" for s in self.sites):
            raise ValueError("live is missing: a site whose capacity is published needs to know where")
        if self.cache and self.server == "vllm":
            raise ValueError("answers of a language model are sampled, and none is kept: leave cache out")
        return self

    def callers(self) -> tuple[tuple[str, Limits], ...]:
        """Who may ask, by name."""
        known = [(client.name, client) for client in self.clients]
        return (*known, *([(ANONYMOUS, self.anonymous)] if self.anonymous else []))

    def quotas(self) -> dict[str, int]:
        """Tokens of a month, by the caller's name."""
        return {name: limits.tokens_per_month for name, limits in self.callers() if limits.tokens_per_month}

    def site(self, site: SiteName) -> SiteRoute:
        """The route of one site. Raises ``KeyError`` where this gateway does not have it."""
        for route in self.sites:
            if route.site == site:
                return route
        raise KeyError(site)

    def class_route(self, request_class: RequestClass) -> ClassRoute:
        """How requests of one class are tried."""
        return next(route for route in self.classes if route.request_class is request_class)

    def allowed_sites(self, request_class: RequestClass, may_spill: MaySpill) -> tuple[SiteName, ...]:
        """Sites, in spill order, that a request of this class from a caller with this limit may use."""
        spill_to = self.class_route(request_class).spill_to
        return tuple(
            s.site
            for s in self.sites
            if s.site == Site.PRIVATE
            or ((spill_to is None or s.site in spill_to) and _covers(may_spill, s) and _covers(self.model_may_spill, s))
        )

    def group_of(self, request_class: RequestClass, may_spill: MaySpill) -> Group:
        """The outer cluster for such a request; its ``sites`` may be empty, then it cannot be served here."""
        sites = self.allowed_sites(request_class, may_spill)
        return Group("-".join((request_class, *sites)), request_class, sites)

    def groups(self) -> tuple[Group, ...]:
        """Every outer cluster that some caller may use."""
        wishes: Iterable[MaySpill] = ["anywhere", *(c.may_spill for c in self.clients)]
        if self.anonymous:
            wishes = [*wishes, self.anonymous.may_spill]
        found = {self.group_of(c, w) for c, w in product(RequestClass, wishes)}
        return tuple(sorted(group for group in found if group.sites))

    def endpoints(self, group: Group) -> tuple[Endpoint, ...]:
        """What the group tries, in order. P0 comes back to each site's headroom when every site is full."""
        pool = self.class_route(group.request_class).pool
        tries = [Endpoint(site, Gate(pool)) for site in group.sites]
        if group.request_class is RequestClass.P0:
            tries += [Endpoint(site, Gate.OPEN) for site in group.sites]
        return tuple(tries)

    def second_chance(self, group: Group) -> Group:
        """Where a request of the group goes once more after a server failed over it: its sites from the far end, so
        that it does not meet the same one first. Nothing of it queues a second time."""
        return Group(f"{group.name}-again", group.request_class, group.sites[::-1])

    def second_tries(self, group: Group) -> tuple[Endpoint, ...]:
        """What :meth:`second_chance` of the group tries, in order."""
        pool = self.class_route(group.request_class).pool
        return tuple(Endpoint(site, Gate(pool)) for site in self.second_chance(group).sites)

    def token_path(self, site: SiteName) -> str:
        """The file, in Envoy's form of a secret, into which the agent writes the token of a site that wants one."""
        return f"{self.runtime_dir}/secrets/{token_name(site)}.json"

    @property
    def certificate_path(self) -> str:
        """The file in which the agent tells Envoy where the listener's certificate is."""
        return f"{self.runtime_dir}/secrets/{CERTIFICATE}.json"

    def share(self, slots: int) -> int:
        """One gateway process's part of a number of slots: at least one, unless there are none."""
        return max(1, slots // self.replicas) if slots else 0

    def limits(self, route: SiteRoute) -> dict[Gate, int]:
        """How many requests one gateway process lets through each gate of a site."""
        batch = max(1, route.slots // 2) if route.batch_slots is None else route.batch_slots
        slots = self.share(route.slots)
        return {
            Gate.BATCH: min(self.share(batch), slots),
            Gate.INTERACTIVE: slots,
            Gate.OPEN: slots + self.share(route.room_above),
        }

    def standby(self, replicas: int, peers: Peers | None = None) -> RoutingTable:
        """The same gateway without the private site, as it runs in the public cloud. It sends no heartbeat.
        ``replicas``, ``peers``: its own processes, among which its slots and rates are divided."""
        burst = tuple(s for s in self.sites if s.site != Site.PRIVATE)
        own = {"role": "standby", "sites": burst, "replicas": replicas, "cache": self.cache and self.cache.away()}
        changes = {**own, "peers": peers, **dict.fromkeys(("heartbeat", "traces"))}
        return self.model_copy(update=changes)


def _covers(may_spill: MaySpill, route: SiteRoute) -> bool:
    if isinstance(may_spill, str):
        return may_spill == "anywhere"
    return route.site in may_spill or route.region in may_spill
