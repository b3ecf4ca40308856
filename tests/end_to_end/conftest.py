from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.site import LocalSite, make_project, standing


@pytest.fixture(scope="module")
def site(minilm_package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSite]:
    """One ``up`` for a whole module. Its tests run in order, and each leaves the sites as it found them."""
    with standing(make_project(tmp_path_factory.mktemp("site"))) as local:
        yield local
