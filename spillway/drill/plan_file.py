"""A drill as YAML: those that Spillway ships, in ``scenarios/``, and your own. See docs/how-to/drill.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, WithJsonSchema, model_validator

from spillway.contracts.classes import RequestClass, Site
from spillway.contracts.frozen import Frozen
from spillway.contracts.pulumi_yaml import PulumiYamlError, lines_of, load
from spillway.contracts.validation import Names, place, problems_of
from spillway.drill.load import Arrival
from spillway.drill.plan import DEFAULT_RATES, DrillPlan, Fault, Phase
from spillway.drill.target import DrillError

SCENARIOS: Final = Path(__file__).parent / "scenarios"
_MENDS: Final = ("start", "resume", "heal")
Share = Annotated[float, Field(ge=0, le=1)]
Above0 = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Rates = dict[RequestClass, Above0]
Most = dict[RequestClass, Above0]
MOST_REQUESTS: Final = 10_000_000
"""Of a plan: they are held in memory."""


SPILL: Final = "spill"
GROUPS: Final = (*map(str, Site), "gateway-private", "gateway-standby", "redis", SPILL)


def _known(group: str) -> str:
    if group not in GROUPS:
        raise ValueError(f"{group!r} is none of {', '.join(GROUPS)}")
    return group


class FaultFile(Frozen):
    """An order, given when its phase begins."""

    group: Annotated[str, AfterValidator(_known), WithJsonSchema({"enum": list(GROUPS)})]
    """Whom: a site, a gateway, the cache, or the spill."""

    action: Literal["kill", "start", "hang", "resume", "slow", "fail", "heal", "close", "open"]
    """``start`` ends a kill, ``resume`` a hang, ``heal`` what is slow or fails; the spill has ``close``, ``open``."""

    options: dict[Literal["delay_s", "status", "share"], Annotated[float, Field(allow_inf_nan=False)]] = Field(
        default_factory=dict
    )
    """``delay_s`` of slow; ``status`` of fail, and the ``share`` of requests that get it."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.group == SPILL) != (self.action in ("close", "open")):
            raise ValueError(f"{self.action} of {self.group}: close and open go with spill, and it takes no other")
        return self


class TraceFile(Frozen):
    """Recorded requests, sent at their own times."""

    path: str
    """CSV or JSON lines, as ``spillway plan --trace`` reads them; from the plan's folder."""

    speed: Above0 = 1.0
    """How many recorded seconds are one of the drill."""

    from_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Recorded second to begin at."""

    shares: dict[RequestClass, Share] = Field(default_factory=lambda: {RequestClass.P0: 1.0})
    """By class, where the file names none; they add up to 1."""


class PhaseFile(Frozen):
    """A stretch of the drill."""

    name: str
    """As the report calls it."""

    duration_s: Above0
    """Seconds."""

    faults: tuple[FaultFile, ...] = ()
    """Orders at its beginning."""

    rates: Rates | None = None
    """Requests a second by class, in place of the plan's."""

    broken: tuple[Site, ...] | None = None
    """Sites that count as broken in it, for the recovery times. Default: those that the orders so far have broken."""

    min_availability: dict[RequestClass, Share] = Field(default_factory=dict)
    """By class, the share that has to be answered before it counts as lost."""

    min_on_time: dict[RequestClass, Share] = Field(default_factory=dict)
    """By class, the share that has to be answered within the class's promise."""

    max_p99_ms: Most = Field(default_factory=dict)
    """By class, within how many milliseconds 99 % of what was answered has to be."""

    max_recovery_s: Most = Field(default_factory=dict)
    """By class, seconds after the orders from which on P99 of each second has to be within the promise."""

    max_after_dns_s: Most = Field(default_factory=dict)
    """The same, counted from when DNS answers otherwise; for plans that ``follow_dns``."""

    back_on: Site | None = None
    """The site that has to answer again at its end."""


class PlanFile(Frozen):
    """A plan of a drill."""

    name: str
    """As the report calls it."""

    phases: Annotated[tuple[PhaseFile, ...], Field(min_length=1)]
    """One after the other."""

    rates: Rates = Field(default_factory=lambda: dict(DEFAULT_RATES))
    """Requests a second by class."""

    seed: int = 1
    """Of the arrival times: the same seed, the same times."""

    trace: TraceFile | None = None
    """Recorded requests in the place of ``rates``."""

    service_time_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Where capacity is what matters: seconds that a request takes of the model that the twin serves in the package's
    place while the drill runs, and that burns no CPU. A site of your own serves what it serves."""

    follow_dns: bool = False
    """Whether clients look the gateway's name up and go where it points; else they have one address."""

    @model_validator(mode="after")
    def _one_load(self) -> Self:
        if self.trace and any(phase.rates for phase in self.phases):
            raise ValueError("a phase has rates, and the plan a trace, whose times they would change: give one of them")
        if not self.follow_dns and any(phase.max_after_dns_s for phase in self.phases):
            raise ValueError("max_after_dns_s counts from DNS, which nobody asks: give follow_dns: true")
        asked = sum(sum((phase.rates or self.rates).values()) * phase.duration_s for phase in self.phases)
        if not self.trace and asked > MOST_REQUESTS:
            raise ValueError(f"rates times duration_s are {asked:.3g} requests: give at most {MOST_REQUESTS:,}")
        return self

    def plan(self, folder: Path) -> DrillPlan:
        """``folder``: of the plan, from where its trace is named. Raises :class:`DrillError` where that is none."""
        broken: set[str] = set()
        phases = []
        for given in self.phases:
            for fault in given.faults:
                (broken.discard if fault.action in _MENDS else broken.add)(fault.group)
            sites = tuple(site for site in Site if site in broken) if given.broken is None else given.broken
            faults = tuple(Fault(fault.group, fault.action, {**fault.options}) for fault in given.faults)
            same = given.model_dump(exclude={"faults", "broken"})
            phases.append(Phase(**same, faults=faults, broken=sites))
        same = self.model_dump(exclude={"phases", "trace"})
        recorded = _recorded(self.trace, folder, self.seed) if self.trace else ()
        return DrillPlan(**same, phases=tuple(phases), recorded=recorded)


def _recorded(given: TraceFile, folder: Path, seed: int) -> tuple[Arrival, ...]:
    from spillway.planner.errors import PlannerError
    from spillway.planner.trace_files import read_trace

    try:
        trace = read_trace(folder / given.path, seed=seed, shares=given.shares)
        left = trace.between(given.from_s, trace.duration_s)
    except PlannerError as error:
        raise DrillError(f"trace: {error}") from None
    classes = list(RequestClass)
    rows = zip(left.arrival.tolist(), left.klass.tolist(), strict=True)
    return tuple(Arrival(at / given.speed, classes[klass], index) for index, (at, klass) in enumerate(rows))


def schema_text() -> str:
    """JSON Schema of such a file, for editors."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **PlanFile.model_json_schema()}
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def shipped() -> dict[str, Path]:
    """The plans that come with Spillway, by name."""
    return {path.stem: path for path in sorted(SCENARIOS.glob("*.yaml"))}


def about(path: Path) -> str:
    """What a shipped plan says of itself in its first comment."""
    return path.read_text(encoding="utf-8").partition("\n\n")[0].replace("\n# ", " ").removeprefix("# ")


def find_plan(given: str) -> DrillPlan:
    """By the name of a shipped plan, or a file. Raises :class:`DrillError`."""
    path = shipped().get(given, Path(given))
    if not path.is_file():
        raise DrillError(f"{given!r} is no file, and no plan that Spillway ships: {', '.join(shipped())}")
    return read_plan(path)


def read_plan(path: Path) -> DrillPlan:
    """Raises :class:`DrillError` that names every key at fault."""
    lines: dict[str, int] = {}
    try:
        text = path.read_text(encoding="utf-8")
        values, lines = load(text), lines_of(text)
        return PlanFile.model_validate(values).plan(path.parent)
    except (OSError, UnicodeDecodeError, PulumiYamlError) as error:
        raise DrillError(f"{path}: cannot be read as YAML: {error}") from None
    except ValidationError as error:
        found = problems_of(error, PlanFile, Names())
        raise DrillError("\n".join(f"{path}: {one.key}{place(one.key, lines)}: {one.said}" for one in found)) from None
    except DrillError as error:
        raise DrillError(f"{path}: {error}") from None
