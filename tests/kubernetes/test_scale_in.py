"""What is in flight, and what comes meanwhile, when a server is taken away: real Triton servers as the pods of a node,
the real controllers that take one, and a real Envoy with the gateways' config that finds them by DNS."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.gateway.envoy_parts import extension
from spillway.contracts.classes import Site
from spillway.contracts.routing import Gate, RoutingTable, listener_name
from spillway.twin.kubernetes.real import nodes
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.stacks import Planned, planned
from tests.kubernetes.test_scheduling import scale
from tests.kubernetes.triton_node import ClusterDns, TritonNode
from tests.support.gateway_rig import BETA, Answer, Rig
from tests.support.waiting import eventually

MODEL = "echo"
BODY: dict[str, Any] = {"inputs": [{"name": "TEXT", "shape": [1, 1], "datatype": "BYTES", "data": ["a"]}]}
CONFIG = """name: "echo"
backend: "python"
max_batch_size: 0
input [{ name: "TEXT", data_type: TYPE_STRING, dims: [1, 1] }]
output [{ name: "ECHO", data_type: TYPE_STRING, dims: [1, 1] }]
instance_group [{ count: 4, kind: KIND_CPU }]
"""
TAKES_S = 0.5
CODE = f"""import time

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        time.sleep({TAKES_S})
        texts = [pb_utils.get_input_tensor_by_name(request, "TEXT").as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("ECHO", text)]) for text in texts]
"""
CLIENTS = 6


class Gateway(Rig):
    """Its private servers are where the cluster's DNS says."""

    def __init__(self, folder: Path, dns: ClusterDns, port: int, servers: int) -> None:
        self.dns, self.port, self.private_servers = dns, port, servers
        super().__init__(folder, self._in_the_cluster)

    def _in_the_cluster(self, table: RoutingTable) -> RoutingTable:
        here = {"host": "model-server.cluster.test", "port": self.port, "slots": 32}
        sites = tuple(one.model_copy(update=here if one.site == Site.PRIVATE else {}) for one in table.sites)
        return table.model_copy(update={"model": MODEL, "sites": sites})

    def config(self) -> dict[str, Any]:
        found = super().config()
        name = listener_name(Site.PRIVATE, Gate.OPEN)
        (servers,) = (one for one in found["static_resources"]["clusters"] if one["name"] == name)
        resolver = {"socket_address": {"address": "127.0.0.1", "port_value": self.dns.port}}
        servers["cluster_type"]["typed_config"]["typed_dns_resolver_config"] = extension(
            "envoy.network.dns_resolver.cares",
            "extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
            resolvers=[resolver],
        )
        return found


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    model = tmp_path / "repository" / MODEL
    (model / "1").mkdir(parents=True)
    (model / "config.pbtxt").write_text(CONFIG)
    (model / "1" / "model.py").write_text(CODE)
    return model.parent


@pytest.fixture
def node(cluster: Cluster, tmp_path: Path, repository: Path) -> Iterator[TritonNode]:
    made = TritonNode(cluster.api, nodes.L4_OF_FOUR, repository, tmp_path)
    with made as running:
        cluster.knows(made.name)
        yield running


def test_a_server_that_is_taken_away_loses_nothing(cluster: Cluster, node: TritonNode, tmp_path: Path) -> None:
    """Of a client whose data must not spill: no other site covers for it."""
    stack = planned("local")
    cluster.put(stack)
    scale(cluster, stack, 2)
    cluster.until_ready(stack, 2, within_s=120)
    (folder := tmp_path / "gateway").mkdir()
    dns = ClusterDns(cluster.api, f"{stack.prefix}-serving", "model-server")
    with dns, Gateway(folder, dns, node.port, 2) as gateway:
        answers = asked_until(gateway, lambda: one_is_gone(cluster, stack, node))
    assert {(one.status, one.site) for one in answers} == {(200, "private")}
    # Triton ended by itself, with all that it had begun.
    assert list(node.ended.values()) == [0]


def one_is_gone(cluster: Cluster, stack: Planned, node: TritonNode) -> None:
    scale(cluster, stack, 1)
    cluster.until_ready(stack, 1, within_s=240)
    assert node.ended


def asked_until(gateway: Gateway, done: Any) -> list[Answer]:
    """What clients got who asked one thing after another, from before until a while after ``done()`` returned."""
    answers: list[Answer] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            answers.append(gateway.post(BODY, headers={"x-spillway-key": BETA}, path=f"/v2/models/{MODEL}/infer"))

    clients = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        eventually(lambda: len(answers) > 3 * CLIENTS, 60, "the load runs")
        done()
        count = len(answers)
        eventually(lambda: len(answers) > count + 3 * CLIENTS, 60, "the other server goes on")
    finally:
        over.set()
        for client in clients:
            client.join(60)
    return answers
