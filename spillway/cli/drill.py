"""``spillway drill``: a drill against the running twin of a stack."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from spillway.cli.console import Reporter
from spillway.cli.errors import WRONG_CONFIG, CommandError
from spillway.cli.stack import Stack
from spillway.contracts.classes import RequestClass, Site
from spillway.contracts.manifest import Manifest, read_manifest
from spillway.contracts.settings import Settings
from spillway.drill.plan import DEFAULT_RATES, DrillPlan, Fault, Phase, full_plan, short_plan
from spillway.drill.result import DrillResult
from spillway.drill.target import DrillTarget
from spillway.twin.handle import TwinHandle, find_twin

Share = Annotated[float, Field(ge=0, le=1)]


class FaultFile(Settings):
    """An order, given when its phase begins."""

    group: str
    action: Literal["kill", "start", "hang", "resume", "slow", "fail", "heal"]
    options: dict[str, float] = Field(default_factory=dict)


class PhaseFile(Settings):
    """A stretch of the drill."""

    name: str
    duration_s: Annotated[float, Field(gt=0)]
    faults: tuple[FaultFile, ...] = ()
    broken: tuple[Site, ...] = ()
    min_availability: dict[RequestClass, Share] = Field(default_factory=dict)
    back_on: Site | None = None

    def phase(self) -> Phase:
        faults = tuple(Fault(fault.group, fault.action, fault.options) for fault in self.faults)
        return Phase(self.name, self.duration_s, faults, self.broken, self.min_availability, self.back_on)


class PlanFile(Settings):
    """A drill of your own, as YAML. See docs/how-to/drill.md."""

    name: str
    phases: Annotated[tuple[PhaseFile, ...], Field(min_length=1)]
    rates: dict[RequestClass, Annotated[float, Field(gt=0)]] = Field(default_factory=lambda: dict(DEFAULT_RATES))
    seed: int = 1


def read_plan(path: Path) -> DrillPlan:
    """Raises :class:`CommandError` that names every key at fault."""
    import yaml

    try:
        given = PlanFile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CommandError(f"{path}: cannot be read as YAML: {error}", WRONG_CONFIG) from None
    except ValidationError as error:
        raise CommandError(f"{path}: {_faults(error)}", WRONG_CONFIG) from None
    return DrillPlan(given.name, tuple(phase.phase() for phase in given.phases), dict(given.rates), given.seed)


def _faults(error: ValidationError) -> str:
    def said(item: Any) -> str:
        return f"{'.'.join(map(str, item['loc'])) or 'the file'}: {item['msg']}"

    return "; ".join(said(item) for item in error.errors(include_url=False))


def run(stack: Stack, plan: DrillPlan, reporter: Reporter) -> DrillResult:
    from spillway.drill.run import run_drill

    twin = find_twin(stack.state_dir)
    if twin is None:
        raise CommandError(f"no twin of {stack.name!r} runs; `spillway up -s {stack.name}` starts one", WRONG_CONFIG)
    target = _target(stack, twin)
    with reporter.phase(f"drill {plan.name!r}, {plan.duration_s:.0f} s"):
        return run_drill(target, plan, reporter.say)


def chosen_plan(path: Path | None, full: bool) -> DrillPlan:
    if path is not None:
        return read_plan(path)
    return full_plan() if full else short_plan()


def _target(stack: Stack, twin: TwinHandle) -> DrillTarget:
    from spillway.drill.workload import EmbeddingWorkload
    from spillway.twin.live_capacity import running

    gateway = twin.status().gateways.get("private")
    manifest = deployed_manifest(stack)
    if gateway is None:
        raise CommandError(
            f"the twin of {stack.name!r} has no gateway; run `spillway up -s {stack.name}`", WRONG_CONFIG
        )
    if manifest is None or not manifest.inputs or manifest.inputs[0].dtype != "BYTES":
        raise CommandError("the drill sends sentences: the stack's package has to take text", WRONG_CONFIG)
    return DrillTarget(
        gateway_url=gateway,
        model=manifest.entry_model,
        workload=EmbeddingWorkload(text_input=manifest.inputs[0].name),
        faults=twin,
        capacity=partial(running, twin.endpoints, str(stack.setting("aws", "region"))),
        client_key=stack.client_key("P0"),
        operator_key=stack.secret(stack.operator_key_name),
    )


def deployed_manifest(stack: Stack) -> Manifest | None:
    """Of the package that the stack file names; ``None`` when it names none."""
    return read_manifest(stack.package_path) if stack.package_path else None
