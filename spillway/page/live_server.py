"""A page that renews itself, served to this machine alone."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from spillway.page.page import Page, live_script, render

LOOPBACK: Final = "127.0.0.1"
JSON_PATH: Final = "/status.json"


@dataclass(frozen=True)
class Shown:
    """The same for people and for programs."""

    page: Page
    data: dict[str, Any]


class LiveServer(ThreadingHTTPServer):
    """``look``: what is to be shown now. However many ask, it looks no sooner than ``every_s`` after the last time, and
    not at all while nobody asks. ``port``: 0 for a free one."""

    daemon_threads = True

    def __init__(self, look: Callable[[], Shown], port: int, every_s: float) -> None:
        super().__init__((LOOPBACK, port), _Handler)
        self._look, self._every_s = look, every_s
        self._alone = threading.Lock()
        self._shown: Shown | None = None
        self._looked = 0.0

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.server_port}/"

    @property
    def names(self) -> tuple[str, ...]:
        """What a request may call this server. Another one is a page elsewhere whose name leads here."""
        return tuple(f"{name}:{self.server_port}" for name in (LOOPBACK, "localhost"))

    def shown(self) -> Shown:
        with self._alone:
            if self._shown is None or time.monotonic() - self._looked >= self._every_s:
                self._shown = self._look()
                self._looked = time.monotonic()
            return self._shown


class _Handler(BaseHTTPRequestHandler):
    server: LiveServer  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        if self.headers.get("host") not in self.server.names:
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST, f"This is {self.server.url}")
        elif self.path == "/":
            self._answer("text/html; charset=utf-8", render(self.server.shown().page))
        elif self.path == JSON_PATH:
            self._answer("application/json", json.dumps(self.server.shown().data) + "\n")
        else:
            self.send_error(HTTPStatus.NOT_FOUND, f"There are / and {JSON_PATH}")

    def _answer(self, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.send_header("cache-control", "no-store")
        self.send_header("x-content-type-options", "nosniff")
        self.send_header("content-security-policy", _POLICY)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """A line for each look would hide what the command says."""


def _policy() -> str:
    """Nothing from elsewhere, and no script but ours."""
    digest = base64.b64encode(hashlib.sha256(live_script().encode()).digest()).decode()
    own = f"script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'"
    return f"default-src 'none'; {own}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


_POLICY: Final = _policy()
