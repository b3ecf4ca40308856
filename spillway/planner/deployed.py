"""A gateway that runs, as the planner sees it."""

from __future__ import annotations

from spillway.contracts.classes import PROMISES, RequestClass
from spillway.contracts.routing import RoutingTable
from spillway.planner.system import Objective, SiteSpec, System, tries_of


def deployed_system(table: RoutingTable) -> System:
    """Its sites with their slots as they are now, and the classes' promises.

    Whom no gate lets through is lost, as for a drill, whose clients send nothing again.
    """
    specs = []
    for route in table.sites:
        batch = max(1, route.slots // 2) if route.batch_slots is None else route.batch_slots
        specs.append(
            SiteSpec(
                site=route.site,
                cloud="twin",
                instance_type=str(route.site),
                gpu=None,
                gpus=0,
                usd_per_hour=0.0,
                slots=route.slots,
                headroom=route.headroom,
                min_instances=1,
                max_instances=1,
                takes=tuple(name for name in RequestClass if route.site in table.allowed_sites(name, "anywhere")),
                batch_share=batch / route.slots,
            )
        )
    objectives = {
        name: Objective(
            measure="latency",
            within_s=promise.deadline_s or promise.lost_after_s,
            share=0.99,
            lost_after_s=promise.lost_after_s,
        )
        for name, promise in PROMISES.items()
    }
    tries = tries_of(table.classes, table.server == "vllm")
    return System(sites=tuple(specs), gateways=table.replicas, objectives=objectives, tries=tries)
