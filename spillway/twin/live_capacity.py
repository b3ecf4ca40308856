"""What runs in a twin's clouds now, and what it costs: read as the deployed cost function reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from spillway.drill.bill import Running
from spillway.runtime import azure_api
from spillway.runtime.cost_signal import Config, read_azure, read_sagemaker
from spillway.twin.site import aws_client

VARIABLE: Final = "SPILLWAY_COST"


def running(endpoints: dict[str, str], region: str) -> tuple[Running, ...]:
    """Machines of every site. Raises what the emulated clouds refuse, and ``LookupError`` without a cost guard."""
    config = _config(aws_client("lambda", endpoints["aws"], region))
    here = tuple(
        {**item, "url": item["url"].replace(azure_api.MANAGER_URL, endpoints["azure"], 1)} for item in config.azure
    )
    live = read_sagemaker(aws_client("sagemaker", endpoints["aws"], region), config)
    live += read_azure(replace(config, azure=here), "twin")
    owned = config.private
    return (
        Running("private", owned["usd_per_gpu_hour"], owned["gpus"]),
        *(Running(one.site, one.usd_per_hour, one.instances) for one in live),
    )


def _config(client: Any) -> Config:
    for function in _functions(client):
        variables = function.get("Environment", {}).get("Variables", {})
        if VARIABLE in variables:
            values = json.loads(variables[VARIABLE])
            lists = {key: tuple(values.get(key, ())) for key in ("sagemaker", "azure")}
            return Config(**{**values, **lists})
    raise LookupError("no cost function is deployed")


def _functions(client: Any) -> Iterator[dict[str, Any]]:
    yield from client.get_paginator("list_functions").paginate().search("Functions[]")
