"""The cache of answers: models that answer the same to the same need not be asked twice."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from spillway.contracts.frozen import Frozen

CACHED_SITE: Final = "cache"
"""What answers from the cache give as their site."""
REDIS_PORT: Final = 6379
ANSWERS_FOLDER: Final = "/var/cache/spillway"
"""Where the agent's disk is mounted."""
ANSWERS_PREFIX: Final = "answers/"
"""How the keys of a bucket begin."""


class RedisTier(Frozen):
    """Shared by the gateways beside the private cluster."""

    host: str
    port: Annotated[int, Field(ge=1, le=65535)] = REDIS_PORT


class FolderTier(Frozen):
    """A disk of the gateway's own node."""

    path: str
    most_bytes: Annotated[int, Field(ge=1)]
    """Above it the answers that were used least recently go."""


class S3Tier(Frozen):
    """Shared by all gateways, the standby's too. Only for requests that may leave for its region."""

    bucket: str
    region: str
    prefix: str
    """How its keys begin, with a slash at the end. When they end is the bucket's own matter (its lifecycle)."""


class AnswerCache(Frozen):
    """Where answers are kept, the nearest first. A tier that is broken or slow is one that has nothing."""

    package_digest: str
    """Of what answers: another package never gives this one's answers."""
    ttl_s: Annotated[int, Field(ge=1)]
    """Of an answer in Redis and on disk."""
    most_answer_bytes: Annotated[int, Field(ge=1)]
    """Larger answers are not kept."""
    redis: RedisTier | None = None
    folder: FolderTier | None = None
    s3: S3Tier | None = None

    def away(self) -> AnswerCache | None:
        """The standby's, which has neither the cluster's Redis nor its disks."""
        return self.model_copy(update={"redis": None, "folder": None}) if self.s3 else None
