"""What a drill is run against: a gateway, and somebody who can break its sites."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from spillway.contracts.capacity import Running
from spillway.contracts.classes import CLASS_HEADER, CLIENT_KEY_HEADER, OPERATOR_KEY_HEADER, SITE_HEADER, RequestClass
from spillway.drill.resolver import Resolver
from spillway.drill.workload import Workload


class DrillError(Exception):
    """The drill could not be run: a matter of its target, not of its result."""


class FaultInjector(Protocol):
    """Carries out :class:`spillway.drill.plan.Fault`. The twin's handle is one; for a real site, write your own."""

    def fault(self, group: str, action: str, **options: float) -> None: ...


@dataclass(frozen=True)
class DrillTarget:
    """``gateway_url``: base address clients use. ``resolver``: looks up its name, where clients follow DNS. ``model``:
    the package's entry model. ``route``: KServe's inference when left out. ``faults``: ``None`` where only load may be
    run. ``capacity``: the machines that are paid now, for the bill. ``client_key``: of a client that may send P0.
    ``operator_key``: lets a request choose its site."""

    gateway_url: str
    model: str
    workload: Workload
    route: str = ""
    faults: FaultInjector | None = None
    capacity: Callable[[], tuple[Running, ...]] | None = None
    resolver: Resolver | None = None
    client_key: str = field(default="", repr=False)
    operator_key: str = field(default="", repr=False)

    @property
    def path(self) -> str:
        return self.route or f"/v2/models/{self.model}/infer"

    def headers(self, request_class: RequestClass, site: str = "") -> dict[str, str]:
        """``site``: ask that one alone, which needs the operator's key."""
        headers = {"content-type": "application/json", CLASS_HEADER: request_class}
        if self.client_key:
            headers[CLIENT_KEY_HEADER] = self.client_key
        if site:
            headers |= {OPERATOR_KEY_HEADER: self.operator_key, SITE_HEADER: site}
        return headers
