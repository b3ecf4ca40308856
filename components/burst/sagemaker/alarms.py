"""How the site is watched: alarms and graphs for AWS's monitoring to make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pulumi

from components.monitoring.aws import MICROSECONDS, Alarm, Graph
from components.monitoring.settings import MonitoringSettings

SAGEMAKER: Final = "AWS/SageMaker"
INSTANCES: Final = "/aws/sagemaker/Endpoints"


def real_time_alarms(
    settings: MonitoringSettings, endpoint: pulumi.Input[str], variant: str, gpus_per_instance: int
) -> Sequence[Alarm]:
    """Latency, and GPUs: SageMaker's GPUUtilization goes to 100 for each of them."""
    limit, share = settings.max_latency_p99_s, settings.max_gpu_utilisation
    where = {"EndpointName": endpoint, "VariantName": variant}
    return (
        Alarm(
            "latency-p99",
            f"P99 latency of the SageMaker endpoint above {limit} s",
            where,
            {
                "namespace": SAGEMAKER,
                "metric_name": "ModelLatency",
                "extended_statistic": "p99",
                "threshold": limit * MICROSECONDS,
            },
        ),
        Alarm(
            "gpu-saturation",
            f"GPUs of the SageMaker endpoint are busy more than {share:.0%} of the time",
            where,
            {
                "namespace": INSTANCES,
                "metric_name": "GPUUtilization",
                "statistic": "Average",
                "threshold": share * 100 * gpus_per_instance,
            },
        ),
    )


def queue_alarm(settings: MonitoringSettings, endpoint: pulumi.Input[str]) -> Alarm:
    """Work that waits at the asynchronous endpoint."""
    depth = settings.max_queue_depth
    return Alarm(
        "async-queue-depth",
        f"More than {depth} requests wait at the asynchronous endpoint",
        {"EndpointName": endpoint},
        {
            "namespace": SAGEMAKER,
            "metric_name": "ApproximateBacklogSize",
            "statistic": "Maximum",
            "threshold": depth,
        },
    )


def real_time_graphs(
    settings: MonitoringSettings, endpoint: pulumi.Input[str], variant: str, gpus_per_instance: int
) -> Sequence[Graph]:
    where: list[Any] = ["EndpointName", endpoint, "VariantName", variant]
    gpu_limit = settings.max_gpu_utilisation * 100 * gpus_per_instance
    return (
        Graph(
            "SageMaker: latency P99, µs",
            [[SAGEMAKER, metric, *where] for metric in ("ModelLatency", "OverheadLatency")],
            "p99",
            settings.max_latency_p99_s * MICROSECONDS,
        ),
        Graph(
            "SageMaker: invocations and errors",
            [[SAGEMAKER, name, *where] for name in ("Invocations", "Invocation4XXErrors", "Invocation5XXErrors")],
            "Sum",
        ),
        Graph("SageMaker: GPU utilisation, %", [[INSTANCES, "GPUUtilization", *where]], "Average", gpu_limit),
    )


def queue_graph(settings: MonitoringSettings, endpoint: pulumi.Input[str]) -> Graph:
    waiting = [[SAGEMAKER, "ApproximateBacklogSize", "EndpointName", endpoint]]
    return Graph("Batch: waiting requests", waiting, "Maximum", settings.max_queue_depth)
