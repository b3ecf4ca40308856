"""Tells the gateways how many instances a site has that they cannot ask themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from spillway.contracts.live_instances import LiveCount, from_json, to_json
from spillway.runtime.functions.site import Live


def publish_live(ssm: Any, parameter: str, found: Mapping[str, Sequence[Live]], now: float) -> None:
    """Write what was found, by site, into the parameter. A site that is not in ``found`` keeps its last count, which
    gateways stop believing in time. Raises what SSM refuses."""
    counted = {site: number for site, live in found.items() if (number := as_a_whole(live)) is not None}
    if not counted:
        return
    before = from_json(ssm.get_parameter(Name=parameter)["Parameter"]["Value"])
    told = dict(before)
    for site, number in counted.items():
        settled = all(one.settled for one in found[site] if one.percent)
        # While instances come, the number says already what it will be: they answer when it is settled.
        served = number if settled or site not in before else min(number, before[site].instances)
        told[site] = LiveCount(served, now)
    ssm.put_parameter(Name=parameter, Value=to_json(told), Type="String", Overwrite=True)


def as_a_whole(live: Sequence[Live]) -> float | None:
    """Instances of a site that splits its requests over deployments: as many as the split lets work at once. ``None``
    where it serves none that gateways have to be told of."""
    return min((one.instances * 100 / one.percent for one in live if one.percent), default=None)
