"""What judges by the clock is found where it is said to be."""

from __future__ import annotations

import pytest

from tests.support.paths import ROOT
from tests.support.workers import BY_THE_CLOCK


@pytest.mark.parametrize("start", BY_THE_CLOCK)
def test_what_judges_by_the_clock_is_there(start: str) -> None:
    path, _, name = start.partition("::")
    assert (ROOT / path).exists()
    assert not name or f"def {name}" in (ROOT / path).read_text()
