"""What the site runs and pays for: as asked for and as planned."""

from __future__ import annotations

from typing import Any, Final

from components.burst.azure_ml.settings import AzureMlSettings
from spillway.contracts.capacity import Machines
from spillway.contracts.scaling import Scaling

PRICE_LIST: Final = "azure"
MINUTE_S: Final = 60


def machines(settings: AzureMlSettings, location: str) -> tuple[Machines, ...]:
    """Of each deployment, the one with the most traffic first."""
    return tuple(
        Machines(_key(settings, one.name), PRICE_LIST, one.vm_size, location, one.min_instances, one.max_instances)
        for one in settings.planned
    )


def _key(settings: AzureMlSettings, name: str) -> str:
    """Where the stack file says the deployment's size."""
    own = settings.deployments[name].vm_size is not None
    return f"burst.azure_ml.deployments.{name}.vm_size" if own else "burst.azure_ml.vm_size"


def scaling(settings: AzureMlSettings) -> Scaling:
    """Azure Monitor's step rules on the GPUs' utilisation. Nothing says how the endpoint chooses an instance."""
    rules = settings.autoscaling
    return Scaling(
        by="steps",
        grow_above=rules.scale_out_above_percent / 100,
        shrink_below=rules.scale_in_below_percent / 100,
        out_after_s=rules.window_minutes * MINUTE_S,
        out_cooldown_s=rules.cooldown_minutes * MINUTE_S,
        balancing="random",
    )


def write_sizes(part: dict[str, Any], vm_size: str, least: int, most: int) -> None:
    """A plan's sizes, into ``burst.azure_ml`` of a stack file."""
    part.pop("initial_instances", None)
    part["min_instances"], part["max_instances"] = least, most
    part["vm_size"] = vm_size
