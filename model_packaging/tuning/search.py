"""Search precision × batch × instances × threads for the cheapest that holds the latency bound (Optuna).

A study is kept in a journal on disk, so that a search that was interrupted goes on where it stopped. Its name derives
from everything that the figures depend on: other inputs are another study.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import platform
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from model_packaging.tuning.measure import Load, measure
from model_packaging.tuning.settings import TuningConfig
from spillway.contracts.manifest import PackageError

if TYPE_CHECKING:
    import optuna

State = Literal["held", "missed", "pruned"]
Progress = Callable[[str], None]
Feeds = Callable[[int], dict[str, np.ndarray]]
"""Batch size → a batch of that size."""

_HOPELESS: Final = 1.5
"""A trial is given up when, after a part, it is this many times over the bound, or this many times dearer than the best
that held: noise between parts is far smaller."""
_FIGURES: Final = "figures"
_ROUNDS: Final = 4
"""How often the sampler is asked again for what it spent on combinations it had already."""


@dataclass(frozen=True)
class Choice:
    """One way to serve."""

    variant: str
    batch_size: int
    instances: int
    threads: int


@dataclass(frozen=True)
class Trial:
    """One way to serve as measured. ``latency_ms``: P99 of a request; ``usd_per_million``: of a million inferences."""

    choice: Choice
    state: State
    p50_ms: float
    p99_ms: float
    latency_ms: float
    per_second: float
    usd_per_million: float


@dataclass(frozen=True)
class TuningResult:
    """Every trial, cheapest of those that held first. ``resumed``: trials that an earlier run had made."""

    max_p99_ms: float
    usd_per_hour: float
    trials: tuple[Trial, ...]
    resumed: int

    @property
    def chosen(self) -> Trial | None:
        """The cheapest that holds the bound, or none."""
        return next((trial for trial in self.trials if trial.state == "held"), None)

    @property
    def nearest(self) -> Trial:
        """The fastest of all: what comes nearest to the bound when none holds it."""
        return min(self.trials, key=lambda trial: trial.latency_ms)


def usd_per_million(usd_per_hour: float, per_second: float) -> float:
    """Price of a million inferences at full load: ``price ÷ (3600 × inferences a second) × 10⁶``."""
    return usd_per_hour / (3600 * per_second) * 1e6


def tune(
    variants: Mapping[str, Path],
    feeds: Feeds,
    config: TuningConfig,
    *,
    max_queue_delay_ms: float,
    journal_dir: Path,
    progress: Progress = lambda message: None,
) -> TuningResult:
    """Search among ``variants`` (name → ONNX file, each within its parity bound already).

    Raises :class:`PackageError` when another search of the same inputs is running, or the journal cannot be kept.
    """
    import optuna

    layouts = _layouts(config)
    with _study(variants, config, max_queue_delay_ms, journal_dir, layouts) as study:
        resumed = len(_figures(study))
        if resumed:
            progress(f"going on after {resumed} trials of an earlier run")
        wanted = _wanted(variants, config, layouts)

        def objective(trial: optuna.Trial) -> float:
            instances, threads = layouts[trial.suggest_categorical("instances x threads", list(layouts))]
            batch_size = trial.suggest_categorical("batch_size", config.batch_sizes)
            choice = Choice(trial.suggest_categorical("variant", sorted(variants)), batch_size, instances, threads)
            earlier = _figures(study)
            figures = earlier.get(choice)
            # The sampler may come back to a combination; it is measured once.
            if figures is None:
                onnx_file = variants[choice.variant]
                figures = _measured(choice, onnx_file, feeds, config, max_queue_delay_ms, earlier.values())
                progress(
                    f"{len(earlier) + 1}/{wanted}: {choice.variant}, batch {batch_size}, {instances} × {threads} "
                    f"threads: {figures.latency_ms:.1f} ms, ${figures.usd_per_million:.2f} a million, {figures.state}"
                )
            trial.set_user_attr(_FIGURES, asdict(figures))
            if figures.state != "held":
                # Too slow is no candidate, however cheap.
                raise optuna.TrialPruned
            return figures.usd_per_million

        for _ in range(_ROUNDS):
            if missing := wanted - len(_figures(study)):
                study.optimize(objective, n_trials=missing)
        trials = tuple(sorted(_figures(study).values(), key=_order))
    return TuningResult(config.max_p99_ms, config.machine.price, trials, resumed)


def _layouts(config: TuningConfig) -> dict[str, tuple[int, int]]:
    """Instances and threads that fit this machine's cores, by label. Raises :class:`PackageError` where none does."""
    cores = os.cpu_count() or 1
    pairs = product(config.instances, config.threads)
    fitting = {
        f"{instances} x {threads}": (instances, threads) for instances, threads in pairs if instances * threads <= cores
    }
    if not fitting:
        raise PackageError(
            f"tuning: every combination of instances × threads asks for more than the {cores} cores of this machine; "
            "give smaller numbers."
        )
    return fitting


def _wanted(variants: Mapping[str, Path], config: TuningConfig, layouts: Mapping[str, object]) -> int:
    return min(config.trials, len(variants) * len(config.batch_sizes) * len(layouts))


def _measured(
    choice: Choice,
    onnx_file: Path,
    feeds: Feeds,
    config: TuningConfig,
    max_queue_delay_ms: float,
    earlier: Iterable[Trial],
) -> Trial:
    """Measure one combination; given up early where it can neither hold the bound nor be the cheapest."""
    best = min((trial.usd_per_million for trial in earlier if trial.state == "held"), default=math.inf)
    wait_ms = max_queue_delay_ms if choice.batch_size > 1 else 0.0
    load: Load | None = None
    cost, pruned = math.inf, False
    for load in measure(
        onnx_file,
        feeds(choice.batch_size),
        batch_size=choice.batch_size,
        instances=choice.instances,
        threads=choice.threads,
        seconds=config.seconds_per_trial,
    ):
        cost = usd_per_million(config.machine.price, load.per_second)
        if pruned := load.p50_ms + wait_ms > _HOPELESS * config.max_p99_ms or cost > _HOPELESS * best:
            break
    assert load is not None
    latency = load.p99_ms + wait_ms
    state: State = "pruned" if pruned else "held" if latency <= config.max_p99_ms else "missed"
    return Trial(choice, state, load.p50_ms, load.p99_ms, latency, load.per_second, cost)


@contextlib.contextmanager
def _study(
    variants: Mapping[str, Path],
    config: TuningConfig,
    max_queue_delay_ms: float,
    journal_dir: Path,
    layouts: Mapping[str, object],
) -> Iterator[optuna.Study]:
    """The study of these inputs, with its journal open for this process alone."""
    import fcntl

    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    name = _study_name(variants, config, max_queue_delay_ms)
    try:
        journal_dir.mkdir(parents=True, exist_ok=True)
        lock = (journal_dir / f"{name}.lock").open("w")
    except OSError as error:
        raise PackageError(f"{journal_dir}: the search cannot be kept there: {error.strerror}.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PackageError("This search is running already; wait for it, two would measure each other.") from None
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(journal_dir / f"{name}.journal")))
        all_fit = len(variants) * len(config.batch_sizes) * len(layouts) <= config.trials
        with warnings.catch_warnings():
            # Optuna says of both that their interfaces may change; the version is pinned.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = (
                optuna.samplers.BruteForceSampler(seed=config.seed)
                if all_fit
                else optuna.samplers.TPESampler(seed=config.seed, multivariate=True)
            )
        yield optuna.create_study(study_name=name, storage=storage, load_if_exists=True, sampler=sampler)


def _study_name(variants: Mapping[str, Path], config: TuningConfig, max_queue_delay_ms: float) -> str:
    """Everything that the figures depend on, hashed; how many trials are asked for is not among it."""
    from spillway.contracts.manifest import sha256_of_file

    inputs = {
        "variants": {name: sha256_of_file(path) for name, path in variants.items()},
        "config": config.model_dump(mode="json", exclude={"trials"}),
        "max_queue_delay_ms": max_queue_delay_ms,
        "machine": [platform.node(), platform.processor(), os.cpu_count()],
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]


def _figures(study: optuna.Study) -> dict[Choice, Trial]:
    """What was measured; a trial that was cut off by an interruption has no figures."""
    found = {}
    for finished in study.get_trials(deepcopy=False):
        if finished.state.is_finished() and (figures := finished.user_attrs.get(_FIGURES)):
            choice = Choice(**figures["choice"])
            found[choice] = Trial(**{**figures, "choice": choice})
    return found


def _order(trial: Trial) -> tuple[bool, float]:
    return trial.state != "held", trial.usd_per_million
