"""Looks up a gateway's name as clients do that follow DNS: an answer is believed for its TTL, and then asked for anew.

Besides, it looks at the name all the while, past that TTL: a drill can tell when DNS moved from when clients did.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Final

LOOK_S: Final = 0.5
"""Seconds between two looks."""
HOME_S: Final = 240.0
"""Longest that the alarm, the health check and DNS take to notice that a gateway is well again."""
_TIMEOUT_S: Final = 2.0


@dataclass
class Resolver:
    """``server``: ``address:port`` to ask in the place of the system's. ``home``: the usual address, where it is known.
    ``moves``: when the address changed, on ``time.perf_counter``'s clock, as far as :meth:`watch` has seen."""

    name: str
    server: str = ""
    home: str = ""
    moves: list[float] = field(default_factory=list)
    _address: str = ""
    _until: float = 0.0

    async def address(self) -> str:
        """Believed until its TTL is over; the last one where nobody answers. Raises ``OSError`` where there is none."""
        if time.perf_counter() >= self._until:
            try:
                self._address, ttl_s = await self._ask()
                self._until = time.perf_counter() + ttl_s
            except OSError:
                if not self._address:
                    raise
        return self._address

    async def come_home(self, within_s: float = HOME_S) -> None:
        """Until the name has its usual address: after an earlier drill DNS takes a while. Raises ``TimeoutError``."""
        async with asyncio.timeout(within_s):
            while self.home and (await self._ask())[0] != self.home:
                await asyncio.sleep(LOOK_S)

    async def watch(self) -> None:
        """Until cancelled."""
        known = ""
        while True:
            try:
                found, _ = await self._ask()
            except OSError:
                found = known
            if known and found != known:
                self.moves.append(time.perf_counter())
            known = found
            await asyncio.sleep(LOOK_S)

    async def _ask(self) -> tuple[str, float]:
        """By dnspython, of the extra ``deploy``: a drill that follows no DNS does without."""
        from dns.asyncresolver import Resolver as Lookup
        from dns.exception import DNSException

        lookup = Lookup(configure=not self.server)
        if self.server:
            host, _, port = self.server.rpartition(":")
            lookup.nameservers, lookup.port = [host], int(port)
        try:
            found = await lookup.resolve(self.name, "A", lifetime=_TIMEOUT_S)
        except DNSException as error:
            raise OSError(f"{self.name} has no address in DNS: {error}") from None
        assert found.rrset is not None
        return str(next(iter(found.rrset))), found.rrset.ttl
