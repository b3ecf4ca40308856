"""What is simulated: sites and what they cost, what each class is promised, and how sites fail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, model_validator

from spillway.contracts.classes import PROMISES, RequestClass, SiteName, spill_order_problem
from spillway.contracts.frozen import Frozen
from spillway.contracts.scaling import Scaling

P0, P1, P2 = RequestClass


class SiteSpec(Frozen):
    """One site. Sites stand in spill order, the private one first."""

    site: SiteName
    cloud: str
    """Price list, or ``owned``."""
    instance_type: str
    gpu: str | None
    """GPU kind; ``None`` for none."""
    gpus: int = Field(ge=0)
    """GPUs of one instance."""
    usd_per_hour: float = Field(ge=0)
    """Of one instance."""
    servers: int = Field(default=1, ge=1)
    """Model servers on one instance."""
    slots: int = Field(ge=1)
    """Requests at once on one server."""
    min_instances: int = Field(ge=0)
    max_instances: int = Field(ge=0)
    scaling: Scaling = Scaling()
    """Used where ``max_instances`` is above ``min_instances``."""
    shares: Mapping[RequestClass, float] = Field(default_factory=lambda: {P0: 1.0, P1: 1.0, P2: 0.5})
    """Share of the live slots that the requests of each class may take; 0: it does not come here."""
    factors: tuple[float, float] = (1.0, 1.0)
    """How much longer prompts and answers take here than the service model says."""
    stretch: float = Field(default=0.0, ge=0)
    """How much longer an answer takes when every slot is taken."""
    network_s: float = Field(default=0.0, ge=0)
    """Seconds that the way there and back adds."""

    @model_validator(mode="after")
    def _ordered(self) -> SiteSpec:
        if self.min_instances > self.max_instances:
            raise ValueError(
                f"{self.site}: min_instances {self.min_instances} is above max_instances {self.max_instances}"
            )
        wrong = {name: share for name, share in self.shares.items() if not 0 <= share <= 1}
        if wrong:
            raise ValueError(f"{self.site}: shares {wrong} are not between 0 and 1")
        return self

    def sized(self, least: int, most: int | None = None) -> SiteSpec:
        """The site with other numbers of instances."""
        return self.model_copy(update={"min_instances": least, "max_instances": least if most is None else most})


class Objective(Frozen):
    """What one class is promised: ``share`` of its requests within ``within_s``.

    ``measure``: ``wait`` is from arrival until a server begins with it, ``latency`` until the answer is complete. A
    request counts as answered in time, late, or lost: not within ``lost_after_s``. ``patience_s``: how long it waits
    before it is given up unserved; ``most_waiting``: how many may wait before the next is refused; ``None``: no end.
    """

    measure: Literal["wait", "latency"] = "wait"
    within_s: float = Field(gt=0)
    share: float = Field(gt=0, le=1)
    lost_after_s: float | None = Field(default=None, gt=0)
    patience_s: float | None = Field(default=None, ge=0)
    most_waiting: int | None = Field(default=None, ge=0)


def default_objectives() -> dict[RequestClass, Objective]:
    """P0 and P1: the classes' deadlines as waiting, 99.95 % and 99 %; P2: begun within an hour, 99 %.

    P0 is never given up, P1 when it is lost anyway, P2 waits in its durable queue.
    """
    p0, p1 = PROMISES[P0], PROMISES[P1]
    assert p0.deadline_s is not None
    assert p1.deadline_s is not None
    return {
        P0: Objective(within_s=p0.deadline_s, share=0.9995, lost_after_s=p0.lost_after_s),
        P1: Objective(within_s=p1.deadline_s, share=0.99, lost_after_s=p1.lost_after_s, patience_s=p1.lost_after_s),
        P2: Objective(within_s=3600.0, share=0.99),
    }


class Failures(Frozen):
    """How often a site, or one of its instances, is out: exponential times with these means, in hours."""

    site_mtbf_h: float | None = Field(default=None, gt=0)
    """Mean time between outages of a whole site; ``None``: it has none."""
    site_mttr_h: float = Field(default=4.0, gt=0)
    instance_mtbf_h: float | None = Field(default=None, gt=0)
    """Mean time between failures of one instance; ``None``: none fails."""
    instance_mttr_h: float = Field(default=12.0, gt=0)


class System(Frozen):
    """Sites in spill order, and the promises."""

    sites: tuple[SiteSpec, ...] = Field(min_length=1)
    objectives: Mapping[RequestClass, Objective] = Field(default_factory=default_objectives)

    @model_validator(mode="after")
    def _complete(self) -> System:
        names = [spec.site for spec in self.sites]
        if problem := spill_order_problem(names):
            raise ValueError(problem)
        if set(self.objectives) != set(RequestClass):
            raise ValueError("every class needs an objective: P0, P1 and P2")
        return self

    def site(self, site: SiteName) -> SiteSpec | None:
        return next((spec for spec in self.sites if spec.site == site), None)
