"""One online deployment: what it serves, on which machines, and how these come and go."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Final, NamedTuple

import pulumi
from pulumi_azure_native import machinelearningservices as ml
from pulumi_azure_native import managedidentity, monitor

from components.base import Component
from components.burst.azure_ml.live_capacity import live_instances
from components.burst.azure_ml.settings import AzureMlSettings, PlannedDeployment
from components.burst.azure_ml.workspace import AzureMlArgs, user_assigned
from spillway.contracts import vllm_serving
from spillway.contracts.manifest import Manifest
from spillway.contracts.vllm_options import FOLDER, command_line

MOST_TIMEOUT_S: Final = 180.0
"""Of one request: learn.microsoft.com/azure/machine-learning/how-to-manage-quotas, read on 2026-11-29."""
PORT: Final = 8000
VLLM_WORDS: Final = "SPILLWAY_VLLM_ARGUMENTS"
"""The command line's words after the model, as JSON."""


class _Health(NamedTuple):
    """Where a container says how it is."""

    alive: str
    ready: str


HEALTH: Final = {"triton": _Health("/v2/health/live", "/v2/health/ready"), "vllm": _Health("/health", "/health")}
PROBES: Final = {"triton": 30, "vllm": 90}
"""Failed ones before a container is ended: vLLM answers when its model is loaded."""


@dataclass(frozen=True)
class ServingPlace:
    """Where deployments are made: below an endpoint of a workspace, acting as ``identity``. ``ready``: waited for.
    ``environment_id``: of the team's own image, ``None`` for Azure's Triton."""

    workspace: ml.Workspace
    endpoint: ml.OnlineEndpoint
    identity: managedidentity.UserAssignedIdentity
    ready: list[pulumi.Input[pulumi.Resource]]
    environment_id: pulumi.Output[str] | None = None


def online_deployment(
    parent: Component, args: AzureMlArgs, place: ServingPlace, planned: PlannedDeployment, model_id: pulumi.Input[str]
) -> ml.OnlineDeployment:
    """It starts with as many instances as it has, or with the settings' where it is new."""
    serving, settings = args.manifest.serving, args.settings
    concurrency = settings.max_concurrent_requests_per_instance or serving.max_concurrency
    timeout_s = min(settings.request_timeout_s or serving.request_timeout_s, MOST_TIMEOUT_S)
    probe = ml.ProbeSettingsArgs(
        initial_delay="PT10S",
        period="PT10S",
        timeout="PT2S",
        failure_threshold=PROBES[args.manifest.kind],
        success_threshold=1,
    )
    return ml.OnlineDeployment(
        f"{parent.context.prefix}-azureml-deployment-{planned.name}",
        resource_group_name=args.resource_group_name,
        location=args.location,
        workspace_name=place.workspace.name,
        endpoint_name=place.endpoint.name,
        deployment_name=planned.full_name,
        kind="Managed",
        identity=user_assigned(place.identity),
        sku=ml.SkuArgs(name="Default", tier=ml.SkuTier.STANDARD, capacity=_instances(parent, args, place, planned)),
        properties=ml.ManagedOnlineDeploymentArgs(
            endpoint_compute_type="Managed",
            model=model_id,
            environment_id=place.environment_id,
            environment_variables=_variables(args.manifest),
            instance_type=planned.vm_size,
            app_insights_enabled=True,
            request_settings=ml.OnlineRequestSettingsArgs(
                max_concurrent_requests_per_instance=concurrency, request_timeout=f"PT{timeout_s:g}S"
            ),
            liveness_probe=probe,
            readiness_probe=probe,
            scale_settings=ml.DefaultScaleSettingsArgs(scale_type="Default"),
        ),
        tags=parent.context.tags,
        # While it has traffic only its endpoint's deletion takes it along.
        opts=parent.child(deleted_with=place.endpoint, depends_on=place.ready),
    )


def _instances(
    parent: Component, args: AzureMlArgs, place: ServingPlace, planned: PlannedDeployment
) -> pulumi.Output[int]:
    options = pulumi.InvokeOptions(parent=parent)
    names = pulumi.Output.all(args.resource_group_name, place.workspace.name, place.endpoint.name)

    async def ask(found: list[str]) -> int:
        group, workspace, endpoint = found
        live = await live_instances(group, workspace, endpoint, planned.full_name, options)
        wanted = live or args.settings.initial_instances or planned.min_instances
        return min(max(wanted, planned.min_instances), planned.max_instances)

    return names.apply(ask)


def _variables(manifest: Manifest) -> dict[str, str] | None:
    """What vLLM is started with: Azure ML gives containers variables and no arguments (``vllm_image/serve.py``)."""
    if manifest.kind != "vllm":
        return None
    words = command_line({**vllm_serving.arguments(manifest), "port": PORT}, FOLDER)
    return {VLLM_WORDS: json.dumps(words), **vllm_serving.SWITCHED_OFF}


def environment(parent: Component, args: AzureMlArgs, workspace: ml.Workspace) -> pulumi.Output[str] | None:
    """An image of the team's own; without one Azure ML serves Triton models with its own Triton image."""
    image = args.settings.container_image
    if image is None:
        return None
    container = ml.EnvironmentContainer(
        f"{parent.context.prefix}-azureml-environment",
        resource_group_name=args.resource_group_name,
        workspace_name=workspace.name,
        name=args.manifest.kind,
        properties=ml.EnvironmentContainerPropertiesArgs(description=f"Serves packages of kind {args.manifest.kind}"),
        opts=parent.child(),
    )
    health = HEALTH[args.manifest.kind]
    # A version is never changed: another image is another version.
    version = hashlib.sha256(image.encode()).hexdigest()[:12]
    made = ml.EnvironmentVersion(
        f"{parent.context.prefix}-azureml-environment-version",
        resource_group_name=args.resource_group_name,
        workspace_name=workspace.name,
        name=container.name,
        version=version,
        properties=ml.EnvironmentVersionPropertiesArgs(
            image=image,
            inference_config=ml.InferenceContainerPropertiesArgs(
                liveness_route=ml.RouteArgs(path=health.alive, port=PORT),
                readiness_route=ml.RouteArgs(path=health.ready, port=PORT),
                # Every path below it reaches the container under the same one.
                scoring_route=ml.RouteArgs(path="/", port=PORT),
            ),
        ),
        opts=parent.child(),
    )
    return made.id


def autoscale(
    parent: Component,
    args: AzureMlArgs,
    planned: PlannedDeployment,
    deployment: ml.OnlineDeployment,
) -> monitor.AutoscaleSetting:
    """Azure Monitor's rules for its instances."""
    return monitor.AutoscaleSetting(
        f"{parent.context.prefix}-azureml-autoscale-{planned.name}",
        resource_group_name=args.resource_group_name,
        location=args.location,
        autoscale_setting_name=f"{parent.context.prefix}-azureml-{planned.full_name}",
        enabled=True,
        target_resource_uri=deployment.id,
        profiles=[
            monitor.AutoscaleProfileArgs(
                name="gpu",
                capacity=monitor.ScaleCapacityArgs(
                    minimum=str(planned.min_instances),
                    maximum=str(planned.max_instances),
                    default=str(planned.min_instances),
                ),
                rules=_rules(args.settings, deployment.id),
            )
        ],
        tags=parent.context.tags,
        # The cost guard switches it off while spill is closed; an update does not switch it on again.
        opts=parent.child(ignore_changes=["enabled"]),
    )


def _rules(settings: AzureMlSettings, deployment_id: pulumi.Input[str]) -> list[monitor.ScaleRuleArgs]:
    rules = settings.autoscaling
    increase, decrease = monitor.ScaleDirection.INCREASE, monitor.ScaleDirection.DECREASE
    above, below = monitor.ComparisonOperationType.GREATER_THAN, monitor.ComparisonOperationType.LESS_THAN
    return [
        monitor.ScaleRuleArgs(
            metric_trigger=monitor.MetricTriggerArgs(
                metric_name="GpuUtilizationPercentage",
                metric_resource_uri=deployment_id,
                operator=operator,
                statistic=monitor.MetricStatisticType.AVERAGE,
                threshold=percent,
                time_aggregation=monitor.TimeAggregationType.AVERAGE,
                time_grain="PT1M",
                time_window=f"PT{rules.window_minutes}M",
            ),
            scale_action=monitor.ScaleActionArgs(
                cooldown=f"PT{rules.cooldown_minutes}M",
                direction=direction,
                type=monitor.ScaleType.CHANGE_COUNT,
                value="1",
            ),
        )
        for direction, operator, percent in (
            (increase, above, rules.scale_out_above_percent),
            (decrease, below, rules.scale_in_below_percent),
        )
    ]
