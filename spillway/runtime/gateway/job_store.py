"""Jobs as they stand in S3 and SQS: what was asked, what was done about it, what came of it.

Nothing of a job is kept anywhere else, so that an agent may end at any moment. A request is in the bucket before a
message tells of it, the message stays until the answer is there, and whoever hands a job on writes that down first: a
job that may have been worked on twice says so.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from spillway.contracts.jobs import JobQueue
from spillway.runtime.gateway.aws import client
from spillway.runtime.gateway.job_site import job_site

FINGERPRINT: Final = "sha256"
"""Of the request, among its object's metadata."""
_LONGEST_FAILURE: Final = 4096
"""Bytes of what is told of a failure."""


class OtherRequestError(Exception):
    """The job's key was used for another request."""


@dataclass(frozen=True)
class Job:
    """``client``: who asked; nobody else is told of it."""

    client: str
    id: str

    @classmethod
    def of(cls, client: str, key: str | None) -> Job:
        """``key``: the client's own for it, by which it is the same job however often it is sent."""
        known = hashlib.sha256(f"{client}\n{key}".encode()).hexdigest()[:32]
        return cls(client, known if key else uuid.uuid4().hex)

    @property
    def name(self) -> str:
        return f"{self.client}/{self.id}"


@dataclass(frozen=True)
class Request:
    """``path``: the client's; ``kind``: the body's media type."""

    path: str
    kind: str
    body: bytes

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(b"\n".join([self.path.encode(), self.kind.encode(), self.body])).hexdigest()


@dataclass(frozen=True)
class Mark:
    """What was done about a job. ``attempts``: how often it was begun to be handed on, the last time at ``begun``;
    ``answer`` and ``failure``: where one of them will be, ``None`` while it is not known whether it was handed on."""

    attempts: int
    begun: float
    answer: str | None = None
    failure: str | None = None


@dataclass(frozen=True)
class Message:
    """``job``: whose; the rest is what SQS calls this delivery of it."""

    job: Job
    path: str
    kind: str
    id: str
    receipt: str


class JobStore:
    """Every call blocks, and raises botocore's errors."""

    def __init__(self, queue: JobQueue) -> None:
        self.queue = queue
        self.site = job_site(queue.module)

    @property
    def _s3(self) -> Any:
        return client("s3", self.queue.region)

    @property
    def _sqs(self) -> Any:
        return client("sqs", self.queue.region)

    def submit(self, job: Job, request: Request) -> bool:
        """Keep it; ``False`` where it was there already. Raises :class:`OtherRequestError`."""
        is_new = self._put(
            self.queue.requests + job.name,
            request.body,
            ContentType=request.kind,
            Metadata={FINGERPRINT: request.fingerprint},
            IfNoneMatch="*",
        )
        if not is_new:
            there = self._s3.head_object(Bucket=self.queue.bucket, Key=self.queue.requests + job.name)
            if there["Metadata"].get(FINGERPRINT) != request.fingerprint:
                raise OtherRequestError
        # Whoever kept it before may have ended before this. A message too many is thrown away by who works on them.
        if is_new or self.mark(job) is None:
            told = {"client": job.client, "id": job.id, "path": request.path, "kind": request.kind}
            self._sqs.send_message(QueueUrl=self.queue.queue_url, MessageBody=json.dumps(told))
        return is_new

    def is_known(self, job: Job) -> bool:
        return self._is_there(self.queue.bucket, self.queue.requests + job.name)

    def mark(self, job: Job) -> Mark | None:
        try:
            found = self._s3.get_object(Bucket=self.queue.bucket, Key=self.queue.marks + job.name)
        except ClientError as error:
            if _is_missing(error):
                return None
            raise
        return Mark(**json.loads(found["Body"].read()))

    def begin(self, job: Job, before: Mark | None) -> Mark | None:
        """Write down that it is about to be handed on; ``None`` where another was quicker."""
        mark = Mark(attempts=before.attempts + 1 if before else 1, begun=time.time())
        only_first = {} if before else {"IfNoneMatch": "*"}
        return mark if self._put(self.queue.marks + job.name, _text(mark), **only_first) else None

    def hand_on(self, message: Message, mark: Mark) -> Mark:
        """To the endpoint, and write down where its answer will be."""
        job, source = message.job, f"s3://{self.queue.bucket}/{self.queue.requests}{message.job.name}"
        known = Mark(
            mark.attempts, mark.begun, *self.site.hand_on(self.queue, job.id, message.path, message.kind, source)
        )
        self._put(self.queue.marks + job.name, _text(known))
        return known

    def is_given_up(self, mark: Mark) -> bool:
        """Whether it has no answer to come any more: then it is handed on again."""
        return time.time() > mark.begun + self.site.GIVEN_UP_S

    def is_answered(self, mark: Mark) -> bool:
        return mark.answer is not None and self._is_there(*_place(mark.answer))

    def is_failed(self, mark: Mark) -> bool:
        return mark.failure is not None and self._is_there(*_place(mark.failure))

    def answer(self, place: str) -> tuple[str, Any]:
        """The media type of what lies at an ``s3://`` address, and its body to read."""
        bucket, key = _place(place)
        found = self._s3.get_object(Bucket=bucket, Key=key)
        return found["ContentType"], found["Body"]

    def failure(self, place: str) -> str:
        """What the endpoint says of a job that failed."""
        return self.answer(place)[1].read(_LONGEST_FAILURE).decode(errors="replace")

    def receive(self, most: int) -> Iterator[Message]:
        """Messages that nobody works on, hidden from others from now on."""
        found = self._sqs.receive_message(
            QueueUrl=self.queue.queue_url, MaxNumberOfMessages=min(most, 10), VisibilityTimeout=self.queue.hidden_s
        )
        for one in found.get("Messages", ()):
            told = json.loads(one["Body"])
            job = Job(told["client"], told["id"])
            yield Message(job, told["path"], told["kind"], one["MessageId"], one["ReceiptHandle"])

    def hide(self, receipt: str) -> None:
        """For as long again, from now."""
        self._sqs.change_message_visibility(
            QueueUrl=self.queue.queue_url, ReceiptHandle=receipt, VisibilityTimeout=self.queue.hidden_s
        )

    def forget(self, receipt: str) -> None:
        """The message has told what it had to."""
        self._sqs.delete_message(QueueUrl=self.queue.queue_url, ReceiptHandle=receipt)

    def _put(self, key: str, body: bytes, **more: Any) -> bool:
        """``False`` where the object was not to be there and is."""
        try:
            self._s3.put_object(Bucket=self.queue.bucket, Key=key, Body=body, **more)
        except ClientError as error:
            # 409: another write of the same object was under way
            # (https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html).
            if error.response["ResponseMetadata"]["HTTPStatusCode"] in (409, 412):
                return False
            raise
        return True

    def _is_there(self, bucket: str, key: str) -> bool:
        try:
            self._s3.head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if _is_missing(error):
                return False
            raise
        return True


def _is_missing(error: ClientError) -> bool:
    return error.response["ResponseMetadata"]["HTTPStatusCode"] == 404


def _place(address: str) -> tuple[str, str]:
    bucket, _, key = address.removeprefix("s3://").partition("/")
    return bucket, key


def _text(mark: Mark) -> bytes:
    return json.dumps(vars(mark)).encode()
