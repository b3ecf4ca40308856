"""How a gateway ends without cutting a request off.

Envoy ends at once on SIGTERM, whatever is in flight: its drain time counts for restarts of its own. So it is told
first, when its pod's end begins: it then fails its health check, takes what still comes, and closes each connection
after its next answer. Its SIGTERM comes when its preStop hook is over, long after.
"""

from __future__ import annotations

import asyncio
import logging

import aiohttp

from spillway.runtime.gateway.envoy_admin import EnvoyAdmin

LOG = logging.getLogger("spillway.agent")
LOOK_EVERY_S = 0.5


class Ending:
    """Tells the Envoy beside this agent, over its admin port."""

    def __init__(self, admin_port: int, session: aiohttp.ClientSession) -> None:
        self._admin = EnvoyAdmin(admin_port, session)

    async def call_off(self) -> None:
        """A new agent beside an Envoy that the one before it told to end."""
        await self._post("healthcheck/ok")

    async def begin(self) -> None:
        """No new connection is kept from now on."""
        await self._post("healthcheck/fail")

    async def over(self) -> None:
        """Until Envoy is gone."""
        while await self._answers():
            await asyncio.sleep(LOOK_EVERY_S)

    async def _post(self, what: str) -> None:
        try:
            await self._admin.post(what)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            LOG.info("Envoy was not told %s: %s", what, type(error).__name__)

    async def _answers(self) -> bool:
        try:
            await self._admin.get("ready")
        except aiohttp.ClientResponseError:
            # One that fails its health check is there.
            return True
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False
        return True
