"""One package, another model for each site: every server fetches and serves its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from model_packaging.layout import write_archive
from spillway.contracts.classes import OPERATOR_KEY_HEADER, SITE_HEADER, Site
from spillway.contracts.manifest import AZURE_ML_REPOSITORY, SAGEMAKER_ARCHIVE, TRITON_ARCHIVE, TRITON_REPOSITORY
from spillway.drill.workload import first_output, infer_body
from spillway.twin.handle import stop_twin
from tests.end_to_end.site import LocalSite, make_project, post
from tests.packaging.packages import reseal
from tests.support.packages import LAYOUTS, small_package

pytestmark = pytest.mark.heavy


def package_of_three(folder: Path) -> Path:
    """The small package, in which each layout's model adds the name of its site to what it answers."""
    package, scratch = small_package(folder / "package"), small_package(folder / "scratch") / TRITON_REPOSITORY
    sign(package / TRITON_REPOSITORY, Site.PRIVATE)
    sign(package / AZURE_ML_REPOSITORY, Site.AZURE_ML)
    sign(scratch, Site.SAGEMAKER)
    write_archive(package / TRITON_REPOSITORY, package / TRITON_ARCHIVE)
    write_archive(scratch, package / SAGEMAKER_ARCHIVE)
    served = {layout: f"echo-{layout}" for layout in LAYOUTS}
    return reseal(package, served=served)


def sign(repository: Path, site: Site) -> None:
    model = repository / "echo" / "1" / "model.py"
    plain = model.read_text()
    signed = plain.replace('pb_utils.Tensor("ECHO", text)', f'pb_utils.Tensor("ECHO", text + b" by {site}")')
    assert signed != plain
    model.write_text(signed)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalSite]:
    monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE", raising=False)
    (tmp_path / "site").mkdir()
    local = LocalSite(make_project(tmp_path / "site"))
    path = local.project / "config" / "Pulumi.local.yaml"
    stack = yaml.safe_load(path.read_text())
    stack["config"]["spillway:package"] = {"path": str(package_of_three(tmp_path))}
    path.write_text(yaml.safe_dump(stack))
    try:
        local.deploy()
        yield local
    finally:
        stop_twin(local.state_dir)


def test_each_site_answers_with_its_own_model(site: LocalSite) -> None:
    for place in Site:
        headers = {OPERATOR_KEY_HEADER: site.operator_key, SITE_HEADER: place, "content-type": "application/json"}
        answer = post(f"{site.gateway}/v2/models/echo/infer", infer_body("TEXT", "Hello"), headers)
        assert (answer.status, answer.site) == (200, place)
        assert first_output(answer.body) == [f"Hello by {place}"]
