"""Jobs against the twin's S3, SQS and asynchronous endpoint: none is lost, and none is worked on twice in silence."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest
import urllib3
from botocore.exceptions import ClientError

from spillway.contracts.classes import Site
from spillway.contracts.jobs import JobQueue
from spillway.contracts.routing import AgentCheck, RoutingTable
from spillway.runtime.gateway import aws as agents_aws
from spillway.runtime.gateway.job_store import Job, JobStore, Mark, OtherRequestError, Request
from spillway.runtime.gateway.job_worker import JobWorker
from spillway.runtime.gateway.sagemaker_jobs import GIVEN_UP_S
from spillway.twin.aws.services.sagemaker_runtime import FILE, Front
from tests.support.gateway_rig import ACCESS_KEY, ALPHA, BETA, ENDPOINT, SAGEMAKER_HOST, SECRET_KEY, Answer, Rig
from tests.support.waiting import eventually
from tests.twin.aws.support import Server, start
from tests.twin.data_plane import test_burst_front
from tests.twin.data_plane.test_burst_front import KEYS, Running

pytestmark = pytest.mark.heavy
REGION = "eu-west-1"
REQUEST = Request("/v2/models/m/infer", "application/json", b'{"inputs":[]}')

running = test_burst_front.running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("aws")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    found = start(folder)
    sagemaker, role = found.client("sagemaker"), "arn:aws:iam::123456789012:role/model"
    sagemaker.create_model(ModelName="m", PrimaryContainer={"Image": "i"}, ExecutionRoleArn=role)
    variant = {"VariantName": "v", "ModelName": "m", "InstanceType": "ml.g5.xlarge", "InitialInstanceCount": 1}
    output = {"S3OutputPath": "s3://batches/results", "S3FailurePath": "s3://batches/failures"}
    for name, more in (("ep", {}), ("later", {"AsyncInferenceConfig": {"OutputConfig": output}})):
        sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant], **more)
        sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    location = {"LocationConstraint": REGION}
    found.client("s3").create_bucket(Bucket="batches", CreateBucketConfiguration=location)
    yield found
    found.stop()


@pytest.fixture
def queue(server: Server, folder: Path, running: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobQueue]:
    """A queue of the test's own, before an endpoint with a model server behind it."""
    put_front(folder, endpoint="ep", host="127.0.0.1", port=running.sagemaker)
    for name, value in of_agents(server).items():
        monkeypatch.setenv(name, value)
    agents_aws.client.cache_clear()
    with job_queue(server) as found:
        yield found
    agents_aws.client.cache_clear()


def put_front(folder: Path, **place: Any) -> None:
    """A server for the asynchronous endpoint."""
    ((access_key, secret_key),) = KEYS.items()
    keys = {"region": REGION, "access_key": access_key, "secret_key": secret_key}
    (folder / FILE).write_text(Front.model_validate({**keys, **place}).model_dump_json())


def of_agents(server: Server) -> dict[str, str]:
    """The environment by which an agent's calls go to the emulated AWS."""
    ((access_key, secret_key),) = KEYS.items()
    keys = {"AWS_ACCESS_KEY_ID": access_key, "AWS_SECRET_ACCESS_KEY": secret_key}
    return {"AWS_ENDPOINT_URL": server.endpoint, "AWS_DEFAULT_REGION": REGION, **keys}


@contextlib.contextmanager
def job_queue(server: Server) -> Iterator[JobQueue]:
    sqs = server.client("sqs")
    url = sqs.create_queue(QueueName="jobs")["QueueUrl"]
    yield JobQueue(
        site="sagemaker",
        module="spillway.runtime.gateway.sagemaker_jobs",
        region=REGION,
        queue_url=url,
        bucket="batches",
        requests="requests/jobs/",
        marks="jobs/",
        endpoint="later",
        paths={REQUEST.path: ""},
        most_held=3,
        hidden_s=0,
        period_s=0.01,
    )
    sqs.delete_queue(QueueUrl=url)


def worker(queue: JobQueue, is_open: bool = True) -> JobWorker:
    return JobWorker(JobStore(queue), lambda: is_open)


def waiting(queue: JobQueue) -> int:
    """Messages that are not deleted, seen or not."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = agents_aws.client("sqs", REGION).get_queue_attributes(QueueUrl=queue.queue_url, AttributeNames=names)
    return sum(int(value) for value in found["Attributes"].values())


def answered(store: JobStore, job: Job) -> bytes | None:
    mark = store.mark(job)
    if mark is None or not mark.answer or not store.is_answered(mark):
        return None
    return store.answer(mark.answer)[1].read()


def ends(one: JobWorker, job: Job) -> bool:
    one.work()
    return answered(one.store, job) is not None and not waiting(one.store.queue)


def test_a_job_is_answered_and_leaves_the_queue(queue: JobQueue, running: Running) -> None:
    one, job = worker(queue), Job.of("alpha", None)
    assert one.store.submit(job, REQUEST)
    assert (one.store.is_known(job), one.store.mark(job), waiting(queue)) == (True, None, 1)
    eventually(lambda: ends(one, job), 10, "an answer")
    assert answered(one.store, job) == b'{"outputs":[]}'
    (seen,) = running.model.seen
    assert seen.body == REQUEST.body
    mark = one.store.mark(job)
    assert mark
    assert mark.attempts == 1
    assert (one.handed, one.repeated, one.ended, one.held) == (1, 0, 1, {})


def test_a_key_is_one_job_however_often_it_is_sent(queue: JobQueue, running: Running) -> None:
    one, job = worker(queue), Job.of("alpha", "night-1")
    assert [one.store.submit(job, REQUEST) for _ in range(3)] == [True, False, False]
    with pytest.raises(OtherRequestError):
        one.store.submit(job, replace(REQUEST, body=b'{"inputs":[1]}'))
    assert Job.of("beta", "night-1") != job
    eventually(lambda: ends(one, job), 10, "an answer")
    assert len(running.model.seen) == 1
    assert not one.store.submit(job, REQUEST)
    assert waiting(queue) == 0, "what was handed on is not sent again"


def test_what_the_container_refuses_is_a_failure_in_its_words(queue: JobQueue, running: Running) -> None:
    running.model.status, running.model.body = 400, b"no such input"
    one, job = worker(queue), Job.of("alpha", None)
    one.store.submit(job, REQUEST)

    def failed() -> bool:
        one.work()
        mark = one.store.mark(job)
        return mark is not None and one.store.is_failed(mark) and not waiting(queue)

    eventually(failed, 10, "a failure")
    mark = one.store.mark(job)
    assert mark
    assert mark.failure
    assert "no such input" in one.store.failure(mark.failure)


def test_while_the_class_is_closed_jobs_wait(queue: JobQueue, running: Running) -> None:
    shut, job = worker(queue, is_open=False), Job.of("alpha", None)
    shut.store.submit(job, REQUEST)
    shut.work()
    assert (shut.store.mark(job), waiting(queue), running.model.seen) == (None, 1, [])


def test_no_more_is_given_away_than_the_endpoint_takes(queue: JobQueue, running: Running, folder: Path) -> None:
    (folder / FILE).unlink()
    one = worker(queue.model_copy(update={"hidden_s": 60}))
    jobs = [Job.of("alpha", None) for _ in range(5)]
    for job in jobs:
        one.store.submit(job, REQUEST)
    for _ in range(3):
        one.work()
    assert (len(one.held), one.handed, waiting(queue)) == (queue.most_held, queue.most_held, 5)


def test_a_job_that_got_no_answer_in_hours_is_handed_on_again_and_says_so(queue: JobQueue, running: Running) -> None:
    one, job = worker(queue), Job.of("alpha", None)
    one.store.submit(job, REQUEST)
    lost = one.store.begin(job, None)
    assert lost
    old = Mark(1, lost.begun - GIVEN_UP_S - 1, "s3://batches/results/lost.out", "s3://batches/failures/lost.out")
    one.store._put(queue.marks + job.name, json.dumps(vars(old)).encode())
    eventually(lambda: ends(one, job), 10, "an answer")
    mark = one.store.mark(job)
    assert mark
    assert mark.attempts == 2
    assert one.repeated == 1


class Killed(BaseException):
    """The process is gone."""


class Killer:
    """Ends a process at its ``at``-th call of AWS: before it, or after it with nobody to hear the answer."""

    def __init__(self, at: int, after: bool) -> None:
        self.left, self.after = at, after

    def before(self, **_: Any) -> None:
        if not self.after:
            self.count()

    def behind(self, **_: Any) -> None:
        if self.after:
            self.count()

    def count(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed


def killed(killer: Killer, work: Any) -> bool:
    """Whether it was, by the time that the work was done."""
    clients = [agents_aws.client(name, REGION) for name in ("s3", "sqs", "sagemaker-runtime")]
    for one in clients:
        one.meta.events.register("before-call", killer.before, "killer-before")
        one.meta.events.register("after-call", killer.behind, "killer-after")
    try:
        work()
    except Killed:
        return True
    finally:
        for one in clients:
            one.meta.events.unregister("before-call", killer.before, "killer-before")
            one.meta.events.unregister("after-call", killer.behind, "killer-after")
    return False


@pytest.mark.parametrize("after", [False, True], ids=["before-it", "after-it"])
@pytest.mark.parametrize("call", range(1, 9))
def test_a_worker_may_end_at_any_call(queue: JobQueue, running: Running, call: int, after: bool) -> None:
    """Whoever comes next sees the job through, and a second time at the endpoint is in the mark."""
    job, first = Job.of("alpha", None), worker(queue)
    first.store.submit(job, REQUEST)
    gone = killed(Killer(call, after), lambda: [first.work() for _ in range(3)])
    second = worker(queue)
    eventually(lambda: ends(second, job), 10, "an answer")
    mark = second.store.mark(job)
    assert mark
    assert len(running.model.seen) <= mark.attempts <= 2
    assert gone or call > 6


@pytest.mark.parametrize("after", [False, True], ids=["before-it", "after-it"])
@pytest.mark.parametrize("call", [1, 2])
def test_a_gateway_may_end_while_it_takes_a_job(queue: JobQueue, running: Running, call: int, after: bool) -> None:
    """Its client got no 202, and sends the request again with its key."""
    job, desk = Job.of("alpha", f"{call}-{after}"), JobStore(queue)
    assert killed(Killer(call, after), lambda: desk.submit(job, REQUEST))
    desk.submit(job, REQUEST)
    one = worker(queue)
    eventually(lambda: ends(one, job), 10, "an answer")
    mark = one.store.mark(job)
    assert mark
    assert (mark.attempts, len(running.model.seen)) == (1, 1)


def test_the_emulated_endpoint_refuses_as_the_service_does(server: Server, queue: JobQueue) -> None:
    """An endpoint is of one kind; what it is asked has to be in S3, and can wait for 60 s to six hours."""
    runtime: Any = boto3.client("sagemaker-runtime", region_name=REGION)

    def refused(operation: str, **more: Any) -> bool:
        with pytest.raises(ClientError) as caught:
            getattr(runtime, operation)(**more)
        return caught.value.response["Error"]["Code"] in ("ValidationError", "ValidationException")

    place = {"InputLocation": "s3://batches/requests/x"}
    assert refused("invoke_endpoint", EndpointName="later", Body=b"{}")
    assert refused("invoke_endpoint_async", EndpointName="ep", **place)
    assert refused("invoke_endpoint_async", EndpointName="nosuch", **place)
    assert refused("invoke_endpoint_async", EndpointName="later")


def with_jobs(queue: JobQueue, table: RoutingTable) -> RoutingTable:
    check = AgentCheck(interval_s=0.3)
    sites = tuple(s.model_copy(update={"health": check}) if s.site != Site.PRIVATE else s for s in table.sites)
    return table.model_copy(update={"sites": sites, "jobs": queue})


def test_a_client_leaves_a_job_and_fetches_its_answer(server: Server, folder: Path, tmp_path: Path) -> None:
    """Through a real Envoy and an agent that is killed while the job is at the endpoint."""
    (folder / FILE).unlink(missing_ok=True)
    with job_queue(server) as queue, Rig(tmp_path, partial(with_jobs, queue.model_copy(update={"hidden_s": 1}))) as rig:
        routing = tmp_path / "routing.json"
        routing.write_text(rig.table.model_dump_json())
        command = [sys.executable, "-m", "spillway.runtime.gateway.agent", "--routing", str(routing)]
        agents_metrics = f"http://127.0.0.1:{rig.table.listen.agent_port}/metrics"

        def agent() -> subprocess.Popen[bytes]:
            return subprocess.Popen(command, env={**os.environ, **of_agents(server)})

        def held() -> bool:
            with contextlib.suppress(urllib3.exceptions.HTTPError):
                return b"spillway_jobs_held 1\n" in rig.http.request("GET", agents_metrics).data
            return False

        def submit(key: str = ALPHA, class_: str = "P2", body: bytes = REQUEST.body, job: str | None = None) -> Answer:
            sent = {"x-spillway-key": key, "prefer": "respond-async, wait=10"}
            sent |= {"idempotency-key": job} if job else {}
            return rig.post(body, class_=class_, headers=sent)

        def fetch(place: str, key: str = ALPHA) -> Answer:
            return rig.post(b"", headers={"x-spillway-key": key}, path=place, method="GET")

        first = agent()
        try:
            eventually(lambda: fetch("/jobs/nosuch").status == 404, 15, "the agent answers")
            assert submit(BETA).status == 200, "what must not leave is answered at once"
            assert submit(class_="P1").status == 200, "only P2 waits"
            kept = submit(job="a")
            assert (kept.status, kept.headers["preference-applied"]) == (202, "respond-async")
            place = kept.headers["location"]
            assert place == f"/jobs/{json.loads(kept.body)['id']}"
            again = submit(job="a")
            assert (again.status, again.headers["location"], json.loads(again.body)["new"]) == (202, place, False)
            assert submit(body=b'{"inputs":[{}]}', job="a").status == 422
            eventually(held, 10, "the job is at the endpoint")
            waits = fetch(place)
            assert (waits.status, json.loads(waits.body)["state"]) == (202, "working")
            assert fetch(place, BETA).status == 404
            first.kill()
            first.wait(10)
            assert fetch(place).status == 503
            first = agent()
            put_front(
                folder,
                endpoint=ENDPOINT,
                host=SAGEMAKER_HOST,
                port=rig.fronts[Site.SAGEMAKER],
                access_key=ACCESS_KEY,
                secret_key=SECRET_KEY,
            )
            eventually(lambda: fetch(place).status == 200, 15, "an answer")
            answer = fetch(place)
            assert (answer.body, answer.headers["x-spillway-attempts"]) == (b'{"outputs":[]}', "1")
        finally:
            first.kill()
            first.wait(10)
