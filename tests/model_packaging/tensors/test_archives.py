"""Archives are a function of what is in the folder: not of the order of creation, times, owners, modes or place."""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from model_packaging.registry import oci
from model_packaging.tensors.layout import write_archive
from spillway.contracts.manifest import describe_files
from tests.model_packaging.packages import make_version

_NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12
)
_PATHS = st.lists(_NAMES.filter(lambda name: name not in (".", "..")), min_size=1, max_size=3).map("/".join)


@st.composite
def trees(draw: st.DrawFn) -> dict[str, bytes]:
    """Path → content; no path is a folder of another."""
    found: dict[str, bytes] = {}
    for path, content in draw(st.lists(st.tuples(_PATHS, st.binary(max_size=64)), max_size=8)):
        parts = path.split("/")
        parents = {"/".join(parts[:count]) for count in range(1, len(parts))}
        if not parents & found.keys() and not any(other.startswith(f"{path}/") for other in found):
            found[path] = content
    return found


def archive_of(tree: dict[str, bytes], order: list[str], when: int, mode: int) -> tuple[bytes, list[str]]:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "content")
        folder.mkdir()
        for path in order:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(tree[path])
            (folder / path).chmod(mode)
            os.utime(folder / path, (when, when))
        write_archive(folder, Path(place, "archive.tar.gz"))
        return Path(place, "archive.tar.gz").read_bytes(), [file.sha256 for file in describe_files(folder)]


@settings(max_examples=60)
@given(tree=trees(), data=st.data())
def test_equal_content_gives_equal_bytes_and_reads_back(tree: dict[str, bytes], data: st.DataObject) -> None:
    archives = [
        archive_of(
            tree,
            data.draw(st.permutations(sorted(tree))),
            data.draw(st.integers(0, 4_000_000_000)),
            data.draw(st.sampled_from([0o600, 0o644, 0o755])),
        )
        for _ in range(2)
    ]
    assert archives[0] == archives[1]
    with tarfile.open(fileobj=io.BytesIO(archives[0][0])) as packed:
        files = {member.name: packed.extractfile(member).read() for member in packed if member.isfile()}  # pyright: ignore[reportOptionalMemberAccess]
    assert files == tree


@settings(max_examples=60)
@given(tree=trees().filter(bool), data=st.data())
def test_any_change_of_content_changes_the_archive(tree: dict[str, bytes], data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(tree)))
    changed = {**tree, path: tree[path] + b"x"}
    assert archive_of(tree, sorted(tree), 0, 0o644)[0] != archive_of(changed, sorted(changed), 0, 0o644)[0]


@settings(max_examples=10)
@given(texts=st.lists(st.text(max_size=20), min_size=2, max_size=2, unique=True))
def test_an_image_is_named_by_its_content(texts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as place:
        made = [make_version(Path(place, str(index)), text) for index, text in enumerate([*texts, texts[0]])]
        digests = [oci.export(package, Path(place, f"layout-{index}")) for index, package in enumerate(made)]
    assert digests[0] == digests[2]
    assert digests[0] != digests[1]
