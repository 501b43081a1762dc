"""What the chart's pods would run, run here: migrated, serving, answering probes, tested as by `helm test`, stopped."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.helm.rendering import TRIAL, Rendering, render
from tests.services.ports import free_port

HUB = Path(sys.executable).with_name("hub")


@dataclass(frozen=True, slots=True)
class Cluster:
    """One pod's files and processes on this machine."""

    made: Rendering
    folder: Path
    process: subprocess.Popen[bytes]

    def ask(self, probe: str) -> int:
        """The status that a probe of the hub's container gets, 0 for no connection."""
        asked = self.made.hub[probe]["httpGet"]
        port = next(each["containerPort"] for each in self.made.hub["ports"] if each["name"] == asked["port"])
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{asked['path']}", timeout=3) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def test(self, topic: str | None = None) -> subprocess.CompletedProcess[str]:
        """What the pod of `helm test` does."""
        (container,) = self.made.one("Pod")["spec"]["containers"]
        _, expected, _ = container["args"]
        port = self.made.config["server"]["port"]
        words = [f"http://127.0.0.1:{port}", topic or expected, self.folder / "hub.yaml"]
        command = [sys.executable, *container["command"][1:], *words]
        return subprocess.run(
            command, env=environ(self.made, container), capture_output=True, text=True, check=False
        )


def environ(made: Rendering, container: dict[str, Any]) -> dict[str, str]:
    found = made.environ(container)
    return found | {"PATH": f"{HUB.parent}{os.pathsep}{found['PATH']}"}


def words_of(container: dict[str, Any], folder: Path) -> list[str | Path]:
    return [HUB, *(each.replace("/etc/hub", str(folder)) for each in container["args"])]


@pytest.fixture(params=["config.log.level=info", "config.auth.api_keys.backend=null"])
def cluster(helm: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    ports = f"config.server.port={free_port()},config.server.internal.port={free_port()}"
    made = render(helm, "--values", TRIAL, "--set", ports, "--set", request.param)
    made.write(tmp_path)
    data = tmp_path / "data"
    data.mkdir()
    (migrate,) = made.pod["initContainers"]
    subprocess.run(words_of(migrate, tmp_path), env=environ(made, migrate), cwd=data, check=True)
    process = subprocess.Popen(words_of(made.hub, tmp_path), env=environ(made, made.hub), cwd=data)
    found = Cluster(made, tmp_path, process)
    try:
        deadline = time.monotonic() + 60
        while found.ask("startupProbe") != 200 or found.ask("readinessProbe") != 200:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield found
    finally:
        process.kill()
        process.wait()


@pytest.mark.timeout(180)  # starts the hub six times, on machines that have more to do
def test_the_pods_start_are_tested_and_stop_in_the_time_that_they_have(cluster: Cluster) -> None:
    assert cluster.ask("livenessProbe") == 200

    done = cluster.test()
    assert done.returncode == 0, done.stderr
    assert done.stdout == "helm-test:publish: published and received\n"

    refused = cluster.test("nowhere:at-all")
    assert refused.returncode != 0
    assert "hub publish failed" in refused.stderr

    cluster.process.terminate()
    grace = (
        cluster.made.pod["terminationGracePeriodSeconds"]
        - cluster.made.hub["lifecycle"]["preStop"]["sleep"]["seconds"]
    )
    assert cluster.process.wait(grace) == 0
