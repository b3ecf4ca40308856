"""Issuers of tokens that an AWS account trusts: it has one provider of each, so a second stack uses the first one's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from components.private_cluster.settings import ExistingSettings
from stacks.preconditions import Unmet
from stacks.settings import StackSettings
from stacks.sites import burst_sites

_IN_ARN: Final = ":oidc-provider/"


def made(settings: StackSettings) -> dict[str, str]:
    """Issuers that the stack makes a provider of, by the key that names one which is there. The issuers of clusters
    that the stack itself makes are nobody else's."""
    found = {}
    issuer = settings.connectivity.federation.oidc_issuer
    if isinstance(settings.private_cluster, ExistingSettings) and issuer and not issuer.provider_arn:
        found["connectivity.federation.oidc_issuer.provider_arn"] = issuer.url
    courier = settings.model_store.upload_package and any(site.account == "azure" for site in burst_sites(settings))
    if courier and settings.azure and not settings.model_store.courier.entra_provider_arn:
        found["model_store.courier.entra_provider_arn"] = f"https://sts.windows.net/{settings.azure.tenant_id}/"
    return found


def findings(settings: StackSettings, prefix: str, iam: Any) -> Iterator[Unmet]:
    """Those that the account trusts already, by a provider that is not the stack's own. ``prefix``: of its names;
    ``iam``: boto3's client.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
    """
    wanted = made(settings)
    if not wanted:
        return
    arns = [str(one.get("Arn")) for one in iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]]
    there = {arn.partition(_IN_ARN)[2]: arn for arn in arns}
    for key, issuer in wanted.items():
        arn = there.get(issuer.removeprefix("https://"))
        if arn is None:
            continue
        tags = iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn).get("Tags", [])
        owner = next((tag["Value"] for tag in tags if tag["Key"] == "stack"), "")
        if owner != prefix:
            of = f" of the stack {owner}" if owner else ""
            yield Unmet(
                f"IAM's provider of {issuer}", f"{arn}{of} is there, and an account has one", f"name it in {key}"
            )


def findings_in_account(settings: StackSettings, prefix: str) -> list[Unmet]:
    """``findings`` in the account of whoever asks; one that is not certain where it does not answer."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return list(findings(settings, prefix, boto3.client("iam", region_name=settings.aws.region)))
    except (BotoCoreError, ClientError) as error:
        told = "run it where `aws iam list-open-id-connect-providers` is answered"
        return [Unmet("what the account has", f"it could not be asked: {error}", told, certain=False)]
