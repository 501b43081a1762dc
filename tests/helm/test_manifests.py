"""What the chart installs: pods without privileges that start, stop and are replaced as the hub needs it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from hub.settings.model import ServerSettings
from hub.settings.values import duration
from tests.helm.generated import CHART
from tests.helm.rendering import NAME, PRODUCTION, SETS, TRIAL, Rendering, render

DOCKERFILE = Path(__file__).parents[2] / "Dockerfile"


def mounts(container: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["mountPath"] for each in container["volumeMounts"]}


@pytest.mark.parametrize("values", SETS, ids=lambda path: path.stem)
def test_every_pod_meets_the_restricted_standard(helm: Path, values: Path) -> None:
    for pod in render(helm, "--values", values).pods():
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] == security["runAsGroup"] == 10_001
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        for container in (*pod["containers"], *pod.get("initContainers", ())):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert mounts(container)["tmp"] == "/tmp"
            assert "memory" in container["resources"]["limits"]


def test_pods_run_as_the_image_does() -> None:
    said = [shlex.split(line) for line in DOCKERFILE.read_text().replace("\\\n", "").splitlines() if line]
    last = {words[0]: words[1:] for words in said}
    assert last["USER"] == ["10001:10001"]
    assert last["WORKDIR"] == ["/var/lib/hub"]
    assert last["ENTRYPOINT"] == ["[hub]"]


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("config.server.drain=30s", 15 + 30 + 10),
        ("config.server.drain=1m", 15 + 60 + 10),
        ("config.server.drain=1.5s,preStopSeconds=0", 2 + 10),
        ("config.server.drain=500ms,preStopSeconds=5", 5 + 1 + 10),
        ("config.server.drain=90", 15 + 90 + 10),
        ("config.server.drain=null", 15 + duration(ServerSettings().drain) + 10),
    ],
)
def test_a_pod_has_time_for_all_it_does_when_it_stops(helm: Path, given: str, seconds: int) -> None:
    assert render(helm, "--values", TRIAL, "--set", given).pod["terminationGracePeriodSeconds"] == seconds


def test_a_pod_waits_before_it_stops_without_a_shell(helm: Path) -> None:
    assert render(helm, "--values", TRIAL).hub["lifecycle"] == {"preStop": {"sleep": {"seconds": 15}}}
    assert "lifecycle" not in render(helm, "--values", TRIAL, "--set", "preStopSeconds=0").hub


def test_the_time_for_a_rollout_grows_with_the_pods(helm: Path) -> None:
    spec = render(helm, "--values", PRODUCTION, "--set", "replicas=20").one("Deployment")["spec"]
    assert spec["progressDeadlineSeconds"] >= 20 * spec["template"]["spec"]["terminationGracePeriodSeconds"]


@pytest.mark.parametrize(
    ("given", "recreated"),
    [
        ("replicas=1", True),
        ("config.database.url=postgresql://db/hub", True),
        ("config.broker.url=redis://redis", True),
        ("config.broker.url=redis://redis,config.database.url=postgresql://db/hub", False),
    ],
)
def test_two_pods_run_at_once_only_where_they_share_all(helm: Path, given: str, recreated: bool) -> None:
    strategy = render(helm, "--values", TRIAL, "--set", given).one("Deployment")["spec"]["strategy"]
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    assert strategy == ({"type": "Recreate"} if recreated else rolling)


@pytest.mark.parametrize(
    "given",
    [
        "config.server.drain=20s",
        "config.topics.a\\:{b}.presence=true",
        "files.more\\.yaml=x",
        "config.plugins.chat=null",
    ],
)
def test_a_change_of_the_configuration_replaces_the_pods(helm: Path, given: str) -> None:
    assert (
        render(helm, "--values", TRIAL, "--set", given).checksum != render(helm, "--values", TRIAL).checksum
    )


@pytest.mark.parametrize(
    "given", ["service.port=80", "podLabels.a=b", "ingress.hosts={a}", "persistence.size=2Gi", "global.a=b"]
)
def test_other_changes_leave_the_checksum_alone(helm: Path, given: str) -> None:
    assert (
        render(helm, "--values", TRIAL, "--set", given).checksum == render(helm, "--values", TRIAL).checksum
    )


def test_another_release_of_the_chart_alone_replaces_no_pod(helm: Path) -> None:
    template = render(helm, "--values", TRIAL).one("Deployment")["spec"]["template"]
    assert not {name for name in template["metadata"]["labels"] if "version" in name or "chart" in name}


@pytest.mark.parametrize("values", SETS, ids=lambda path: path.stem)
def test_no_secret_lies_in_a_configmap_or_a_pod(helm: Path, values: Path) -> None:
    trial = yaml.safe_load(TRIAL.read_text())["secrets"]["trial"].values()
    for each in render(helm, "--values", values).objects:
        if each["kind"] != "Secret":
            assert not [secret for secret in trial if secret in yaml.safe_dump(each)], each["kind"]


def test_of_a_secret_only_what_the_configuration_names_is_taken(helm: Path) -> None:
    def taken(made: Rendering) -> dict[str, str]:
        return {each["name"]: each["valueFrom"]["secretKeyRef"]["key"] for each in made.hub["env"]}

    secret = ("--set", "secrets.existingSecret=mine")
    assert taken(render(helm, *secret)) == {"HUB_JWT_SECRET": "jwt-secret", "HUB_API_KEY": "api-key"}
    assert taken(render(helm, *secret, "--set", "config.broker.url=${HUB_BROKER_URL:-memory://}")) == {
        "HUB_JWT_SECRET": "jwt-secret",
        "HUB_API_KEY": "api-key",
        "HUB_BROKER_URL": "broker-url",
    }
    assert "HUB_LOG__LEVEL" in taken(render(helm, *secret, "--set", "secrets.keys.HUB_LOG__LEVEL=level"))


@pytest.mark.parametrize("values", SETS, ids=lambda path: path.stem)
def test_all_containers_have_the_same_environment_and_configuration(helm: Path, values: Path) -> None:
    containers = [
        container
        for pod in render(helm, "--values", values).pods()
        for container in (*pod["containers"], *pod.get("initContainers", ()))
    ]
    assert len({yaml.safe_dump([each.get("env"), each["image"]]) for each in containers}) == 1
    assert {mounts(each)["config"] for each in containers} == {"/etc/hub"}


@pytest.mark.parametrize("values", SETS, ids=lambda path: path.stem)
def test_every_mount_has_its_volume_and_every_volume_a_mount(helm: Path, values: Path) -> None:
    for pod in render(helm, "--values", values).pods():
        mounted = {name for each in pod["containers"] for name in mounts(each)}
        assert mounted == {each["name"] for each in pod["volumes"]}
        assert len(pod["volumes"]) == len(mounted)


def test_probes_ask_on_the_internal_port_and_tell_alive_from_ready(helm: Path) -> None:
    hub = render(helm, "--values", TRIAL, "--set", "config.server.internal.port=9123").hub
    assert {each["name"]: each["containerPort"] for each in hub["ports"]} == {"http": 8000, "internal": 9123}
    asked = {name: hub[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {each["port"] for each in asked.values()} == {"internal"}
    assert [each["path"] for each in asked.values()] == ["/health/live", "/health/live", "/health/ready"]


def test_the_internal_port_is_not_where_clients_come_in(helm: Path) -> None:
    made = render(helm, "--values", CHART / "ci/everything-values.yaml")
    services = {each["metadata"]["name"]: each["spec"] for each in made.all("Service")}
    public, internal = services["events-hub"], services["events-hub-internal"]
    assert (public["type"], internal["type"]) == ("LoadBalancer", "ClusterIP")
    assert [each["targetPort"] for each in public["ports"]] == ["http"]
    assert [each["targetPort"] for each in internal["ports"]] == ["internal"]
    assert (
        public["selector"].items() <= made.one("Deployment")["spec"]["template"]["metadata"]["labels"].items()
    )
    assert "internal" not in yaml.safe_dump(made.one("Ingress"))


def test_services_do_not_lead_to_the_pod_of_the_test(helm: Path) -> None:
    made = render(helm, "--values", TRIAL)
    labels = made.one("Pod")["metadata"]["labels"].items()
    assert not [each for each in made.all("Service") if each["spec"]["selector"].items() <= labels]


def test_the_database_is_migrated_before_the_hub_starts(helm: Path) -> None:
    (migrate,) = render(helm, "--values", TRIAL).pod["initContainers"]
    assert migrate["args"] == ["migrate", "--config", "/etc/hub/hub.yaml"]
    assert mounts(migrate)["data"] == "/var/lib/hub"
    assert "initContainers" not in render(helm, "--values", TRIAL, "--set", "migrations.enabled=false").pod


def test_sqlite_lies_on_a_volume_that_outlives_pod_and_release(helm: Path) -> None:
    made = render(helm, "--values", TRIAL)
    claim = made.one("PersistentVolumeClaim")
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    volumes = {each["name"]: each for each in made.pod["volumes"]}
    assert volumes["data"]["persistentVolumeClaim"] == {"claimName": NAME}
    assert made.pod["securityContext"]["fsGroup"] == 10_001


@pytest.mark.parametrize(
    ("given", "claim"),
    [("persistence.enabled=false", None), ("persistence.existingClaim=mine", {"claimName": "mine"})],
)
def test_the_volume_of_sqlite_may_be_another(helm: Path, given: str, claim: dict[str, str] | None) -> None:
    made = render(helm, "--values", TRIAL, "--set", given)
    assert made.all("PersistentVolumeClaim") == []
    data = next(each for each in made.pod["volumes"] if each["name"] == "data")
    assert data.get("persistentVolumeClaim") == claim


def test_postgresql_needs_no_volume(helm: Path) -> None:
    made = render(helm, "--values", PRODUCTION)
    assert made.all("PersistentVolumeClaim") == []
    assert [each["name"] for each in made.pod["volumes"]] == ["config", "tmp"]


def test_the_image_is_named_by_tag_or_digest(helm: Path) -> None:
    assert re.fullmatch(r"topichub:\d+\.\d+\.\d+", render(helm, "--values", TRIAL).hub["image"])
    assert "/topichub@sha256:" in render(helm, "--values", PRODUCTION).hub["image"]


def test_labels_of_the_operator_do_not_replace_those_that_services_ask_for(helm: Path) -> None:
    made = render(
        helm, "--values", TRIAL, "--set", r"podLabels.app\.kubernetes\.io/name=other,podLabels.team=events"
    )
    labels = made.one("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/name"] == "topichub"
    assert labels["team"] == "events"
