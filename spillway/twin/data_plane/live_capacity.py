"""What runs in a twin's clouds now, and what it costs: read as the deployed cost function reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from spillway.contracts.capacity import Running
from spillway.contracts.classes import Site
from spillway.contracts.function_config import CostConfig
from spillway.contracts.names import AZURE_MANAGER_URL
from spillway.runtime.functions import azure_ml, sagemaker
from spillway.runtime.functions.cost_signal import priced
from spillway.twin.data_plane.deployed import aws_client


def running(endpoints: dict[str, str], region: str) -> tuple[Running, ...]:
    """Machines of every site. Raises what the emulated clouds refuse, and ``LookupError`` without a cost guard."""
    config = _config(aws_client("lambda", endpoints["aws"], region))
    live = []
    if source := config.sites.get(Site.SAGEMAKER):
        client = aws_client("sagemaker", endpoints["aws"], region)
        live += [priced(config, Site.SAGEMAKER, one) for one in sagemaker.read(source.asked, client)]
    if source := config.sites.get(Site.AZURE_ML):
        here = _moved(source.asked, endpoints["azure"])
        live += [priced(config, Site.AZURE_ML, one) for one in azure_ml.read(here, "")]
    owned = config.private
    return (
        Running("private", owned.usd_per_gpu_hour, owned.gpus),
        *(Running(one.site, one.usd_per_hour, one.instances) for one in live),
    )


def _moved(asked: Mapping[str, Any], azure_url: str) -> dict[str, Any]:
    """The same machines, at the twin's Resource Manager."""
    moved = [{**one, "url": one["url"].replace(AZURE_MANAGER_URL, azure_url, 1)} for one in asked["machines"]]
    return {**asked, "machines": moved}


def _config(client: Any) -> CostConfig:
    for function in _functions(client):
        variables = function.get("Environment", {}).get("Variables", {})
        if CostConfig.VARIABLE in variables:
            return CostConfig.from_environment(variables)
    raise LookupError("no cost function is deployed")


def _functions(client: Any) -> Iterator[dict[str, Any]]:
    yield from client.get_paginator("list_functions").paginate().search("Functions[]")
