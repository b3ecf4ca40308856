"""A drill of your own, as YAML. See docs/how-to/drill.md."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError

from spillway.contracts.classes import RequestClass, Site
from spillway.contracts.frozen import Frozen
from spillway.drill.plan import DEFAULT_RATES, DrillPlan, Fault, Phase
from spillway.drill.target import DrillError

Share = Annotated[float, Field(ge=0, le=1)]


class FaultFile(Frozen):
    """An order, given when its phase begins."""

    group: str
    action: Literal["kill", "start", "hang", "resume", "slow", "fail", "heal"]
    options: dict[str, float] = Field(default_factory=dict)


class PhaseFile(Frozen):
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


class PlanFile(Frozen):
    """The whole file."""

    name: str
    phases: Annotated[tuple[PhaseFile, ...], Field(min_length=1)]
    rates: dict[RequestClass, Annotated[float, Field(gt=0)]] = Field(default_factory=lambda: dict(DEFAULT_RATES))
    seed: int = 1


def read_plan(path: Path) -> DrillPlan:
    """Raises :class:`DrillError` that names every key at fault."""
    try:
        given = PlanFile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DrillError(f"{path}: cannot be read as YAML: {error}") from None
    except ValidationError as error:
        raise DrillError(f"{path}: {_faults(error)}") from None
    return DrillPlan(given.name, tuple(phase.phase() for phase in given.phases), dict(given.rates), given.seed)


def _faults(error: ValidationError) -> str:
    def said(item: Any) -> str:
        return f"{'.'.join(map(str, item['loc'])) or 'the file'}: {item['msg']}"

    return "; ".join(said(item) for item in error.errors(include_url=False))
