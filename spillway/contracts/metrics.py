"""CloudWatch metrics that Spillway publishes: one name each for who writes them and for who alarms on them, and how
they are read.

An alarm on a metric that nobody writes is silent, so no name stands anywhere else. Standard library only: the scheduled
functions carry this module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

NAMESPACE: Final = "Spillway"

STACK: Final = "Stack"
"""Dimension of everything that the cost signal says: the stack's name."""
SITE: Final = "Site"
"""Dimension: a site, or :data:`BLENDED` over all of them."""
SOURCE: Final = "Source"
"""Dimension: a site whose capacity is read."""
GATEWAY: Final = "Gateway"
"""Dimension of what a private gateway says of itself: the prefix of the stack's names."""
CLIENT: Final = "Client"
"""Dimension of what clients used, beside the stack and the site: who asked, as the gateways call him."""
CLASS: Final = "Class"
"""Dimension: the class in which it was served."""
MODEL: Final = "Model"
"""Dimension: what was asked for."""
BLENDED: Final = "blended"
"""Value of :data:`SITE` for all sites together."""

BURST_USD_PER_HOUR: Final = "BurstDollarsPerHour"
"""``Σ(price × live instances)`` of the burst sites, all together and by :data:`SITE`. Written by the cost signal, as
the next eight are."""
ASSUMED_USD_PER_HOUR: Final = "AssumedDollarsPerHour"
"""By :data:`SITE`: the part of that which nobody could read, 0 where it was read."""
OUTAGE_USD_PER_HOUR: Final = "OutageDollarsPerHour"
"""The same while the private site is out, else 0."""
BURST_RISE_USD_PER_HOUR: Final = "BurstDollarsPerHourRise"
"""How much more that is than at its lowest within the last 15 minutes."""
FORECAST_USD_PER_MONTH: Final = "ForecastMonthDollars"
"""Burst of the calendar month: spent so far, plus the rest of it at the mean rate of the last day, less what is set
aside for outages and was spent in them."""
USD_PER_GPU_HOUR: Final = "DollarsPerGpuHour"
"""By :data:`SITE`: ``Σ(price × instances) ÷ Σ(GPUs)``."""
USD_PER_MILLION_TOKENS: Final = "DollarsPerMillionTokens"
"""By :data:`SITE`: price of an hour over the tokens that vLLM counted in it."""
COST_SIGNAL_ERRORS: Final = "CostSignalErrors"
"""1 where the signal could not be computed, else 0."""
COST_SOURCE_ERRORS: Final = "CostSourceErrors"
"""By :data:`SOURCE`: 1 where the site could not be read, else 0."""
PRICES_MISSING: Final = "PricesMissing"
"""Sites where capacity runs whose price nobody knows."""

HEARTBEAT: Final = "GatewayHeartbeat"
"""Written by the private gateway's agent, as the next three are; its absence moves DNS to the standby."""
PRIVATE_SERVERS: Final = "PrivateServers"
"""Model servers that are up in the private cluster."""
CERTIFICATE_DAYS: Final = "CertificateDaysLeft"
"""Of the certificate that the private gateway's Envoy shows, where it shows one."""
PRIVATE_TOKENS: Final = "PrivateTokensPerMinute"
"""Tokens that the private vLLM servers generated."""

ANSWERS: Final = "Answers"
"""By client, class, site and model: answers with status 200. Written by each gateway's agent, as the next four are."""
ANSWER_SECONDS: Final = "AnswerSeconds"
"""Seconds from a request for tensors to the end of its answer."""
PROMPT_TOKENS: Final = "PromptTokens"
"""Tokens of prompts, as the answers say."""
COMPLETION_TOKENS: Final = "CompletionTokens"
"""Tokens of answers."""
CACHED_TOKENS: Final = "CachedTokens"
"""Of the prompts' tokens, those that the server had in its cache."""
CLIENT_TOKENS: Final = "ClientTokens"
"""By client alone, where he has a quota: tokens of prompts and answers. Written by the agents, and read by them."""
USED: Final = (ANSWERS, ANSWER_SECONDS, PROMPT_TOKENS, COMPLETION_TOKENS, CACHED_TOKENS)

Series = tuple[str, Mapping[str, str]]
"""A metric's name and its dimensions."""
_QUERIES: Final = 500
"""Metrics of one call of GetMetricData at most
(https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html)."""


def query_of(series: Series, period_s: int, statistic: str, number: int = 0) -> dict[str, Any]:
    """One metric, as ``GetMetricData`` is asked for it."""
    name, dimensions = series
    named = [{"Name": key, "Value": value} for key, value in dimensions.items()]
    metric = {"Namespace": NAMESPACE, "MetricName": name, "Dimensions": named}
    return {"Id": f"q{number}", "MetricStat": {"Metric": metric, "Period": period_s, "Stat": statistic}}


def read_series(
    get_metric_data: Callable[..., Any],
    series: Sequence[Series],
    period_s: int,
    statistic: str,
    begin: datetime,
    end: datetime,
) -> list[dict[datetime, float]]:
    """Each one's values by when their period begins, in the order of ``series``. Blocking."""
    read: list[dict[datetime, float]] = []
    for first in range(0, len(series), _QUERIES):
        part = series[first : first + _QUERIES]
        queries = [query_of(one, period_s, statistic, number) for number, one in enumerate(part)]
        found: list[dict[datetime, float]] = [{} for _ in part]
        page: dict[str, str] = {}
        while True:
            answer = get_metric_data(MetricDataQueries=queries, StartTime=begin, EndTime=end, **page)
            for result in answer["MetricDataResults"]:
                found[int(result["Id"][1:])] |= dict(zip(result["Timestamps"], result["Values"], strict=True))
            if not answer.get("NextToken"):
                break
            page = {"NextToken": answer["NextToken"]}
        read += found
    return read
