"""The admin port of the Envoy beside the agent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import aiohttp

_TIMEOUT: Final = aiohttp.ClientTimeout(total=2)


class EnvoyAdmin:
    """Raises ``aiohttp.ClientError``, ``TimeoutError`` and ``OSError``; ``aiohttp.ClientResponseError`` for a status
    that is an error."""

    def __init__(self, port: int, session: aiohttp.ClientSession) -> None:
        self._url, self._session = f"http://127.0.0.1:{port}", session

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> str:
        async with self._session.get(f"{self._url}/{path}", params=params, timeout=_TIMEOUT) as answer:
            answer.raise_for_status()
            return await answer.text()

    async def post(self, path: str, params: Mapping[str, str] | None = None) -> None:
        async with self._session.post(f"{self._url}/{path}", params=params, timeout=_TIMEOUT) as answer:
            answer.raise_for_status()

    async def set_runtime(self, values: Mapping[str, int]) -> None:
        """Of the runtime's admin layer, which a restarted Envoy has forgotten."""
        await self.post("runtime_modify", {key: str(value) for key, value in values.items()})
