"""Servers on several nodes under LeaderWorkerSet's own controller and its webhooks: made, placed, renewed, updated."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import pytest

from components.private_cluster.chart_settings import LeaderWorkerSetSettings
from spillway.twin.kubernetes.real import nodes
from spillway.twin.kubernetes.real.control_plane import ControlPlane
from spillway.twin.kubernetes.real.groups import OTHER_KIND, webhooks
from spillway.twin.kubernetes.real.programs import LEADER_WORKER_SET, group_controller
from tests.kubernetes.api import Api
from tests.kubernetes.cluster import Cluster, is_going, is_ready, why_pending
from tests.kubernetes.stacks import Planned, planned

Object = dict[str, Any]
OF = "leaderworkerset.sigs.k8s.io"
ZONE = "topology.kubernetes.io/zone"
SET = "model-server-group"

pytestmark = pytest.mark.skipif(
    not group_controller().is_file(), reason="its controller is not built: python scripts/kubernetes_control_plane.py"
)


@pytest.fixture(scope="module")
def stack() -> Planned:
    return planned("group")


@pytest.fixture(scope="module")
def controller(client: Api, control_plane: ControlPlane, stack: Planned) -> Iterator[None]:
    kinds = Cluster(client)
    kinds.install_kinds(stack.objects)
    client.apply(OTHER_KIND)
    asked = webhooks(control_plane.lead_groups(), control_plane.authority)
    for one in asked:
        client.apply(one)
    try:
        yield
    finally:
        for one in asked:
            client.delete(client.path(one))
        control_plane.stop("lws")


@pytest.fixture
def served(cluster: Cluster, controller: None, stack: Planned) -> Cluster:
    """One server of two nodes, and room for a second in another zone."""
    cluster.add_nodes(nodes.SYSTEM, 3, "system")
    for pool, zone in (("one", 0), ("two", 0), ("three", 1), ("four", 1)):
        cluster.add_nodes(nodes.L40S_WITH_EFA, 1, pool, zone=zone)
    cluster.put(stack)
    cluster.until_ready(stack, 2)
    return cluster


def test_a_leader_answers_for_its_group_and_each_group_stands_in_one_zone(served: Cluster, stack: Planned) -> None:
    assert LeaderWorkerSetSettings().version == LEADER_WORKER_SET
    home = f"/apis/leaderworkerset.x-k8s.io/v1/namespaces/{stack.prefix}-serving/leaderworkersets"
    # What `pulumi up` waits for, and whose metrics the autoscaler counts.
    served.api.until(home, lambda found: condition(found[0], "Available") == "True", 60, "the set is available")
    assert f"{OF}/worker-index=0" in served.api.list(home)[0]["status"]["hpaPodSelector"]

    # As the autoscaler does.
    served.api.patch(f"{home}/{SET}/scale", {"spec": {"replicas": 2}})
    served.until_ready(stack, 4)

    zones = {node["metadata"]["name"]: node["metadata"]["labels"][ZONE] for node in served.api.list("/api/v1/nodes")}
    pods = served.pods(stack)
    for pod in pods:
        told = {one["name"]: one["value"] for one in pod["spec"]["containers"][0]["env"] if "value" in one}
        assert told["LWS_WORKER_INDEX"] == pod["metadata"]["labels"][f"{OF}/worker-index"]
        assert told["LWS_LEADER_ADDRESS"].startswith(f"{SET}-{index(pod)}.{SET}.{stack.prefix}-serving")
    places = {number: {zones[pod["spec"]["nodeName"]] for pod in group} for number, group in grouped(pods)}
    assert sorted(len(place) for place in places.values()) == [1, 1]
    assert answering(served, stack) == {f"{SET}-0", f"{SET}-1"}


def test_a_group_that_loses_a_pod_is_made_anew_whole(served: Cluster, stack: Planned) -> None:
    before = {pod["metadata"]["uid"] for pod in served.pods(stack)}
    (worker,) = (pod for pod in served.pods(stack) if pod["metadata"]["labels"][f"{OF}/worker-index"] == "1")
    served.api.delete(served.api.path({"apiVersion": "v1", "kind": "Pod", **worker}))

    def renewed(found: list[Object]) -> bool:
        there = [pod for pod in found if is_ready(pod) and not is_going(pod)]
        return len(there) == 2 and not before & {pod["metadata"]["uid"] for pod in there}

    served.api.until(served.home(stack), renewed, 90, "leader and worker are new")


def test_a_release_goes_group_by_group(served: Cluster, stack: Planned) -> None:
    """On a full pool: the one waits for the other."""
    scale = f"/apis/leaderworkerset.x-k8s.io/v1/namespaces/{stack.prefix}-serving/leaderworkersets/{SET}/scale"
    served.api.patch(scale, {"spec": {"replicas": 2}})
    served.until_ready(stack, 4)
    fewest = 2

    def released(found: list[Object]) -> bool:
        nonlocal fewest
        leaders = [pod for pod in found if pod["metadata"]["labels"].get(f"{OF}/worker-index") == "0"]
        fewest = min(fewest, sum(is_ready(pod) and not is_going(pod) for pod in leaders))
        new = [pod for pod in found if pod["metadata"]["annotations"].get("example.com/release") == "2"]
        return len(new) == len(found) == 4 and all(map(is_ready, new))

    served.put([changed(stack)])
    served.api.until(served.home(stack), released, 120, "both groups are new")
    assert fewest == 1


def test_nodes_without_adapters_take_no_part_of_a_server(cluster: Cluster, controller: None, stack: Planned) -> None:
    cluster.add_nodes(nodes.L40S, 2, "gpu")
    cluster.put(stack)
    waits = lambda found: len(why_pending(found)) == 2  # noqa: E731
    cluster.api.until(cluster.home(stack), waits, 60, "both pods wait")
    assert all("2 Insufficient vpc.amazonaws.com/efa" in why for why in why_pending(cluster.pods(stack)))


def changed(stack: Planned) -> Object:
    """The set of the next release, as an update leaves its size."""
    made = copy.deepcopy(stack.one("LeaderWorkerSet", SET))
    made["spec"]["replicas"] = 2
    for who in ("leaderTemplate", "workerTemplate"):
        made["spec"]["leaderWorkerTemplate"][who]["metadata"]["annotations"]["example.com/release"] = "2"
    return made


def grouped(pods: list[Object]) -> list[tuple[str, list[Object]]]:
    return [(number, list(found)) for number, found in groupby(sorted(pods, key=index), index)]


def index(pod: Object) -> str:
    return pod["metadata"]["labels"][f"{OF}/group-index"]


def condition(thing: Object, kind: str) -> str | None:
    found = thing.get("status", {}).get("conditions", ())
    return next((one["status"] for one in found if one["type"] == kind), None)


def answering(cluster: Cluster, stack: Planned) -> set[str]:
    """Pods to which the gateways' Service leads."""
    slices = f"/apis/discovery.k8s.io/v1/namespaces/{stack.prefix}-serving/endpointslices"
    labels = "kubernetes.io/service-name=model-server"
    full = lambda found: sum(len(one.get("endpoints") or ()) for one in found) == 2  # noqa: E731
    cluster.api.until(slices, full, 60, "both leaders answer", labels)
    found = cluster.api.list(slices, labels)
    return {end["targetRef"]["name"] for one in found for end in one["endpoints"] if end["conditions"]["ready"]}
