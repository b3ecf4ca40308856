"""A gateway that runs, as the planner sees it."""

from __future__ import annotations

from spillway.contracts.classes import PROMISES, RequestClass
from spillway.contracts.routing import Gate, RoutingTable
from spillway.planner.system import Objective, SiteSpec, System


def deployed_system(table: RoutingTable) -> System:
    """A gateway that runs, as the planner sees it: its sites with their slots, and what the classes do there.

    P1 and P2 are refused when every site is full; P0 queues in the headroom.
    """
    p0, p1, p2 = RequestClass
    specs = []
    for route in table.sites:
        limits = table.limits(route)
        slots = max(1, limits[Gate.INTERACTIVE]) * table.replicas
        specs.append(
            SiteSpec(
                site=route.site,
                cloud="twin",
                instance_type=str(route.site),
                gpu=None,
                gpus=0,
                usd_per_hour=0.0,
                slots=slots,
                min_instances=1,
                max_instances=1,
                shares={p0: 1.0, p1: 1.0, p2: min(1.0, limits[Gate.BATCH] * table.replicas / slots)},
            )
        )
    headroom = sum(table.limits(r)[Gate.OPEN] - table.limits(r)[Gate.INTERACTIVE] for r in table.sites) * table.replicas
    objectives = {}
    for name, promise in PROMISES.items():
        objectives[name] = Objective(
            measure="latency",
            within_s=promise.deadline_s or promise.lost_after_s,
            share=0.99,
            lost_after_s=promise.lost_after_s,
            most_waiting=headroom if name is p0 else 0,
        )
    return System(sites=tuple(specs), objectives=objectives)
