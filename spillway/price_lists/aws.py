"""AWS's prices: EC2 and SageMaker hosting from the Price List Query API, spot from EC2's price history.

https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-price-list-query-api.html: ``GetProducts`` answers
one JSON text for each product, with ``product.attributes`` and ``terms.OnDemand`` / ``terms.Reserved``. Any AWS
credentials will do: ``pricing:GetProducts`` and ``ec2:DescribeSpotPriceHistory``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final

from spillway.contracts.prices import Cloud, Price, PriceModel
from spillway.price_lists.common import Listing, PriceListError, cheapest

API_REGION: Final = "us-east-1"
"""The API is served in few regions; each knows the prices of all."""
SOURCE: Final = "AWS Price List Query API (GetProducts, {service}), read by `spillway prices refresh`"
SPOT_SOURCE: Final = "Amazon EC2 DescribeSpotPriceHistory (cheapest zone), read by `spillway prices refresh`"
EC2_FILTERS: Final = {
    "operatingSystem": "Linux",
    "tenancy": "Shared",
    "preInstalledSw": "NA",
    "capacitystatus": "Used",
    "locationType": "AWS Region",
}
MANAGED: Final = "SageMaker"
"""Who serves on types whose names start with ``ml.``."""
TERMS: Final[dict[str, PriceModel]] = {"1yr": "reserved_1y", "3yr": "reserved_3y"}


def read(types: dict[str, tuple[int, str]], today: date, endpoint_url: str | None = None) -> Iterator[Price]:
    """On-demand and reserved (standard, no upfront) prices in every region. ``types``: GPUs and GPU kind by type;
    names that start with ``ml.`` are SageMaker's.

    Raises :class:`PriceListError` when the API refuses, or answers something else.
    """
    client = client_of("pricing", API_REGION, endpoint_url)
    for name in types:
        managed = cloud_of(name) != "ec2"
        service = f"Amazon{MANAGED}" if managed else "AmazonEC2"
        listing = Listing(types, today, SOURCE.format(service=service))
        wanted = {"instanceName": name, "component": "Hosting"} if managed else {"instanceType": name, **EC2_FILTERS}
        for product in _products(client, service, wanted):
            region = product["product"]["attributes"].get("regionCode")
            if region is None:
                continue
            for model, usd in _prices(product["terms"]):
                yield listing.price(cloud_of(name), name, region, usd, model)


def cloud_of(name: str) -> Cloud:
    """Whose price list has a type."""
    return MANAGED.lower() if name.startswith("ml.") else "ec2"


FAMILIES: Final = {
    "g4dn": "T4", "g5": "A10G", "g6": "L4", "gr6": "L4", "g6e": "L40S", "g7e": "RTXPRO6000", "p4d": "A100-40GB",
    "p4de": "A100-80GB", "p5": "H100", "p5e": "H200", "p5en": "H200", "p6-b200": "B200", "p6-b300": "B300",
}  # fmt: skip
"""GPU kinds, which the price list does not say: https://docs.aws.amazon.com/ec2/latest/instancetypes/ac.html."""


def discover(endpoint_url: str | None = None) -> dict[str, tuple[int, str]]:
    """GPU types that the list has in us-east-1, by the number of GPUs that it says and :data:`FAMILIES`.

    Raises :class:`PriceListError`.
    """
    client = client_of("pricing", API_REGION, endpoint_url)
    found: dict[str, tuple[int, str]] = {}
    asked = (
        ("AmazonEC2", "instanceType", {**EC2_FILTERS, "regionCode": API_REGION}),
        ("AmazonSageMaker", "instanceName", {"component": "Hosting", "regionCode": API_REGION}),
    )
    for service, named, wanted in asked:
        for product in _products(client, service, wanted):
            said = product["product"]["attributes"]
            name = said.get(named) or ""
            gpu = FAMILIES.get(name.removeprefix("ml.").partition(".")[0])
            count = said.get("gpu") or "0"
            if gpu and count.isdigit() and int(count) and not name.endswith("metal"):
                found[name] = int(count), gpu
    return found


def read_spot(
    types: dict[str, tuple[int, str]], regions: Sequence[str], today: date, endpoint_url: str | None = None
) -> list[Price]:
    """The present spot price of EC2 types: that of the cheapest zone of each region.

    Raises :class:`PriceListError` when EC2 refuses.
    """
    names = [name for name in types if not name.startswith("ml.")]
    listing = Listing(types, today, SPOT_SOURCE)
    return cheapest(
        listing.price("ec2", row["InstanceType"], region, float(row["SpotPrice"]), "spot")
        for region in regions
        for row in _spot_history(client_of("ec2", region, endpoint_url), names)
    )


def _products(client: Any, service: str, wanted: dict[str, str]) -> Iterator[dict[str, Any]]:
    filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()]
    token: dict[str, str] = {}
    while True:
        answer = called(client.get_products, ServiceCode=service, Filters=filters, FormatVersion="aws_v1", **token)
        try:
            yield from map(json.loads, answer["PriceList"])
        except (KeyError, ValueError):
            raise PriceListError(f"the AWS price list of {service} cannot be read") from None
        if not answer.get("NextToken"):
            return
        token = {"NextToken": answer["NextToken"]}


def _prices(terms: dict[str, Any]) -> Iterator[tuple[PriceModel, float]]:
    for offer in terms.get("OnDemand", {}).values():
        usd = _hourly(offer)
        if usd:
            yield "on_demand", usd
    for offer in terms.get("Reserved", {}).values():
        said = offer["termAttributes"]
        if said.get("PurchaseOption") != "No Upfront" or said.get("OfferingClass", "standard") != "standard":
            continue
        usd = _hourly(offer)
        if usd and said.get("LeaseContractLength") in TERMS:
            yield TERMS[said["LeaseContractLength"]], usd


def _hourly(offer: dict[str, Any]) -> float | None:
    """US dollars an hour; ``None`` for what is free or has no price by the hour."""
    for dimension in offer["priceDimensions"].values():
        usd = float(dimension["pricePerUnit"].get("USD", 0))
        if dimension["unit"].lower() in ("hrs", "hours") and usd > 0:
            return usd
    return None


def _spot_history(client: Any, names: list[str]) -> Iterator[dict[str, Any]]:
    """The newest entry of each type and zone: a start time of now leaves out what is past."""
    token: dict[str, str] = {}
    while True:
        answer = called(
            client.describe_spot_price_history,
            InstanceTypes=names,
            ProductDescriptions=["Linux/UNIX"],
            StartTime=datetime.now(UTC),
            **token,
        )
        yield from answer["SpotPriceHistory"]
        if not answer.get("NextToken"):
            return
        token = {"NextToken": answer["NextToken"]}


def client_of(service: str, region: str, endpoint_url: str | None) -> Any:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    options = Config(retries={"mode": "standard", "max_attempts": 4}, connect_timeout=10, read_timeout=60)
    try:
        return boto3.client(service, region_name=region, endpoint_url=endpoint_url, config=options)  # pyright: ignore[reportCallIssue, reportArgumentType]
    except BotoCoreError as error:
        raise PriceListError(f"AWS {service}: {error}") from None


def called(operation: Any, none_for: tuple[str, ...] = (), /, **arguments: Any) -> dict[str, Any]:
    """``none_for``: codes of refusals that mean that there is nothing to tell."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return operation(**arguments)
    except ClientError as error:
        if error.response["Error"]["Code"] in none_for:
            return {}
        raise PriceListError(f"AWS does not tell its prices: {error}") from None
    except BotoCoreError as error:
        raise PriceListError(f"AWS does not tell its prices: {error}") from None
