"""The compiled simulation against the rule written once more in plain Python (``reference``), request by request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from spillway.contracts.classes import RequestClass, Site
from spillway.contracts.routing import DEFAULT_CLASSES
from spillway.planner.service import ServiceModel
from spillway.planner.simulate import Demand, Outcome, simulate
from spillway.planner.system import Objective, System, Tries
from tests.planner import reference
from tests.planner.queues import EVER, SECONDS, site
from tests.planner.reference import Asked, Fate, Reference

P0, P1, P2 = RequestClass
NAMES = (Site.PRIVATE, Site.SAGEMAKER, Site.AZURE_ML)
ENGINE = ServiceModel(
    name="engine", source="made", prompt_tokens=(64, 1024, 4096), prompt_s=(0.02, 0.1, 0.5), token_s=0.03, stretch=0.4,
    most_read=512, slots=6,
)  # fmt: skip
ENCODER = ServiceModel(
    name="encoder", source="made", prompt_tokens=(1, 8), prompt_s=(0.02, 0.06), most_read=8, batched=True, slots=16,
    delay_s=0.01,
)  # fmt: skip


NO_LIMITS: Mapping[int, tuple[float, float]] = {}
TENSORS = {c: (route.try_timeout_s, route.timeout_s) for c, route in enumerate(DEFAULT_CLASSES)}
STREAMS = {c: (route.first_token_s, np.inf) for c, route in enumerate(DEFAULT_CLASSES)}


def read_s(service: ServiceModel) -> reference.Callable[[float], float]:
    return lambda tokens: float(np.interp(tokens, service.prompt_tokens, service.prompt_s))


def requests(rate: float, count: int, service: ServiceModel, seed: int) -> list[Asked]:
    dice = np.random.default_rng(seed)
    at = np.cumsum(dice.exponential(1 / rate, count))
    klass = dice.choice(3, count, p=(0.5, 0.3, 0.2))
    if service.language:
        prompts, answers = dice.integers(1, 2000, count), dice.integers(0, 40, count).astype(float)
    elif service.batched:
        prompts, answers = np.ones(count, dtype=int), np.zeros(count)
    else:
        prompts, answers = np.zeros(count, dtype=int), dice.exponential(0.2, count)
    return [Asked(float(t), int(c), int(p), float(a)) for t, c, p, a in zip(at, klass, prompts, answers, strict=True)]


def compiled(
    service: ServiceModel,
    sites: Sequence[reference.Site],
    asked: list[Asked],
    measure: str,
    tries: Mapping[int, tuple[float, float]] = NO_LIMITS,
) -> Outcome:
    specs = tuple(
        site(one.slots, site=name, headroom=one.headroom, batch_share=one.batch_slots / one.slots)
        for name, one in zip(NAMES, sites, strict=False)
    )
    goals = {name: Objective.model_validate({"measure": measure, "within_s": 1e9, "share": 0.5}) for name in EVER}
    at, klass, prompt, answer = (np.array(column) for column in zip(*asked, strict=True))
    chunk = Demand(at, prompt.astype(float), answer, np.zeros(len(at)), klass.astype(np.int8))
    limits = {
        list(RequestClass)[c]: Tries(one_s=each, all_s=None if whole == np.inf else whole)
        for c, (each, whole) in tries.items()
    }
    return simulate([chunk], service, System(sites=specs, objectives=goals, tries=limits), float(at[-1]) + 1)


def quantile(values: list[float], share: float) -> float:
    return float(np.quantile(values, share, method="inverted_cdf")) if values else 0.0


def agree(outcome: Outcome, fates: list[Fate]) -> None:
    for number, name in enumerate(RequestClass):
        mine = [fate for fate in fates if fate.asked.klass == number]
        served = [fate for fate in mine if fate.site is not None]
        found = outcome.classes[name]
        assert (found.offered, found.answered) == (len(mine), len(served))
        assert found.spilled == sum(fate.site != 0 for fate in served)
        waits = [fate.begun - fate.asked.at for fate in served]
        assert found.mean_wait_s == pytest.approx(float(np.mean(waits)), abs=1e-6)
        assert found.wait_p99_s == pytest.approx(quantile(waits, 0.99), rel=0.011, abs=1e-4)
        firsts = [fate.first - fate.asked.at for fate in served]
        assert found.first_token_p50_s == pytest.approx(quantile(firsts, 0.5), rel=0.011)
        assert found.first_token_p99_s == pytest.approx(quantile(firsts, 0.99), rel=0.011)
        lasted = [fate.done - fate.asked.at for fate in served]
        assert found.latency_p50_s == pytest.approx(quantile(lasted, 0.5), rel=0.011)
        assert found.latency_p99_s == pytest.approx(quantile(lasted, 0.99), rel=0.011)
    by_site = Counter(fate.site for fate in fates)
    assert list(outcome.by_site.values()) == [by_site[n] for n in range(len(outcome.by_site))]


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("rate", [10.0, 30.0, 60.0])
def test_gates_headroom_and_priorities(rate: float, seed: int) -> None:
    """Three sites of fixed slots, from nearly idle to hopeless."""

    def sites() -> list[reference.Site]:
        return [reference.Site(4, 2, 4), reference.Site(3, 1, 2), reference.Site(2, 0, 0)]

    asked = requests(rate, 3000, SECONDS, seed)
    agree(compiled(SECONDS, sites(), asked, "wait"), Reference(sites()).fates(asked))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("rate", [2.0, 5.0, 9.0])
def test_an_engines_iterations(rate: float, seed: int) -> None:
    def sites() -> list[reference.Site]:
        engine = {"read_s": read_s(ENGINE), "most_read": 512, "token_s": 0.03, "stretch": 0.4}
        return [reference.Site(6, 3, 6, **engine), reference.Site(4, 2, 4, **engine)]

    asked = requests(rate, 1500, ENGINE, seed)
    agree(compiled(ENGINE, sites(), asked, "first_token"), Reference(sites()).fates(asked))


@pytest.mark.parametrize("rate", [20.0, 120.0, 400.0])
def test_an_encoders_batches(rate: float) -> None:
    def sites() -> list[reference.Site]:
        encoder = {"read_s": read_s(ENCODER), "most_read": 8, "pause_s": 0.01}
        return [reference.Site(16, 8, 16, **encoder), reference.Site(16, 8, 16, **encoder)]

    asked = requests(rate, 3000, ENCODER, 4)
    agree(compiled(ENCODER, sites(), asked, "latency"), Reference(sites()).fates(asked))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("rate", [5.0, 12.0, 18.0, 30.0])
def test_tries_that_are_cut(rate: float, seed: int) -> None:
    """Requests of 0.4 s on the mean, some longer than a try may be: the next site is asked while the first works on."""

    def sites() -> list[reference.Site]:
        return [reference.Site(3, 2, 3), reference.Site(2, 1, 2)]

    asked = [one._replace(answer=2.0 * one.answer) for one in requests(rate, 3000, SECONDS, seed)]
    fates = Reference(sites(), TENSORS).fates(asked)
    agree(compiled(SECONDS, sites(), asked, "latency", TENSORS), fates)
    assert fates != Reference(sites()).fates(asked)


@pytest.mark.parametrize("rate", [2.0, 3.0, 5.0, 9.0])
def test_first_tokens_that_are_late(rate: float) -> None:
    """What has not begun is taken out of the engine, what is being read at the end of its iteration."""

    def sites() -> list[reference.Site]:
        engine = {
            "read_s": lambda tokens: 4 * read_s(ENGINE)(tokens),
            "most_read": 512,
            "token_s": 0.12,
            "stretch": 0.4,
        }
        return [reference.Site(6, 3, 6, **engine), reference.Site(4, 2, 4, **engine)]

    slow = ENGINE.model_copy(update={"prompt_s": tuple(4 * s for s in ENGINE.prompt_s), "token_s": 0.12})
    asked = requests(rate, 1500, ENGINE, 5)
    fates = Reference(sites(), STREAMS).fates(asked)
    agree(compiled(slow, sites(), asked, "first_token", STREAMS), fates)
    assert fates != Reference(sites()).fates(asked)


def test_batches_that_are_late() -> None:
    def sites() -> list[reference.Site]:
        encoder = {"read_s": lambda n: 8 * read_s(ENCODER)(n), "most_read": 8, "pause_s": 0.01}
        return [reference.Site(16, 8, 16, **encoder), reference.Site(16, 8, 16, **encoder)]

    slow = ENCODER.model_copy(update={"prompt_s": tuple(8 * s for s in ENCODER.prompt_s)})
    asked = requests(60.0, 3000, ENCODER, 4)
    fates = Reference(sites(), TENSORS).fates(asked)
    agree(compiled(slow, sites(), asked, "latency", TENSORS), fates)
    assert fates != Reference(sites()).fates(asked)
