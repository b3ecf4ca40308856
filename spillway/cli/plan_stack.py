"""Between a stack file and the planner: what may be chosen, and the file that a plan becomes."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from spillway.cli.errors import WRONG_CONFIG, CommandError

if TYPE_CHECKING:
    from spillway.cli.stack import Stack
    from spillway.contracts.prices import Owned
    from spillway.contracts.routing import RoutingTable
    from spillway.planner.search import Candidate, Space
    from spillway.planner.service import ServiceModel
    from spillway.planner.system import Failures, Objective, SiteSpec, System
    from stacks.settings import StackSettings

_AZURE_TICKS_S: Final = 60


@dataclass(frozen=True)
class PrivatePrice:
    """``usd_per_gpu_hour``: wins over the stack's; ``owned``: what it is worked out of, where it is."""

    usd_per_gpu_hour: float | None = None
    owned: Owned | None = None


def settings_of(stack: Stack) -> StackSettings:
    """Raises :class:`CommandError` with every fault of the stack file."""
    from stacks.errors import StackConfigError
    from stacks.settings import read_settings

    try:
        return read_settings(stack.config.values, hidden=stack.config.secret_keys)
    except StackConfigError as error:
        raise CommandError(str(error), WRONG_CONFIG) from None


def service_of(stack: Stack, measured: str | None, rates: tuple[float, float] | None, slots: int) -> ServiceModel:
    """The service model: a committed measurement, given tokens/s, else the latencies in the stack's package."""
    from spillway.contracts.manifest import PackageError, read_manifest
    from spillway.planner.service import from_manifest, from_rates, measured_model

    gpus = settings_of(stack).model_server.gpus or 1
    if measured:
        return measured_model(measured)
    if rates:
        return from_rates(*rates, slots=slots, gpus_per_server=gpus, gpu=_gpu_of_private(settings_of(stack)))
    path = stack.package_path
    try:
        manifest = read_manifest(path) if path else None
    except PackageError as error:
        raise CommandError(f"{error}\n{_SERVICE_HINT}", WRONG_CONFIG) from None
    if manifest is None:
        raise CommandError(f"stack {stack.name!r} names no package. {_SERVICE_HINT}", WRONG_CONFIG)
    return from_manifest(manifest, gpus_per_server=gpus)


_SERVICE_HINT = (
    "How long a request works has to be known: package the model, or give --tokens-per-s PROMPT,ANSWER with --slots, "
    "or --measured NAME"
)


def space_of(
    stack: Stack,
    service: ServiceModel,
    objectives: dict[Any, Objective],
    failures: Failures | None,
    price: PrivatePrice,
) -> Space:
    """What may be chosen for this stack: its private nodes, and the burst types of its clouds with the same GPU.

    Raises :class:`CommandError` where a price is unknown or no instance is large enough for a server.
    """
    from spillway.contracts.prices import PriceError
    from spillway.planner.search import Space

    settings = settings_of(stack)
    try:
        private = private_spec(settings, service, price)
        burst = tuple(_burst_specs(settings, service))
    except PriceError as error:
        raise CommandError(str(error), WRONG_CONFIG) from None
    if not burst:
        raise CommandError(
            f"no burst instance of stack {stack.name!r} has the {service.gpus_per_server} GPUs that a server takes; "
            "add burst.sagemaker or burst.azure_ml with a larger type, or plan with fewer GPUs a server",
            WRONG_CONFIG,
        )
    own = {spec.site: spec for spec in burst if spec.instance_type in _own_types(settings)}
    return Space(private=private, burst=burst, kept=tuple(own.values()), objectives=objectives, failures=failures)


def _own_types(settings: StackSettings) -> list[str]:
    """The burst instance types that the stack has now."""
    sagemaker, azure = settings.burst.sagemaker, settings.burst.azure_ml
    return [*([sagemaker.instance_type] if sagemaker else []), *([azure.vm_size] if azure else [])]


def private_spec(settings: StackSettings, service: ServiceModel, price: PrivatePrice) -> SiteSpec:
    """One private node, as many of which as the stack has."""
    from components.cost_guard.settings import instance_price
    from components.private_cluster.settings import AksSettings, EksSettings, ExistingSettings

    cluster, costs = settings.private_cluster, settings.cost_guard
    match cluster:
        case ExistingSettings():
            cloud, name, count = "owned", "node", cluster.nodes
            usd, gpus = cluster.usd_per_gpu_hour * cluster.gpus_per_node, cluster.gpus_per_node
        case EksSettings():
            cloud, name, count = "ec2", cluster.gpu_pool.instance_type, cluster.gpu_pool.start_size
            usd, gpus = instance_price(costs, "ec2", name, settings.aws.region)
        case AksSettings():
            assert settings.azure is not None
            cloud, name, count = "azure", cluster.gpu_pool.vm_size, cluster.gpu_pool.start_size
            usd, gpus = instance_price(costs, "azure", name, settings.azure.location)
    if price.usd_per_gpu_hour is not None:
        usd = price.usd_per_gpu_hour * gpus
    return _spec("private", cloud, name, _gpu_of_private(settings), gpus, usd, service, count, count)


def _gpu_of_private(settings: StackSettings) -> str | None:
    """The GPU kind of the private nodes; of an existing cluster it is not known, and taken for the burst's."""
    from components.private_cluster.settings import AksSettings, EksSettings

    match settings.private_cluster:
        case EksSettings() as cluster:
            return _gpu(cluster.gpu_pool.instance_type)
        case AksSettings() as cluster:
            return _gpu(cluster.gpu_pool.vm_size)
        case _:
            return _gpu(settings.burst.sagemaker.instance_type) if settings.burst.sagemaker else None


def _gpu(instance_type: str) -> str | None:
    from spillway.contracts.prices import catalogue

    return next((p.gpu for p in catalogue() if p.instance_type.lower() == instance_type.lower()), None)


def _burst_specs(settings: StackSettings, service: ServiceModel) -> list[SiteSpec]:
    """The stack's own burst types and, from the catalogue, the others of that cloud, region and GPU kind."""
    from spillway.planner.system import Scaling

    burst, found = settings.burst, []
    if burst.sagemaker is not None:
        how = burst.sagemaker.autoscaling
        scaling = Scaling(out_cooldown_s=how.scale_out_cooldown_s, in_after_s=max(900, how.scale_in_cooldown_s))
        found += _types(settings, "sagemaker", burst.sagemaker.instance_type, settings.aws.region, service, scaling)
    if burst.azure_ml is not None and settings.azure is not None:
        window_s = burst.azure_ml.autoscaling.window_minutes * _AZURE_TICKS_S
        pause_s = burst.azure_ml.autoscaling.cooldown_minutes * _AZURE_TICKS_S
        scaling = Scaling(out_after_s=window_s, out_cooldown_s=pause_s, in_after_s=max(window_s, pause_s))
        found += _types(settings, "azure", burst.azure_ml.vm_size, settings.azure.location, service, scaling)
    return found


def _types(
    settings: StackSettings, cloud: Any, own: str, region: str, service: ServiceModel, scaling: Any
) -> list[SiteSpec]:
    from components.cost_guard.settings import instance_price
    from spillway.contracts.prices import catalogue

    kind = _gpu(own)
    others = {p.instance_type for p in catalogue() if (p.cloud, p.region, p.gpu) == (cloud, region, kind)}
    site = "sagemaker" if cloud == "sagemaker" else "azure_ml"
    found = []
    for name in sorted({own, *others}):
        usd, gpus = instance_price(settings.cost_guard, cloud, name, region)
        if gpus >= service.gpus_per_server:
            spec = _spec(site, cloud, name, kind, gpus, usd, service, 1, 1)
            found.append(spec.model_copy(update={"scaling": scaling, "network_s": 0.03}))
    return found


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
    from spillway.contracts.classes import Site
    from spillway.planner.system import SiteSpec

    servers = gpus // service.gpus_per_server
    if servers < 1:
        raise CommandError(
            f"a server takes {service.gpus_per_server} GPUs and {name} has {gpus}: choose a larger instance type",
            WRONG_CONFIG,
        )
    return SiteSpec(
        site=Site(site),
        cloud=cloud,
        instance_type=name,
        gpu=gpu,
        gpus=gpus,
        usd_per_hour=usd,
        servers=servers,
        slots=service.slots,
        min_instances=least,
        max_instances=most,
        factors=service.factors(gpu) if gpu else (1.0, 1.0),
        stretch=service.stretch,
    )


# The drill's system


def deployed_system(table: RoutingTable) -> System:
    """A gateway that runs, as the planner sees it: its sites with their slots, and what the classes do there.

    P1 and P2 are refused when every site is full; P0 queues in the headroom.
    """
    from spillway.contracts.classes import PROMISES, RequestClass
    from spillway.contracts.routing import Gate
    from spillway.planner.system import Objective, SiteSpec, System

    p0, p1, p2 = RequestClass
    specs = []
    for route in table.sites:
        limits = table.limits(route)
        slots = max(1, limits[Gate.INTERACTIVE]) * table.replicas
        specs.append(
            SiteSpec(
                site=route.site,
                cloud="twin",
                instance_type=str(route.site),
                gpu=None,
                gpus=0,
                usd_per_hour=0.0,
                slots=slots,
                min_instances=1,
                max_instances=1,
                shares={p0: 1.0, p1: 1.0, p2: min(1.0, limits[Gate.BATCH] * table.replicas / slots)},
            )
        )
    headroom = sum(table.limits(r)[Gate.OPEN] - table.limits(r)[Gate.INTERACTIVE] for r in table.sites) * table.replicas
    objectives = {}
    for name, promise in PROMISES.items():
        objectives[name] = Objective(
            measure="latency",
            within_s=promise.deadline_s or promise.lost_after_s,
            share=0.99,
            lost_after_s=promise.lost_after_s,
            most_waiting=headroom if name is p0 else 0,
        )
    return System(sites=tuple(specs), objectives=objectives)


# The file that a plan becomes


def planned_config(raw: dict[str, Any], chosen: Candidate) -> tuple[dict[str, Any], list[str]]:
    """The stack file with the plan's sizes, and what was changed in words. ``raw``: the whole file, parsed."""
    from spillway.contracts.classes import RequestClass

    file = copy.deepcopy(raw)
    config = file["config"]
    private = chosen.private
    assert private is not None
    p2 = private.shares[RequestClass.P2]
    nodes, servers = private.min_instances, private.min_instances * private.servers
    notes = [_private_nodes(config["spillway:private_cluster"], nodes)]
    server = config.setdefault("spillway:model_server", {})
    scaling = server.setdefault("autoscaling", {})
    scaling["min_replicas"] = servers
    scaling["max_replicas"] = max(servers, scaling.get("max_replicas", servers))
    notes.append(f"model_server: {servers} servers")
    slots = config.setdefault("spillway:gateway", {}).setdefault("slots", {})
    slots["private"] = _slots(servers * private.slots, p2)
    part = config.setdefault("spillway:burst", {})
    for burst in chosen.bursts:
        notes.append(_burst_part(part.setdefault(str(burst.site), {}), burst))
        at_least = burst.min_instances * burst.servers * burst.slots
        slots[str(burst.site)] = _slots(at_least, burst.shares[RequestClass.P2])
    notes += _ceilings(config.setdefault("spillway:cost_guard", {}), chosen)
    return file, notes


def _slots(slots: int, batch_share: float) -> dict[str, int]:
    return {"slots": slots, "batch_slots": int(slots * batch_share)}


def _private_nodes(cluster: dict[str, Any], nodes: int) -> str:
    if cluster.get("kind") == "existing":
        cluster["nodes"] = nodes
        return f"private_cluster.nodes: {nodes}"
    pool = cluster.setdefault("gpu_pool", {})
    pool.pop("desired_size", None)
    pool["min_size"] = nodes
    pool["max_size"] = max(nodes, pool.get("max_size", nodes))
    return f"private_cluster.gpu_pool: {nodes} to {pool['max_size']} nodes"


def _burst_part(part: dict[str, Any], burst: SiteSpec) -> str:
    from spillway.contracts.classes import Site

    part.pop("initial_instances", None)
    part["min_instances"], part["max_instances"] = burst.min_instances, burst.max_instances
    if burst.site is Site.SAGEMAKER:
        part["instance_type"] = burst.instance_type
        kept = part.get("autoscaling", {})
        part["autoscaling"] = {**kept, "metric": "concurrency_per_model", "target": burst.scaling.target}
    else:
        part["vm_size"] = burst.instance_type
    return f"burst.{burst.site}: {burst.min_instances} to {burst.max_instances} × {burst.instance_type}"


def _ceilings(guard: dict[str, Any], chosen: Candidate) -> list[str]:
    """Ceilings that the plan itself does not run into; they are only raised."""
    from components.cost_guard.settings import CostSettings
    from spillway.contracts.prices import HOURS_PER_MONTH

    notes = []
    month = sum(chosen.bill.usd_per_hour[burst.site] for burst in chosen.bursts) * HOURS_PER_MONTH
    most = sum(burst.max_instances * burst.usd_per_hour for burst in chosen.bursts)
    needed = {"max_burst_usd_per_hour": ceil(most * 1.1), "max_forecast_usd": ceil(month * 1.25)}
    for key, value in needed.items():
        if guard.get(key, CostSettings.model_fields[key].default) < value:
            guard[key] = value
            notes.append(f"cost_guard.{key}: raised to {value:,} $, which the plan's burst may cost")
    return notes


def write_planned(stack: Stack, name: str, chosen: Candidate, said: list[str]) -> tuple[Path, list[str]]:
    """Write ``Pulumi.<name>.yaml`` beside the stack's own file. Raises :class:`CommandError` where there is one."""
    import yaml

    source = stack.project.stack_file(stack.name)
    target = stack.project.stack_file(name)
    if target.exists():
        raise CommandError(f"{target} is there already; choose another name with --write", WRONG_CONFIG)
    file, notes = planned_config(yaml.safe_load(source.read_text(encoding="utf-8")), chosen)
    head = "".join(f"# {line}\n" for line in [f"From {source.name} by `spillway plan`.", *said, *notes])
    draft = target.with_name(f".{target.name}.new")
    draft.write_text(head + yaml.safe_dump(file, sort_keys=False, allow_unicode=True, width=110), encoding="utf-8")
    draft.replace(target)
    return target, notes
