"""One request to a finished site, by the name that clients use: DNS, certificate, gateway and model server at once."""

from __future__ import annotations

import http.client
import json
import shlex
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from spillway.contracts.classes import SITE_HEADER
from spillway.contracts.routing import Probe
from stacks.stages import Question

_TIMEOUT_S: Final = 15.0
_SHOWN: Final = 400
"""So many characters of an answer are shown."""


@dataclass(frozen=True)
class Answer:
    """``problem``: why there is no good one, empty where there is. ``site``: who answered, ``body``: its beginning."""

    problem: str
    address: str = ""
    status: int = 0
    site: str = ""
    seconds: float = 0.0
    body: str = ""


class Asker:
    """``addresses``: of a name, as DNS tells them, none where it is not known. ``headers``: with a client's key, which
    is never shown. Asks every ``poll_s`` seconds, for ``patience_s`` at most: names and load balancers take minutes."""

    def __init__(
        self,
        request: Probe,
        headers: Mapping[str, str],
        addresses: Callable[[str], list[str]],
        *,
        patience_s: float = 600.0,
        poll_s: float = 5.0,
    ) -> None:
        self._request = request
        self._headers = headers
        self._addresses = addresses
        self._patience_s = patience_s
        self._poll_s = poll_s

    def ask(self, question: Question) -> Answer:
        """The first good answer, else the last problem. A private name that is not known here is not waited for."""
        limit = time.monotonic() + self._patience_s
        while True:
            found = self._addresses(question.host)
            if not found and not question.public:
                return Answer(f"{question.host} is a private name, which is not known here: {self._by_hand(question)}")
            answer = self._try(question, found)
            if not answer.problem or answer.status in (401, 403) or time.monotonic() >= limit:
                return answer
            time.sleep(self._poll_s)

    def _try(self, question: Question, addresses: list[str]) -> Answer:
        if not addresses:
            return Answer(f"DNS does not know {question.host}")
        begun = time.monotonic()
        try:
            status, site, body = self._exchange(question, addresses[0])
        except ssl.SSLCertVerificationError as error:
            return Answer(f"the certificate of {question.host} is not good: {error.verify_message}", addresses[0])
        except (OSError, http.client.HTTPException) as error:
            why = f"{addresses[0]}:{question.port} does not answer ({type(error).__name__}: {error})"
            return Answer(f"{why}; is this machine in client_cidrs?", addresses[0])
        problem = "" if status == 200 else f"{question.host} answers {status}: {body}"
        return Answer(problem, addresses[0], status, site, time.monotonic() - begun, body)

    def _exchange(self, question: Question, address: str) -> tuple[int, str, str]:
        connection = http.client.HTTPConnection(question.host, question.port, timeout=_TIMEOUT_S)
        plain = socket.create_connection((address, question.port), timeout=_TIMEOUT_S)
        try:
            connection.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=question.host)
            headers = {"content-type": "application/json", **self._headers}
            connection.request("POST", self._request.path, self._request.body, headers)
            answer = connection.getresponse()
            body = answer.read(_SHOWN * 4).decode(errors="replace")[:_SHOWN]
            return answer.status, answer.getheader(SITE_HEADER) or "", body
        finally:
            connection.close()
            plain.close()

    def _by_hand(self, question: Question) -> str:
        """Without the key: it would stand in the terminal's history."""
        url = f"https://{question.host}{self._request.path}"
        keys = " ".join(f"-H '{name}: ...'" for name in self._headers)
        command = f"curl {keys} --json {shlex.quote(json.dumps(json.loads(self._request.body)))} {url}"
        return f"from inside the networks, `{command}`"
