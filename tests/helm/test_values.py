"""What the chart can be told: documented, of the shape that the schema says, and refused with its path otherwise."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from hub import __version__
from tests.helm import generated
from tests.helm.rendering import (
    KUBERNETES,
    NAME,
    PRODUCTION,
    SETS,
    TRIAL,
    Rendering,
    refusal,
    render,
    run,
    template,
)

HUB_SCHEMA = Path(__file__).parents[2] / "config/hub.schema.json"
STALE = "it is not what the code makes: run scripts/generate"


@pytest.mark.parametrize("path", [generated.README, generated.SCHEMA], ids=lambda path: path.name)
def test_what_is_made_from_values_and_hub_yaml_is_up_to_date(path: Path) -> None:
    assert path.read_text() == generated.made(HUB_SCHEMA.read_text())[path], STALE


def test_every_value_says_what_it_is_for() -> None:
    assert not [each.path for each in generated.values() if not each.about]


def test_the_schema_knows_the_values_that_are_documented_and_no_others() -> None:
    schema = json.loads(generated.SCHEMA.read_text())
    known = {path for path in paths_of(schema, "") if path != "global"}
    documented = {each.path for each in generated.values()}
    assert known == documented


def paths_of(schema: dict[str, Any], above: str) -> set[str]:
    found: set[str] = set()
    for name, below in schema["properties"].items():
        path = f"{above}.{name}" if above else name
        found |= paths_of(below, path) if "properties" in below and name != "resources" else {path}
    return found


def test_every_section_of_the_schema_is_closed() -> None:
    schema = json.loads(generated.SCHEMA.read_text())
    sections = [schema, *(each for each in schema["properties"].values() if "properties" in each)]
    assert all(each["additionalProperties"] is False for each in sections)


def test_chart_and_image_have_the_version_of_the_hub() -> None:
    chart = yaml.safe_load((generated.CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == __version__


@pytest.mark.parametrize("values", SETS, ids=lambda path: path.stem)
def test_helm_finds_nothing_to_complain_of(helm: Path, values: Path) -> None:
    done = run(helm, "lint", "--strict", "--kube-version", KUBERNETES, generated.CHART, "--values", values)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout


def test_helm_finds_nothing_to_complain_of_in_the_defaults(helm: Path) -> None:
    done = run(helm, "lint", "--strict", "--kube-version", KUBERNETES, generated.CHART)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("replica=3", "at '': additional properties 'replica' not allowed"),
        ("image.tga=1", "at '/image': additional properties 'tga' not allowed"),
        ("plugins.chat.enabled=true", "at '': additional properties 'plugins' not allowed"),
        ("config.servr.port=1", "at '/config': additional properties 'servr' not allowed"),
        ("config.server.prot=1", "at '/config/server': additional properties 'prot' not allowed"),
        ("config.plugins.chat.settings.text_lenth=9", "additional properties 'text_lenth' not allowed"),
        ("config.plugins.chat.enabled=maybe", "at '/config/plugins/chat/enabled': got string, want boolean"),
        ("replicas=two", "at '/replicas': got string, want integer"),
        ("service.type=Cluster", "at '/service/type': value must be one of"),
        ("image=null", "at '': missing property 'image'"),
    ],
)
def test_a_wrong_value_is_refused_with_its_path(helm: Path, given: str, told: str) -> None:
    assert told in refusal(helm, "--values", TRIAL, "--set", given)


def test_the_defaults_need_nothing_but_secrets(helm: Path) -> None:
    made = render(helm, "--set", "secrets.trial.HUB_JWT_SECRET=a,secrets.trial.HUB_API_KEY=b")
    assert made.one("Deployment")["spec"]["replicas"] == 1


def test_one_plugin_is_switched_off_from_the_command_line(helm: Path) -> None:
    plugins = render(helm, "--values", TRIAL, "--set", "config.plugins.chat.enabled=false").config["plugins"]
    assert [name for name, plugin in plugins.items() if plugin["enabled"]] == ["dashboards", "notifications"]


def test_null_takes_away_what_has_a_name_even_where_helm_leaves_it(helm: Path, tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(
        'config: {topics: {"gone:{x}": null, "helm-test:{run}": null}, auth: {api_keys: {x: null}}}'
    )
    config = render(helm, "--values", TRIAL, "--values", values).config
    assert config["topics"] == {}
    assert list(config["auth"]["api_keys"]) == ["backend"]


def test_rendering_again_changes_nothing(helm: Path) -> None:
    assert template(helm, "--values", TRIAL).stdout == template(helm, "--values", TRIAL).stdout


def test_the_chart_works_below_another_one_that_has_global_values(helm: Path, tmp_path: Path) -> None:
    shutil.copytree(generated.CHART, tmp_path / "charts/topichub")
    (tmp_path / "Chart.yaml").write_text("{apiVersion: v2, name: umbrella, version: 1.0.0}")
    values = {"global": {"team": "events"}, "topichub": yaml.safe_load(TRIAL.read_text())}
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
    done = run(helm, "template", "hub", tmp_path, "--kube-version", KUBERNETES)
    assert done.returncode == 0, done.stderr
    assert Rendering([each for each in yaml.safe_load_all(done.stdout) if each]).one("Deployment")


def test_the_packed_chart_has_all_it_needs(helm: Path, tmp_path: Path) -> None:
    packed = run(helm, "package", generated.CHART, "--destination", tmp_path)
    assert packed.returncode == 0, packed.stderr
    (archive,) = tmp_path.glob("topichub-*.tgz")
    words = ("template", "hub", archive, "--kube-version", KUBERNETES, "--values", TRIAL)
    assert run(helm, *words).stdout == run(helm, "template", "hub", generated.CHART, *words[3:]).stdout


@pytest.mark.parametrize(
    ("values", "told"), [(TRIAL, "secrets.trial is for trials"), (PRODUCTION, "https://hub.example.com")]
)
def test_the_notes_tell_what_comes_next(helm: Path, values: Path, told: str) -> None:
    # Only an install prints them; without a cluster it only pretends.
    done = run(helm, "install", "hub", generated.CHART, "--dry-run=client", "--values", values)
    assert done.returncode == 0, done.stderr
    notes = done.stdout.partition("NOTES:")[2]
    assert told in notes
    assert f"deployment/{NAME} --container hub -- hub token create" in notes
    assert "helm --namespace default test hub" in notes


@pytest.mark.parametrize(
    ("given", "warned"),
    [
        ("service.type=ClusterIP", False),
        ("service.type=LoadBalancer", True),
        ("ingress.enabled=true,ingress.hosts={a.test}", True),
        ("ingress.enabled=true,ingress.hosts={a.test},config.server.trusted_proxies={10.0.0.0/8}", False),
        ("ingress.enabled=true,ingress.hosts={a.test},config.limits.connections_per_ip=null", False),
    ],
)
def test_the_notes_warn_where_all_clients_would_have_one_address(
    helm: Path, given: str, warned: bool
) -> None:
    words = ("--dry-run=client", "--values", TRIAL, "--set", given)
    done = run(helm, "install", "hub", generated.CHART, *words)
    assert done.returncode == 0, done.stderr
    assert ("names no proxy" in done.stdout) is warned
    assert ("lets in 100 connections" in done.stdout) is warned
