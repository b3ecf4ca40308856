"""A gateway of few words: TLS with a certificate of its own authority, and one answer for callers with the key."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from spillway.contracts.classes import CLIENT_KEY_HEADER, SITE_HEADER
from spillway.twin.certificates import ensure_authority, ensure_certificate


@dataclass
class Gateway:
    """``authority``: what callers have to trust. ``paths``: what was asked for, with the right key."""

    port: int
    authority: Path
    paths: list[str] = field(default_factory=list)


@contextmanager
def gateway(folder: Path, host: str, key: str, address: str = "127.0.0.1", port: int = 0) -> Iterator[Gateway]:
    """Serve ``host`` while the block runs; port 0 takes a free one."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            allowed = self.headers.get(CLIENT_KEY_HEADER) == key
            if allowed:
                found.paths.append(self.path)
            body = b'{"outputs": []}' if allowed else b"who are you?"
            self.send_response(200 if allowed else 401)
            self.send_header(SITE_HEADER, "private")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None: ...

    server = http.server.ThreadingHTTPServer((address, port), Handler)
    pair = ensure_certificate(folder, host)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    found = Gateway(server.server_port, ensure_authority(folder).certificate)
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
