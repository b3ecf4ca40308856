"""Whether what sends traces reaches their collector."""

from __future__ import annotations

from typing import Any

import pytest

from spillway.conformance.flows.families.traces import FAMILY
from spillway.contracts.resources import Resource
from tests.conformance.flows.plans import asked, deployment, network_policy, world

TOLD = ["vllm", "serve", "--otlp-traces-endpoint=http://otel.tracing:4318/v1/traces"]


def server(command: list[str]) -> Resource:
    made = deployment("server")
    made.props["spec"]["template"]["spec"]["containers"][0]["command"] = command
    return made


def egress(namespace: str, port: int) -> list[dict[str, Any]]:
    labels = {"kubernetes.io/metadata.name": namespace}
    to_dns = {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53}]}
    return [to_dns, {"to": [{"namespaceSelector": {"matchLabels": labels}}], "ports": [{"port": port}]}]


@pytest.mark.parametrize(
    ("rules", "closed"),
    [
        (egress("tracing", 4318), set[str]()),
        (egress("tracing", 4317), {"out"}),
        (egress("monitoring", 4318), {"out"}),
    ],
)
def test_a_server_reaches_the_collector(rules: list[dict[str, Any]], closed: set[str]) -> None:
    plan = world(server(TOLD), network_policy("out", {}, egress=rules))
    (flow,) = FAMILY.flows(plan)
    assert flow.over == "tcp/4318"
    assert {one.resource.name for one in asked(flow.doors) if one.resource} == closed


def test_one_without_traces_has_no_such_flow() -> None:
    assert list(FAMILY.flows(world(server(["vllm", "serve"])))) == []
