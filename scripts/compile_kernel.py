"""Have numba compile the planner's event loop, which it keeps for this user: ten seconds, once a version."""

from __future__ import annotations

from spillway.contracts.classes import Site
from spillway.planner.service import from_rates
from spillway.planner.simulate import run_trace
from spillway.planner.system import SiteSpec, System
from spillway.planner.trace import synthetic


def main() -> None:
    site = SiteSpec(
        site=Site.PRIVATE, cloud="owned", instance_type="node", gpu=None, gpus=1, usd_per_hour=1.0, slots=4,
        min_instances=1, max_instances=1,
    )  # fmt: skip
    run_trace(synthetic(60.0, 1.0), from_rates(10_000, 30, slots=4), System(sites=(site,)))


if __name__ == "__main__":
    main()
