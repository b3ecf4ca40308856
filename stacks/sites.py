"""The sites of a stack: the private one and, from the stack file, those that burst goes to."""

from __future__ import annotations

from components.burst import sites as burst
from components.burst.site import Accounts, AzureSubscription, BurstSite
from stacks.settings import StackSettings


def accounts(settings: StackSettings) -> Accounts:
    """Where the stack's sites may stand."""
    azure = settings.azure
    return Accounts(
        aws_region=settings.aws.region,
        aws_account_id=settings.aws.account_id,
        azure=AzureSubscription(azure.location, azure.subscription_id, azure.tenant_id) if azure else None,
    )


def burst_sites(settings: StackSettings) -> tuple[BurstSite, ...]:
    """The burst sites that are on, in spill order; without one in Azure where no subscription is named."""
    return burst.burst_sites(settings.burst, accounts(settings))
