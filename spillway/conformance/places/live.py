"""Asks the clouds, with the user's own credentials, whether the quotas that a plan needs are there.

AWS: ``servicequotas:GetServiceQuota`` by code, ``ListServiceQuotas`` by name where a service has no code of ours, the
default where an account was never given another. Azure: the usages of Azure ML and of virtual machines in a location.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from spillway.conformance.places.quotas import Need

AZURE: Final = "https://management.azure.com"
_USAGES: Final = {"Microsoft.MachineLearningServices": "2024-10-01", "Microsoft.Compute": "2024-07-01"}
"""Azure's provider → version of its usages."""
_TIMEOUT_S: Final = 30.0

Verdict = Literal["fits", "short at peak", "short", "unknown"]
AwsClient = Callable[[str], Any]
"""A boto3 client of Service Quotas, by region."""
AzureGet = Callable[[str], Any]
"""What Resource Manager answers at a path."""


@dataclass(frozen=True)
class Answer:
    """``limit``: what the account may have, ``used``: what is in use of it, both ``None`` where nobody said. ``said``:
    why not."""

    need: Need
    limit: float | None = None
    used: float | None = None
    said: str = ""

    @property
    def verdict(self) -> Verdict:
        if self.limit is None:
            return "unknown"
        free = self.limit - (self.used or 0.0)
        if free < self.need.rest:
            return "short"
        return "short at peak" if free < self.need.most else "fits"


def ask(needs: Iterable[Need], aws: AwsClient | None, azure: AzureGet | None, subscription: str) -> list[Answer]:
    """An answer for each need, in their order. A cloud that cannot be asked leaves its own unknown, and says why."""
    found: dict[Need, Answer] = {}
    needs = list(needs)
    by_region: dict[str, list[Need]] = {}
    for need in needs:
        if need.service not in _USAGES:
            by_region.setdefault(need.region, []).append(need)
    for region, asked in by_region.items():
        found |= {answer.need: answer for answer in _ask_aws(asked, aws, region)}
    for provider, version in _USAGES.items():
        own = [need for need in needs if need.service == provider]
        for location in dict.fromkeys(need.region for need in own):
            path = (
                f"/subscriptions/{subscription}/providers/{provider}/locations/{location}/usages?api-version={version}"
            )
            found |= {a.need: a for a in _ask_azure([n for n in own if n.region == location], azure, path)}
    return [found[need] for need in needs]


def _ask_aws(needs: list[Need], aws: AwsClient | None, region: str) -> Iterator[Answer]:
    from botocore.exceptions import BotoCoreError, ClientError

    if aws is None:
        yield from (Answer(need, said="no credentials for AWS") for need in needs)
        return
    client = aws(region)
    named: dict[str, dict[str, float]] = {}
    for need in needs:
        try:
            if need.code:
                found = client.get_service_quota(ServiceCode=need.service, QuotaCode=need.code)
                yield Answer(need, limit=float(found["Quota"]["Value"]))
                continue
            if need.service not in named:
                named[need.service] = dict(_named_quotas(client, need.service))
            limit = named[need.service].get(need.quota)
            yield Answer(need, limit=limit, said="" if limit is not None else "no quota of this name")
        except (ClientError, BotoCoreError) as error:
            yield Answer(need, said=str(error))


def _named_quotas(client: Any, service: str) -> Iterator[tuple[str, float]]:
    """Defaults first: what the account was given goes over them."""
    for operation in ("list_aws_default_service_quotas", "list_service_quotas"):
        asked: dict[str, Any] = {"ServiceCode": service}
        while True:
            page = getattr(client, operation)(**asked)
            for quota in page.get("Quotas") or ():
                yield quota["QuotaName"], float(quota["Value"])
            if not page.get("NextToken"):
                break
            asked["NextToken"] = page["NextToken"]


def _ask_azure(needs: list[Need], azure: AzureGet | None, path: str) -> Iterator[Answer]:
    if azure is None:
        yield from (Answer(need, said="no credentials for Azure") for need in needs)
        return
    try:
        usages = {_plain(_name(usage)): usage for usage in azure(path).get("value") or ()}
    except (OSError, ValueError) as error:
        yield from (Answer(need, said=str(error)) for need in needs)
        return
    for need in needs:
        usage = usages.get(_plain(need.quota))
        if usage is None:
            yield Answer(need, said="the location has no such quota: the size may not be sold there")
        else:
            yield Answer(need, limit=float(usage.get("limit") or 0), used=float(usage.get("currentValue") or 0))


def _name(usage: Any) -> str:
    name = usage.get("name")
    return str(name.get("value") if isinstance(name, dict) else name)


def _plain(name: str) -> str:
    """Azure writes one family in several ways."""
    return name.lower().replace(" ", "").replace("_", "")


def aws_clients() -> AwsClient | None:
    """Of the user's own credentials; ``None`` where there are none."""
    import boto3

    session = boto3.Session()
    if session.get_credentials() is None:
        return None
    return lambda region: session.client("service-quotas", region_name=region)


def azure_get(base: str = AZURE, token: str = "") -> AzureGet | None:
    """With the user's own log-in (Azure's default chain); ``None`` where there is none."""
    token = token or _azure_token()
    if not token:
        return None

    def get(path: str) -> Any:
        request = urllib.request.Request(f"{base}{path}", headers={"Authorization": f"Bearer {token}"})
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise OSError(f"Azure answers {error.code}") from None

    return get


def _azure_token() -> str:
    try:
        from azure.core.exceptions import ClientAuthenticationError
        from azure.identity import DefaultAzureCredential
    except ImportError:
        return ""
    try:
        return DefaultAzureCredential().get_token(f"{AZURE}/.default").token
    except ClientAuthenticationError:
        return ""
