"""How the simulation is compiled, and where the compiled code is kept."""

from __future__ import annotations

import os
import tempfile
from hashlib import sha256
from pathlib import Path

from numba import config, njit


def _sources() -> str:
    """Names these sources. numba looks at a function's own file alone: a column that is renumbered in another one would
    leave it compiled as it was."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def _cache_dir() -> str | None:
    """A folder of the user's for compiled code; ``None`` where nothing can be written: then it compiles each time."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    here = _sources()
    places = (Path(home, "spillway", "numba"), Path(tempfile.gettempdir(), f"spillway-numba-{os.getuid()}"))
    for folder in (place / here for place in places):
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError:
            continue
        # Compiled code is run: a folder that is somebody else's is not used.
        if os.access(folder, os.W_OK) and folder.stat().st_uid == os.getuid():
            return str(folder)
    return None


_FOLDER = _cache_dir()
if _FOLDER:
    config.CACHE_DIR = _FOLDER  # pyright: ignore[reportAttributeAccessIssue]
compiled = njit(cache=_FOLDER is not None, nogil=True, error_model="numpy", _nrt=False)  # pyright: ignore[reportCallIssue]
"""Without ``_nrt`` numba would count references to every array of the state at each call, which was most of the time of
a simulation: nothing compiled here makes an array, or keeps one."""
