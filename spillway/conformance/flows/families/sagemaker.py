"""Amazon SageMaker: gateways → endpoint, endpoint → package, image, logs, queue; functions → capacity.

What the execution role needs: https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-roles.html. The chat path's
bearer tokens: https://docs.aws.amazon.com/sagemaker/latest/dg/realtime-endpoints-openai-compatible.html (read
2026-11-29).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final

from spillway.conformance.flows.documents import Call
from spillway.conformance.flows.doors import rights
from spillway.conformance.flows.doors.log_groups import log_group, to_logs
from spillway.conformance.flows.doors.vpc_endpoints import Place, api, caller_context
from spillway.conformance.flows.families import apis, packages
from spillway.conformance.flows.flow import Closed, Door, Family, Flow
from spillway.conformance.flows.gateways import Gateway, calls_aws, gateways
from spillway.conformance.flows.world import World
from spillway.conformance.rule import Source
from spillway.contracts.property_values import document
from spillway.contracts.resources import Resource

_ENDPOINT: Final = "aws:sagemaker/endpoint:Endpoint"
_CONFIG: Final = "aws:sagemaker/endpointConfiguration:EndpointConfiguration"
_MODEL: Final = "aws:sagemaker/model:Model"
_INVOKE: Final = "sagemaker:InvokeEndpoint"
_IMAGE: Final = re.compile(r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[^.]+)\.[^/]+/(?P<name>[^:@]+)")


def flows(world: World) -> Iterator[Flow]:
    for gateway in gateways(world):
        for site in gateway.sites:
            if (site.get("auth") or {}).get("service") == "sagemaker":
                yield from _from_gateway(world, gateway, site)
    for model in world.graph.of(_MODEL):
        yield from _from_model(world, model)
    for config in world.graph.of(_CONFIG):
        yield from _queue(world, config)
    for function in world.graph.of(apis.FUNCTION):
        calls = _counted(world, function)
        if calls:
            doors = rights.identity(world, function.props.get("role"), rights.service(world, "lambda"), calls, function)
            yield Flow(str(function.props.get("name")), "SageMaker's capacity", "tcp/443", tuple(doors))


def _arn(world: World, name: str) -> str:
    return f"arn:aws:sagemaker:{world.region}:{world.account}:endpoint/{name}"


def _from_gateway(world: World, gateway: Gateway, site: Mapping[str, Any]) -> Iterator[Flow]:
    caller, host = gateway.caller, str(site.get("host"))
    paths = [str(one.get("upstream")) for one in site.get("paths") or ()]
    names = dict.fromkeys(path.split("/")[2] for path in paths if path.startswith("/endpoints/"))
    for name in names:
        calls = [Call(action, _arn(world, name)) for action in (_INVOKE, f"{_INVOKE}WithResponseStream")]
        if (site.get("auth") or {}).get("kind") == "aws_token":
            calls.append(Call("sagemaker:CallWithBearerToken", "*"))
        doors = [*calls_aws(world, caller, host, calls), *_serves(world, caller.resource, name)]
        yield Flow(caller.name, f"SageMaker endpoint {name}", "tcp/443", tuple(doors))
    chat = any("/openai/" in path for path in paths)
    if chat and (site.get("auth") or {}).get("kind") == "sigv4" and _speaks_chat(world):
        doors = (Door("signature", partial(_needs_token, caller.resource)),)
        yield Flow(f"chat of {caller.name}", "SageMaker's chat path", "tcp/443", doors)
    if watched := (site.get("health") or {}).get("endpoint"):
        calls = [Call("sagemaker:DescribeEndpoint", _arn(world, watched))]
        api_host = f"api.sagemaker.{world.region}.amazonaws.com"
        yield Flow(f"agent of {caller.name}", "SageMaker's state", "tcp/443", calls_aws(world, caller, api_host, calls))


def _speaks_chat(world: World) -> bool:
    """A package for Triton has no chat path; whoever asks for it is answered 404 by the container."""
    templates = [pod.resource.get(f"{pod.template}.metadata.annotations") or {} for pod in world.pods]
    return any(one.get("spillway.dev/kind") == "vllm" for one in templates)


def _needs_token(holder: Resource) -> Iterator[Closed]:
    yield Closed(
        holder,
        "",
        "requests to SageMaker's chat path carry an AWS signature, but the path takes bearer tokens alone",
        "Send chats to /invocations, or mint tokens with sagemaker:CallWithBearerToken.",
    )


def _serves(world: World, holder: Resource, name: str) -> list[Door]:
    return [Door("endpoint", partial(_serving, world, holder, name))]


def _serving(world: World, holder: Resource, name: str) -> Iterator[Closed]:
    endpoint = next((one for one in world.graph.of(_ENDPOINT) if one.props.get("name") == name), None)
    if endpoint is None:
        yield Closed(holder, "", f"no SageMaker endpoint of the plan has the name {name}", "Name one that there is.")
        return
    config = world.graph.named(endpoint.props.get("endpointConfigName"), _CONFIG)
    models = {one.props.get("name") or one.id for one in world.graph.of(_MODEL)}
    for number, variant in enumerate((config.props.get("productionVariants") or ()) if config else ()):
        if models and variant.get("modelName") not in models:
            yield Closed(config, f"productionVariants.{number}.modelName", "no model has that name", "Name the model.")


def _package(container: Mapping[str, Any]) -> tuple[str, str]:
    """Bucket and key of what a container serves; a prefix stands for whatever lies below it."""
    sources = (container.get("modelDataSource") or {}).get("s3DataSources") or ()
    if not sources:
        return packages.split(str(container.get("modelDataUrl")))
    bucket, key = packages.split(str(sources[0].get("s3Uri")))
    return bucket, f"{key}/any" if sources[0].get("s3DataType") == "S3Prefix" else key


def _from_model(world: World, model: Resource) -> Iterator[Flow]:
    network = model.props.get("vpcConfig") or {}
    place = Place(tuple(network.get("subnets") or ()), tuple(network.get("securityGroupIds") or ()))
    role, container = model.props.get("executionRoleArn"), model.props.get("primaryContainer") or {}
    trusted = rights.service(world, "sagemaker")
    bucket, key = _package(container)
    calls = packages.reads(world, bucket, key)
    own = [
        Call(one.action, one.resource, {**caller_context(world.account), **one.context})
        for one in calls
        if one.action.startswith("s3:")
    ]
    doors = [
        *(api(world, place, "s3", own) if place.subnets else []),
        *rights.identity(world, role, trusted, calls, model),
    ]
    yield Flow("SageMaker", "package", "tcp/443", (*doors, *packages.bucket_doors(world, bucket, own)))
    if match := _IMAGE.match(str(container.get("image"))):
        on = f"arn:aws:ecr:{match['region']}:{match['account']}:repository/{match['name']}"
        pulls = [Call("ecr:GetAuthorizationToken")]
        pulls += [Call(f"ecr:{one}", on) for one in ("BatchGetImage", "GetDownloadUrlForLayer")]
        yield Flow("SageMaker", "image", "tcp/443", tuple(rights.identity(world, role, trusted, pulls, model)))
    if place.subnets:
        on = f"arn:aws:ec2:{world.region}:{world.account}:network-interface/any"
        joins = [Call("ec2:CreateNetworkInterface", on), Call("ec2:DescribeSubnets"), Call("ec2:DescribeVpcs")]
        yield Flow(
            "SageMaker", "its network interfaces", "tcp/443", tuple(rights.identity(world, role, trusted, joins, model))
        )
    yield from _telemetry(world, model, role, trusted)


def _telemetry(world: World, model: Resource, role: Any, trusted: list[rights.Trusted]) -> Iterator[Flow]:
    for endpoint in world.graph.of(_ENDPOINT):
        group = f"/aws/sagemaker/Endpoints/{endpoint.props.get('name')}"
        calls = to_logs(world, group)
        doors = [*rights.identity(world, role, trusted, calls, model), *log_group(world, endpoint, group)]
        yield Flow("SageMaker", f"log group {group}", "tcp/443", tuple(doors))
    metrics = [Call("cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": "/aws/sagemaker/Endpoints"})]
    yield Flow("SageMaker", "metrics", "tcp/443", tuple(rights.identity(world, role, trusted, metrics, model)))


def _queue(world: World, config: Resource) -> Iterator[Flow]:
    """Of an asynchronous endpoint: requests and results in a bucket, notices to topics."""
    output = config.get("asyncInferenceConfig.outputConfig")
    variant = config.get("productionVariants.0.modelName")
    model = next((one for one in world.graph.of(_MODEL) if one.props.get("name") == variant), None)
    if not isinstance(output, Mapping) or model is None:
        return
    calls: list[Call] = []
    buckets: set[str] = set()
    for path in ("s3OutputPath", "s3FailurePath"):
        if output.get(path):
            bucket, key = packages.split(str(output[path]))
            buckets.add(bucket)
            calls.append(Call("s3:PutObject", f"arn:aws:s3:::{bucket}/{key}/any"))
    calls += [Call("s3:GetObject", f"arn:aws:s3:::{bucket}/requests/any") for bucket in sorted(buckets)]
    for action in ("kms:Decrypt", "kms:GenerateDataKey"):
        calls += rights.decrypts(world, output.get("kmsKeyId"), action)
    topics = (output.get("notificationConfig") or {}).values()
    calls += [Call("sns:Publish", str(topic)) for topic in topics if str(topic).startswith("arn:")]
    trusted = rights.service(world, "sagemaker")
    doors = rights.identity(world, model.props.get("executionRoleArn"), trusted, calls, model)
    doors += [door for bucket in sorted(buckets) for door in packages.bucket_doors(world, bucket, calls)]
    yield Flow(
        "SageMaker",
        "waiting requests and results",
        "tcp/443",
        (*doors, *rights.key_policy(world, output.get("kmsKeyId"))),
    )


def _counted(world: World, function: Resource) -> list[Call]:
    """What ``spillway/runtime/functions/sagemaker.py`` calls for each function."""
    told = [document(value) for value in (function.get("environment.variables") or {}).values()]
    settings = next((one for one in told if isinstance(one, dict)), {})
    config = f"arn:aws:sagemaker:{world.region}:{world.account}:endpoint-config/any"
    calls: list[Call] = []
    for site in (settings.get("sites") or {}).values():
        for name in (site.get("asked") or {}).get("endpoints") or ():
            calls += [
                Call("sagemaker:DescribeEndpoint", _arn(world, name)),
                Call("sagemaker:DescribeEndpointConfig", config),
            ]
    scaled = f"arn:aws:application-autoscaling:{world.region}:{world.account}:scalable-target/any"
    for target in settings.get("targets") or ():
        if name := (target.get("asked") or {}).get("endpoint"):
            calls += [
                Call("sagemaker:DescribeEndpoint", _arn(world, name)),
                Call("sagemaker:UpdateEndpointWeightsAndCapacities", _arn(world, name)),
                Call("application-autoscaling:DescribeScalableTargets"),
                Call("application-autoscaling:RegisterScalableTarget", scaled),
            ]
    return calls


FAMILY: Final = Family(
    "flow-sagemaker",
    "Gateways reach SageMaker's endpoints with the right to call them, and these reach package, image, logs and queue",
    Source(
        "Amazon SageMaker: invoke endpoints with OpenAI-compatible APIs, permissions",
        "https://docs.aws.amazon.com/sagemaker/latest/dg/realtime-endpoints-openai-compatible.html",
        "2026-11-29",
    ),
    flows,
)
