from __future__ import annotations

from functools import partial

from spillway.conformance.life_cycle.operators import RULES
from tests.conformance.plan import accused as _accused
from tests.conformance.plan import made, needing

accused = partial(_accused, RULES, "kubernetes-controller-outlives-objects")

PROVIDER = made("pulumi:providers:kubernetes", "k8s", needs=[made("aws:eks/cluster:Cluster", "c1")])
RELEASE = "kubernetes:helm.sh/v3:Release"


def test_a_service_goes_before_the_controller_of_its_load_balancer() -> None:
    chart = made(RELEASE, "balancers", {"chart": "aws-load-balancer-controller"}, provider=PROVIDER)
    annotations = {"service.beta.kubernetes.io/aws-load-balancer-type": "external"}
    props = {"spec": {"type": "LoadBalancer"}, "metadata": {"annotations": annotations}}
    service = made("kubernetes:core/v1:Service", "gateway", props, provider=PROVIDER)
    assert accused(PROVIDER, chart, service) == ["gateway"]
    assert accused(PROVIDER, chart, needing(service, chart)) == []
    inside = made("kubernetes:core/v1:Service", "redis", {"spec": {"type": "ClusterIP"}}, provider=PROVIDER)
    assert accused(PROVIDER, chart, inside) == []


def test_a_monitor_waits_for_the_chart_that_brings_its_kind() -> None:
    chart = made(RELEASE, "monitoring", {"chart": "kube-prometheus-stack"}, provider=PROVIDER)
    monitor = made("kubernetes:monitoring.coreos.com/v1:PodMonitor", "gpus", provider=PROVIDER)
    assert accused(PROVIDER, chart, monitor) == ["gpus"]
    assert accused(PROVIDER, chart, needing(monitor, chart)) == []
