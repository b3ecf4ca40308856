"""From a stack file to the planner: how long a request works there, what may be chosen, and what runs now."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from components.burst.site import BurstSite
from components.burst.sites import SITES
from components.cost_guard.settings import instance_price
from components.private_cluster.settings import ExistingSettings
from spillway.contracts.capacity import Machines
from spillway.contracts.classes import Site
from spillway.contracts.manifest import TRITON_REPOSITORY, Manifest, PackageError, read_manifest
from spillway.contracts.prices import (
    COMMITTED,
    Owned,
    Price,
    PriceError,
    PriceModel,
    bought_price,
    catalogue,
    find_price,
)
from spillway.contracts.scaling import Scaling
from spillway.contracts.targets import Layout
from spillway.contracts.vllm_serving import room_above
from spillway.planner.errors import PlannerError
from spillway.planner.history import Fleet, Sizes
from spillway.planner.service import ServiceModel, from_manifest, from_rates, measured_model, with_engine
from spillway.planner.system import Failures, Objective, SiteSpec, tries_of
from stacks.pricing import private_capacity, private_machines, usd_per_hour
from stacks.private_units import gpus_elsewhere, unit_of
from stacks.settings import StackSettings

if TYPE_CHECKING:
    from spillway.planner.offers import Offer, Offers
    from spillway.planner.plan import Spot
    from spillway.planner.search import Space

OWNED: Final = "owned"
"""Whose machines a cluster of one's own has, in place of a price list."""
_NETWORK_S: Final = 0.03
"""Seconds that the way to a burst site and back is taken to add."""
_DELAY: Final = re.compile(r"max_queue_delay_microseconds:\s*(\d+)")
_SERVICE_HINT: Final = (
    "How long a request works has to be known: package the model, or give --tokens-per-s PROMPT,ANSWER with --slots, "
    "or --measured NAME"
)


@dataclass(frozen=True)
class PrivatePrice:
    """``usd_per_gpu_hour``: wins over the stack's; ``owned``: what it is worked out of, where it is."""

    usd_per_gpu_hour: float | None = None
    owned: Owned | None = None


@dataclass(frozen=True)
class Commitment:
    """A price model of the catalogue, e.g. ``reserved_3y``, or what is taken off the list, e.g. 0.4: of instances that
    are paid for whether used or not."""

    how: PriceModel | float

    def of(self, spec: SiteSpec) -> float:
        """US dollars an hour of one instance. Raises ``PriceError`` where the catalogue has none in any region."""
        if isinstance(self.how, float):
            return spec.usd_per_hour * (1.0 - self.how)
        found = [
            price
            for price in catalogue()
            if (price.cloud, price.instance_type, price.model) == (spec.cloud, spec.instance_type, self.how)
        ]
        if not found:
            raise PriceError(
                f"the catalogue has no {self.how} price of {spec.instance_type}; `spillway prices refresh --write` "
                "reads them, or give what is taken off the list, e.g. --commit 0.4"
            )
        listed = find_price(found[0].cloud, found[0].instance_type, found[0].region)
        return spec.usd_per_hour * found[0].usd_per_hour / listed.usd_per_hour


def service_of(
    settings: StackSettings,
    sites: Sequence[BurstSite],
    root: Path,
    measured: str | None,
    rates: tuple[float, float] | None,
    slots: int,
) -> ServiceModel:
    """The service model: a committed measurement, given tokens/s, else the latencies in the stack's package.

    ``root``: the project's folder. Raises :class:`PlannerError` where none of them says it.
    """
    if measured:
        return measured_model(measured)
    try:
        manifest = read_manifest(root / settings.package.path)
    except PackageError as error:
        if not rates:
            raise PlannerError(f"{error}\n{_SERVICE_HINT}") from None
        manifest = None
    gpus = gpus_elsewhere(settings, manifest)
    if rates:
        given = from_rates(*rates, slots=slots, gpus_per_server=gpus, gpu=_gpu_of_private(settings, sites))
        return with_engine(given, manifest.language, manifest.serving) if manifest and manifest.language else given
    assert manifest is not None
    delay_s = batch_delay_s(root / settings.package.path / TRITON_REPOSITORY)
    return _of_package(manifest, sites, gpus).model_copy(update={"delay_s": delay_s})


def batch_delay_s(repository: Path) -> float:
    """How long the repository's models let a batch wait to fill, by Triton's own configuration
    (https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/batcher.html)."""
    texts = (path.read_text(encoding="utf-8") for path in repository.glob("*/config.pbtxt"))
    return max((float(found) for text in texts for found in _DELAY.findall(text)), default=0.0) / 1e6


def _of_package(manifest: Manifest, sites: Sequence[BurstSite], gpus: int) -> ServiceModel:
    """By the variant that the private site serves; the others may serve another one, as their containers can."""
    served = manifest.served.get(Layout.VLLM if manifest.kind == "vllm" else Layout.TRITON, "any variant")
    private = from_manifest(manifest, served, gpus)
    elsewhere = {
        site.name: from_manifest(manifest, manifest.served[site.layout]).prompt_s[0] / private.prompt_s[0]
        for site in sites
        if manifest.served.get(site.layout, served) != served
    }
    return private.model_copy(update={"elsewhere": elsewhere})


def space_of(
    settings: StackSettings,
    sites: Sequence[BurstSite],
    service: ServiceModel,
    objectives: dict[Any, Objective],
    failures: Failures | None,
    price: PrivatePrice,
    keep_minima: bool = True,
    commit: Commitment | None = None,
) -> Space:
    """What may be chosen for this stack: its private nodes, and the burst types of its clouds with the same GPU, as
    many at least as the stack file wants there (two, so that one may fail) where ``keep_minima``. ``commit``: how
    burst instances that are always there are paid for.

    Raises ``PriceError`` where a price is unknown, :class:`PlannerError` where no instance is large enough for a
    server.
    """
    from spillway.planner.search import Space

    private = private_spec(settings, sites, service, price)
    burst = tuple(_burst_specs(settings, sites, service, keep_minima))
    if not burst:
        raise PlannerError(
            f"no burst instance of the stack has the {service.gpus_per_server} GPUs that a server takes; "
            f"add {' or '.join(f'burst.{kind.name}' for kind in SITES)} with a larger type, or plan with fewer GPUs a "
            "server"
        )
    if commit is not None:
        burst = tuple(_committed(spec, commit) for spec in burst)
        private = private if private.cloud == OWNED else _committed(private, commit)
    own_types = {site.machines()[0].instance_type for site in sites}
    own = {spec.site: spec for spec in burst if spec.instance_type in own_types}
    return Space(
        private=private,
        burst=burst,
        kept=tuple(own.values()),
        objectives=objectives,
        failures=failures,
        gateways=settings.gateway.replicas,
        tries=tries_of(settings.gateway.classes.routes([site.name for site in sites]), service.language),
        private_grows_to=private_grows_to(settings, private),
    )


def _committed(spec: SiteSpec, commit: Commitment) -> SiteSpec:
    return spec.model_copy(update={"committed_usd_per_hour": commit.of(spec)})


def offers_of(settings: StackSettings, sites: Sequence[BurstSite], commit: Commitment | None = None) -> Offers:
    """How the burst sites' instance types may be bought otherwise, as far as the catalogue knows: committed to, and as
    bare machines, of which a share that ``commit`` takes off the list is taken off, too."""
    share = commit.how if commit is not None and isinstance(commit.how, float) else None
    found: dict[str, list[Offer]] = {}
    for site in sites:
        own = site.machines()[0]
        for name in _types_at(own):
            usd, _ = instance_price(settings.cost_guard, own.cloud, name, own.region)
            offers = [_offer(price, usd, "") for price in _commitments(own.cloud, name, own.region)]
            found[name] = [*offers, *_bare(name, own.region, share)]
    return found


def _bare(name: str, region: str, share: float | None) -> Iterator[Offer]:
    """Of a type of a managed service that is named for the machine below it."""
    from spillway.planner.offers import Offer

    machine = name.removeprefix("ml.")
    if machine == name:
        return
    try:
        listed = find_price("ec2", machine, region)
    except PriceError:
        return
    yield Offer("bare EC2", listed.usd_per_hour, None, bare=True, said=_said(listed))
    if share is not None:
        less = listed.usd_per_hour * (1.0 - share)
        yield Offer(f"bare EC2, {share:.0%} off", listed.usd_per_hour, less, bare=True, said=_said(listed))
    for price in _commitments("ec2", machine, region):
        yield _offer(price, listed.usd_per_hour, "bare EC2, ")


def _commitments(cloud: str, name: str, region: str) -> Iterator[Price]:
    for model in COMMITTED:
        with suppress(PriceError):
            yield find_price(cloud, name, region, model)


def _offer(price: Price, listed: float, where: str) -> Offer:
    from spillway.planner.offers import Offer

    bare = bool(where)
    return Offer(f"{where}{price.model}", listed, price.usd_per_hour, bare=bare, said=_said(price))


def _said(price: Price) -> str:
    """How it is told where a price is from."""
    return f"{price.instance_type} in {price.region} {price.usd_per_hour:g} $/h as of {price.as_of or price.read_on}"


def spot_of(
    settings: StackSettings, sites: Sequence[BurstSite], service: ServiceModel, hours: float, usd: float | None
) -> Spot:
    """A spot node like the private ones, or where these are one's own like the first burst site's machines. ``hours``:
    until one is taken away, on the mean; ``usd``: an hour, instead of the catalogue's. Raises ``PriceError``."""
    from spillway.planner.plan import Spot

    nodes = private_machines(settings)
    own = nodes or sites[0].machines()[0]
    bare = own.instance_type.removeprefix("ml.")
    cloud = own.cloud if bare == own.instance_type else "ec2"
    listed = bought_price(cloud, bare, own.region, "spot")
    if usd is None and listed.model != "spot":
        raise PriceError(
            f"no spot price of {bare} in {own.region} is known; `spillway prices refresh --spot-region {own.region} "
            "--write` reads AWS's, or give it with --spot-usd-per-hour"
        )
    price = listed.usd_per_hour if usd is None else usd
    node = _spec(Site.PRIVATE, cloud, bare, listed.gpu, listed.gpus, price, service, 1, 1)
    return Spot(node, Failures(instance_mtbf_h=hours, instance_mttr_h=node.scaling.cold_start_s / 3600))


def sizes_of(settings: StackSettings, sites: Sequence[BurstSite]) -> Sizes:
    """What runs by the stack file, each burst site at its own price.

    Raises ``PriceError`` where a price is unknown, :class:`PlannerError` where there is no burst site.
    """
    if not sites:
        raise PlannerError("the stack has no burst site: nothing to size otherwise")
    gpus, usd_per_gpu_hour = private_capacity(settings)
    return Sizes(gpus * usd_per_gpu_hour, tuple(_fleet(settings, site) for site in sites))


def _fleet(settings: StackSettings, site: BurstSite) -> Fleet:
    machines = site.machines()
    usd = usd_per_hour(settings, machines[0], 1)
    least = sum(usd_per_hour(settings, one, one.least) for one in machines) / usd
    return Fleet(site.name, usd, least, sum(usd_per_hour(settings, one, one.most) for one in machines) / usd)


def private_spec(
    settings: StackSettings, sites: Sequence[BurstSite], service: ServiceModel, price: PrivatePrice
) -> SiteSpec:
    """One private node, or as many as one server takes (``private_units``); as many of which as the stack has."""
    cluster, nodes = settings.private_cluster, private_machines(settings)
    if nodes is not None:
        cloud, name, count = nodes.cloud, nodes.instance_type, nodes.least
        usd, gpus = instance_price(settings.cost_guard, cloud, name, nodes.region, nodes.model)
    else:
        assert isinstance(cluster, ExistingSettings)
        cloud, name, count = OWNED, "node", cluster.nodes
        usd, gpus = cluster.usd_per_gpu_hour * cluster.gpus_per_node, cluster.gpus_per_node
    if price.usd_per_gpu_hour is not None:
        usd = price.usd_per_gpu_hour * gpus
    unit, gpu = unit_of(settings), _gpu_of_private(settings, sites)
    count, gpus, usd = max(1, count // unit.nodes), gpus * unit.nodes, usd * unit.nodes
    spec = unit.shared(_spec(Site.PRIVATE, cloud, name, gpu, gpus, usd, unit.held(service), count, count))
    kv_share = settings.gateway.kv_cache_percent / 100
    return spec.model_copy(update={"scaling": _private_scaling(settings, service, spec), "kv_share": kv_share})


def _private_scaling(settings: StackSettings, service: ServiceModel, spec: SiteSpec) -> Scaling:
    """The horizontal autoscaler's, by the demand that asks for most in a surge, and the cluster autoscaler's behind it:
    up at its next look, down after a while
    (https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/)."""
    how = settings.model_server.autoscaling
    held = Scaling(
        by="demand",
        target=max(1.0, spec.servers * spec.let_through * how.busy_percent / 100),
        out_after_s=0.0,
        out_cooldown_s=0.0,
        in_after_s=how.scale_down_after_s,
    )
    return held.loading(service.server_bytes)


def private_grows_to(settings: StackSettings, private: SiteSpec) -> int:
    """Nodes to which both autoscalers let the private site go; 0 where it does not grow."""
    nodes = private_machines(settings)
    if nodes is None:
        return 0
    most = nodes.most // unit_of(settings).nodes
    return min(most, settings.model_server.autoscaling.max_replicas // private.servers)


def _gpu_of_private(settings: StackSettings, sites: Sequence[BurstSite]) -> str | None:
    """The GPU kind of the private nodes; of an existing cluster it is not known, and taken for the burst's."""
    if nodes := private_machines(settings):
        return _gpu(nodes.instance_type)
    return _gpu(sites[0].machines()[0].instance_type) if sites else None


def _gpu(instance_type: str) -> str | None:
    return next((p.gpu for p in catalogue() if p.instance_type.lower() == instance_type.lower()), None)


def _burst_specs(
    settings: StackSettings, sites: Sequence[BurstSite], service: ServiceModel, keep_minima: bool
) -> Iterator[SiteSpec]:
    """The stack's own burst types and, from the catalogue, the others of that cloud, region and GPU kind; for the
    classes that spill there."""
    routes = settings.gateway.classes.routes([site.name for site in sites])
    for site in sites:
        takes = tuple(r.request_class for r in routes if r.spill_to is None or site.name in r.spill_to)
        own = site.machines()[0]
        for name in _types_at(own):
            usd, gpus = instance_price(settings.cost_guard, own.cloud, name, own.region)
            if gpus >= service.gpus_per_server:
                least = max(1, own.least) if keep_minima else 1
                spec = _spec(site.name, own.cloud, name, _gpu(name), gpus, usd, service, least, least)
                scaling = site.scaling().loading(service.server_bytes)
                yield spec.model_copy(update={"scaling": scaling, "network_s": _NETWORK_S, "takes": takes})


def _types_at(own: Machines) -> list[str]:
    """The type, and the catalogue's others of that cloud, region and GPU kind."""
    place = (own.cloud, own.region, _gpu(own.instance_type))
    others = {price.instance_type for price in catalogue() if (price.cloud, price.region, price.gpu) == place}
    return sorted({own.instance_type, *others})


def _spec(
    site: str,
    cloud: str,
    name: str,
    gpu: str | None,
    gpus: int,
    usd: float,
    service: ServiceModel,
    least: int,
    most: int,
) -> SiteSpec:
    servers = gpus // service.gpus_per_server
    if servers < 1:
        raise PlannerError(
            f"a server takes {service.gpus_per_server} GPUs and {name} has {gpus}: choose a larger instance type"
        )
    return SiteSpec(
        site=site,
        cloud=cloud,
        instance_type=name,
        gpu=gpu,
        gpus=gpus,
        usd_per_hour=usd,
        servers=servers,
        slots=service.slots,
        gate_slots=service.gate_slots,
        headroom=room_above(service.gate_slots or service.slots, service.accepted) if service.accepted else None,
        min_instances=least,
        max_instances=most,
        factors=service.at(site, gpu),
        kv_tokens=service.kv_tokens(gpu),
        most_at_server=service.accepted or (2 * service.slots if service.language else None),
        most_unread_tokens=service.most_unread_tokens,
    )
