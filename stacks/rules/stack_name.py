"""The beginning of every resource's name, which is the settings' name and the stack's own: each service takes it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from spillway.contracts.problems import Problem, key_of

LONGEST: Final = 24
"""A release of Helm has at most 53 characters (helm.sh/docs/chart_template_guide/getting_started), and the longest
ending of ours is ``-aws-load-balancer-controller``."""
_LABEL: Final = re.compile(r"[a-z]+[a-z0-9]*(-[a-z0-9]+)*")
"""What Kubernetes and the services of both clouds take."""


def problems_with_name(name: str, stack: str | None) -> Iterator[Problem]:
    """``name``: of the settings. ``stack``: what Pulumi calls it; ``None`` where it has no name yet."""
    prefix = f"{name}-{stack}"
    if stack is None or (_LABEL.fullmatch(prefix) and len(prefix) <= LONGEST):
        return
    advice = (
        f"the names of all resources begin with {prefix}, and clouds and Kubernetes take small letters, digits and"
        f" single hyphens between them, {LONGEST} in all; give a shorter spillway:name, or call the stack otherwise"
    )
    yield Problem(key_of("name"), f"{name!r} for the stack {stack!r}", advice)
