"""Requests made up at random, through a real Envoy: an answer, or a refusal that says why; never a part of a body."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spillway.contracts.classes import Site
from spillway.contracts.server_routes import decision
from tests.support.gateway_rig import ALPHA, INFER, Rig

pytestmark = pytest.mark.heavy

odd = settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
PIECES = [
    *("/", "//", "/./", "/../", "%2e%2e", "%2f", "%5c", "\\", ";", "?", "#"),
    *("v2", "V2", "models", "m", "versions", "1", "infer", "%69nfer", "generate", "config", "ready", "stats"),
    *("repository", "index", "load", "unload", "trace", "setting", "logging", "health", "live"),
    *("systemsharedmemory", "cudasharedmemory", "region", "register", "status"),
]


COMPLETIONS = "/v1/completions"
KEYS = ("parameters", "priority", "inputs", "stream", "n", "é", "", 'a"b', "a\\\\b", "p\\nq")
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    SCALARS | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner),
    max_leaves=8,
)
BODIES = st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), VALUES, max_size=5)
SPACES = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n\t", "\r\n : ")])
NOISE = st.sampled_from(["", '"', "\\", "{", "}", "[", "]", ",", ":", "\x00", "null", '"priority":-9,', "//", "é", "'"])


@pytest.fixture
def rig(running: Rig) -> Rig:
    return running


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("vllm"), lambda table: table.model_copy(update={"server": "vllm"})) as rig:
        yield rig


def clear(rig: Rig) -> None:
    for server in rig.servers.values():
        server.seen.clear()


@odd
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "HEAD", "DELETE"]),
    pieces=st.lists(st.sampled_from(PIECES), min_size=1, max_size=9),
    slashes=st.booleans(),
)
def test_whatever_a_server_sees_is_in_the_table(rig: Rig, method: str, pieces: list[str], slashes: bool) -> None:
    clear(rig)
    path = "/" + ("/" if slashes else "").join(pieces)
    body = '{"inputs":[]}'
    head = f"{method} {path} HTTP/1.1\r\nhost: g\r\ncontent-type: application/json\r\nx-spillway-key: {ALPHA}\r\n"
    status = rig.raw(f"{head}content-length: {len(body)}\r\nconnection: close\r\n\r\n{body}")
    seen = rig.servers[Site.PRIVATE].seen
    assert status in (200, 400, 403, 405)
    if status != 200:
        assert seen == []
    for request in seen:
        found = decision("triton", method, request.path)
        assert found is not None
        assert found.allowed


@odd
@given(
    tail=st.binary(max_size=3000)
    | st.builds(lambda part, times: part * times, st.binary(max_size=9), st.integers(0, 3000)),
    level=st.integers(0, 9),
    change=st.none() | st.tuples(st.sampled_from(["cut", "flip", "add", "repeat"]), st.floats(0, 1, exclude_max=True)),
)
def test_a_packed_body_is_whole_or_refused(rig: Rig, tail: bytes, level: int, change: tuple[str, float] | None) -> None:
    clear(rig)
    head = b'{"inputs":[]}'
    packed = gzip.compress(head + tail, level, mtime=0)
    sent = packed if change is None else changed(packed, *change)
    headers = {"content-encoding": "gzip", "inference-header-content-length": str(len(head)), "x-spillway-key": ALPHA}
    answer = rig.post(sent, headers=headers)
    seen = rig.servers[Site.PRIVATE].seen
    if answer.status == 200:
        assert seen[-1].body == b'{"inputs":[],"parameters":{"priority":2}}' + tail
    else:
        dense = len(head + tail) > 100 * len(sent)
        assert answer.status in ((400, 413) if change else (413,))
        assert dense or change
        assert seen == []
        assert len(json.loads(answer.body)["error"]) > 20


def escaped(text: str, level: int) -> str:
    """The same JSON with more of its letters written as escapes, which no comparison of bytes sees through."""
    return text if level == 0 else text.replace("priority", "prior\\u0069ty").replace("parameters", "\\u0070arameters")


def every(pairs: list[tuple[str, Any]]) -> dict[str, list[Any]]:
    """Members as often as they stand there: of two of one name some parsers take the first, others the last."""
    found: dict[str, list[Any]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return found


@odd
@given(members=BODIES, inputs=st.lists(BODIES, max_size=2), spaces=SPACES, level=st.integers(0, 1))
def test_a_body_arrives_as_it_was_with_the_gateways_priority(
    rig: Rig, members: dict[str, Any], inputs: list[Any], spaces: tuple[str, str], level: int
) -> None:
    clear(rig)
    sent = {**members, "inputs": inputs}
    answer = rig.post(escaped(json.dumps(sent, separators=spaces), level).encode(), "P0", {"x-spillway-key": ALPHA})
    assert answer.status == 200, answer.body
    given_ = sent.get("parameters")
    parameters = given_ if isinstance(given_, dict) else {}
    assert json.loads(rig.servers[Site.PRIVATE].seen[-1].body) == {**sent, "parameters": {**parameters, "priority": 1}}


@odd
@given(
    members=BODIES,
    twice=st.booleans(),
    spaces=SPACES,
    level=st.integers(0, 1),
    noise=NOISE,
    at=st.floats(0, 1),
    cut=st.integers(0, 9),
)
def test_a_damaged_body_brings_no_priority_of_its_own(
    rig: Rig,
    language: Rig,
    members: dict[str, Any],
    twice: bool,
    spaces: tuple[str, str],
    level: int,
    noise: str,
    at: float,
    cut: int,
) -> None:
    text = escaped(json.dumps({**members, "inputs": [], "prompt": "a"}, separators=spaces), level)
    if twice:
        text = '{"parameters":{"priority":9},"priority":9,' + text[1:]
    place = int(at * len(text))
    body = (text[:place] + noise + text[place + cut :]).encode()
    for asked, path, wanted in ((rig, INFER, 1), (language, COMPLETIONS, 0)):
        clear(asked)
        answer = asked.post(body, "P0", {"x-spillway-key": ALPHA}, path)
        seen = asked.servers[Site.PRIVATE].seen
        if answer.status != 200:
            assert (answer.status, seen) == (400, [])
            told = json.loads(answer.body)["error"]
            assert len(told if path == INFER else told["message"]) > 20
            continue
        try:
            found = json.loads(seen[-1].body, object_pairs_hook=every)
        except ValueError:
            continue  # The server's own parser refuses it.
        if path == INFER:
            (found,) = found["parameters"]
        assert found["priority"] == [wanted]


def changed(packed: bytes, how: str, place: float) -> bytes:
    at = int(place * len(packed))
    match how:
        case "cut":
            return packed[:at] or packed[:1]
        case "flip":
            return packed[:at] + bytes([packed[at] ^ 1]) + packed[at + 1 :]
        case "add":
            return packed + packed[at:]
        case _:
            return packed * 2


@odd
@given(
    scheme=st.sampled_from(["Bearer", "bearer", "BEARER", "BeArEr", "Basic", "Token", "", "Bearer Bearer"]),
    space=st.sampled_from([" ", "  ", "", "\t", ", "]),
    key=st.sampled_from([ALPHA, ALPHA.upper(), ALPHA + "x", "", f"{ALPHA} x", f'"{ALPHA}"']),
)
def test_credentials_are_a_clients_or_refused(rig: Rig, scheme: str, space: str, key: str) -> None:
    clear(rig)
    credentials = f"{scheme}{space}{key}"
    answer = rig.post(class_="P0", headers={"authorization": credentials})
    if re.fullmatch(rf"\s*bearer +{ALPHA}\s*", credentials, re.IGNORECASE) and ALPHA in credentials:
        assert answer.status == 200
        assert json.loads(rig.servers[Site.PRIVATE].seen[-1].body)["parameters"]["priority"] == 1
    else:
        assert (answer.status, rig.servers[Site.PRIVATE].seen) == (401, [])
        assert answer.headers["www-authenticate"].startswith("Bearer ")


names = st.sampled_from(["parameters", "inputs", "id", 'a"b', "\\", "é", ""]) | st.text(max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.sampled_from('\\"{}[],: aé'), max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


def without_doubles(found: dict[str, object]) -> dict[str, object]:
    return json.loads(json.dumps(found))


@odd
@given(
    members=st.lists(st.tuples(names, values), max_size=6),
    parameters=st.none() | st.dictionaries(names, values, max_size=3) | st.integers(),
    space=st.sampled_from(["", " ", "\n\t "]),
    size=st.integers(1, 60),
    tail=st.none() | st.binary(max_size=40),
)
def test_a_body_in_parts_is_the_same_request(
    rig: Rig, members: list[tuple[str, object]], parameters: object, space: str, size: int, tail: bytes | None
) -> None:
    """Wherever it is cut, and whatever stands in it. Of doubled names Triton's parser takes the first (RapidJSON's
    ``FindMember``), Python's the last: here both have to find ours."""
    clear(rig)
    pairs = [("inputs", []), *((name, value) for name, value in members if name != "inputs")]
    if parameters is not None:
        pairs.insert(len(pairs) // 2, ("parameters", parameters))
    text = ("," + space).join(f"{json.dumps(name)}{space}:{space}{json.dumps(value)}" for name, value in pairs)
    head = f"{space}{{{space}{text}{space}}}".encode()
    headers = {} if tail is None else {"inference-header-content-length": str(len(head))}
    whole = head + (tail or b"")
    assert rig.in_frames([whole[at : at + size] for at in range(0, len(whole), size)], headers) == 200
    seen = rig.servers[Site.PRIVATE].seen[-1]
    length = int(seen.headers.get("inference-header-content-length", len(seen.body)))
    assert seen.body[length:] == (tail or b"")
    first = next((value for name, value in pairs if name == "parameters"), None)
    expected = {**(first if isinstance(first, dict) else {}), "priority": 3}
    for which in (lambda found: dict(reversed(found)), dict):
        got = json.loads(seen.body[:length], object_pairs_hook=which)
        assert got.pop("parameters") == without_doubles(expected)
        assert got == {name: value for name, value in which(pairs).items() if name != "parameters"}


@odd
@given(cut=st.integers(0, 60), added=st.sampled_from(["", "}", "]", '"', "{", ",", "x", "\0"]), size=st.integers(1, 9))
def test_a_broken_body_in_parts_is_refused(rig: Rig, cut: int, added: str, size: int) -> None:
    clear(rig)
    whole = '{"inputs":[{"name":"x","data":[1,2,"a\\"b"]}],"id":"7","x":1.5e3}'
    broken = (whole[:cut] + added).encode()
    try:
        json.loads(broken)
    except ValueError:
        assert rig.in_frames([broken[at : at + size] for at in range(0, len(broken), size)] or [b""], {}) == 400
        assert rig.servers[Site.PRIVATE].seen == []
