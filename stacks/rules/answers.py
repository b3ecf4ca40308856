"""The cache of answers: its tiers are there, and what it keeps is what the package answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from components.burst.site import BurstSite
from spillway.contracts.manifest import Manifest
from spillway.contracts.problems import Problem, key_of
from stacks.settings import StackSettings

_KEY = "gateway.cache"


def _redis_is_there(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    cache = settings.gateway.cache
    if cache and cache.redis and settings.model_store.redis is None:
        advice = "model_store.redis is null: give it, or redis: false with disk or s3_bucket"
        yield Problem(key_of(f"{_KEY}.redis"), "true", advice)


def _one_model_answers(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    if settings.gateway.cache and settings.model_server.canary:
        advice = "a release on trial answers some requests, which would be kept as this package's; leave one out"
        yield Problem(key_of(_KEY), "with model_server.canary", advice)


def _answers_are_not_sampled(settings: StackSettings, manifest: Manifest) -> Iterator[Problem]:
    if settings.gateway.cache and manifest.kind == "vllm":
        advice = "a chat's answer is sampled, and vLLM keeps what it can of its prompt; leave the cache out"
        yield Problem(key_of(_KEY), "a cache for a language model", advice)


RULES = (_redis_is_there, _one_model_answers)
PACKAGE_RULES = (_answers_are_not_sampled,)
