"""The ``tuning`` block of model.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from model_packaging.errors import ModelConfigError
from spillway.contracts.frozen import Frozen
from spillway.contracts.prices import PriceError, price_per_hour
from spillway.contracts.targets import Layout


class Machine(Frozen):
    """What an hour of the machine that tuning runs on costs: a row of the price catalogue, or a figure of your own."""

    cloud: Literal["sagemaker", "ec2", "azure"] | None = None
    instance_type: str = ""
    region: str = ""
    usd_per_hour: float | None = Field(default=None, gt=0)
    """US dollars an hour, where the catalogue has no row."""

    @model_validator(mode="after")
    def _priced(self) -> Machine:
        if self.usd_per_hour is None:
            if not (self.cloud and self.instance_type and self.region):
                raise ValueError("give cloud, instance_type and region, or usd_per_hour")
            try:
                price_per_hour(self.cloud, self.instance_type, self.region)
            except PriceError as error:
                raise ValueError(f"{error}, or set usd_per_hour here") from None
        return self

    @property
    def price(self) -> float:
        """US dollars an hour."""
        if self.usd_per_hour is not None:
            return self.usd_per_hour
        assert self.cloud
        return price_per_hour(self.cloud, self.instance_type, self.region)


class TuningConfig(Frozen):
    """What is searched, and for what.

    The latency of a request is the time of its batch, plus the time that a batch may wait to fill
    (``serving.batching.max_queue_delay_ms``) where it holds more than one.
    """

    max_p99_ms: float = Field(gt=0)
    """The bound: 99 of 100 requests are answered within it, all instances busy."""
    machine: Machine
    layouts: tuple[Layout, ...] = ()
    """Layouts that run on such a machine: the choice is for them, and the others keep what ``serve`` says. None named:
    every layout of the targets. ``onnxruntime`` stands alone, since its server neither joins requests nor has more than
    one session: of it, only the precision and the threads are searched."""
    batch_sizes: tuple[int, ...] = Field(default=(1, 2, 4, 8, 16, 32), min_length=1)
    instances: tuple[int, ...] = Field(default=(1, 2), min_length=1)
    threads: tuple[int, ...] = Field(default=(1, 2), min_length=1)
    """ONNX Runtime's threads per instance."""
    trials: int = Field(default=40, ge=1)
    """Combinations tried at most; all of them where there are fewer."""
    seconds_per_trial: float = Field(default=3.0, gt=0)
    seed: int = 0

    @field_validator("batch_sizes", "instances", "threads")
    @classmethod
    def _positive_and_once(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(item < 1 for item in value) or len(set(value)) < len(value):
            raise ValueError("give whole numbers of 1 or more, each once")
        return value

    def with_one(self, key: Literal["batch_sizes", "instances"], why: str) -> TuningConfig:
        """The same, searched with 1 alone for ``key``. Raises :class:`ModelConfigError` where the file says more."""
        given = getattr(self, key)
        if key in self.model_fields_set and given != (1,):
            raise ModelConfigError(f"tuning.{key}: {why}: give [1], or leave the key out (given: {list(given)}).")
        return self.model_copy(update={key: (1,)})
