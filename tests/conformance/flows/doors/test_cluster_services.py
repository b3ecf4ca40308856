from __future__ import annotations

from typing import Any

import pytest

from spillway.conformance.flows.doors import cluster_services
from tests.conformance.flows.plans import deployment, network_policy, service, world


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({}, None),
        ({"ports": [{"port": 80, "targetPort": 8000}]}, None),
        ({"selector": {"app": "other"}}, "spec.selector"),
        ({"ports": [{"port": 80, "targetPort": "metrics"}]}, "spec.ports"),
        ({"ports": [{"port": 81, "targetPort": "http"}]}, "spec.ports"),
    ],
)
def test_a_service_leads_to_a_port_of_its_pods(spec: dict[str, Any], path: str | None) -> None:
    found = service("server", **spec)
    closed = list(cluster_services.leads(world(deployment("server"), found), found, 80))
    assert [one.path for one in closed] == ([] if path is None else [path])


def test_a_name_of_the_cluster_means_a_service() -> None:
    found = service("server", "apps")
    plan = world(found)
    assert cluster_services.named(plan, "server.apps.svc.cluster.local") is found
    assert cluster_services.named(plan, "server.other.svc.cluster.local") is None
    assert cluster_services.named(plan, "server.apps.example.com") is None


def test_a_pod_without_dns_finds_nobody() -> None:
    plan = world(deployment("server"), network_policy("deny", {}, egress=[]))
    doors = cluster_services.looks_up(plan, plan.pods[0])
    assert {one.path for door in doors for one in door.closed()} == {"spec.egress"}
