"""Whether a release can be tried beside the package that serves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from components.burst.site import BurstSite
from spillway.contracts.manifest import Manifest
from spillway.contracts.problems import Problem, key_of
from stacks.settings import StackSettings

_KEY = "model_server.canary"


def _share_fits_its_servers(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    canary, most = settings.model_server.canary, settings.model_server.autoscaling.max_replicas
    if canary is None:
        return
    share = 100 * canary.servers / (canary.servers + most)
    if canary.percent > share:
        advice = (
            f"{canary.servers} of {canary.servers + most} servers carry {share:.0f} % of the load, and what is more "
            "spills; lower it, or give it more servers"
        )
        yield Problem(key_of(f"{_KEY}.percent"), str(canary.percent), advice)


def _no_engine_beside(settings: StackSettings, sites: Sequence[BurstSite]) -> Iterator[Problem]:
    server = settings.model_server
    if server.canary is not None and server.engine is not None:
        advice = "an engine is compiled for one package; leave it out while a release is tried, or have none tried"
        yield Problem(key_of("model_server.engine"), server.engine, advice)


def _answers_the_same(settings: StackSettings, serving: Manifest, release: Manifest) -> Iterator[Problem]:
    canary = settings.model_server.canary
    assert canary is not None
    if release.digest == serving.digest:
        advice = "it is the package that serves; name another one, or leave the trial out"
        yield Problem(key_of(f"{_KEY}.package"), canary.package, advice)
        return
    for what in ("kind", "entry_model", "inputs", "outputs"):
        theirs, ours = getattr(release, what), getattr(serving, what)
        if theirs != ours:
            advice = f"its {what} is {theirs}, and that of package.path {ours}: clients would get answers of two kinds"
            yield Problem(key_of(f"{_KEY}.package"), canary.package, advice)


RULES = (_share_fits_its_servers, _no_engine_beside)
PACKAGE_RULES = (_answers_the_same,)
