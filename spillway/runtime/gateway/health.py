"""How the agent judges a burst site: its status as the cloud tells it, and one small real inference."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from spillway.contracts.credentials import BearerKey, SigV4
from spillway.contracts.routing import AgentCheck, Probe, SiteRoute
from spillway.runtime.gateway.sigv4 import Signer
from spillway.runtime.gateway.tokens import read_token, token_maker

SERVING = frozenset({"InService", "Updating", "SystemUpdating", "RollingBack"})
"""SageMaker endpoint states in which instances answer
(https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DescribeEndpoint.html)."""

BUSY = 429
FULL = 503
"""What a container says whose queue is full; the cloud passes it on inside a 424. A full site is not a dead one."""


@dataclass
class Hysteresis:
    """A verdict that changes only after some results in a row."""

    unhealthy_after: int
    healthy_after: int
    healthy: bool = True
    streak: int = 0

    def add(self, good: bool) -> bool:
        """Count one result. Returns whether the verdict changed."""
        self.streak = self.streak + 1 if good is not self.healthy else 0
        if self.streak < (self.healthy_after if good else self.unhealthy_after):
            return False
        self.healthy, self.streak = good, 0
        return True


@dataclass(frozen=True)
class ProbeResult:
    """One probe: whether it was good, why not, and how long it took."""

    good: bool
    reason: str
    seconds: float


class SiteProbe:
    """Asks one site for one small inference, signed or keyed like a client's. ``token_path``: file of the site's token,
    if it wants one."""

    def __init__(self, route: SiteRoute, probe: Probe, session: aiohttp.ClientSession, token_path: str) -> None:
        self._route, self._probe, self._session = route, probe, session
        self._signer = Signer(route.auth) if isinstance(route.auth, SigV4) else None
        self._token = Path(token_path) if token_maker(route) else None
        self._ssl = ssl.create_default_context(cafile=route.tls.ca_file) if route.tls else None

    async def ask(self, timeout_s: float) -> ProbeResult:
        """One probe. Never raises for what the site or the network does."""
        started = time.monotonic()
        try:
            status, engine = await asyncio.wait_for(self._ask(), timeout_s)
        except TimeoutError:
            return ProbeResult(False, f"no answer within {timeout_s:g} s", time.monotonic() - started)
        except (aiohttp.ClientError, OSError, LookupError) as error:
            return ProbeResult(False, type(error).__name__, time.monotonic() - started)
        good = status < 400 or status == BUSY or engine == FULL
        return ProbeResult(good, f"answered {status}", time.monotonic() - started)

    async def _ask(self) -> tuple[int, int | None]:
        """The status, and the one of the engine that answered behind it, where it is a language model's."""
        route = self._route
        path = next((rule.upstream for rule in route.paths if rule.client == self._probe.path), self._probe.path)
        body = self._probe.body.encode()
        headers = await asyncio.to_thread(self._headers, path, body)
        scheme = "https" if route.tls else "http"
        async with self._session.post(
            f"{scheme}://{route.host}:{route.port}{path}",
            data=body,
            headers=headers,
            ssl=self._ssl or True,
            server_hostname=route.tls.sni if route.tls else None,
        ) as answer:
            return answer.status, _engine_status(await answer.read())

    def _headers(self, path: str, body: bytes) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "Host": self._route.authority}
        if self._signer:
            return self._signer.sign("POST", f"https://{self._route.authority}{path}", headers, body)
        if self._token:
            return {**headers, "Authorization": f"Bearer {read_token(self._token)}"}
        if isinstance(self._route.auth, BearerKey):
            key = Path(self._route.auth.key_file).read_text().strip()
            return {**headers, "Authorization": f"Bearer {key}"}
        return headers


def _engine_status(body: bytes) -> int | None:
    """The code in an error that has OpenAI's form, as the engine's own have, bare or inside SageMaker's."""
    try:
        found = json.loads(body)
        found = json.loads(found["OriginalMessage"]) if "OriginalMessage" in found else found
        return int(found["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return None


class SiteJudge:
    """One burst site's verdict, kept up to date by :meth:`check`."""

    def __init__(self, route: SiteRoute, check: AgentCheck, probe: SiteProbe, describe: Callable[[str], Any]) -> None:
        self.route, self.check_every_s = route, check.interval_s
        self.verdict = Hysteresis(check.unhealthy_after, check.healthy_after)
        self.last: ProbeResult | None = None
        self.failures = 0
        self.live_instances: int | None = None
        self._check, self._probe, self._describe = check, probe, describe

    async def check(self) -> bool:
        """Look once. Returns whether the verdict changed."""
        status = await self._status()
        if status is not None and status not in SERVING:
            self.last = ProbeResult(False, f"endpoint is {status}", 0.0)
        else:
            self.last = await self._probe.ask(self._check.timeout_s)
        self.failures += not self.last.good
        return self.verdict.add(self.last.good)

    async def _status(self) -> str | None:
        """What the cloud says, ``None`` where it says nothing: an API that is down closes no site that serves."""
        if self._check.endpoint is None:
            return None
        try:
            answer = await asyncio.to_thread(self._describe, self._check.endpoint)
        except Exception:
            return None
        variants = answer.get("ProductionVariants", [])
        self.live_instances = sum(variant.get("CurrentInstanceCount", 0) for variant in variants) or None
        return answer.get("EndpointStatus")
