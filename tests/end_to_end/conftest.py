from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from spillway.twin.handle import stop_twin
from tests.end_to_end.site import ROOT, LocalSite, make_project


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSite]:
    """One ``up`` for a whole module. Its tests run in order, and each leaves the sites as it found them."""
    # Quick where the package is there already.
    subprocess.run([sys.executable, "-m", "spillway.cli.main", "package"], cwd=ROOT, check=True, timeout=500)
    local = LocalSite(make_project(tmp_path_factory.mktemp("site")))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PULUMI_CONFIG_PASSPHRASE", raising=False)
        try:
            local.deploy()
            yield local
        finally:
            stop_twin(local.state_dir)
