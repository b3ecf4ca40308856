"""Jobs: gateways → queue, bucket and asynchronous endpoint (``spillway/runtime/gateway/job_store.py``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final

from spillway.conformance.flows.documents import Call
from spillway.conformance.flows.doors import rights
from spillway.conformance.flows.families import packages
from spillway.conformance.flows.flow import Closed, Door, Family, Flow
from spillway.conformance.flows.gateways import Gateway, calls_aws, gateways, signs
from spillway.conformance.flows.world import World
from spillway.conformance.rule import Source
from spillway.contracts.property_values import document
from spillway.contracts.resources import Resource

_QUEUE: Final = "aws:sqs/queue:Queue"
_ENDPOINT: Final = "aws:sagemaker/endpoint:Endpoint"
_CONFIG: Final = "aws:sagemaker/endpointConfiguration:EndpointConfiguration"
_MESSAGES: Final = ("SendMessage", "ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility")


def flows(world: World) -> Iterator[Flow]:
    for gateway in gateways(world):
        if jobs := gateway.table.get("jobs"):
            yield _to_queue(world, gateway, jobs)
            yield _to_bucket(world, gateway, jobs)
            yield _to_endpoint(world, gateway, jobs)


def _flow(gateway: Gateway, target: str, doors: tuple[Door, ...]) -> Flow:
    return Flow(f"agent of {gateway.caller.name}", target, "tcp/443", doors)


def _with_key(world: World, gateway: Gateway, key: Any) -> list[Door]:
    """The right to use the key behind a service, and the key's own policy."""
    calls = [call for action in ("kms:Decrypt", "kms:GenerateDataKey") for call in rights.decrypts(world, key, action)]
    return [*signs(world, gateway.caller, calls), *rights.key_policy(world, key)]


def _to_queue(world: World, gateway: Gateway, jobs: Mapping[str, Any]) -> Flow:
    """Which key: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html"""
    name = str(jobs["queue_url"]).rpartition("/")[2]
    queue = next((one for one in world.graph.of(_QUEUE) if one.props.get("name") == name), None)
    arn = f"arn:aws:sqs:{jobs['region']}:{world.account}:{name}"
    calls = [Call(f"sqs:{one}", arn) for one in _MESSAGES]
    doors = calls_aws(world, gateway.caller, f"sqs.{jobs['region']}.amazonaws.com", calls)
    own = Door("queue", partial(_lasting, gateway.caller.resource, queue))
    key = queue.props.get("kmsMasterKeyId") if queue else None
    return _flow(gateway, f"queue {name}", (*doors, own, *_with_key(world, gateway, key)))


def _lasting(holder: Resource, queue: Resource | None) -> Iterator[Closed]:
    if queue is None:
        yield Closed(holder, "", "gateways keep jobs in a queue that the plan does not make", "Name one that there is.")
    elif not (document(queue.props.get("redrivePolicy")) or {}).get("deadLetterTargetArn"):
        yield Closed(
            queue,
            "redrivePolicy",
            "a job that nobody can hand on comes back until its message ends, and is lost then",
            "Name a dead-letter queue.",
        )


def _to_bucket(world: World, gateway: Gateway, jobs: Mapping[str, Any]) -> Flow:
    bucket = str(jobs["bucket"])
    calls = [
        Call(f"s3:{verb}", f"arn:aws:s3:::{bucket}/{jobs[part]}{gateway.caller.name}/any")
        for part in ("requests", "marks")
        for verb in ("PutObject", "GetObject")
    ]
    config = _configuration(world, str(jobs["endpoint"]))
    for path in ("s3OutputPath", "s3FailurePath"):
        place = config.get(f"asyncInferenceConfig.outputConfig.{path}") if config else None
        if isinstance(place, str):
            calls.append(Call("s3:GetObject", f"arn:aws:s3:::{'/'.join(packages.split(place))}/any"))
    calls.append(Call("s3:ListBucket", f"arn:aws:s3:::{bucket}"))
    doors = calls_aws(world, gateway.caller, f"s3.{jobs['region']}.amazonaws.com", calls)
    key = next(
        (
            found.get("rules.0.applyServerSideEncryptionByDefault.kmsMasterKeyId")
            for found in world.graph.of(
                "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
            )
            if found.props.get("bucket") == bucket
        ),
        None,
    )
    own = packages.bucket_doors(world, bucket, calls)
    return _flow(gateway, f"jobs in bucket {bucket}", (*doors, *own, *_with_key(world, gateway, key)))


def _to_endpoint(world: World, gateway: Gateway, jobs: Mapping[str, Any]) -> Flow:
    name, region = str(jobs["endpoint"]), jobs["region"]
    call = Call("sagemaker:InvokeEndpointAsync", f"arn:aws:sagemaker:{region}:{world.account}:endpoint/{name}")
    doors = calls_aws(world, gateway.caller, f"runtime.sagemaker.{region}.amazonaws.com", [call])
    works = Door("endpoint", partial(_works, world, gateway.caller.resource, name))
    return _flow(gateway, f"asynchronous endpoint {name}", (*doors, works))


def _configuration(world: World, endpoint: str) -> Resource | None:
    found = next((one for one in world.graph.of(_ENDPOINT) if one.props.get("name") == endpoint), None)
    return world.graph.named(found.props.get("endpointConfigName"), _CONFIG) if found else None


def _works(world: World, holder: Resource, endpoint: str) -> Iterator[Closed]:
    config = _configuration(world, endpoint)
    if config is None or not config.props.get("asyncInferenceConfig"):
        yield Closed(
            holder,
            "",
            f"gateways hand jobs to {endpoint}, which is no asynchronous endpoint of the plan",
            "Name one that there is.",
        )


FAMILY: Final = Family(
    "flow-jobs",
    "Gateways keep jobs in their queue and bucket, hand them to the asynchronous endpoint and fetch the answers",
    Source(
        "Amazon SQS: key management, permissions of producers and consumers",
        "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html",
        "2026-11-30",
    ),
    flows,
)
