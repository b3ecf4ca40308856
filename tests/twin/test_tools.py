from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from spillway.twin import tools


def wheel(folder: Path, content: str = "here") -> tools.PinnedWheel:
    folder.mkdir(exist_ok=True)
    path = folder / "some_tool-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("some/probe.txt", content)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return tools.PinnedWheel("some-tool", "1.0", digest, "some", "some/probe.txt")


def test_a_wheel_is_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = wheel(tmp_path / "wheels")
    monkeypatch.setenv(tools.WHEELS_VARIABLE, str(tmp_path / "wheels"))
    home = tools.fetch(tool, tmp_path / "tools")
    assert (home / "some/probe.txt").read_text() == "here"
    monkeypatch.setattr(tools, "_local_wheel", lambda _: pytest.fail("it is there already"))
    assert tools.fetch(tool, tmp_path / "tools") == home


def test_a_file_that_is_not_the_pinned_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned = wheel(tmp_path / "wheels")
    wheel(tmp_path / "wheels", "changed")
    monkeypatch.setenv(tools.WHEELS_VARIABLE, str(tmp_path / "wheels"))
    with pytest.raises(tools.ToolMissingError, match=f"pinned is {pinned.sha256}"):
        tools.fetch(pinned, tmp_path / "tools")
    assert not (tmp_path / "tools" / "some").exists()


def test_everything_that_is_missing_is_named(tmp_path: Path) -> None:
    missing = "\n".join(tools.missing_tools(tmp_path))
    assert "nvidia-pytriton 0.7.0" in missing
    assert "numpy 1.26.4" in missing


def test_pip_is_found_where_the_environment_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in those that uv makes, for `uv tool install` too."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(tools.ToolMissingError, match="No matching distribution found for some-tool"):
        tools.fetch(wheel(tmp_path / "wheels"), tmp_path / "tools")
