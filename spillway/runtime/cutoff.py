"""The spill cut-off: closes classes one by one while a ceiling is passed, and opens them again when it is calm.

A Lambda function, called by the alarms' topic and once a minute. It reads alarm states, decides, writes the SSM
parameter that the gateways obey, and holds the burst sites at their minimum. Configuration: the JSON in
``SPILLWAY_CUTOFF``, see :class:`Config`. Two alarms per ceiling make the hysteresis: ``ceilings`` fire above it,
``calm`` alarms fire above a share of it and so are ``OK`` only well below.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from spillway.runtime import azure_api
from spillway.runtime.aws_api import client, secret

SAGEMAKER = "sagemaker"
DIMENSION = "sagemaker:variant:DesiredInstanceCount"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class State:
    """What the parameter says. ``closed``: classes that do not spill, in the order in which they were closed."""

    closed: tuple[str, ...] = ()
    scale_to_minimum: bool = False
    reason: str = ""
    since: str = ""

    @classmethod
    def from_json(cls, text: str) -> State:
        values = json.loads(text)
        return cls(
            closed=tuple(values.get("closed", ())),
            scale_to_minimum=bool(values.get("scale_to_minimum", False)),
            reason=values.get("reason", ""),
            since=values.get("since", ""),
        )

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "closed": list(self.closed)})


@dataclass(frozen=True)
class Config:
    """``ceilings`` and ``calm``: alarm names; ``targets``: ``{endpoint, variant, resource_id, minimum, class}`` each,
    ``class`` being the one whose closing holds the endpoint at its minimum; ``azure``: ``{deployment_url,
    autoscale_url, minimum, class}`` each, with ``azure_secret``, the Secrets Manager ARN of who may change them."""

    parameter: str
    ceilings: tuple[str, ...]
    calm: tuple[str, ...]
    order: tuple[str, ...]
    escalate_after_s: int
    reopen_after_s: int
    scale_to_minimum: bool
    targets: tuple[Mapping[str, Any], ...] = ()
    azure: tuple[Mapping[str, Any], ...] = ()
    azure_secret: str | None = None

    @classmethod
    def from_environment(cls) -> Config:
        values = json.loads(os.environ["SPILLWAY_CUTOFF"])
        lists = {key: tuple(values.get(key, ())) for key in ("ceilings", "calm", "order", "targets", "azure")}
        return cls(**{**values, **lists})


def handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Decide and apply. Raises when a state cannot be read or a change fails; the next minute tries again."""
    config = Config.from_environment()
    ssm = client("ssm")
    state = State.from_json(ssm.get_parameter(Name=config.parameter)["Parameter"]["Value"])
    alarms = read_alarms(client("cloudwatch"), config.ceilings + config.calm)
    decided = decide(state, alarms, config, datetime.now(UTC))
    if decided != state:
        ssm.put_parameter(Name=config.parameter, Value=decided.to_json(), Type="String", Overwrite=True)
        log.warning("spill cut-off: %s", decided.to_json())
    hold_at_minimum(client("application-autoscaling"), client(SAGEMAKER), decided, config)
    if config.azure:
        hold_azure_at_minimum(azure_api.token(secret(str(config.azure_secret))), decided, config)
    return json.loads(decided.to_json())


def decide(state: State, alarms: Mapping[str, str], config: Config, now: datetime) -> State:
    """The next state: one stage at most, and none while an alarm lacks data."""
    firing = [name for name in config.ceilings if alarms[name] == "ALARM"]
    if firing:
        waiting = [name for name in config.order if name not in state.closed]
        if not waiting or (state.closed and _age(state, now) < config.escalate_after_s):
            return state
        return State((*state.closed, waiting[0]), config.scale_to_minimum, ", ".join(firing), now.isoformat())
    calm = all(alarms[name] == "OK" for name in config.ceilings + config.calm)
    if not state.closed or not calm or _age(state, now) < config.reopen_after_s:
        return state
    left = state.closed[:-1]
    return replace(state, closed=left, scale_to_minimum=bool(left) and state.scale_to_minimum, since=now.isoformat())


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


def hold_at_minimum(autoscaling: Any, sagemaker: Any, state: State, config: Config) -> None:
    """Suspend growth of closed endpoints and bring them to their minimum; let the others grow again.

    The bounds themselves stay as they are: the next deployment has nothing to reset.
    """
    for target in config.targets:
        hold = state.scale_to_minimum and target["class"] in state.closed
        if _is_held(autoscaling, target["resource_id"]) != hold:
            autoscaling.register_scalable_target(
                ServiceNamespace=SAGEMAKER,
                ResourceId=target["resource_id"],
                ScalableDimension=DIMENSION,
                SuspendedState={"DynamicScalingOutSuspended": hold, "ScheduledScalingSuspended": hold},
            )
        if hold:
            _shrink(sagemaker, target)


def _shrink(sagemaker: Any, target: Mapping[str, Any]) -> None:
    """Bring one endpoint to its minimum; one that is being updated waits for the next minute."""
    endpoint = sagemaker.describe_endpoint(EndpointName=target["endpoint"])
    desired = {v["VariantName"]: v.get("DesiredInstanceCount", 0) for v in endpoint.get("ProductionVariants", ())}
    if endpoint["EndpointStatus"] != "InService" or desired.get(target["variant"], 0) <= target["minimum"]:
        return
    sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=target["endpoint"],
        DesiredWeightsAndCapacities=[{"VariantName": target["variant"], "DesiredInstanceCount": target["minimum"]}],
    )


def _is_held(autoscaling: Any, resource_id: str) -> bool:
    answer = autoscaling.describe_scalable_targets(
        ServiceNamespace=SAGEMAKER, ResourceIds=[resource_id], ScalableDimension=DIMENSION
    )
    (target,) = answer["ScalableTargets"]
    return target.get("SuspendedState", {}).get("DynamicScalingOutSuspended", False)


def hold_azure_at_minimum(bearer: str, state: State, config: Config) -> None:
    """The same for Azure ML deployments: their autoscale setting is switched off and their count lowered."""
    for target in config.azure:
        hold = state.scale_to_minimum and target["class"] in state.closed
        setting = azure_api.call(target["autoscale_url"], bearer)["properties"]
        if setting.get("enabled", True) == hold:
            # A change has to name the profiles, too.
            azure_api.call(
                target["autoscale_url"], bearer, {"properties": {"profiles": setting["profiles"], "enabled": not hold}}
            )
        if hold and azure_api.call(target["deployment_url"], bearer)["sku"]["capacity"] > target["minimum"]:
            azure_api.call(target["deployment_url"], bearer, {"sku": {"capacity": target["minimum"]}})
