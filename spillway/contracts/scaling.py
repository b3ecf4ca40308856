"""How a site's instances follow its load, and how requests find them, as the planner simulates it."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from spillway.contracts.frozen import Frozen

LOAD_BYTES_PER_S: Final = 530e6
"""How fast a new instance fetches a package and loads it: Llama 2 70B, 140 GB, in 4 minutes and 25 seconds as it was
measured in production before it was tuned (https://www.anyscale.com/blog/loading-llama-2-70b-20x-faster-with-anyscale-endpoints;
fast storage near the GPUs takes 84 s for the loading alone: ServerlessLLM, arXiv 2401.14351)."""


class Scaling(Frozen):
    """``tracking``: target tracking on requests in flight, as SageMaker's with high-resolution metrics: looks every ten
    seconds. ``steps``: looks once a minute, one instance more or less by how busy servers were, as Azure Monitor's
    rules. ``demand``: target tracking on requests in flight at whatever site, as Kubernetes' horizontal autoscaler,
    which looks each fifteen seconds, and each ten here."""

    by: Literal["tracking", "steps", "demand"] = "tracking"
    target: float = Field(default=8.0, gt=0)
    """Requests in flight for each instance that are held."""
    grow_above: float = Field(default=0.7, gt=0, le=1)
    """Steps: share of the time that servers worked, on the mean of ``out_after_s``, above which one is added."""
    shrink_below: float = Field(default=0.3, ge=0, lt=1)
    """Steps: the same, below which one is taken away."""
    out_after_s: float = Field(default=30.0, ge=0)
    """Seconds above the target before it grows: three data points of ten seconds. Steps: the window of the mean."""
    out_cooldown_s: float = Field(default=30.0, ge=0)
    """Seconds between two growths."""
    in_after_s: float = Field(default=900.0, ge=0)
    """Seconds below the target before it shrinks: fifteen data points of a minute, as target tracking's low alarm."""
    cold_start_s: float = Field(default=420.0, ge=0)
    """Seconds from the order of an instance to its first request: machine, container, and a small model."""
    jitter: float = Field(default=0.2, ge=0, lt=1)
    """How far a cold start may be off, as a share of it."""
    failure: float = Field(default=0.02, ge=0, lt=1)
    """Share of orders that fail for want of capacity, and are made again after ``retry_s``."""
    retry_s: float = Field(default=120.0, ge=0)
    """Seconds after which a failed order is made again."""
    slots_follow: bool = True
    """Whether the gateways' slots follow the live instances; else they stay those of the fewest."""
    balancing: Literal["least_busy", "random"] = "least_busy"
    """How the site's balancer chooses an instance: the one with the fewest requests, or any."""

    def loading(self, package_bytes: int) -> Scaling:
        """With the time that a package of this size takes to be fetched and loaded."""
        return self.model_copy(update={"cold_start_s": self.cold_start_s + package_bytes / LOAD_BYTES_PER_S})
