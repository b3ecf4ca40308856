"""The queue in which jobs wait that came through the gateways, until the asynchronous endpoint has answered them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

import pulumi
import pulumi_aws as aws

from components.aws_documents import Statement, allow
from components.base import Component
from components.burst.sagemaker.settings import SageMakerAsync
from components.monitoring.aws import Alarm
from spillway.contracts.classes import Site
from spillway.contracts.jobs import JobQueue
from spillway.contracts.manifest import Manifest
from spillway.contracts.routing import infer_paths
from spillway.contracts.server_routes import openai_paths

LONGEST_DAYS: Final = 14
"""That SQS keeps a message."""
MOST_RECEIVES: Final = 100
"""Deliveries of one message: each five minutes while the endpoint takes nothing (``JobQueue.hidden_s``), so after some
eight hours of that somebody has to look."""
MODULE: Final = "spillway.runtime.gateway.sagemaker_jobs"
MARKS: Final = "jobs/"
"""Keys in the bucket that say what was done about a job."""
DAY_S: Final = 24 * 3600
HOUR_S: Final = 3600


@dataclass(frozen=True)
class Waiting:
    """``queue`` and the one for what nobody could hand on."""

    queue: aws.sqs.Queue
    dead_letters: aws.sqs.Queue


def job_queue(component: Component, prefix: str, kms_key_arn: pulumi.Input[str], settings: SageMakerAsync) -> Waiting:
    """Both keep a message for as long as the bucket keeps its request."""

    def queue(name: str, holds_data: bool = False, **more: Any) -> aws.sqs.Queue:
        return aws.sqs.Queue(
            f"{prefix}-{name}",
            name=f"{prefix}-{name}",
            kms_master_key_id=kms_key_arn,
            message_retention_seconds=min(settings.result_days, LONGEST_DAYS) * DAY_S,
            tags=component.context.tags,
            opts=component.child(holds_data=holds_data),
            **more,
        )

    letters = queue("jobs-dead-letters")
    redrive = {"deadLetterTargetArn": letters.arn, "maxReceiveCount": MOST_RECEIVES}
    return Waiting(queue("jobs", holds_data=True, redrive_policy=pulumi.Output.json_dumps(redrive)), letters)


def paths(manifest: Manifest) -> dict[str, str]:
    """What the endpoint's container can be asked, by client's path, and how it is told which: see ``route.paths``."""
    if manifest.kind == "triton":
        return dict.fromkeys(infer_paths(manifest.entry_model), "")
    return {path: f"route={path}" for path in openai_paths()}


def of_gateways(
    settings: SageMakerAsync, manifest: Manifest, place: tuple[str, str], found: Mapping[str, str], requests: str
) -> JobQueue:
    """What the gateways are told. ``place``: region and account. ``found``: names of ``queue``, ``bucket`` and
    ``endpoint``, resolved.

    A preview knows them, and so the whole table, which policies read. It does not know the queue's URL, whose form is
    documented: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-queue-message-identifiers.html
    """
    region, account_id = place
    at_once = settings.max_instances * (settings.invocations_per_instance + settings.backlog_per_instance)
    return JobQueue(
        site=Site.SAGEMAKER,
        module=MODULE,
        region=region,
        queue_url=f"https://sqs.{region}.amazonaws.com/{account_id}/{found['queue']}",
        bucket=found["bucket"],
        requests=f"{requests}{MARKS}",
        marks=MARKS,
        endpoint=found["endpoint"],
        paths=paths(manifest),
        # As many as bring the endpoint to its most instances, whichever gateway is alone.
        most_held=ceil(at_once),
    )


def gateway_rights(
    bucket: str, queue: str, endpoint: str, key: str, requests: str, answers: Sequence[str]
) -> list[Statement]:
    """What an agent needs to keep jobs and to see them through. All but ``requests`` and ``answers``, which are
    prefixes of keys, are ARNs."""
    own = [f"{bucket}/{requests}{MARKS}*", f"{bucket}/{MARKS}*"]
    messages = ["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:ReceiveMessage", "sqs:SendMessage"]
    return [
        allow("Jobs", ["s3:GetObject", "s3:PutObject"], own),
        allow("JobAnswers", ["s3:GetObject"], [f"{bucket}/{one}*" for one in answers]),
        # Without it what is not there yet is a 403, as if it were forbidden.
        allow("JobsNotThere", ["s3:ListBucket"], bucket),
        allow("JobQueue", messages, queue),
        allow("JobEndpoint", ["sagemaker:InvokeEndpointAsync"], endpoint),
        allow("JobKey", ["kms:Decrypt", "kms:GenerateDataKey"], key),
    ]


def alarms(settings: SageMakerAsync, queue: pulumi.Input[str], dead_letters: pulumi.Input[str]) -> Sequence[Alarm]:
    """Jobs that wait too long, and those that nobody could hand on. The queues by name."""
    hours = settings.max_job_hours
    common = {"namespace": "AWS/SQS", "statistic": "Maximum"}
    return (
        Alarm(
            "jobs-age",
            f"A job has no answer after {hours} hours: see the cut-off, the asynchronous endpoint, the agents' logs",
            {"QueueName": queue},
            {**common, "metric_name": "ApproximateAgeOfOldestMessage", "threshold": hours * HOUR_S},
        ),
        Alarm(
            "jobs-dead-letters",
            "Jobs that nobody could hand on to the asynchronous endpoint lie in their dead-letter queue",
            {"QueueName": dead_letters},
            {**common, "metric_name": "ApproximateNumberOfMessagesVisible", "threshold": 0},
        ),
    )
