"""From the site's settings and what stands around it to its resources, and to what the stack needs of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Protocol

import pulumi

from components.aws_documents import Statement, allow, partition
from components.burst.sagemaker import alarms, job_queue
from components.burst.sagemaker.component import (
    FAILURE_PREFIX,
    INPUT_PREFIX,
    OUTPUT_PREFIX,
    VARIANT,
    SageMakerBurst,
    SageMakerBurstArgs,
)
from components.burst.sagemaker.live_capacity import live_instances
from components.burst.sagemaker.rules import pinned
from components.burst.sagemaker.settings import SageMakerSettings
from components.burst.site import BuiltSite, BurstSite, Surroundings, Watch
from components.cost_guard.capacity import HeldCapacity, SiteCapacity
from components.cost_guard.settings import instance_price
from spillway.contracts import vllm_serving
from spillway.contracts.classes import RequestClass
from spillway.contracts.function_config import HeldEndpoint, SageMakerSource
from spillway.contracts.jobs import JobQueue
from spillway.contracts.manifest import Manifest

FUNCTIONS = "spillway.runtime.functions.sagemaker"


class SageMakerSite(BurstSite, Protocol):
    """What is asked here of the site's object, which itself calls :func:`build`."""

    @property
    def settings(self) -> SageMakerSettings: ...
    @property
    def account_id(self) -> str: ...


def build(site: SageMakerSite, around: Surroundings) -> BuiltSite:
    network, store = around.aws_network, around.aws_store
    stored = store.stored[site.name]
    endpoints, sleepers = (f"{around.context.prefix}-burst-{kind}-" for kind in ("real-time", "async"))
    burst = SageMakerBurst(
        around.context,
        SageMakerBurstArgs(
            settings=pinned(site.settings, around.manifest),
            region=site.region,
            account_id=site.account_id,
            vpc_id=network.vpc_id,
            vpc_cidr=network.cidr,
            subnet_ids=pulumi.Output.all(*network.private_subnet_ids),
            s3_prefix_list_id=network.s3_prefix_list_id,
            package_bucket_name=store.bucket_name,
            package_bucket_arn=store.bucket_arn,
            package_kms_key_arn=store.kms_key_arn,
            package_key=stored.key,
            package_sha256=stored.sha256,
            package_version=around.manifest.version,
            kind=around.manifest.kind,
            entry_model=around.manifest.entry_model,
            slots=around.manifest.serving.slots,
            vllm_arguments=vllm_serving.arguments(around.manifest) if around.manifest.kind == "vllm" else {},
            live_instances=live_instances(endpoints, VARIANT, site.region),
        ),
        opts=pulumi.ResourceOptions(depends_on=[*store.objects, *network.roads]),
    )
    return BuiltSite(
        site=site,
        address=burst.endpoint_name,
        outputs={
            "sagemaker": burst.endpoint_name,
            "sagemaker_async": burst.async_endpoint_name,
            "sagemaker_async_bucket": burst.async_bucket,
            "sagemaker_async_client_policy": burst.async_client_policy_arn,
            "sagemaker_jobs": burst.jobs.queue.url if burst.jobs else None,
            "sagemaker_jobs_dead_letters": burst.jobs.dead_letters.arn if burst.jobs else None,
        },
        capacity=_capacity(site, burst),
        watch=_watch(site, burst, around),
        # Of every instance type: during a change of it, old and new gateways call old and new endpoints.
        endpoint_arns=(pulumi.Output.from_input(_arn(site, "sagemaker", f"endpoint/{endpoints}*")),),
        tokens=around.manifest.kind == "vllm",
        jobs=_jobs(site, burst, around.manifest),
        gateway_rights=_job_rights(burst, _arn(site, "sagemaker", f"endpoint/{sleepers}*")),
    )


def _jobs(site: SageMakerSite, burst: SageMakerBurst, manifest: Manifest) -> pulumi.Output[JobQueue] | None:
    settings = site.settings.asynchronous
    if settings is None or burst.jobs is None:
        return None
    found = pulumi.Output.all(
        queue=burst.jobs.queue.name, bucket=burst.async_bucket, endpoint=burst.async_endpoint_name
    )
    place = (site.region, site.account_id)
    return found.apply(lambda names: job_queue.of_gateways(settings, manifest, place, names, INPUT_PREFIX))


def _job_rights(burst: SageMakerBurst, endpoints: str) -> pulumi.Output[Sequence[Statement]] | None:
    """``endpoints``: the asynchronous ones of every instance type, as for the real-time ones."""
    if burst.jobs is None:
        return None
    answers = (OUTPUT_PREFIX, FAILURE_PREFIX)
    return pulumi.Output.all(burst.async_bucket_arn, burst.jobs.queue.arn, burst.kms_key_arn).apply(
        lambda arns: job_queue.gateway_rights(arns[0], arns[1], endpoints, arns[2], INPUT_PREFIX, answers)
    )


def _capacity(site: SageMakerSite, burst: SageMakerBurst) -> SiteCapacity:
    names, arns = [burst.endpoint_name], [burst.endpoint_arn]
    held = [
        HeldCapacity(
            site.settings.min_instances,
            RequestClass.P0,
            _target(burst.endpoint_name, burst.variant, burst.resource_id),
        )
    ]
    if burst.async_endpoint_name and burst.async_endpoint_arn and burst.async_resource_id:
        names.append(burst.async_endpoint_name)
        arns.append(burst.async_endpoint_arn)
        waiting = _target(burst.async_endpoint_name, burst.variant, burst.async_resource_id)
        held.append(HeldCapacity(0, RequestClass.P2, waiting))
    return SiteCapacity(
        site=site.name,
        module=FUNCTIONS,
        machines=site.machines(),
        asked=pulumi.Output.all(*names).apply(lambda found: asdict(SageMakerSource(tuple(found)))),
        may_read=pulumi.Output.all(*arns).apply(lambda found: _may_read(site, found)),
        held=tuple(held),
        may_hold=pulumi.Output.all(*arns).apply(lambda found: _may_hold(site, found)),
    )


def _arn(site: SageMakerSite, service: str, resource: str) -> str:
    return f"arn:{partition(site.region)}:{service}:{site.region}:{site.account_id}:{resource}"


def _target(
    endpoint: pulumi.Output[str], variant: str, resource_id: pulumi.Output[str]
) -> pulumi.Output[dict[str, str]]:
    return pulumi.Output.all(endpoint, resource_id).apply(
        lambda found: asdict(HeldEndpoint(found[0], variant, found[1]))
    )


def _may_read(site: SageMakerSite, endpoints: list[str]) -> list[Statement]:
    # A configuration's name is drawn anew with each change.
    configurations = _arn(site, "sagemaker", "endpoint-config/*")
    return [
        allow("ReadCapacity", ["sagemaker:DescribeEndpoint"], endpoints),
        allow("ReadTypes", ["sagemaker:DescribeEndpointConfig"], configurations),
    ]


def _may_hold(site: SageMakerSite, endpoints: list[str]) -> list[Statement]:
    shrink = [
        "sagemaker:DescribeEndpoint",
        "sagemaker:DescribeEndpointConfig",
        "sagemaker:UpdateEndpointWeightsAndCapacities",
    ]
    return [
        allow("ReadScaling", ["application-autoscaling:DescribeScalableTargets"], "*"),
        allow(
            "SuspendScaling",
            ["application-autoscaling:RegisterScalableTarget"],
            _arn(site, "application-autoscaling", "scalable-target/*"),
        ),
        allow("Shrink", shrink, [*endpoints, _arn(site, "sagemaker", "endpoint-config/*")]),
    ]


def _watch(site: SageMakerSite, burst: SageMakerBurst, around: Surroundings) -> Watch:
    settings = around.monitoring
    _, gpus = instance_price(around.cost_guard, "sagemaker", site.settings.instance_type, site.region)
    found = [*alarms.real_time_alarms(settings, burst.endpoint_name, burst.variant, gpus)]
    graphs = [*alarms.real_time_graphs(settings, burst.endpoint_name, burst.variant, gpus)]
    if burst.async_endpoint_name is not None:
        found.append(alarms.queue_alarm(settings, burst.async_endpoint_name))
        graphs.append(alarms.queue_graph(settings, burst.async_endpoint_name))
    if site.settings.asynchronous and burst.jobs:
        found += job_queue.alarms(site.settings.asynchronous, burst.jobs.queue.name, burst.jobs.dead_letters.name)
    return Watch(alarms=found, graphs=graphs)
