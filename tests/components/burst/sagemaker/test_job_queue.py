"""The queue of the gateways' jobs, and what gateways are told and allowed for it."""

from __future__ import annotations

import json
from pathlib import Path

from components.burst.sagemaker.job_queue import alarms, gateway_rights, of_gateways
from components.burst.sagemaker.settings import SageMakerAsync
from spillway.contracts.manifest import read_manifest
from spillway.contracts.server_routes import CHAT_PATH
from tests.components.burst.sagemaker.test_component import build
from tests.support.packages import small_package
from tests.support.recording import of_type

FOUND = {"queue": "jobs", "bucket": "b", "endpoint": "sleeper"}


def test_a_job_is_kept_as_long_as_its_request_and_never_dropped() -> None:
    queues = {
        r.inputs["name"]: r.inputs for r in of_type(build({"asynchronous": {"result_days": 3}}), "aws:sqs/queue:Queue")
    }
    jobs, letters = queues["spillway-test-burst-jobs"], queues["spillway-test-burst-jobs-dead-letters"]
    assert {one["messageRetentionSeconds"] for one in (jobs, letters)} == {3 * 86400}
    assert all(one["kmsMasterKeyId"] for one in (jobs, letters))
    assert json.loads(jobs["redrivePolicy"])["maxReceiveCount"] == 100
    assert not of_type(build({"asynchronous": None}), "aws:sqs/queue:Queue")


def test_gateways_give_away_as_many_jobs_as_bring_the_endpoint_to_its_most(tmp_path: Path) -> None:
    manifest = read_manifest(small_package(tmp_path))
    settings = SageMakerAsync(max_instances=4, invocations_per_instance=4, backlog_per_instance=5)
    told = of_gateways(settings, manifest, ("eu-west-1", "123456789012"), FOUND, "requests/")
    assert told.most_held == 36
    assert told.queue_url == "https://sqs.eu-west-1.amazonaws.com/123456789012/jobs"
    assert (told.requests, told.marks) == ("requests/jobs/", "jobs/")
    assert told.paths[f"/v2/models/{manifest.entry_model}/infer"] == ""


def test_a_language_models_container_is_told_the_route(tmp_path: Path) -> None:
    """AWS's container for vLLM goes by ``route=`` in the attributes (components/burst/sagemaker/route.py)."""
    manifest = read_manifest(small_package(tmp_path)).model_copy(update={"kind": "vllm"})
    told = of_gateways(SageMakerAsync(), manifest, ("eu-west-1", "123456789012"), FOUND, "requests/")
    assert told.paths[CHAT_PATH] == f"route={CHAT_PATH}"


def test_a_gateways_agent_may_touch_jobs_and_nothing_else_of_the_bucket() -> None:
    found = gateway_rights(
        "arn:bucket", "arn:queue", "arn:endpoint*", "arn:key", "requests/", ("results/", "failures/")
    )
    statements = {one["Sid"]: one for one in found}
    assert statements["Jobs"]["Resource"] == ["arn:bucket/requests/jobs/*", "arn:bucket/jobs/*"]
    assert statements["JobAnswers"]["Action"] == ["s3:GetObject"]
    assert "*" not in {one["Resource"] for one in found if isinstance(one["Resource"], str)}


def test_who_waits_too_long_and_who_is_given_up_is_told_of() -> None:
    age, letters = alarms(SageMakerAsync(max_job_hours=2), "jobs", "letters")
    assert (age.condition["metric_name"], age.condition["threshold"]) == ("ApproximateAgeOfOldestMessage", 7200)
    assert (letters.condition["threshold"], letters.dimensions) == (0, {"QueueName": "letters"})
