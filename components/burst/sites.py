"""The burst sites that there are, and those that a stack has."""

from __future__ import annotations

from typing import Final

from components.burst.azure_ml.site import AzureMl
from components.burst.sagemaker.site import SageMaker
from components.burst.settings import BurstSettings
from components.burst.site import Accounts, BurstSite

SITES: Final[tuple[type[BurstSite], ...]] = (SageMaker, AzureMl)
"""In spill order."""


def burst_sites(settings: BurstSettings, accounts: Accounts) -> tuple[BurstSite, ...]:
    """The sites that the stack file switches on, in spill order; without those whose account it does not name."""
    sites: list[BurstSite] = []
    if settings.sagemaker is not None:
        sites.append(SageMaker(settings.sagemaker, accounts.aws_region, accounts.aws_account_id))
    if settings.azure_ml is not None and accounts.azure is not None:
        sites.append(AzureMl(settings.azure_ml, accounts.azure))
    return tuple(sites)
