"""A gateway on a real Envoy with three servers behind it, once a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.gateway_rig import Rig


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("gateway")) as rig:
        yield rig
