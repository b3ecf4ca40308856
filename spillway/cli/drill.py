"""``spillway drill``: a drill against the running twin of a stack, or load on a site of one's own."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Final

from spillway.cli.errors import WRONG_CONFIG, CommandError
from spillway.contracts.classes import RequestClass
from spillway.contracts.server_routes import CHAT_PATH
from spillway.drill.chat import ChatWorkload
from spillway.drill.run import run_drill
from spillway.drill.target import DrillTarget
from spillway.drill.workload import samples, sentences
from spillway.twin.data_plane.live_capacity import running
from spillway.twin.deployer.checkpoint import exclusive
from spillway.twin.handle import find_twin

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


def run(stack: Stack, plan: DrillPlan, reporter: Reporter, *, url: str | None, chat: bool) -> DrillResult:
    """``url``: of a gateway that nobody breaks, in the place of the twin's. ``chat``: stream chats, to vLLM."""
    target = _own_site(stack, url, chat) if url else _twin(stack, chat)
    # Two at once would break and heal each other's sites.
    alone = nullcontext() if url else exclusive(stack.state_dir / "drill.lock", "drill")
    with alone, reporter.phase(f"drill {plan.name!r}, {plan.duration_s:.0f} s"):
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


def _own_site(stack: Stack, url: str, chat: bool) -> DrillTarget:
    manifest = stack.manifest()
    return DrillTarget(
        gateway_url=url.rstrip("/"),
        model=manifest.entry_model,
        workload=_workload(stack, manifest, chat),
        route=CHAT_PATH if chat else "",
        client_key=stack.client_key(RequestClass.P0),
    )


def _twin(stack: Stack, chat: bool) -> DrillTarget:
    twin = find_twin(stack.state_dir)
    if twin is None:
        raise CommandError(f"no twin of {stack.name!r} runs; `spillway up -s {stack.name}` starts one", WRONG_CONFIG)
    gateway = twin.status().gateways.get("private")
    manifest, settings = stack.manifest(), stack.settings
    if gateway is None:
        raise CommandError(
            f"the twin of {stack.name!r} has no gateway; run `spillway up -s {stack.name}`", WRONG_CONFIG
        )
    return DrillTarget(
        gateway_url=gateway,
        model=manifest.entry_model,
        workload=_workload(stack, manifest, chat),
        route=CHAT_PATH if chat else "",
        faults=twin,
        capacity=partial(running, twin.endpoints, settings.aws.region),
        client_key=stack.client_key(RequestClass.P0),
        operator_key=stack.secret(settings.gateway.operator_key_secret),
    )
