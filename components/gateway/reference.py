"""The generated parts of the reference page ``routes.md``."""

from __future__ import annotations

from collections.abc import Iterator

from spillway.contracts.refusals import REFUSALS
from spillway.contracts.schema_tables import table
from spillway.contracts.server_routes import ROUTES, TRITON_VERSION, VLLM_VERSION, ServerKind

TITLES: dict[ServerKind, str] = {"triton": f"Triton {TRITON_VERSION}", "vllm": f"vLLM {VLLM_VERSION}"}


def routes() -> str:
    """Every route of each kind of server: what passes first."""
    return "\n\n".join(_sections())


def _sections() -> Iterator[str]:
    for server, title in TITLES.items():
        for allowed, says in ((True, "let in"), (False, "refused")):
            rows = [
                (f"`{'`, `'.join(route.methods)}`", f"`{route.path}`", route.area.value, route.reason)
                for route in ROUTES[server]
                if route.allowed is allowed
            ]
            yield f"## {title}: {says}"
            yield table(("Method", "Path", "For", "Why"), rows)


def refusals() -> str:
    """Why a request is refused for now."""
    rows = [
        (f"`{reason.value}`", str(found.status), f"{found.retry_after_s} s", found.meaning)
        for reason, found in REFUSALS.items()
    ]
    return table(("`x-spillway-reason`", "Status", "`Retry-After` at least", "Why"), rows)
