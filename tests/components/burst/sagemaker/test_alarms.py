"""How the SageMaker site is watched: thresholds in the units of each metric."""

from __future__ import annotations

from components.burst.sagemaker.alarms import queue_alarm, queue_graph, real_time_alarms, real_time_graphs
from components.monitoring.settings import MonitoringSettings

SETTINGS = MonitoringSettings()


def test_thresholds_in_the_units_of_each_metric() -> None:
    latency, gpu = real_time_alarms(SETTINGS, "burst", "primary", gpus_per_instance=4)
    assert (latency.name, latency.condition["threshold"]) == ("latency-p99", 5_000_000)
    assert latency.condition["extended_statistic"] == "p99"
    assert (gpu.name, gpu.condition["threshold"]) == ("gpu-saturation", 360)
    assert gpu.condition["namespace"] == "/aws/sagemaker/Endpoints"
    assert latency.dimensions == gpu.dimensions == {"EndpointName": "burst", "VariantName": "primary"}
    waiting = queue_alarm(SETTINGS, "burst-async")
    assert (waiting.condition["threshold"], waiting.dimensions) == (1000, {"EndpointName": "burst-async"})


def test_graphs_mark_the_thresholds_of_the_alarms() -> None:
    latency, answers, gpu = real_time_graphs(SETTINGS, "burst", "primary", gpus_per_instance=4)
    assert (latency.limit, gpu.limit) == (5_000_000, 360)
    assert [
        "AWS/SageMaker",
        "Invocation5XXErrors",
        "EndpointName",
        "burst",
        "VariantName",
        "primary",
    ] in answers.metrics
    assert queue_graph(SETTINGS, "burst-async").limit == 1000
