"""Identity, classes, priorities, keys and bodies through a real Envoy."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

import pytest
import urllib3

from spillway.contracts.classes import Site, SiteName
from tests.support.gateway_rig import ALPHA, AZURE_KEY, BETA, GAMMA, INFER, OPERATOR_KEY, SECRET_KEY, Rig
from tests.support.waiting import eventually

pytestmark = pytest.mark.heavy


@pytest.fixture
def rig(running: Rig) -> Rig:
    for server in running.servers.values():
        server.seen.clear()
        server.delay_s, server.status, server.body = 0.0, 200, b'{"outputs":[]}'
    return running


def priority_seen(rig: Rig, site: Site = Site.PRIVATE) -> int:
    return json.loads(rig.servers[site].seen[-1].body)["parameters"]["priority"]


def at(site: SiteName, **more: str) -> dict[str, str]:
    return {"x-spillway-operator-key": OPERATOR_KEY, "x-spillway-site": site.value, **more}


@pytest.mark.parametrize(
    ("key", "class_", "priority"),
    [(ALPHA, "P0", 1), (ALPHA, None, 2), (BETA, "P0", 2), (BETA, "P2", 3), (None, "P0", 3)],
)
def test_class_is_capped_by_identity(rig: Rig, key: str | None, class_: str | None, priority: int) -> None:
    rig.post({"inputs": []}, class_=class_, headers={"x-spillway-key": key} if key else None)
    assert priority_seen(rig) == priority


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
def test_bearer_token_is_a_key_too(rig: Rig, scheme: str) -> None:
    """The scheme's letter case means nothing: RFC 9110, section 11.1."""
    rig.post({"inputs": []}, class_="P0", headers={"authorization": f"{scheme} {ALPHA}"})
    assert priority_seen(rig) == 1
    assert "Authorization" not in rig.servers[Site.PRIVATE].seen[-1].headers


@pytest.mark.parametrize(
    "headers",
    [
        {"x-spillway-key": "no-such-key"},
        {"x-spillway-key": ""},
        {"x-spillway-key": "k" * 300},
        {"authorization": "Bearer no-such-key"},
        {"authorization": f"Bearer {ALPHA} more"},
        {"authorization": "Bearer"},
        {"authorization": f"Bearer{ALPHA}"},
        {"authorization": f"Token {ALPHA}"},
        {"authorization": ALPHA},
        {"authorization": "Basic YWxwaGE6a2V5"},
        {"authorization": ""},
        {"x-spillway-key": "no-such-key", "authorization": f"Bearer {ALPHA}"},
    ],
)
def test_credentials_that_nobody_has_are_refused(rig: Rig, headers: dict[str, str]) -> None:
    """RFC 6750, section 3: what is refused is told the scheme."""
    answer = rig.post(headers=headers)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="spillway", error="invalid_token"'
    assert rig.servers[Site.PRIVATE].seen == []


def test_credentials_mean_nothing_where_nobody_has_any(tmp_path: Path) -> None:
    """Client libraries of OpenAI's kind send a key whether there is one or not."""
    with Rig(tmp_path, lambda table: table.model_copy(update={"clients": ()})) as rig:
        for headers in ({}, {"authorization": "Bearer EMPTY"}, {"x-spillway-key": "any"}):
            assert rig.post(headers=headers).status == 200
            assert priority_seen(rig) == 3


def test_unknown_class_is_refused(rig: Rig) -> None:
    assert rig.post(class_="P9").status == 400


@pytest.mark.parametrize("site", list(Site))
@pytest.mark.parametrize(
    "body",
    [
        b'{"parameters":{"priority":1,"x":"}\\"{"},"inputs":[{"data":[1.000000000000000001,2]}]}',
        b'{"inputs":[{"data":[1.000000000000000001,2]}],"parameters":{"prior\\u0069ty" : 1, "x" : "}\\"{" }}',
        b' {"parameters":1,"inputs":[{"data":[1.000000000000000001,2]}],\n"parameters":{"x":"}\\"{"}} ',
    ],
)
def test_own_priority_replaces_the_clients_at_every_site(rig: Rig, site: SiteName, body: bytes) -> None:
    answer = rig.post(body, class_="P1", headers=at(site))
    assert (answer.status, answer.site) == (200, site.value)
    got = rig.servers[site].seen[-1].body
    assert got.count(b"prior") == 1
    assert json.loads(got)["parameters"]["priority"] == 2
    assert b'"data":[1.000000000000000001,2]' in got


def test_parameters_of_the_client_are_kept(rig: Rig) -> None:
    rig.post({"parameters": {"priority": 9, "sequence_id": 7}, "inputs": []}, headers={"x-spillway-key": ALPHA})
    assert json.loads(rig.servers[Site.PRIVATE].seen[-1].body)["parameters"] == {"priority": 2, "sequence_id": 7}


@pytest.mark.parametrize("body", [b"", b"[1]", b"{", b'{"a":1} x', b'{"a"', b'{"a":"\\', b"{'a':1}", b'{"a":[1}'])
def test_body_that_is_no_object_is_refused(rig: Rig, body: bytes) -> None:
    assert rig.post(body).status == 400
    assert rig.servers[Site.PRIVATE].seen == []


@pytest.mark.parametrize("site", list(Site))
def test_binary_tensors_stay_whole(rig: Rig, site: SiteName) -> None:
    head, tail = b'{"inputs":[{"name":"X","parameters":{"binary_data_size":6}}]}', b'\x00\xff{"\x01}'
    rig.servers[site].body = b'{"outputs":[]}\x07\x08'
    answer = rig.post(head + tail, headers=at(site, **{"inference-header-content-length": str(len(head))}))
    seen = rig.servers[site].seen[-1]
    if site == Site.SAGEMAKER:
        assert answer.headers["inference-header-content-length"] == "14"
        length = int(seen.headers["Content-Type"].rpartition("json-header-size=")[2])
    else:
        length = int(seen.headers["Inference-Header-Content-Length"])
    assert seen.body[length:] == tail
    assert json.loads(seen.body[:length])["parameters"]["priority"] == 2
    assert answer.body == rig.servers[site].body


def test_wrong_binary_length_is_refused(rig: Rig) -> None:
    assert rig.post(b"{}", headers={"inference-header-content-length": "99"}).status == 400


@pytest.mark.parametrize("site", list(Site))
def test_operator_chooses_the_site(rig: Rig, site: SiteName) -> None:
    assert rig.post(headers=at(site)).site == site.value


def test_site_header_means_nothing_without_the_key(rig: Rig) -> None:
    assert rig.post(headers={"x-spillway-site": "azure_ml"}).site == "private"
    wrong = {"x-spillway-site": "azure_ml", "x-spillway-operator-key": "guess"}
    assert rig.post(headers=wrong).site == "private"


def test_internal_headers_cannot_be_forged(rig: Rig) -> None:
    forged = {"x-spillway-group": "only-azure_ml", "x-spillway-client": "alpha", "x-envoy-max-retries": "0"}
    assert rig.post(headers=forged).site == "private"
    assert "X-Envoy-Max-Retries" not in rig.servers[Site.PRIVATE].seen[-1].headers


def test_data_that_must_not_leave_stays(rig: Rig) -> None:
    rig.servers[Site.PRIVATE].status = 503
    answer = rig.post(headers={"x-spillway-key": BETA})
    assert answer.status == 503
    assert not rig.servers[Site.SAGEMAKER].seen
    assert not rig.servers[Site.AZURE_ML].seen
    assert rig.post(headers=at(Site.SAGEMAKER, **{"x-spillway-key": BETA})).status == 403


def test_client_bound_to_a_region_skips_the_others(rig: Rig) -> None:
    rig.servers[Site.PRIVATE].status = 503
    # Tests before this one may have used up the client's rate.
    eventually(lambda: rig.post(headers={"x-spillway-key": GAMMA}).site == "azure_ml")
    assert not rig.servers[Site.SAGEMAKER].seen


def test_contracted_rate_is_a_token_bucket(rig: Rig) -> None:
    eventually(lambda: rig.post(headers={"x-spillway-key": GAMMA}).status == 200)
    answers = [rig.post(headers={"x-spillway-key": GAMMA}).status for _ in range(12)]
    assert answers.count(429) >= 4
    assert rig.post(headers={"x-spillway-key": ALPHA}).status == 200


def test_silent_connections_are_kept_alive(rig: Rig) -> None:
    """By the kernel's own list (proc(5)): the timer of an accepted connection is that of keep-alive."""
    port = rig.table.listen.port
    with socket.create_connection(("127.0.0.1", port)) as client:
        ends = [f"0100007F:{each:04X}" for each in (port, client.getsockname()[1])]
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
        (timer,) = (row[5].partition(":")[0] for row in rows if row[1:3] == ends)
    assert timer == "02"


def test_body_over_the_limit_is_refused_once(rig: Rig) -> None:
    body = b'{"inputs":[{"data":"' + b"x" * (1 << 20) + b'"}]}'
    assert rig.post(body).status == 413
    assert not any(server.seen for server in rig.servers.values())


def test_large_body_spills_whole_past_a_site_that_is_too_small(rig: Rig) -> None:
    rig.servers[Site.PRIVATE].status = 503
    text = "x" * 900_000
    answer = rig.post({"inputs": [{"data": text}]}, headers={"x-spillway-key": ALPHA})
    assert (answer.status, answer.site) == (200, "azure_ml")
    assert json.loads(rig.servers[Site.AZURE_ML].seen[-1].body)["inputs"][0]["data"] == text
    small = rig.post({"inputs": [{"data": "x" * 400_000}]}, headers={"x-spillway-key": ALPHA})
    assert (small.status, small.site) == (200, "sagemaker")


def streams(rig: Rig, path: str, body: bytes = b"{}") -> None:
    url = f"http://127.0.0.1:{rig.table.listen.port}{path}"
    answer = rig.http.request("POST", url, body=body, preload_content=False)
    arrived = [time.monotonic() for _ in iter(lambda: answer.read1(64) or None, None)]
    # The server takes 0.75 s from its first part to its last.
    assert arrived[-1] - arrived[0] > 0.4


def test_answers_stream(rig: Rig) -> None:
    streams(rig, "/v2/models/m/generate_stream")


def test_answer_that_has_begun_is_not_tried_elsewhere(rig: Rig) -> None:
    rig.servers[Site.PRIVATE].cut = True
    url = f"http://127.0.0.1:{rig.table.listen.port}/v2/models/m/generate_stream"
    try:
        answer = rig.http.request("POST", url, body=b"{}", preload_content=False)
        assert answer.headers["x-spillway-site"] == "private"
        with pytest.raises(urllib3.exceptions.HTTPError):
            answer.read()
    finally:
        rig.servers[Site.PRIVATE].cut = False
    assert not rig.servers[Site.SAGEMAKER].seen


def test_language_models_stream_and_get_the_gateways_priority(tmp_path: Path) -> None:
    with Rig(tmp_path, lambda table: table.model_copy(update={"server": "vllm"})) as rig:
        streams(rig, "/v1/chat/completions", b'{"stream":true}')
        rig.post({"priority": -5, "messages": []}, path="/v1/chat/completions", headers={"x-spillway-key": ALPHA})
        assert json.loads(rig.servers[Site.PRIVATE].seen[-1].body)["priority"] == 1
        assert rig.post(b"", path="/health", method="GET").status == 200


def test_cloud_gets_no_identity(rig: Rig) -> None:
    private_things = {"cookie": "session=1", "x-spillway-key": ALPHA, "x-forwarded-for": "10.0.0.1"}
    for site in (Site.SAGEMAKER, Site.AZURE_ML):
        assert rig.post(headers=at(site, **private_things)).status == 200
        seen = {name.lower() for name in rig.servers[site].seen[-1].headers}
        assert not seen & {"cookie", "x-forwarded-for", "x-request-id", "x-spillway-client"}
        assert not any("spillway" in name for name in seen)


def test_unknown_path_and_health(rig: Rig) -> None:
    assert rig.post(path="/admin").status == 403
    assert rig.post(path="/healthz", method="GET").status == 200
    assert rig.post(path="/v2/models/m", method="GET").status == 200


def test_metrics_listener_shows_metrics_and_nothing_else(rig: Rig) -> None:
    base = f"http://127.0.0.1:{rig.table.listen.metrics_port}"
    assert b"envoy_cluster" in rig.http.request("GET", f"{base}/metrics").data
    assert rig.http.request("POST", f"{base}/quitquitquit").status == 404


def test_log_is_json_without_keys(rig: Rig) -> None:
    rig.post(class_="P0", headers=at(Site.AZURE_ML, **{"x-spillway-key": ALPHA}), path=INFER + "?token=abc")
    # Lines of earlier requests that were alike may come first: the class is this one's.
    eventually(lambda: lines_with(rig, '"only-azure_ml"', '"alpha"', '"P0"'))
    line = json.loads(lines_with(rig, '"only-azure_ml"', '"alpha"', '"P0"')[-1])
    assert (line["site"], line["path"], line["class"]) == ("azure_ml", INFER, "P0")
    text = (rig.folder / "envoy.log").read_text()
    assert "[error]" not in text
    for secret in (ALPHA, OPERATOR_KEY, AZURE_KEY, SECRET_KEY, "token=abc"):
        assert secret not in text
        assert secret not in (rig.folder / "envoy.yaml").read_text()


def lines_with(rig: Rig, *parts: str) -> list[str]:
    text = (rig.folder / "envoy.log").read_text()
    return [line for line in text.splitlines() if line.startswith("{") and all(part in line for part in parts)]


def test_caller_without_known_key_is_refused_where_settings_say_so(tmp_path: Path) -> None:
    with Rig(tmp_path, lambda table: table.model_copy(update={"anonymous": None})) as rig:
        refused = rig.post()
        assert (refused.status, refused.headers["www-authenticate"]) == (401, 'Bearer realm="spillway"')
        assert rig.post(headers={"x-spillway-key": ALPHA}).status == 200
        assert rig.post(headers=at(Site.SAGEMAKER)).site == "sagemaker"


def test_standby_gateway_knows_only_burst(tmp_path: Path) -> None:
    with Rig(tmp_path, lambda table: table.standby(1)) as rig:
        assert rig.post().site == "sagemaker"
        assert rig.post(headers={"x-spillway-key": BETA}).status == 503
        assert "model-server" not in (tmp_path / "envoy.yaml").read_text()
