"""What the real program plans of a stack file, by stand-ins that ask no server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spillway.twin.aws.standin import AwsStandIn
from spillway.twin.azure.standin import AzureStandIn
from spillway.twin.deployer.api import PreviewResult
from spillway.twin.kubernetes.standin import KubernetesStandIn
from tests.stacks.files import deployer, project, secrets_for

_NOWHERE = "http://127.0.0.1:1"


def preview(folder: Path, config: dict[str, Any], stack: str = "test") -> PreviewResult:
    """``folder``: of a project to be made. Secrets that ``config`` names and does not hold are filled in."""
    stand_ins = [AwsStandIn(_NOWHERE), AzureStandIn(_NOWHERE), KubernetesStandIn(_NOWHERE)]
    return deployer(project(folder, {**secrets_for(config), **config}, stack), stand_ins, stack=stack).preview()
