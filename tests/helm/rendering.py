"""The chart as Helm renders it, and what a cluster would make of that: its pods, their files and their environment."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from tests.helm.generated import CHART

SETS: Final = sorted((CHART / "ci").glob("*-values.yaml"))
TRIAL: Final = CHART / "ci/trial-values.yaml"
PRODUCTION: Final = CHART / "ci/production-values.yaml"
RELEASE: Final = "hub"
NAME: Final = "hub-topichub"
KUBERNETES: Final = "1.37.2"

GIVEN: Final = {
    "HUB_JWT_SECRET": "w9Lq3TzV7nYc5RkXb2MfHs8JpDg4Ua6E",
    "HUB_API_KEY": "Zr6Nw1PqTe9Xk3CvLy8Bm5HsJd2Gf7Ka",
    "HUB_BROKER_URL": "redis://:password@redis.internal:6379/0",
    "HUB_DATABASE_URL": "postgresql://hub:password@postgres.internal/hub",
}
"""What the operator's own Secret holds, by variable."""


def run(helm: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs Helm; its status is the caller's to judge."""
    return subprocess.run([helm, *words], capture_output=True, text=True, check=False)


@dataclass(frozen=True, slots=True)
class Rendering:
    """What the chart renders to."""

    objects: list[dict[str, Any]]

    def all(self, kind: str) -> list[dict[str, Any]]:
        """The objects of a kind."""
        return [each for each in self.objects if each["kind"] == kind]

    def one(self, kind: str) -> dict[str, Any]:
        """The only object of a kind."""
        (found,) = self.all(kind)
        return found

    @property
    def pod(self) -> dict[str, Any]:
        """The specification of the hub's pods."""
        spec: dict[str, Any] = self.one("Deployment")["spec"]["template"]["spec"]
        return spec

    @property
    def hub(self) -> dict[str, Any]:
        """The hub's container."""
        (found,) = self.pod["containers"]
        assert isinstance(found, dict)
        return found

    @property
    def checksum(self) -> str:
        """What replaces the pods when it changes."""
        annotations = self.one("Deployment")["spec"]["template"]["metadata"]["annotations"]
        return str(annotations["checksum/config"])

    @property
    def config(self) -> dict[str, Any]:
        """hub.yaml as any reader of YAML has it."""
        found: dict[str, Any] = yaml.safe_load(self.one("ConfigMap")["data"]["hub.yaml"])
        return found

    def pods(self) -> Iterator[dict[str, Any]]:
        """The specification of every pod that the chart leads to."""
        for each in self.objects:
            if each["kind"] == "Pod":
                yield each["spec"]
            elif "template" in each.get("spec", {}):
                yield each["spec"]["template"]["spec"]

    def write(self, folder: Path) -> Path:
        """Puts the ConfigMap's files where they would be mounted; returns hub.yaml."""
        for name, text in self.one("ConfigMap")["data"].items():
            (folder / name).write_text(text)
        return folder / "hub.yaml"

    def environ(self, container: Mapping[str, Any], given: Mapping[str, str] = GIVEN) -> dict[str, str]:
        """The environment of a container, on top of this process's own without its HUB_ variables."""
        found = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
        if "envFrom" in container:
            found |= given
        for each in container.get("env", ()):
            found[each["name"]] = each["value"] if "value" in each else self._value(each, given)
        return found

    def _value(self, variable: Mapping[str, Any], given: Mapping[str, str]) -> str:
        reference = variable["valueFrom"].get("secretKeyRef")
        if reference is None:
            return "from the pod"
        own = {each["metadata"]["name"]: each["stringData"] for each in self.all("Secret")}
        if reference["name"] in own:
            return str(own[reference["name"]][reference["key"]])
        return given[variable["name"]]


@cache
def render(helm: Path, *words: str | Path) -> Rendering:
    """Renders the chart with these options; fails the test with Helm's words when it is refused.

    Does so once for all tests, which only read it.
    """
    done = template(helm, *words)
    assert done.returncode == 0, done.stderr
    return Rendering([each for each in yaml.safe_load_all(done.stdout) if each])


def refusal(helm: Path, *words: str | Path) -> str:
    """With what words the chart refuses these options; fails the test when it does not."""
    done = template(helm, *words)
    assert done.returncode != 0, done.stdout
    return done.stderr


def template(helm: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Helm's answer to `helm template`; says for which Kubernetes, since a helm built by hand does not know."""
    return run(helm, "template", RELEASE, CHART, "--kube-version", KUBERNETES, *words)
