"""A page that renews itself: who may ask for it, and what a browser makes of it."""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from spillway.page.live_server import LiveServer, Shown
from spillway.page.page import Page, Section, Table
from tests.support.browser import dumped


def looked(number: int) -> Shown:
    sections = (
        Section("Same", lines=("kept",)),
        Section("Changing", tables=(Table("Looks", ("what", "number"), (("look", str(number)),)),)),
    )
    return Shown(Page("Looks", "One more each time.", {}, sections, renewed_s=1.0), {"look": number})


@contextmanager
def serving(every_s: float = 0.0) -> Iterator[LiveServer]:
    looks = count(1)
    with LiveServer(lambda: looked(next(looks)), 0, every_s) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def get(server: LiveServer, path: str, host: str | None = None) -> tuple[int, dict[str, str], str]:
    address = server.url.removeprefix("http://").rstrip("/")
    connection = http.client.HTTPConnection(address, timeout=30)
    connection.request("GET", path, headers={"host": host or address})
    answer = connection.getresponse()
    said = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read().decode()
    connection.close()
    return said


def test_it_looks_no_sooner_than_asked_for_and_tells_people_and_programs_the_same() -> None:
    with serving(every_s=3600) as server:
        status, headers, html = get(server, "/")
        assert status == 200
        assert ">1</td>" in html
        assert get(server, "/status.json")[2] == '{"look": 1}\n'
        assert server.server_address[0] == "127.0.0.1"
    # What is not allowed is not loaded: nothing from elsewhere, and no script whose digest is another.
    assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'sha256-")
    assert "http" not in re.sub(r"<script>.*</script>", "", html, flags=re.DOTALL)


@pytest.mark.parametrize(("path", "host", "expected"), [("/", "evil.test", 421), ("/secrets", None, 404)])
def test_other_names_and_paths_are_refused(path: str, host: str | None, expected: int) -> None:
    """A page elsewhere whose name is made to lead to loopback would else read this one (DNS rebinding)."""
    with serving() as server:
        assert get(server, path, host)[0] == expected


@pytest.mark.heavy
def test_a_browser_shows_what_is_new(tmp_path: Path) -> None:
    """By the script, which the page's own policy has to let run."""
    with serving() as server:
        shown = dumped(server.url, tmp_path)
    (number,) = re.findall(r">(\d+)</td>", shown)
    assert int(number) > 1
    assert "does not answer any more" not in re.sub(r"<script>.*</script>", "", shown, flags=re.DOTALL)
