"""``spillway drill``: a drill against the running twin of a stack, or load on a site of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

from spillway.cli.errors import WRONG_CONFIG, CommandError
from spillway.contracts.classes import RequestClass
from spillway.contracts.server_routes import CHAT_PATH
from spillway.drill.breaker import Breaker
from spillway.drill.chat import ChatWorkload
from spillway.drill.resolver import Resolver
from spillway.drill.run import run_drill
from spillway.drill.target import DrillTarget
from spillway.drill.workload import samples, sentences
from spillway.twin.data_plane.live_capacity import running
from spillway.twin.deployer.checkpoint import exclusive
from spillway.twin.handle import TwinHandle, find_twin

if TYPE_CHECKING:
    from spillway.cli.console import Reporter
    from spillway.cli.stack import Stack
    from spillway.contracts.manifest import Manifest
    from spillway.drill.plan import DrillPlan
    from spillway.drill.result import DrillResult
    from spillway.drill.workload import Workload

_IN_JSON: Final = frozenset(
    ("BOOL", *(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)), "FP32", "FP64")
)
"""Datatypes whose values JSON can hold (KServe's Predict Protocol v2; Triton takes FP16 and BF16 in binary alone)."""


def run(
    stack: Stack, plan: DrillPlan, reporter: Reporter, *, url: str | None, breaker: str | None, chat: bool
) -> DrillResult:
    """``url``: of a gateway in the place of the twin's, whose sites the program ``breaker`` breaks. ``chat``: stream
    chats, to vLLM."""
    if not url and find_twin(stack.state_dir) is None:
        raise stack.no_twin()
    # Two at once would break and heal each other's sites.
    alone = nullcontext() if url else exclusive(stack.state_dir / "drill.lock", "drill")
    place = _own_site(stack, url, breaker, plan, chat) if url else _twin(stack, plan, chat)
    with alone, place as target, reporter.phase(f"drill {plan.name!r}, {plan.duration_s:.0f} s"):
        return run_drill(target, plan, reporter.say)


def _workload(stack: Stack, manifest: Manifest, chat: bool) -> Workload:
    language = manifest.kind == "vllm"
    if chat != language:
        advice = "give --chat" if language else "leave --chat out"
        raise CommandError(f"the stack's package is for {manifest.kind}: {advice}", WRONG_CONFIG)
    if language:
        return ChatWorkload(manifest.entry_model)
    if manifest.inputs[0].dtype == "BYTES":
        return sentences(manifest.inputs[0].name)
    from model_packaging.tensorrt.compile import SAMPLES
    from model_packaging.tensorrt.samples import load_samples

    if strange := sorted({spec.dtype for spec in manifest.inputs} - _IN_JSON):
        raise CommandError(f"the drill sends JSON, which has no {', '.join(strange)}", WRONG_CONFIG)
    return samples(manifest.inputs, load_samples(stack.project.root / stack.settings.package.path / SAMPLES))


@contextmanager
def _own_site(stack: Stack, url: str, breaker: str | None, plan: DrillPlan, chat: bool) -> Iterator[DrillTarget]:
    manifest = stack.manifest()
    yield DrillTarget(
        gateway_url=url.rstrip("/"),
        model=manifest.entry_model,
        workload=_workload(stack, manifest, chat),
        route=CHAT_PATH if chat else "",
        faults=Breaker(breaker) if breaker else None,
        resolver=Resolver(urlsplit(url).hostname or "") if plan.follow_dns else None,
        client_key=stack.client_key(RequestClass.P0),
    )


@contextmanager
def _twin(stack: Stack, plan: DrillPlan, chat: bool) -> Iterator[DrillTarget]:
    twin = find_twin(stack.state_dir)
    if twin is None:
        raise stack.no_twin()
    gateway = twin.status().gateways.get("private")
    manifest, settings = stack.manifest(), stack.settings
    if gateway is None:
        raise CommandError(
            f"the twin of {stack.name!r} has no gateway; run `spillway up -s {stack.name}`", WRONG_CONFIG
        )
    resolver = _resolver(stack, twin, urlsplit(gateway).hostname or "") if plan.follow_dns else None
    if resolver:
        gateway = urlunsplit(urlsplit(gateway)._replace(netloc=f"{resolver.name}:{urlsplit(gateway).port}"))
    target = DrillTarget(
        gateway_url=gateway,
        model=manifest.entry_model,
        workload=_workload(stack, manifest, chat),
        route=CHAT_PATH if chat else "",
        faults=twin,
        capacity=partial(running, twin.endpoints, settings.aws.region),
        client_key=stack.client_key(RequestClass.P0),
        resolver=resolver,
        operator_key=stack.secret(settings.gateway.operator_key_secret),
    )
    with _fixed_time(twin, plan.service_time_s) if plan.service_time_s else nullcontext():
        yield target


@contextmanager
def _fixed_time(twin: TwinHandle, service_time_s: float) -> Iterator[None]:
    """Serves the drill's own model meanwhile."""
    if problems := twin.reconcile(service_time_s=service_time_s).problems:
        raise CommandError("; ".join(problems), WRONG_CONFIG)
    try:
        yield
    finally:
        twin.reconcile(service_time_s=0)


def _resolver(stack: Stack, twin: TwinHandle, home: str) -> Resolver:
    dns, server = stack.settings.dns, twin.status().dns
    if dns is None or not server:
        raise CommandError("the plan follows DNS, and the stack has none: give it the key dns", WRONG_CONFIG)
    return Resolver(f"{dns.record_name}.{dns.zone_name}", server, home)
