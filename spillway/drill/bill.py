"""What a drill cost: list price times live capacity, from samples taken while it ran."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import pairwise
from typing import Any, Final

from spillway.contracts.capacity import Running

EVERY_S: Final = 2.0
"""Seconds between samples: a change of capacity is billed at most this much late."""
CENT: Final = Decimal("0.01")


@dataclass(frozen=True)
class Sample:
    """``at_s``: seconds after the drill's start. It holds until the next sample."""

    at_s: float
    running: tuple[Running, ...]


@dataclass(frozen=True)
class BillLine:
    """Machines of one kind over the whole drill."""

    site: str
    usd_per_hour: float
    instance_hours: float
    usd: float


@dataclass(frozen=True)
class Bill:
    """``usd``: to the cent, of the exact sum and not of rounded lines. ``missed``: samples that could not be taken;
    what ran before counts as running on."""

    lines: tuple[BillLine, ...]
    usd: float
    missed: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def bill(samples: Sequence[Sample], end_s: float, missed: int = 0) -> Bill:
    """``Σ(price × instances × time)``: each sample from its time until the next one's, the last one until ``end_s``.

    Raises ``ValueError`` when the samples are not in order, or go beyond the end.
    """
    times = [sample.at_s for sample in samples] + [end_s]
    if any(later < earlier for earlier, later in pairwise(times)):
        raise ValueError("samples are to be in the order of their times, and none after the end")
    hours: dict[tuple[str, float], Decimal] = {}
    for sample, until in zip(samples, times[1:], strict=True):
        span = (Decimal(until) - Decimal(sample.at_s)) / 3600
        for one in sample.running:
            key = (one.site, one.usd_per_hour)
            hours[key] = hours.get(key, Decimal()) + span * one.instances
    exact = {key: spent * Decimal(str(key[1])) for key, spent in hours.items()}
    lines = tuple(BillLine(*key, float(hours[key]), float(exact[key])) for key in sorted(hours))
    total = sum(exact.values(), Decimal()).quantize(CENT, ROUND_HALF_EVEN)
    return Bill(lines, float(total), missed)


@dataclass
class Meter:
    """Takes samples in a thread of its own, from :meth:`start` to :meth:`stop`. ``read``: what runs now."""

    read: Callable[[], tuple[Running, ...]]
    every_s: float = EVERY_S
    _samples: list[Sample] = field(default_factory=list)
    _missed: int = 0
    _begun: float = 0.0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._begun = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="drill-meter", daemon=True)
        self._thread.start()

    def stop(self) -> Bill:
        """The bill until now. The time before the first sample counts as that one says."""
        end_s = time.monotonic() - self._begun
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=30)
        samples = [sample for sample in self._samples if sample.at_s <= end_s]
        if samples:
            samples[0] = Sample(0.0, samples[0].running)
        return bill(samples, end_s, self._missed)

    def _run(self) -> None:
        while True:
            at_s = time.monotonic() - self._begun
            try:
                self._samples.append(Sample(at_s, self.read()))
            except Exception:
                self._missed += 1
            if self._stop.wait(self.every_s):
                return
