"""The metrics of each model server of the private site, as the gateway beside it reads them."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Sequence
from typing import Final

import aiohttp

from spillway.contracts.routing import SiteRoute

_TIMEOUT: Final = aiohttp.ClientTimeout(total=3)


async def pages(route: SiteRoute, session: aiohttp.ClientSession) -> AsyncIterator[tuple[str, str]]:
    """Address and page of each; nothing of one that has no metrics at its own port, as Triton.

    Raises ``OSError``, ``aiohttp.ClientError`` and ``TimeoutError``.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(route.host, route.port, type=socket.SOCK_STREAM)
    for address in sorted({str(info[4][0]) for info in found}):
        host = f"[{address}]" if ":" in address else address
        async with session.get(f"http://{host}:{route.port}/metrics", timeout=_TIMEOUT) as answer:
            if answer.status == 200:
                yield address, await answer.text()


def samples(*names: str) -> re.Pattern[str]:
    """Whose only group is the value of each sample of these metrics."""
    return re.compile(rf"^(?:{'|'.join(names)})(?:\{{[^}}]*\}})?\s+([0-9.eE+-]+)$", re.MULTILINE)


def values(of: re.Pattern[str], read: Sequence[str]) -> list[float]:
    """What such samples say on these pages."""
    return [float(value) for page in read for value in of.findall(page)]
