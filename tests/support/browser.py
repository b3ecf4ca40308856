"""A page in headless Chromium: what axe-core finds against it, and whether it is wider than the screen."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import pytest

AXE: Final = "axe-core/axe.min.js"
"""Below a global folder of npm's; 4.14.1 is what CI installs."""
_RULES: Final = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice")
_ASK: Final = """
axe.run(document, {runOnly: %s}).then(found => {
  const told = found.violations.flatMap(rule => rule.nodes.map(node => rule.id + ": " + node.html.slice(0, 200)));
  if (document.documentElement.scrollWidth > innerWidth) told.push("wider than the screen");
  if (matchMedia("(prefers-color-scheme: dark)").matches !== %s) told.push("the wrong colours");
  if (getComputedStyle(document.body).backgroundColor !== "%s") told.push("the wrong background");
  parent.document.getElementById("found").textContent = JSON.stringify(told);
});
"""


@dataclass(frozen=True)
class Look:
    """A screen: its width, and whether it is dark."""

    width: int
    dark: bool


LOOKS: Final = (Look(1280, False), Look(390, True))


def problems(page: Path, look: Look) -> list[str]:
    """Skips the test where Chromium or axe-core is not installed."""
    axe = _axe()
    paper = "rgb(22, 25, 29)" if look.dark else "rgb(255, 255, 255)"
    ask = _ASK % (json.dumps(_RULES), json.dumps(look.dark), paper)
    asked = page.read_text(encoding="utf-8").replace("</body>", f"<script>{axe}</script><script>{ask}</script></body>")
    # A window cannot be as narrow as a phone; a frame can.
    around = page.with_name("around.html")
    frame = f'<iframe style="width:{look.width}px;height:900px;border:0" srcdoc="{html.escape(asked)}"></iframe>'
    around.write_text(f'<!doctype html><meta charset="utf-8">{frame}<pre id="found"></pre>', encoding="utf-8")
    shown = dumped(around.as_uri(), page.parent, f"--blink-settings=preferredColorScheme={0 if look.dark else 1}")
    found = re.search(r'<pre id="found">(.+?)</pre>', shown, re.DOTALL)
    assert found, shown[-2000:]
    return json.loads(html.unescape(found[1]))


def dumped(url: str, scratch: Path, *options: str) -> str:
    """What a page is after twenty seconds of its own time, which pass at once where it does nothing."""
    command = [_chromium(), "--headless", "--no-sandbox", "--disable-gpu", *options, "--window-size=1400,1000"]
    command += [f"--user-data-dir={scratch / 'chromium'}", "--virtual-time-budget=20000", "--dump-dom"]
    return subprocess.run([*command, url], capture_output=True, text=True, check=True, timeout=120).stdout


@cache
def _chromium() -> str:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("there is no Chromium on PATH")
    return program


@cache
def _axe() -> str:
    npm = shutil.which("npm")
    folder = subprocess.run([npm, "root", "--global"], capture_output=True, text=True, check=True).stdout if npm else ""
    script = Path(folder.strip() or "/nowhere") / AXE
    if not script.is_file():
        pytest.skip("axe-core is not there: `npm install -g axe-core` gives it")
    return script.read_text(encoding="utf-8")
