"""How pytest-xdist shares the tests out among its workers (`-n`).

A file stays on one worker, so that what its tests share is started once; so do the files that share rehearsed stacks.
What judges by the clock is one lot on one worker: two of those at once would measure each other. It begins first,
because it takes longest.
"""

from __future__ import annotations

import pytest
from xdist.scheduler import LoadFileScheduling

BY_THE_CLOCK = (
    "tests/components/gateway/",
    "tests/runtime/gateway/",
    "tests/drill/",
    "tests/twin/data_plane/",
    "tests/model_packaging/tensors/test_triton.py::test_fixed_time_model",
    "tests/planner/test_validate.py",
    "tests/end_to_end/test_cost_cutoff.py",
    "tests/end_to_end/test_main_job.py",
)
"""Folders, files and tests, in the order in which they run: the last file needs the packaged example, which another
worker makes meanwhile."""

SHARING_REHEARSALS = "tests/conformance/"
"""A stack is rehearsed once a worker, and takes half a minute."""


def judges_by_the_clock(nodeid: str) -> bool:
    return nodeid.startswith(BY_THE_CLOCK)


class FilesByWorker(LoadFileScheduling):
    def _split_scope(self, nodeid: str) -> str:
        if judges_by_the_clock(nodeid):
            return "by the clock"
        return SHARING_REHEARSALS if nodeid.startswith(SHARING_REHEARSALS) else super()._split_scope(nodeid)


def put_in_order(items: list[pytest.Item]) -> None:
    """What judges by the clock, then the files that share the packaged example, then other long ones, then the rest."""
    sharing = {item.path for item in items if "minilm_package" in getattr(item, "fixturenames", ())}
    long = {item.path for item in items if item.get_closest_marker("heavy")}

    def place(item: pytest.Item) -> int:
        for number, start in enumerate(BY_THE_CLOCK):
            if item.nodeid.startswith(start):
                return number
        return len(BY_THE_CLOCK) + (item.path not in sharing) + (item.path not in long)

    items.sort(key=place)
