"""What a rehearsal makes of the example stacks, once a session: every value known, as `spillway check` judges it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from spillway.conformance.graph import Graph
from tests.program.site import stood_up


@pytest.fixture(scope="session")
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Graph]:
    """The graph of ``local``, ``dev`` or ``prod``."""

    @cache
    def rehearse(stack: str) -> Graph:
        return stood_up(tmp_path_factory.mktemp(stack), stack)

    return rehearse


@pytest.fixture(scope="session")
def prod(rehearsed: Callable[[str], Graph]) -> Graph:
    return rehearsed("prod")
