"""``spillway drill``: a drill against the running twin of a stack."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from spillway.cli.errors import WRONG_CONFIG, CommandError
from spillway.contracts.classes import RequestClass
from spillway.contracts.server_routes import CHAT_PATH
from spillway.drill.chat import ChatWorkload
from spillway.drill.run import run_drill
from spillway.drill.target import DrillTarget
from spillway.drill.workload import EmbeddingWorkload
from spillway.twin.data_plane.live_capacity import running
from spillway.twin.handle import find_twin

if TYPE_CHECKING:
    from spillway.cli.console import Reporter
    from spillway.cli.stack import Stack
    from spillway.contracts.manifest import Manifest
    from spillway.drill.plan import DrillPlan
    from spillway.drill.result import DrillResult
    from spillway.drill.workload import Workload
    from spillway.twin.handle import TwinHandle


def run(stack: Stack, plan: DrillPlan, reporter: Reporter, *, chat: bool = False) -> DrillResult:
    """``chat``: stream chats, to a package for vLLM."""
    twin = find_twin(stack.state_dir)
    if twin is None:
        raise CommandError(f"no twin of {stack.name!r} runs; `spillway up -s {stack.name}` starts one", WRONG_CONFIG)
    target = _target(stack, twin, chat)
    with reporter.phase(f"drill {plan.name!r}, {plan.duration_s:.0f} s"):
        return run_drill(target, plan, reporter.say)


def _workload(manifest: Manifest, chat: bool) -> Workload:
    language = manifest.kind == "vllm"
    if chat != language:
        advice = "give --chat" if language else "leave --chat out"
        raise CommandError(f"the stack's package is for {manifest.kind}: {advice}", WRONG_CONFIG)
    if language:
        return ChatWorkload(manifest.entry_model)
    if not manifest.inputs or manifest.inputs[0].dtype != "BYTES":
        raise CommandError("the drill sends sentences: the stack's package has to take text", WRONG_CONFIG)
    return EmbeddingWorkload(text_input=manifest.inputs[0].name)


def _target(stack: Stack, twin: TwinHandle, chat: bool) -> DrillTarget:
    gateway = twin.status().gateways.get("private")
    manifest, settings = stack.manifest(), stack.settings
    if gateway is None:
        raise CommandError(
            f"the twin of {stack.name!r} has no gateway; run `spillway up -s {stack.name}`", WRONG_CONFIG
        )
    return DrillTarget(
        gateway_url=gateway,
        model=manifest.entry_model,
        workload=_workload(manifest, chat),
        route=CHAT_PATH if chat else "",
        faults=twin,
        capacity=partial(running, twin.endpoints, settings.aws.region),
        client_key=stack.client_key(RequestClass.P0),
        operator_key=stack.secret(settings.gateway.operator_key_secret),
    )
