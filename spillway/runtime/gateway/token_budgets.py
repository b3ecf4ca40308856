"""Who has used how many tokens, and whether there is room for more: a bucket for each caller and class with a contract.

A bucket holds a minute's worth and fills evenly; it is this gateway process's share. A request takes what it may use at
most, and gets back what it did not when its answer is over. One larger than the bucket waits until that is full, and
leaves it in debt.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import ceil
from typing import Final

from spillway.contracts import metrics
from spillway.contracts.routing import RoutingTable
from spillway.contracts.usage import Usage
from spillway.runtime.gateway.monthly_quotas import Quotas

TOKENS: Final = {
    "prompt": metrics.PROMPT_TOKENS,
    "completion": metrics.COMPLETION_TOKENS,
    "cached": metrics.CACHED_TOKENS,
}

ANSWERS: Final = "answers"
SECONDS: Final = "seconds"
METRICS: Final = {**TOKENS, ANSWERS: metrics.ANSWERS, SECONDS: metrics.ANSWER_SECONDS}
"""What CloudWatch calls each kind of use."""


@dataclass
class Bucket:
    """``size``: tokens that it holds; it fills in a minute."""

    size: float
    now: Callable[[], float] = time.monotonic
    level: float = field(init=False)
    seen: float = field(init=False)

    def __post_init__(self) -> None:
        self.level, self.seen = self.size, self.now()

    def wait_s(self, tokens: float) -> float:
        """Seconds until so many may be taken."""
        moment = self.now()
        self.level = min(self.size, self.level + (moment - self.seen) * self.size / 60)
        self.seen = moment
        return max(0.0, min(tokens, self.size) - self.level) * 60 / self.size

    def resize(self, size: float) -> None:
        self.wait_s(0)
        self.level, self.size = self.level * size / self.size, size

    def take(self, tokens: float) -> None:
        """Also below nothing; a negative number gives back, and never more than there was room for."""
        self.wait_s(0)
        self.level = min(self.size, self.level - tokens)


class TokenBudgets:
    """Belongs to one event loop."""

    def __init__(self, table: RoutingTable, now: Callable[[], float] = time.monotonic) -> None:
        self._contracts = {
            (name, request_class.value): tokens
            for name, limits in table.callers()
            for request_class, tokens in limits.tokens_per_minute.items()
        }
        self._buckets = {whose: Bucket(tokens / table.replicas, now) for whose, tokens in self._contracts.items()}
        # A request's id may be a client's own choice: nobody meets another's by it.
        self._reserved: dict[tuple[str, str, str], float] = {}
        self.used: defaultdict[tuple[str, str, str, str, str], float] = defaultdict(float)
        """By client, class, site, model and kind: tokens, answers and, where nobody said tokens, seconds."""
        self.charged: defaultdict[tuple[str, str], float] = defaultdict(float)
        """Tokens by client and class."""
        self.refused: defaultdict[tuple[str, str], int] = defaultdict(int)
        """Requests by client and class."""
        self.quotas: Quotas | None = None
        """Of months, where a client has one."""

    def divide(self, gateways: int) -> None:
        """Among so many from now on. A bucket is as full as before, a share of what it holds now."""
        for whose, tokens in self._contracts.items():
            self._buckets[whose].resize(tokens / gateways)

    def reserve(self, request_id: str, client: str, request_class: str, tokens: float) -> int:
        """0, and they are taken; else whole seconds to wait, and they are not."""
        if self.quotas and (wait := self.quotas.wait_s(client)):
            self.refused[client, request_class] += 1
            return wait
        bucket = self._buckets.get((client, request_class))
        if bucket is None:
            return 0
        if wait := ceil(bucket.wait_s(tokens)):
            self.refused[client, request_class] += 1
            return wait
        bucket.take(tokens)
        self._reserved[client, request_class, request_id] = tokens
        return 0

    def settle(self, usage: Usage) -> None:
        """An answer is over."""
        whose = usage.client, usage.request_class
        charged = usage.charged
        self.charged[whose] += charged
        for kind, amount in _amounts(usage):
            if amount:
                self.used[(*whose, usage.site or "", usage.model, kind)] += amount
        if bucket := self._buckets.get(whose):
            bucket.take(charged - self._reserved.pop((*whose, usage.id), 0))

    def metrics(self) -> Iterator[str]:
        """Lines for Prometheus."""
        for (client, request_class, site, model, kind), amount in self.used.items():
            labels = f'client="{client}",class="{request_class}",site="{site}",model="{model}"'
            if kind in TOKENS:
                yield f'spillway_tokens_total{{{labels},kind="{kind}"}} {amount:.0f}'
            else:
                yield f"spillway_answer{'s' if kind == ANSWERS else '_seconds'}_total{{{labels}}} {amount:.3f}"
        for (client, request_class), tokens in self.charged.items():
            yield f'spillway_tokens_charged_total{{client="{client}",class="{request_class}"}} {tokens:.0f}'
        for (client, request_class), requests in self.refused.items():
            yield f'spillway_tokens_refused_total{{client="{client}",class="{request_class}"}} {requests}'
        for (client, request_class), bucket in self._buckets.items():
            bucket.wait_s(0)
            yield f'spillway_tokens_left{{client="{client}",class="{request_class}"}} {bucket.level:.0f}'
        if self.quotas:
            yield from self.quotas.metrics()


def _amounts(usage: Usage) -> Iterator[tuple[str, float]]:
    for kind in TOKENS:
        yield kind, getattr(usage, kind) or 0
    if usage.status == 200:
        yield ANSWERS, 1
        if usage.prompt is None:
            yield SECONDS, (usage.duration_ms or 0) / 1000
