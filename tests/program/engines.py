"""Who drives a stack: the embedded deployer, and Pulumi's own engine where it is on PATH."""

from __future__ import annotations

import shutil

import pytest

from spillway.twin.deployer.embedded import EmbeddedDeployer
from spillway.twin.deployer.pulumi_cli import PulumiCli

Engine = type[EmbeddedDeployer] | type[PulumiCli]

PULUMI = pytest.param(
    PulumiCli,
    id="pulumi",
    marks=[
        pytest.mark.pulumi_cli,
        pytest.mark.skipif(shutil.which("pulumi") is None, reason="there is no `pulumi` on PATH"),
    ],
)
ENGINES = [pytest.param(EmbeddedDeployer, id="embedded"), PULUMI]
