"""The spill cut-off: closes classes one by one while a ceiling is passed, and opens them again when it is calm.

A Lambda function, called by the alarms' topic and once a minute. It reads alarm states, decides, writes the SSM
parameter that the gateways obey, and holds the burst sites at their minimum. Configuration:
:class:`~spillway.contracts.function_config.CutoffConfig`. Two alarms per ceiling make the hysteresis: ``ceilings`` fire
above it, ``calm`` alarms fire above a share of it and so are ``OK`` only well below.

Two calls may run at once, and no concurrency is reserved against that: new accounts have none to reserve. They take
turns by the parameter's version, which SSM counts up with each write: who finds that another has written in between
decides again, from what that one has written.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from spillway.contracts.function_config import CutoffConfig
from spillway.runtime.functions.aws import client
from spillway.runtime.functions.site import site_api

QUIET_S = 24 * 3600
"""Open for so long, it begins anew."""
LONGEST_PAUSE_S = 6 * 3600
TURNS = 5
"""How often a call begins again because another one was quicker."""

log = logging.getLogger(__name__)


class BusyError(RuntimeError):
    """Others were quicker each time; the next minute tries again."""


@dataclass(frozen=True)
class State:
    """What the parameter says. ``closed``: classes that do not spill, in the order in which they were closed.
    ``opened``: whether the last change opened one; ``turns``: how often it had to close soon after that."""

    closed: tuple[str, ...] = ()
    scale_to_minimum: bool = False
    reason: str = ""
    since: str = ""
    turns: int = 0
    opened: bool = False

    @classmethod
    def from_json(cls, text: str) -> State:
        values = json.loads(text)
        return cls(
            closed=tuple(values.get("closed", ())),
            scale_to_minimum=bool(values.get("scale_to_minimum", False)),
            reason=values.get("reason", ""),
            since=values.get("since", ""),
            turns=int(values.get("turns", 0)),
            opened=bool(values.get("opened", False)),
        )

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "closed": list(self.closed)})


@dataclass(frozen=True)
class Parameter:
    """The SSM parameter that the gateways obey, with the version that SSM gives to each of its values."""

    ssm: Any
    name: str

    def read(self, version: int | None = None) -> tuple[State, int]:
        """The newest value, or that of a version; SSM keeps a hundred of them."""
        found = self.ssm.get_parameter(Name=self.name if version is None else f"{self.name}:{version}")["Parameter"]
        return State.from_json(found["Value"]), found["Version"]

    def write(self, state: State) -> int:
        """The version that it became."""
        return self.ssm.put_parameter(Name=self.name, Value=state.to_json(), Type="String", Overwrite=True)["Version"]


def handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Decide and apply. Raises when a state cannot be read or a change fails; the next minute tries again."""
    config = CutoffConfig.from_environment()
    parameter = Parameter(client("ssm"), config.parameter)
    decided, version = settle(parameter, config, client("cloudwatch"))
    for _ in range(TURNS):
        hold_at_minimum(decided, config)
        newest, written = parameter.read()
        if written == version:
            return json.loads(decided.to_json())
        decided, version = newest, written
    raise BusyError(f"{config.parameter} was written by others {TURNS} times while the sites were being held")


def settle(parameter: Parameter, config: CutoffConfig, cloudwatch: Any) -> tuple[State, int]:
    """The state that holds now, and its version: decided from the one before it, whoever wrote that.

    Raises :class:`BusyError` where others write each time.
    """
    before, version = parameter.read()
    stands = before
    for _ in range(TURNS):
        decided = decide(before, read_alarms(cloudwatch, config.ceilings + config.calm), config, datetime.now(UTC))
        if decided == stands:
            return decided, version
        written = parameter.write(decided)
        log.warning("spill cut-off: %s", decided.to_json())
        if written == version + 1:
            return decided, written
        stands, version = decided, written
        before, _ = parameter.read(written - 1)
    raise BusyError(f"{parameter.name} was written by others {TURNS} times in a row")


def decide(state: State, alarms: Mapping[str, str], config: CutoffConfig, now: datetime) -> State:
    """The next state: one stage at most, and none while an alarm lacks data."""
    firing = [name for name in config.ceilings if alarms[name] == "ALARM"]
    if firing:
        waiting = [name for name in config.order if name not in state.closed]
        if not waiting or (state.closed and _age(state, now) < config.escalate_after_s):
            return state
        closed, reason = (*state.closed, waiting[0]), ", ".join(firing)
        return State(closed, config.scale_to_minimum, reason, now.isoformat(), _turns(state, now))
    calm = all(alarms[name] == "OK" for name in config.ceilings + config.calm)
    if not state.closed or not calm or _age(state, now) < pause_s(state, config):
        return state
    left = state.closed[:-1]
    holds = bool(left) and state.scale_to_minimum
    return replace(state, closed=left, scale_to_minimum=holds, since=now.isoformat(), opened=True)


def pause_s(state: State, config: CutoffConfig) -> float:
    """How long it stays closed after a change: the bill *after* a cut is always calm, so each turn doubles it."""
    return max(config.reopen_after_s, min(config.reopen_after_s * 2**state.turns, LONGEST_PAUSE_S))


def _turns(state: State, now: datetime) -> int:
    """Of a state that closes now: one more where the last change was an opening, none after a quiet day."""
    if not state.opened:
        return state.turns
    return state.turns + 1 if _age(state, now) < QUIET_S else 0


def _age(state: State, now: datetime) -> float:
    """Seconds since the last change; an unknown time is long ago."""
    if not state.since:
        return float("inf")
    since = datetime.fromisoformat(state.since)
    return (now - (since if since.tzinfo else since.replace(tzinfo=UTC))).total_seconds()


def read_alarms(cloudwatch: Any, names: tuple[str, ...]) -> dict[str, str]:
    """State per alarm. Raises ``LookupError`` for one that is missing."""
    answer = cloudwatch.describe_alarms(AlarmNames=list(names), MaxRecords=100)
    states = {alarm["AlarmName"]: alarm["StateValue"] for alarm in answer["MetricAlarms"]}
    if missing := [name for name in names if name not in states]:
        raise LookupError(f"alarms do not exist: {', '.join(missing)}")
    return states


def hold_at_minimum(state: State, config: CutoffConfig) -> None:
    """Suspend growth of what a closed class uses and bring it to its minimum; let the rest grow again.

    One site that refuses keeps no other at its size: every target is tried before the first error is raised.
    """
    errors: list[Exception] = []
    for target in config.targets:
        held = state.scale_to_minimum and target.request_class in state.closed
        try:
            site_api(target.module).hold(target.asked, target.minimum, held)
        except Exception as error:
            log.exception("%s could not be held at its minimum", target.module)
            errors.append(error)
    if errors:
        raise errors[0]
