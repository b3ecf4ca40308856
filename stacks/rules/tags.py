"""The stack's own tags: every cloud that it uses takes them, beside those that each resource has anyway."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from components.burst.site import BurstSite
from spillway.contracts.problems import Problem, key_of
from spillway.contracts.tags import MOST_TAGS_OF_AN_OBJECT, Cloud, tag_problems
from stacks.settings import StackSettings

_OURS: Final = ("owner", "cost-centre", "stack", "managed-by")
"""Tags that every resource has: see :class:`components.base.StackContext`."""


def _tags(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    clouds: list[Cloud] = ["aws", "azure"] if settings.azure else ["aws"]
    all_tags = {**settings.tags, **dict.fromkeys(_OURS, "")}
    told: set[str] = set()
    for cloud in clouds:
        for tag, problem in tag_problems(all_tags, cloud):
            if problem not in told:
                told.add(problem)
                yield Problem(key_of("tags"), repr(tag) if tag else f"{len(settings.tags)} tags", problem)
    if len(all_tags) > MOST_TAGS_OF_AN_OBJECT:
        advice = (
            f"with {', '.join(_OURS)} that is more than {MOST_TAGS_OF_AN_OBJECT}, all that a package's objects in S3"
            f" can have; give at most {MOST_TAGS_OF_AN_OBJECT - len(_OURS)}"
        )
        yield Problem(key_of("tags"), f"{len(settings.tags)} tags", advice)


RULES = (_tags,)
