"""Burst sites: the stack file's ``burst`` part, one key a site."""

from __future__ import annotations

from components.burst.azure_ml.settings import AzureMlSettings
from components.burst.sagemaker.settings import SageMakerSettings
from spillway.contracts.frozen import Settings


class BurstSettings(Settings):
    """Where overflow goes, in spill order: SageMaker, then Azure ML. Both absent is a private site alone."""

    sagemaker: SageMakerSettings | None = None
    """The burst site on SageMaker; absent for none."""
    azure_ml: AzureMlSettings | None = None
    """The burst site on Azure ML; absent for none."""
