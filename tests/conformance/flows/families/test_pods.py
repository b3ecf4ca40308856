from __future__ import annotations

import pytest

from spillway.conformance.flows.families.pods import FAMILY
from spillway.contracts.resources import Resource
from tests.conformance.flows.plans import asked, deployment, network_policy, service, world

CACHE = "cache.apps.svc.cluster.local"


def server(host: str) -> Resource:
    found = deployment("server")
    container = found.props["spec"]["template"]["spec"]["containers"][0]
    container["command"] = ["tritonserver", f"--cache-config=redis,host={host}", "--cache-config=redis,port=80"]
    return found


@pytest.mark.parametrize(
    ("host", "policies", "paths"),
    [
        (CACHE, [], set[str]()),
        ("gone.apps.svc.cluster.local", [], {""}),
        (CACHE, [network_policy("cache", {"app": "cache"}, ingress=[{"ports": [{"port": 9}]}])], {"spec.ingress"}),
    ],
)
def test_a_server_and_its_cache(host: str, policies: list[Resource], paths: set[str]) -> None:
    plan = world(server(host), deployment("cache"), service("cache"), *policies)
    (flow,) = FAMILY.flows(plan)
    assert flow.source == "server"
    assert {one.path for one in asked(flow.doors)} == paths
