"""What is simulated: sites and what they cost, what each class is promised, and how sites fail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

from pydantic import Field, model_validator

from spillway.contracts.classes import PROMISES, RequestClass, SiteName, spill_order_problem
from spillway.contracts.frozen import Frozen
from spillway.contracts.routing import ClassRoute
from spillway.contracts.scaling import Scaling

P0, P1, P2 = RequestClass
Measure = Literal["wait", "first_token", "latency"]

AGAIN_S: Final = 10.0
"""Seconds after which a client is taken to send a refused P2 request again: an assumption."""


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
    committed_usd_per_hour: float | None = Field(default=None, ge=0)
    """Of one of the instances that are always there, where they are reserved or under a savings plan; ``None``: the
    same as of the others."""
    servers: int = Field(default=1, ge=1)
    """Model servers on one instance."""
    slots: int = Field(ge=1)
    """Requests at once on one server."""
    gate_slots: int | None = Field(default=None, ge=1)
    """Requests for each server that the gateway lets through before it spills; ``None``: as many as slots."""
    headroom: int | None = Field(default=None, ge=0)
    """Requests above those that P0 may queue for each server when every site is full; ``None``: as many again."""
    most_at_server: int | None = Field(default=None, ge=1)
    """Requests, working or waiting, above which one server refuses; ``None``: what the gateway sends it."""
    most_unread_tokens: int | None = Field(default=None, ge=1)
    """Tokens of the prompts that wait at one server above which it refuses; ``None``: any."""
    kv_tokens: int | None = Field(default=None, ge=1)
    """Tokens, of prompts and answers, that one server's KV cache holds; ``None``: it does not matter."""
    kv_share: float = Field(default=0.9, gt=0, le=1)
    """Share of the private servers' caches that requests may fill before the next one spills."""
    min_instances: int = Field(ge=0)
    max_instances: int = Field(ge=0)
    scaling: Scaling = Scaling()
    """How it grows where ``max_instances`` is above ``min_instances``, and how requests find its servers."""
    takes: tuple[RequestClass, ...] = tuple(RequestClass)
    """Classes that may come here."""
    batch_share: float = Field(default=0.5, ge=0, le=1)
    """Share of the live slots that P2 may take."""
    factors: tuple[float, float] = (1.0, 1.0)
    """How much longer prompts and answers take here than the service model says."""
    network_s: float = Field(default=0.0, ge=0)
    """Seconds that the way there and back adds."""

    @model_validator(mode="after")
    def _ordered(self) -> SiteSpec:
        if self.min_instances > self.max_instances:
            raise ValueError(
                f"{self.site}: min_instances {self.min_instances} is above max_instances {self.max_instances}"
            )
        return self

    @property
    def let_through(self) -> int:
        """Requests for each server that the gateway lets through."""
        return self.slots if self.gate_slots is None else self.gate_slots

    @property
    def always_usd_per_hour(self) -> float:
        """Of one of the instances that are always there."""
        return self.usd_per_hour if self.committed_usd_per_hour is None else self.committed_usd_per_hour

    @property
    def counted(self) -> str:
        """Its instances in words."""
        grows = self.max_instances > self.min_instances
        return f"{self.min_instances} to {self.max_instances}" if grows else str(self.min_instances)

    def sized(self, least: int, most: int | None = None) -> SiteSpec:
        """The site with other numbers of instances."""
        return self.model_copy(update={"min_instances": least, "max_instances": least if most is None else most})


class Objective(Frozen):
    """What one class is promised: ``share`` of its requests within ``within_s``.

    ``measure``: ``wait`` is from arrival until a server begins with it, ``first_token`` until an answer's first token,
    ``latency`` until the answer is complete. A request counts as answered in time, late, or lost: not within
    ``lost_after_s``. ``patience_s``: how long a server that makes no tokens lets it wait before it refuses it.
    ``again_s``: seconds after which its client sends it again where it was refused; ``None``: it is lost then.
    """

    measure: Measure = "wait"
    within_s: float = Field(gt=0)
    share: float = Field(gt=0, le=1)
    per_token_s: float | None = Field(default=None, gt=0)
    """Seconds for each token after the first, on the mean of an answer: one that is slower is not in time."""
    lost_after_s: float | None = Field(default=None, gt=0)
    patience_s: float | None = Field(default=None, ge=0)
    again_s: float | None = Field(default=None, gt=0)

    def promising(self, measure: Measure, within_s: float, share: float, per_token_s: float | None = None) -> Objective:
        """Another promise; nobody gives up before it is broken."""
        lost, patience = (bound and max(bound, within_s) for bound in (self.lost_after_s, self.patience_s))
        changed = {"measure": measure, "within_s": within_s, "share": share, "per_token_s": per_token_s}
        return self.model_copy(update={**changed, "lost_after_s": lost, "patience_s": patience})

    @property
    def text(self) -> str:
        """What "in time" means."""
        done = {"wait": "begun", "first_token": "with a first token", "latency": "answered"}[self.measure]
        token = f" and {self.per_token_s * 1000:g} ms a token" if self.per_token_s else ""
        return f"{done} within {self.within_s:g} s{token}"


def default_objectives(measure: Measure = "wait") -> dict[RequestClass, Objective]:
    """P0 and P1: the classes' deadlines, 99.95 % and 99 %; P2: begun within an hour, 99 %.

    ``measure``: of P0 and P1. A server gives P0 and P1 up when they are lost anyway. P2's clients send again what the
    gateways refuse.
    """
    p0, p1 = PROMISES[P0], PROMISES[P1]
    assert p0.deadline_s is not None
    assert p1.deadline_s is not None
    return {
        P0: Objective(
            measure=measure, within_s=p0.deadline_s, share=0.9995, lost_after_s=p0.lost_after_s,
            patience_s=p0.lost_after_s,
        ),
        P1: Objective(
            measure=measure, within_s=p1.deadline_s, share=0.99, lost_after_s=p1.lost_after_s,
            patience_s=p1.lost_after_s,
        ),
        P2: Objective(within_s=3600.0, share=0.99, again_s=AGAIN_S),
    }  # fmt: skip


class Failures(Frozen):
    """How often a site, or one of its instances, is out: exponential times with these means, in hours."""

    site_mtbf_h: float | None = Field(default=None, gt=0)
    """Mean time between outages of a whole site; ``None``: it has none."""
    site_mttr_h: float = Field(default=4.0, gt=0)
    instance_mtbf_h: float | None = Field(default=None, gt=0)
    """Mean time between failures of one instance; ``None``: none fails."""
    instance_mttr_h: float = Field(default=12.0, gt=0)


class Tries(Frozen):
    """How long the gateway lets a class's request try. Of a stream of generated text only the first token is waited
    for."""

    one_s: float | None = Field(default=None, gt=0)
    """Seconds that one site has, before the next one is asked; ``None``: as long as it takes."""
    all_s: float | None = Field(default=None, gt=0)
    """Seconds for all sites together."""


def tries_of(classes: Sequence[ClassRoute], language: bool) -> dict[RequestClass, Tries]:
    """As a gateway's routes have it."""
    if language:
        return {route.request_class: Tries(one_s=route.first_token_s) for route in classes}
    return {route.request_class: Tries(one_s=route.try_timeout_s, all_s=route.timeout_s) for route in classes}


class System(Frozen):
    """Sites in spill order, and the promises."""

    sites: tuple[SiteSpec, ...] = Field(min_length=1)
    gateways: int = Field(default=1, ge=1)
    """Processes of the gateway, among which slots are divided; each request comes to any of them."""
    objectives: Mapping[RequestClass, Objective] = Field(default_factory=default_objectives)
    tries: Mapping[RequestClass, Tries] = Field(default_factory=dict)
    """By class; one that is not there tries as long as it takes."""

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
