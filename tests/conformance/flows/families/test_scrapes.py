from __future__ import annotations

from typing import Any

import pytest

from spillway.conformance.flows.families.scrapes import FAMILY
from spillway.contracts.resources import Resource
from tests.conformance.flows.plans import asked, deployment, kubernetes, made, network_policy, world

ALL = {"prometheus": {"prometheusSpec": {"podMonitorSelectorNilUsesHelmValues": False}}}


def chart(**values: Any) -> Resource:
    props = {"chart": "kube-prometheus-stack", "namespace": "monitoring", "values": values}
    return made("kubernetes:helm.sh/v3:Release", "stack", props)


def monitor(app: str = "server", port: str = "http") -> Resource:
    spec = {"selector": {"matchLabels": {"app": app}}, "podMetricsEndpoints": [{"port": port}]}
    return kubernetes("monitoring.coreos.com/v1:PodMonitor", "monitor", spec=spec)


@pytest.mark.parametrize(
    ("resources", "named"),
    [
        ([chart(**ALL), monitor()], set[str]()),
        ([chart(), monitor()], {"stack"}),
        ([chart(**ALL), monitor("other")], {"monitor"}),
        ([chart(**ALL), monitor(port="metrics")], {"monitor"}),
        ([chart(**ALL), monitor(), network_policy("deny", {}, ingress=[])], {"deny"}),
    ],
)
def test_prometheus_reaches_a_pod(resources: list[Resource], named: set[str]) -> None:
    plan = world(deployment("server"), *resources)
    found = [one for flow in FAMILY.flows(plan) for one in asked(flow.doors)]
    assert {one.resource.name for one in found if one.resource} == named


def test_a_pod_with_metrics_wants_a_monitor() -> None:
    server = deployment("server")
    server.props["spec"]["template"]["spec"]["containers"][0]["ports"].append(
        {"name": "metrics", "containerPort": 9000}
    )
    found = [one for flow in FAMILY.flows(world(server, chart(**ALL))) for one in asked(flow.doors)]
    assert [one.resource for one in found] == [server]
