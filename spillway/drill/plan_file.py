"""A drill of your own, as YAML. See docs/how-to/drill.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import AfterValidator, Field, ValidationError, WithJsonSchema

from spillway.contracts.classes import RequestClass, Site
from spillway.contracts.frozen import Frozen
from spillway.drill.plan import DEFAULT_RATES, DrillPlan, Fault, Phase
from spillway.drill.target import DrillError

_MENDS = ("start", "resume", "heal")
Share = Annotated[float, Field(ge=0, le=1)]


GROUPS: Final = (*map(str, Site), "gateway-private", "gateway-standby")


def _known(group: str) -> str:
    if group not in GROUPS:
        raise ValueError(f"{group!r} is none of {', '.join(GROUPS)}")
    return group


class FaultFile(Frozen):
    """An order, given when its phase begins."""

    group: Annotated[str, AfterValidator(_known), WithJsonSchema({"enum": list(GROUPS)})]
    """Whom: a site, or a gateway."""

    action: Literal["kill", "start", "hang", "resume", "slow", "fail", "heal"]
    """``start`` ends a kill, ``resume`` a hang, ``heal`` what is slow or fails."""

    options: dict[Literal["delay_s", "status"], float] = Field(default_factory=dict)
    """``delay_s`` of slow, ``status`` of fail."""


class PhaseFile(Frozen):
    """A stretch of the drill."""

    name: str
    """As the report calls it."""

    duration_s: Annotated[float, Field(gt=0)]
    """Seconds."""

    faults: tuple[FaultFile, ...] = ()
    """Orders at its beginning."""

    broken: tuple[Site, ...] | None = None
    """Sites that count as broken in it, for the recovery times. Default: those that the orders so far have broken."""

    min_availability: dict[RequestClass, Share] = Field(default_factory=dict)
    """By class, the share that has to be answered in time."""

    back_on: Site | None = None
    """The site that has to answer again at its end."""


class PlanFile(Frozen):
    """A plan of a drill."""

    name: str
    """As the report calls it."""

    phases: Annotated[tuple[PhaseFile, ...], Field(min_length=1)]
    """One after the other."""

    rates: dict[RequestClass, Annotated[float, Field(gt=0)]] = Field(default_factory=lambda: dict(DEFAULT_RATES))
    """Requests a second by class."""

    seed: int = 1
    """Of the arrival times: the same seed, the same times."""

    def plan(self) -> DrillPlan:
        broken: set[str] = set()
        phases = []
        for given in self.phases:
            for fault in given.faults:
                (broken.discard if fault.action in _MENDS else broken.add)(fault.group)
            sites = tuple(site for site in Site if site in broken) if given.broken is None else given.broken
            faults = tuple(Fault(fault.group, fault.action, {**fault.options}) for fault in given.faults)
            phases.append(Phase(given.name, given.duration_s, faults, sites, given.min_availability, given.back_on))
        return DrillPlan(self.name, tuple(phases), dict(self.rates), self.seed)


def schema_text() -> str:
    """JSON Schema of such a file, for editors."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **PlanFile.model_json_schema()}
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def read_plan(path: Path) -> DrillPlan:
    """Raises :class:`DrillError` that names every key at fault."""
    try:
        given = PlanFile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DrillError(f"{path}: cannot be read as YAML: {error}") from None
    except ValidationError as error:
        raise DrillError(f"{path}: {_faults(error)}") from None
    return given.plan()


def _faults(error: ValidationError) -> str:
    def said(item: Any) -> str:
        return f"{'.'.join(map(str, item['loc'])) or 'the file'}: {item['msg']}"

    return "; ".join(said(item) for item in error.errors(include_url=False))
