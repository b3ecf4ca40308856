"""Prices are read from the clouds' price APIs: their answers, served on loopback in the shape that they have."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from botocore.stub import Stubber
from click.testing import CliRunner

from spillway.cli.main import cli
from spillway.contracts.prices import TABLE, catalogue, with_prices
from spillway.price_lists import aws, azure, commitments
from spillway.price_lists.common import PriceListError, dearest
from spillway.price_lists.refresh import Also, gone, known_types

TODAY = date(2026, 11, 24)
A100 = {"Standard_NC24ads_A100_v4": (1, "A100-80GB")}
Answer = Callable[[str, dict[str, Any]], tuple[int, Any]]


class Cut(str):
    """Text of which a connection loses the end."""


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], str]]:
    servers: list[ThreadingHTTPServer] = []

    def start(answer: Answer) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._reply({})

            def do_POST(self) -> None:
                self._reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def _reply(self, body: dict[str, Any]) -> None:
                status, value = answer(self.path, body)
                raw = value.encode() if isinstance(value, str) else json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(raw) + isinstance(value, Cut)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/api/retail/prices"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def item(**changes: Any) -> dict[str, Any]:
    """One meter of the Retail Prices API."""
    return {
        "currencyCode": "USD",
        "tierMinimumUnits": 0.0,
        "retailPrice": 3.8,
        "unitPrice": 3.8,
        "armRegionName": "westeurope",
        "location": "EU West",
        "effectiveStartDate": "2022-06-01T00:00:00Z",
        "meterId": "b60c0a6c-0000-0000-0000-000000000000",
        "meterName": "NC24ads A100 v4",
        "productId": "DZH318Z0CSHK",
        "skuId": "DZH318Z0CSHK/003D",
        "productName": "Virtual Machines NCads A100 v4 Series",
        "skuName": "Standard_NC24ads_A100_v4",
        "serviceName": "Virtual Machines",
        "serviceId": "DZH313Z7MMC8",
        "serviceFamily": "Compute",
        "unitOfMeasure": "1 Hour",
        "type": "Consumption",
        "isPrimaryMeterRegion": True,
        "armSkuName": "Standard_NC24ads_A100_v4",
        **changes,
    }


def page(items: list[dict[str, Any]], following: str | None = None) -> dict[str, Any]:
    return {
        "BillingCurrency": "USD",
        "CustomerEntityId": "Default",
        "CustomerEntityType": "Retail",
        "Items": items,
        "NextPageLink": following,
        "Count": len(items),
    }


def test_azure_prices_of_every_model_and_page(serve: Callable[[Answer], str]) -> None:
    asked: list[str] = []

    def answer(path: str, _: dict[str, Any]) -> tuple[int, Any]:
        query = parse_qs(urlsplit(path).query)
        asked.append(query["$filter"][0])
        if "$skip" in query:
            return 200, page([item(armRegionName="eastus", retailPrice=3.673), item(retailPrice=0.0)])
        more = [
            # As in the examples of
            # https://learn.microsoft.com/rest/api/cost-management/retail-prices/azure-retail-prices
            item(
                savingsPlan=[
                    {"unitPrice": 1.9, "retailPrice": 1.9, "term": "3 Years"},
                    {"unitPrice": 2.7, "retailPrice": 2.7, "term": "1 Year"},
                ]
            ),
            item(productName="Virtual Machines NCads A100 v4 Series Windows", retailPrice=4.9),
            item(skuName="Standard_NC24ads_A100_v4 Spot", retailPrice=0.6),
            item(skuName="Standard_NC24ads_A100_v4 Low Priority", retailPrice=0.7),
            item(type="DevTestConsumption", retailPrice=3.1),
            item(type="Reservation", reservationTerm="1 Year", retailPrice=21024.0),
            item(type="Reservation", reservationTerm="3 Years", retailPrice=39420.0),
            item(productName="Virtual Machines NCads A100 v4 Series CloudServices", retailPrice=4.9),
            item(productName="NCads A100 v4 Series Dedicated Host", retailPrice=30.4),
        ]
        return 200, page(more, f"{url}?{urlsplit(path).query}&$skip=100")

    url = serve(answer)
    found = {(p.region, p.model): p.usd_per_hour for p in azure.read(A100, TODAY, url)}
    assert found == {
        ("westeurope", "on_demand"): 3.8,
        ("westeurope", "spot"): 0.6,
        ("westeurope", "reserved_1y"): 2.4,
        ("westeurope", "reserved_3y"): 1.5,
        ("westeurope", "savings_1y"): 2.7,
        ("westeurope", "savings_3y"): 1.9,
        ("eastus", "on_demand"): 3.673,
    }
    assert len(asked) == 2
    assert "armSkuName eq 'Standard_NC24ads_A100_v4'" in asked[0]


def test_azure_that_is_busy_is_asked_again(serve: Callable[[Answer], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(azure.time, "sleep", lambda _: None)
    answers = [(429, {}), (503, {}), (200, page([item()]))]
    assert len(list(azure.read(A100, TODAY, serve(lambda *_: answers.pop(0))))) == 1


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (400, {}, "400"),
        (200, {"error": "no"}, "no page of prices"),
        (200, page([], "http://elsewhere.example/prices"), "next page elsewhere"),
    ],
)
def test_azure_errors_are_told(serve: Callable[[Answer], str], status: int, body: Any, message: str) -> None:
    with pytest.raises(PriceListError, match=message):
        list(azure.read(A100, TODAY, serve(lambda *_: (status, body))))


def product(region: str | None, usd: str, service: str = "AmazonEC2", **attributes: str) -> str:
    """One entry of GetProducts' PriceList."""
    term = {"offerTermCode": "X", "sku": "S", "effectiveDate": "2026-11-01T00:00:00Z"}

    def offer(price: str, unit: str = "Hrs", **said: str) -> dict[str, Any]:
        dimension = {"unit": unit, "endRange": "Inf", "rateCode": "S.X.Y", "pricePerUnit": {"USD": price}}
        return {**term, "priceDimensions": {"S.X.Y": dimension}, "termAttributes": said}

    reserved = {
        "S.A": offer("0.6340000000", LeaseContractLength="1yr", OfferingClass="standard", PurchaseOption="No Upfront"),
        "S.B": offer("0.4350000000", LeaseContractLength="3yr", OfferingClass="standard", PurchaseOption="No Upfront"),
        "S.C": offer("5000", "Quantity", LeaseContractLength="1yr", PurchaseOption="All Upfront"),
        "S.D": offer("0.7", LeaseContractLength="1yr", OfferingClass="convertible", PurchaseOption="No Upfront"),
    }
    return json.dumps(
        {
            "product": {
                "productFamily": "Compute Instance",
                "sku": "S",
                "attributes": {**({"regionCode": region} if region else {}), **attributes},
            },
            "serviceCode": service,
            "terms": {"OnDemand": {"S.O": offer(usd)}, **({"Reserved": reserved} if service == "AmazonEC2" else {})},
            "version": "20261101000000",
            "publicationDate": "2026-11-01T00:00:00Z",
        }
    )


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")


@pytest.fixture
def price_list(serve: Callable[[Answer], str], credentials: None) -> tuple[str, list[dict[str, Any]]]:
    """AWS's Price List, with one type of EC2 on two pages and one of SageMaker, and what it was asked."""
    asked: list[dict[str, Any]] = []

    def answer(_: str, body: dict[str, Any]) -> tuple[int, Any]:
        asked.append(body)
        wanted = {f["Field"]: f["Value"] for f in body["Filters"]}
        if body["ServiceCode"] == "AmazonSageMaker":
            assert wanted["component"] == "Hosting"
            return 200, {"FormatVersion": "aws_v1", "PriceList": [product("eu-west-1", "1.57", "AmazonSageMaker")]}
        if "NextToken" in body:
            return 200, {"FormatVersion": "aws_v1", "PriceList": [product("us-east-1", "1.0060000000")]}
        entries = [product("eu-west-1", "1.1230000000"), product(None, "9"), product("eu-west-2", "0.0000000000")]
        return 200, {"FormatVersion": "aws_v1", "PriceList": entries, "NextToken": "t"}

    return serve(answer), asked


def test_aws_prices_of_every_model_and_page(price_list: tuple[str, list[dict[str, Any]]]) -> None:
    url, asked = price_list
    types = {"g5.xlarge": (1, "A10G"), "ml.g5.xlarge": (1, "A10G")}
    read = dearest(aws.read(types, TODAY, url))
    found = {(p.cloud, p.region, p.model): p.usd_per_hour for p in read}
    assert found == {
        ("ec2", "eu-west-1", "on_demand"): 1.123,
        ("ec2", "eu-west-1", "reserved_1y"): 0.634,
        ("ec2", "eu-west-1", "reserved_3y"): 0.435,
        ("ec2", "eu-west-2", "reserved_1y"): 0.634,
        ("ec2", "eu-west-2", "reserved_3y"): 0.435,
        ("ec2", "us-east-1", "on_demand"): 1.006,
        ("ec2", "us-east-1", "reserved_1y"): 0.634,
        ("ec2", "us-east-1", "reserved_3y"): 0.435,
        ("sagemaker", "eu-west-1", "on_demand"): 1.57,
    }
    assert {"Type": "TERM_MATCH", "Field": "tenancy", "Value": "Shared"} in asked[0]["Filters"]


def test_gpu_types_that_came_since_are_discovered(serve: Callable[[Answer], str], credentials: None) -> None:
    """With the number of GPUs that the list says; what has none, or is of a family that nobody knows, is left."""
    listed = {
        "AmazonEC2": [("p6-b200.48xlarge", "8"), ("m7i.xlarge", None), ("z9.large", "1"), ("g4dn.metal", "8")],
        "AmazonSageMaker": [("ml.g6.8xlarge", "1"), ("ml.m5.xlarge", "N/A")],
    }

    def answer(_: str, body: dict[str, Any]) -> tuple[int, Any]:
        service = body["ServiceCode"]
        key = "instanceType" if service == "AmazonEC2" else "instanceName"
        made = [
            product("us-east-1", "1", service, **{key: name}, **({"gpu": count} if count else {}))
            for name, count in listed[service]
        ]
        return 200, {"FormatVersion": "aws_v1", "PriceList": made}

    assert aws.discover(serve(answer)) == {"p6-b200.48xlarge": (8, "B200"), "ml.g6.8xlarge": (1, "L4")}


def test_aws_spot_prices_are_the_cheapest_zones(credentials: None) -> None:
    from moto import mock_aws

    with mock_aws():
        (spot,) = aws.read_spot({"g5.xlarge": (1, "A10G"), "ml.g5.xlarge": (1, "A10G")}, ["us-east-1"], TODAY)
    assert (spot.model, spot.region, spot.instance_type) == ("spot", "us-east-1", "g5.xlarge")
    assert spot.usd_per_hour > 0


SAVINGS_COLUMNS = (
    "SKU,RateCode,Unit,EffectiveDate,DiscountedRate,Currency,DiscountedSKU,DiscountedServiceCode,DiscountedUsageType,"
    "DiscountedOperation,PurchaseOption,LeaseContractLength,LeaseContractLengthUnit,ServiceCode,UsageType,Operation,"
    "Description,Instance Family,Location,Location Type,Granularity,Product Family,DiscountedRegionCode,"
    "DiscountedInstanceType"
)


def savings_file(*rows: str) -> str:
    """A region's file: five lines about it, the columns' names, the rows
    (https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/reading-service-price-list-file-for-savings-plans.html)."""
    about = (
        "FormatVersion,v1.0", "Disclaimer,This pricing list is for informational purposes only.",
        "Publication Date,2026-11-01T18:44:47Z", "Version,20261101184447", "OfferCode,AmazonComputeSavingsPlan",
    )  # fmt: skip
    return "\n".join([*about, SAVINGS_COLUMNS, *rows, ""])


def rate(used: str, usd: str, years: int = 1, paid: str = "No Upfront", operation: str = "RunInstances") -> str:
    """A row as the list has them, e.g. of Tokyo's in July 2024: ``HG9V2UBQC2P9GB3T,HG9V2UBQC2P9GB3T.2E92YMZ2XD6UMPWS,
    Hrs,2024-07-01T07:36:03Z,0.151,USD,2E92YMZ2XD6UMPWS,AmazonEC2,APN1-UnusedDed:c5.xlarge,RunInstances:0010,
    All Upfront,3,year,ComputeSavingsPlans,APN1-EC2SP:c5.3yrAllUpfront,,3 year All Upfront c5 EC2 Instance Savings Plan
    in ap-northeast-1,c5,Asia Pacific (Tokyo),AWS Region,hourly,EC2InstanceSavingsPlans,ap-northeast-1,c5.xlarge``."""
    name = used.partition(":")[2]
    what = f"{years} year {paid} Savings Plan,any,Asia Pacific (Tokyo),AWS Region,hourly,EC2InstanceSavingsPlans"
    return (
        f"S,S.D,Hrs,2026-10-01T07:36:03Z,{usd},USD,D,AmazonEC2,{used},{operation},{paid},{years},year,"
        f"ComputeSavingsPlans,APN1-EC2SP:any,,{what},ap-northeast-1,{name}"
    )


def savings_list(machines: str, managed: str) -> Answer:
    def answer(path: str, _: dict[str, Any]) -> tuple[int, Any]:
        plan = path.partition("savingsPlan/v1.0/aws/")[2].partition("/")[0]
        if path.endswith("region_index.json"):
            at = f"/savingsPlan/v1.0/aws/{plan}/20261101184447/ap-northeast-1/index.json"
            return 200, {"regions": [{"regionCode": "ap-northeast-1", "versionUrl": at}]}
        assert path.endswith("/20261101184447/ap-northeast-1/index.csv")
        return 200, machines if plan == "AWSComputeSavingsPlan" else managed

    return answer


ACCELERATED = {"g5.xlarge": (1, "A10G"), "ml.g5.xlarge": (1, "A10G")}


def test_savings_plans_are_the_cheapest_ones_of_each_term(serve: Callable[[Answer], str]) -> None:
    """Nobody asks for credentials."""
    machines = savings_file(
        rate("APN1-BoxUsage:g5.xlarge", "0.7"),
        rate("APN1-BoxUsage:g5.xlarge", "0.6"),
        rate("APN1-BoxUsage:g5.xlarge", "0.45", 3),
        rate("APN1-BoxUsage:g5.xlarge", "0.4", paid="All Upfront"),
        rate("APN1-BoxUsage:g5.xlarge", "0.3", operation="RunInstances:0002"),
        rate("APN1-DedicatedUsage:g5.xlarge", "0.2"),
        rate("APN1-UnusedBox:g5.xlarge", "0.1"),
        rate("APN1-BoxUsage:m7i.xlarge", "0.05"),
        rate("APN1-BoxUsage:g5.xlarge", "0.0"),
    )
    managed = savings_file(
        rate("APN1-Host:ml.g5.xlarge", "1.126", operation="RunInstance"),
        rate("APN1-Train:ml.g5.xlarge", "0.9", operation="RunInstance"),
    )
    url = serve(savings_list(machines, managed))
    read = commitments.read_savings(ACCELERATED, ["ap-northeast-1"], TODAY, url)
    assert {(p.cloud, p.region, p.model): p.usd_per_hour for p in read} == {
        ("ec2", "ap-northeast-1", "savings_1y"): 0.6,
        ("ec2", "ap-northeast-1", "savings_3y"): 0.45,
        ("sagemaker", "ap-northeast-1", "savings_1y"): 1.126,
    }
    with pytest.raises(PriceListError, match="is not sold in 'mars-1'; its list has ap-northeast-1"):
        commitments.read_savings(ACCELERATED, ["mars-1"], TODAY, url)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("S,S.D,Hrs", "a row that cannot be read"),
        (rate("APN1-BoxUsage:g5.xlarge", "cheap"), "a row that cannot be read"),
    ],
)
def test_a_list_of_savings_plans_that_cannot_be_read_is_refused(
    serve: Callable[[Answer], str], row: str, said: str
) -> None:
    with pytest.raises(PriceListError, match=said):
        commitments.read_savings(ACCELERATED, ["ap-northeast-1"], TODAY, serve(savings_list(savings_file(row), "")))


def test_a_list_of_savings_plans_that_ends_early_is_refused(serve: Callable[[Answer], str]) -> None:
    """Half a file would take the prices of its other half for gone."""
    whole = savings_list(savings_file(rate("APN1-BoxUsage:g5.xlarge", "0.6")), "")

    def answer(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        status, value = whole(path, body)
        return (status, Cut(value)) if isinstance(value, str) else (status, value)

    with pytest.raises(PriceListError, match="bytes early"):
        commitments.read_savings(ACCELERATED, ["ap-northeast-1"], TODAY, serve(answer))


def test_a_capacity_block_is_priced_by_its_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cheapest of the week's offers, whose fee is for all of it; EC2 sells none of a G5."""
    client = boto3.client("ec2", "us-east-1", aws_access_key_id="any", aws_secret_access_key="any")
    offer = {
        "InstanceType": "p5.48xlarge",
        "InstanceCount": 1,
        "CapacityBlockDurationHours": 168,
        "CurrencyCode": "USD",
    }
    week = {"InstanceCount": 1, "CapacityDurationHours": 168}
    with Stubber(client) as ec2:
        ec2.add_response(
            "describe_capacity_block_offerings",
            {"CapacityBlockOfferings": [{**offer, "UpfrontFee": "6607.44"}, {**offer, "UpfrontFee": "5285.95"}]},
            {"InstanceType": "p5.48xlarge", **week},
        )
        ec2.add_client_error("describe_capacity_block_offerings", "InvalidParameterValue")
        monkeypatch.setattr(commitments, "client_of", lambda *_: client)
        types = {"p5.48xlarge": (8, "H100"), "g5.xlarge": (1, "A10G"), "ml.p5.48xlarge": (8, "H100")}
        (block,) = commitments.read_blocks(types, ["us-east-1"], TODAY)
        ec2.assert_no_pending_responses()
    assert (block.key, block.usd_per_hour) == (("ec2", "p5.48xlarge", "us-east-1", "capacity_block"), 31.463988)


def test_what_was_not_asked_for_is_not_taken_for_gone() -> None:
    assert {price.model for price in gone([], ["aws", "azure"], known_types(), Also())} == {"on_demand"}


def test_each_price_keeps_the_line_that_it_was_read_from() -> None:
    """Two lists of one cloud, read on one day, are two sources."""
    price = next(p for p in catalogue() if p.key == ("ec2", "g5.12xlarge", "us-east-1", "spot"))
    fresh = [
        price.model_copy(update={"model": model, "read_on": TODAY, "source": f"the list of what is {model}"})
        for model in ("on_demand", "spot", "savings_1y")
    ]
    table = json.loads(with_prices(fresh))
    said = {tuple(row[:4]): table["sources"][row[6]]["text"] for row in table["prices"]}
    assert [said[one.key] for one in fresh] == [one.source for one in fresh]


def test_aws_that_refuses_is_told(serve: Callable[[Answer], str], credentials: None) -> None:
    refusal = {"__type": "AccessDeniedException", "message": "not authorized to perform pricing:GetProducts"}
    with pytest.raises(PriceListError, match="AccessDenied"):
        list(aws.read({"g5.xlarge": (1, "A10G")}, TODAY, serve(lambda *_: (400, refusal))))


def test_refresh_writes_all_or_nothing(
    price_list: tuple[str, list[dict[str, Any]]], serve: Callable[[Answer], str], tmp_path: Path
) -> None:
    table = tmp_path / "prices.json"
    table.write_text(TABLE.read_text())
    arguments = ["prices", "refresh", "--type", "g5.xlarge", "--type", "Standard_NC24ads_A100_v4", "--json"]
    arguments += ["--aws-endpoint", price_list[0], "--table", str(table)]
    good = serve(lambda *_: (200, page([item()])))
    told = CliRunner().invoke(cli, [*arguments, "--azure-url", good])
    assert told.exit_code == 0, told.stderr
    changes = {c["price"]: c for c in json.loads(told.stdout)["changes"]}
    assert changes["ec2 g5.xlarge eu-west-1 reserved_1y"]["was"] is None
    assert table.read_text() == TABLE.read_text(), "nothing without --write"

    bad = serve(lambda *_: (400, {}))
    failed = CliRunner().invoke(cli, [*arguments, "--azure-url", bad, "--write"])
    assert (failed.exit_code, table.read_text()) == (1, TABLE.read_text())

    assert changes["ec2 g5.xlarge ap-northeast-1 on_demand"]["is"] is None, "it is not listed there any more"
    CliRunner().invoke(cli, [*arguments, "--azure-url", good, "--write"])
    rows = {tuple(row[:4]): row[4] for row in json.loads(table.read_text())["prices"]}
    assert rows["ec2", "g5.xlarge", "eu-west-1", "reserved_3y"] == 0.435
    assert rows["azure", "Standard_NC24ads_A100_v4", "westeurope", "on_demand"] == 3.8
    assert ("ec2", "g5.xlarge", "ap-northeast-1", "on_demand") not in rows
    assert ("ec2", "g5.2xlarge", "us-east-1", "on_demand") in rows, "nobody asked for it"
    assert ("azure", "Standard_NC24ads_A100_v4", "eastus", "on_demand") not in rows, "asked for, and not listed"
    assert rows["azure", "Standard_NC48ads_A100_v4", "eastus", "on_demand"] == 7.346, "not asked for, so as it was"


def test_list_and_check_say_what_is_there() -> None:
    listed = CliRunner().invoke(cli, ["prices", "list", "--cloud", "azure", "--region", "westeurope", "--json"])
    assert {row["region"] for row in json.loads(listed.stdout)["prices"]} == {"westeurope"}
    assert CliRunner().invoke(cli, ["prices", "list", "--region", "mars"]).exit_code == 2
    checked = json.loads(CliRunner().invoke(cli, ["prices", "check", "--json"]).stdout)
    assert checked["problems"] == []
    strict = CliRunner().invoke(cli, ["prices", "check", "--max-age-days", "1"])
    assert (strict.exit_code, "more than 1 days old" in strict.stdout) == (0, True)
    assert "unknown instance type" in CliRunner().invoke(cli, ["prices", "refresh", "--type", "x9"]).stderr
