"""What burst may cost: the stack file's ``cost_guard`` part."""

from __future__ import annotations

import re

from pydantic import Field, field_validator, model_validator

from components.retention import RetentionDays
from spillway.contracts.classes import RequestClass
from spillway.contracts.frozen import Settings
from spillway.contracts.prices import MAX_AGE_DAYS, Cloud, Price, PriceError, PriceModel, bought_price, catalogue


class CutoffSettings(Settings):
    """How spill is closed when a ceiling is passed, and opened again."""

    order: tuple[RequestClass, ...] = (RequestClass.P2, RequestClass.P1)
    """Classes in the order in which they stop spilling, one a stage. P0 spills whatever it costs, unless named last."""
    escalate_after_s: int = Field(default=300, ge=5, le=86400)
    """Seconds above a ceiling before the next stage closes."""
    reopen_below: float = Field(default=0.8, gt=0, lt=1)
    """Share of the ceiling below which it is calm; between this and the ceiling nothing changes."""
    reopen_after_s: int = Field(default=900, ge=5, le=86400)
    """Seconds since the last change before a stage opens again, and calm at that moment. Twice as long each time that
    it had to close again within a day of opening, six hours at most."""
    scale_to_minimum: bool = True
    """Whether burst endpoints that only closed classes use go to their minimum and stop growing."""

    @field_validator("order")
    @classmethod
    def _order(cls, value: tuple[RequestClass, ...]) -> tuple[RequestClass, ...]:
        if not value or len(set(value)) != len(value):
            raise ValueError("name each class once and at least one, e.g. [P2, P1]")
        if RequestClass.P0 in value[:-1]:
            raise ValueError("P0 may only be the last one closed, e.g. [P2, P1, P0]")
        return value


class BudgetSettings(Settings):
    """Provider budgets: the backstop, hours to a day late."""

    aws_usd_per_month: int = Field(default=15_000, ge=1)
    """Monthly limit in AWS."""
    azure_usd_per_month: int = Field(default=15_000, ge=1)
    """Monthly limit in Azure, in the currency of the billing account: give US dollars in that currency."""
    alert_percents: tuple[int, ...] = (80, 100)
    """Percent of the limit actually spent that send a notice; a forecast of 100 % always does."""
    stop_roles: tuple[str, ...] = ()
    """AWS role names, e.g. the deployer's, that may not make, change or grow burst endpoints once the budget is spent.
    What scales by itself is not theirs: the cut-off holds it."""
    activate_tag: bool = False
    """Whether the stack tells AWS to count costs by the tag `stack`, by which budget and anomalies go: from a day after
    the first `up`, when AWS knows the tag, and in the account that pays. Else somebody does it there by hand, once."""
    anomaly_usd: int = Field(default=100, ge=1)
    """Unusual spending, in US dollars, from which AWS Cost Anomaly Detection sends a notice."""

    @field_validator("alert_percents")
    @classmethod
    def _percents(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or any(not 1 <= percent <= 1000 for percent in value):
            raise ValueError("give one or more percentages from 1 to 1000, e.g. [80, 100]")
        if len(value) > 4:
            raise ValueError("give at most four percentages: both clouds limit a budget to five notices")
        return tuple(sorted(set(value)))


class CostSettings(Settings):
    """Alarms, ceilings and budgets."""

    max_usd_per_gpu_hour: float | None = Field(default=None, gt=0)
    """Blended price of a GPU and hour over all sites above which an alarm fires. An alarm only: it closes nothing. Left
    out: 1.2 US dollars, and where what always runs costs more than that, a tenth above it."""
    max_burst_usd_per_hour: float = Field(default=20.0, gt=0)
    """Ceiling on what the burst sites cost an hour at their live capacity; drives the cut-off."""
    max_forecast_usd: float = Field(default=10_000.0, gt=0)
    """Ceiling on the burst sites' cost of the calendar month, spent so far plus the rest at the mean rate of the last
    day; drives the cut-off."""
    outage_usd_per_month: float = Field(default=0.0, ge=0)
    """Set aside for outages: what burst costs while the private site is out counts against the month's ceiling only
    beyond it."""
    max_rise_usd_per_hour: float = Field(default=10.0, gt=0)
    """How much more burst may cost an hour than at its cheapest within the last 15 minutes, before an alarm fires. An
    alarm only: it closes nothing."""
    price_max_age_days: int = Field(default=MAX_AGE_DAYS, ge=1)
    """Days after which a list price counts as stale; a preview warns of those that the stack uses."""
    cutoff: CutoffSettings = CutoffSettings()
    """How spill is closed and opened again."""
    budgets: BudgetSettings = BudgetSettings()
    """Budgets in both clouds."""
    prices: dict[str, float] = Field(default_factory=dict)
    """Your own US dollars an hour, by `cloud/instance type/region`, cloud being sagemaker, ec2 or azure, e.g.
    `azure/Standard_NC24ads_A100_v4/westeurope: 4.78`. They win over the catalogue."""
    gpus: dict[str, int] = Field(default_factory=dict)
    """GPUs of instance types that the catalogue does not know in any region."""
    notify_emails: tuple[str, ...] = ()
    """Who is told; every address has to confirm its subscription once."""
    log_retention_days: RetentionDays = 90
    """Days that the functions' logs are kept."""

    @field_validator("notify_emails")
    @classmethod
    def _emails(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for address in value:
            if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", address):
                raise ValueError(f"{address!r} is not an e-mail address; write it like team@example.com")
        if len(value) > 10:
            raise ValueError(f"{len(value)} addresses; a budget takes 10 at most: use a mailing list")
        return value

    @field_validator("prices")
    @classmethod
    def _prices(cls, value: dict[str, float]) -> dict[str, float]:
        for key, price in value.items():
            if not re.fullmatch(r"[a-z][a-z0-9_]*/[\w.-]+/[a-z0-9-]+", key):
                raise ValueError(
                    f"{key!r} is no price key; write cloud/instance type/region, e.g. sagemaker/ml.g5.xlarge/eu-west-1"
                )
            if price <= 0:
                raise ValueError(f"the price of {key} is {price}; it must be above 0")
        return value

    @model_validator(mode="after")
    def _ceilings(self) -> CostSettings:
        if any(count < 1 for count in self.gpus.values()):
            raise ValueError("gpus: every instance type has at least 1")
        return self


def instance_price(
    settings: CostSettings, cloud: Cloud, instance_type: str, region: str, model: PriceModel = "on_demand"
) -> tuple[float, int]:
    """``(US dollars an hour, GPUs)`` of one instance: the stack's own price, else the catalogue's; on demand where that
    knows none of ``model``, which is dearer.

    Raises :class:`PriceError` where neither has it.
    """
    own = settings.prices.get(f"{cloud}/{instance_type}/{region}")
    if own is None:
        price = bought_price(cloud, instance_type, region, model)
        return price.usd_per_hour, price.gpus
    return own, settings.gpus.get(instance_type) or _gpus_anywhere(instance_type)


def _gpus_anywhere(instance_type: str) -> int:
    found: list[Price] = [p for p in catalogue() if p.instance_type.lower() == instance_type.lower()]
    if not found:
        raise PriceError(
            f"cost_guard.prices has {instance_type}, and nothing says how many GPUs it has; add it to cost_guard.gpus"
        )
    return found[0].gpus
