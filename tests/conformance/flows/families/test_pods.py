from __future__ import annotations

from typing import Any

import pytest

from spillway.conformance.flows.families.pods import FAMILY
from spillway.conformance.flows.workloads import GROUP
from spillway.contracts.resources import Resource
from tests.conformance.flows.plans import asked, deployment, made, network_policy, service, world

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


def group() -> Resource:
    """A server of two nodes, whose pods carry one label."""
    template = {
        "metadata": {"labels": {"app": "model"}},
        "spec": {"containers": [{"command": ["vllm", "serve"]}]},
    }
    spec = {"leaderWorkerTemplate": {"size": 2, "leaderTemplate": template, "workerTemplate": template}}
    return made(GROUP, "model-group", {"metadata": {"name": "model-group", "namespace": "apps"}, "spec": spec})


@pytest.mark.parametrize(
    ("among", "paths"),
    [({}, {"spec.ingress"}), ({"ports": [{"port": 29501}]}, {"spec.ingress"}), ({"ports": None}, set[str]())],
    ids=["from gateways alone", "on one port", "on any"],
)
def test_the_nodes_of_a_server_reach_each_other_on_any_port(among: dict[str, Any], paths: set[str]) -> None:
    own = [{**among, "from": [{"podSelector": {"matchLabels": {"app": "model"}}}]}] if among else []
    calls = {"from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "gateway"}}}]}
    plan = world(group(), network_policy("model", {"app": "model"}, ingress=[calls, *own]))
    flows = list(FAMILY.flows(plan))
    assert {(flow.source, flow.target) for flow in flows} == {
        ("model-group leader", "worker"),
        ("model-group worker", "leader"),
    }
    assert {one.path for flow in flows for one in asked(flow.doors)} == paths
