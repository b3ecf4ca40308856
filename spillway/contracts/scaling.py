"""How a site's number of instances follows its load, as the planner simulates it."""

from __future__ import annotations

from pydantic import Field

from spillway.contracts.frozen import Frozen


class Scaling(Frozen):
    """Target tracking on requests in flight, as SageMaker's with high-resolution metrics: looks every ten seconds."""

    target: float = Field(default=8.0, gt=0)
    """Requests in flight for each instance that are held."""
    out_after_s: float = Field(default=30.0, ge=0)
    """Seconds above the target before it grows: three data points of ten seconds."""
    out_cooldown_s: float = Field(default=30.0, ge=0)
    """Seconds between two growths."""
    in_after_s: float = Field(default=900.0, ge=0)
    """Seconds below the target before it shrinks: fifteen data points of a minute, as target tracking's low alarm."""
    cold_start_s: float = Field(default=420.0, ge=0)
    """Seconds from the order of an instance to its first request: machine, container, model."""
    jitter: float = Field(default=0.2, ge=0, lt=1)
    """How far a cold start may be off, as a share of it."""
    failure: float = Field(default=0.02, ge=0, lt=1)
    """Share of orders that fail for want of capacity, and are made again after ``retry_s``."""
    retry_s: float = Field(default=120.0, ge=0)
    """Seconds after which a failed order is made again."""
