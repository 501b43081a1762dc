"""The ConfigMap holds the very hub.yaml that the operator's values say, and the hub takes it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from hub.settings.document import Document
from tests.docs.markdown import blocks
from tests.helm.generated import README
from tests.helm.rendering import PRODUCTION, SETS, TRIAL, render

CONFIG = Path(__file__).parents[2] / "config"
HUB = Path(sys.executable).with_name("hub")

UNCLEAR = [
    "no", "Yes", "on", "~", "null", "true", "", " ", "012", "0o17", "0x1F", "0b11", "1_000", "1:30", "190:20:30", "1e3",
    "1.", ".5", ".inf", "-.INF", ".nan", "2026-11-22", "2026-11-22T10:00:00Z", "=", "<<", "- a", "a: b", "a #b", "#",
    "*", "&a", "!x", "|", ">", "%", "@", "`", "'", '"', "{", "[", "${A}", "$${A}", "{{ .Values }}", "two\nlines",
    "end\n", "\ttab", "trailing ", "é ✓ 🙂", "back\\slash", "x" * 300,
]  # fmt: skip


def check(config: Path, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [HUB, "check", "--config", config],
        env=environ,
        cwd=config.parent,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("values", SETS, ids=lambda path: path.stem)
def test_hub_check_takes_the_rendered_configuration(helm: Path, values: Path, tmp_path: Path) -> None:
    made = render(helm, "--values", values)
    done = check(made.write(tmp_path), made.environ(made.hub))
    assert done.returncode == 0, done.stdout + done.stderr


def test_hub_check_says_what_is_wrong_with_what_the_schema_lets_pass(helm: Path, tmp_path: Path) -> None:
    made = render(helm, "--values", TRIAL, "--set", "config.plugins.greeter.use=./greeter")
    done = check(made.write(tmp_path), made.environ(made.hub))
    assert done.returncode == 3
    assert "greeter" in done.stdout + done.stderr


def test_words_that_are_not_clear_stay_the_texts_that_they_are(helm: Path, tmp_path: Path) -> None:
    keys = [
        each for each in UNCLEAR if each.strip() == each and each != "<<"
    ]  # Helm itself writes << as a merge
    settings: dict[str, Any] = {"texts": UNCLEAR, "keys": dict.fromkeys(keys, 1)}
    settings["numbers"] = [0, -1, 1_048_576, 10_000_000_000, 2**53 - 1, 0.5, 1e-7]
    settings["others"] = [True, False, [], {}, [[1], {"a": {"b": []}}]]
    values = tmp_path / "values.json"
    values.write_text(
        json.dumps(
            {"config": {"plugins": {"greeter": {"enabled": True, "settings": settings}}}}, ensure_ascii=False
        )
    )
    made = render(helm, "--values", TRIAL, "--values", values, "--set", "extraEnv.A=a")
    document = Document.read(made.write(tmp_path))
    assert document.problems == ()
    assert document.data["plugins"]["greeter"]["settings"] == settings


@pytest.mark.parametrize("file", ["hub.yaml", "hub.production.yaml"])
def test_a_file_of_the_operator_can_be_used_as_it_is(helm: Path, tmp_path: Path, file: str) -> None:
    own = yaml.safe_load((CONFIG / file).read_text())
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump({"config": own}))
    extra = "extraEnv.HUB_ORIGIN=https://www.example.com,extraEnv.HUB_PROXY=10.0.0.1"
    made = render(helm, "--set", "secrets.existingSecret=mine", "--set", extra, "--values", values)
    done = check(made.write(tmp_path), made.environ(made.hub))
    assert done.returncode == 0, done.stdout + done.stderr
    assert made.config["server"]["port"] == own["server"]["port"]


@pytest.mark.parametrize("number", range(2))
def test_the_examples_of_the_readme_pass_hub_check(helm: Path, tmp_path: Path, number: int) -> None:
    example = [block.text for block in blocks(README.read_text()) if block.language == "yaml"][number]
    values = tmp_path / "values.yaml"
    values.write_text(example)
    made = render(helm, "--set", "secrets.existingSecret=hub-secrets", "--values", values)
    done = check(made.write(tmp_path), made.environ(made.hub))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_hub_listens_where_the_cluster_can_reach_it(helm: Path) -> None:
    everywhere = "0.0.0.0"  # noqa: S104 - compared, not bound
    for given in (
        "config.server.host=127.0.0.1",
        "config.server.internal.host=localhost",
        "config.server=null",
    ):
        server = render(helm, "--values", TRIAL, "--set", given).config["server"]
        assert (server["host"], server["internal"]) == (everywhere, {"host": everywhere, "port": 9000})
    server = render(helm, "--values", TRIAL, "--set", "config.server.host=::").config["server"]
    assert (server["host"], server["internal"]["host"]) == ("::", "::")


def test_values_are_merged_into_the_charts_own(helm: Path) -> None:
    config = render(helm, "--values", PRODUCTION).config
    assert config["server"]["drain"] == "1m"
    assert config["log"] == {"format": "json"}
    assert config["plugins"]["dashboards"] == {"enabled": False}
    assert config["auth"]["jwt"] == {"secret": "${HUB_JWT_SECRET}"}
