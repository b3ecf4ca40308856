"""What the site runs and pays for: as asked for, as planned, as counted and held by the cost guard."""

from __future__ import annotations

from typing import Any, Final

from components.burst.sagemaker.settings import SageMakerSettings
from spillway.contracts.capacity import Machines
from spillway.contracts.scaling import Scaling

PRICE_LIST: Final = "sagemaker"
LOW_ALARM_S: Final = 900
"""Target tracking shrinks after fifteen minutes below its target, whatever the cooldown."""


def machines(settings: SageMakerSettings, region: str) -> tuple[Machines, ...]:
    """The real-time endpoint's, then the asynchronous one's."""
    least, most = settings.min_instances, settings.max_instances
    found = [
        Machines("burst.sagemaker.instance_type", PRICE_LIST, settings.instance_type, region, least, most),
    ]
    if waiting := settings.asynchronous:
        key = "burst.sagemaker.asynchronous.instance_type"
        found.append(Machines(key, PRICE_LIST, waiting.instance_type, region, 0, waiting.max_instances))
    return tuple(found)


def scaling(settings: SageMakerSettings) -> Scaling:
    """Target tracking of the real-time endpoint."""
    how = settings.autoscaling
    return Scaling(out_cooldown_s=how.scale_out_cooldown_s, in_after_s=max(LOW_ALARM_S, how.scale_in_cooldown_s))


def write_sizes(part: dict[str, Any], instance_type: str, least: int, most: int, scaling: Scaling) -> None:
    """A plan's sizes, into ``burst.sagemaker`` of a stack file."""
    part.pop("initial_instances", None)
    part["min_instances"], part["max_instances"] = least, most
    part["instance_type"] = instance_type
    kept = part.get("autoscaling", {})
    part["autoscaling"] = {**kept, "metric": "concurrency_per_model", "target": scaling.target}
