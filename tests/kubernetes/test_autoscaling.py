"""The real autoscaler, fed with what the adapter would say, with targets that the gateways' limits let it reach."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from spillway.twin.kubernetes.real import nodes
from spillway.twin.kubernetes.real.control_plane import ControlPlane
from tests.kubernetes.api import Api
from tests.kubernetes.cluster import Cluster, is_going, is_ready
from tests.kubernetes.metrics import Metrics
from tests.kubernetes.stacks import Planned, planned
from tests.support.packages import SLOTS

BUSY = 0.7
"""Of a server's slots: `model_server.autoscaling.busy_percent`."""


@pytest.fixture
def metrics(client: Api, control_plane: ControlPlane) -> Iterator[Metrics]:
    made = Metrics(client, control_plane.folder / "metrics")
    made.start()
    try:
        yield made
    finally:
        made.stop()


def test_three_times_the_load_is_eight_servers_within_ninety_seconds(cluster: Cluster, metrics: Metrics) -> None:
    """No server ever has more than its slots: the rest of the demand is seen at the burst sites."""
    stack = planned("existing")
    cluster.add_nodes(nodes.H100, 2, "gpu")
    metrics.external = {"spillway_requests_in_flight": 2 * SLOTS * BUSY}
    cluster.put(stack)
    cluster.until_ready(stack, 2)
    _until_autoscaler(cluster, stack, 2)

    metrics.external = {"spillway_requests_in_flight": 8 * SLOTS * BUSY}
    took = cluster.until_ready(stack, 8, within_s=90)

    assert took < 90
    assert metrics.asked == {f"namespace={stack.prefix}-gateway"}


def test_a_queue_in_triton_asks_for_more_by_itself(cluster: Cluster, metrics: Metrics) -> None:
    """And a metric that is missing keeps none from growing: the gateways' is, when Prometheus has just come."""
    stack = planned("existing")
    cluster.add_nodes(nodes.H100, 1, "gpu")
    metrics.of_pod = lambda metric, pod: 200.0 if metric == "triton_queue_ms" else 0.0
    cluster.put(stack)

    grown = lambda found: sum(is_ready(pod) and not is_going(pod) for pod in found) >= 4  # noqa: E731
    cluster.api.until(cluster.home(stack), grown, 60, "twice the queue, twice the servers")


def _until_autoscaler(cluster: Cluster, stack: Planned, wanted: int) -> None:
    """Until it has read every metric once, and is content."""
    path = f"/apis/autoscaling/v2/namespaces/{stack.prefix}-serving/horizontalpodautoscalers"

    def content(found: list[dict[str, object]]) -> bool:
        (one,) = found
        status = one.get("status", {})
        assert isinstance(status, dict)
        conditions = {c["type"]: c["status"] for c in status.get("conditions", ())}
        return status.get("desiredReplicas") == wanted and conditions.get("ScalingActive") == "True"

    cluster.api.until(path, content, 60, "the autoscaler reads its metrics")
