"""What cannot work is refused before anything is changed, in words that name the value and the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helm.rendering import PRODUCTION, TRIAL, refusal, render

SHARED_DATABASE = "config.database.url=postgresql://db/hub"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (f"replicas=3,{SHARED_DATABASE}", "replicas: 3 pods cannot share the broker memory://"),
        ("replicas=2,config.broker.url=redis://redis:6379", "replicas: 2 pods cannot share a SQLite file"),
        (
            f"replicas=2,{SHARED_DATABASE},config.broker.url=${{X:-memory://}}",
            "2 pods cannot share the broker memory://",
        ),
        (
            f"replicas=2,{SHARED_DATABASE},config.broker.url=redis://r,extraEnv.HUB_BROKER__URL=memory://",
            "2 pods cannot share the broker memory://",
        ),
        (
            "config.database.url=sqlite://",
            "config.database.url: what `hub migrate` writes into memory is gone",
        ),
        ("config.auth.jwt.secret=plain", "config.auth.jwt.secret: config lies in a ConfigMap"),
        (
            "config.auth.api_keys.backend.key=plain",
            "config.auth.api_keys.backend.key: config lies in a ConfigMap",
        ),
        (
            "config.auth.jwt.previous.secret=plain,config.auth.jwt.previous.until=2099-01-01T00:00:00Z",
            "config.auth.jwt.previous.secret: config lies in a ConfigMap",
        ),
        (
            "config.auth.jwt.keys.k1.secret=plain",
            "config.auth.jwt.keys.k1.secret: config lies in a ConfigMap",
        ),
        ("config.webhooks.secrets=whsec_plain", "config.webhooks.secrets: config lies in a ConfigMap"),
        (
            "config.webhooks.secrets[0]=${HUB_JWT_SECRET},config.webhooks.secrets[1]=whsec_plain",
            "config.webhooks.secrets: config lies in a ConfigMap",
        ),
        ("config.broker.url=redis://:word@redis:6379", "config.broker.url has a password in it"),
        ("config.broker.url={redis://:word@redis:6379}", "config.broker.url has a password in it"),
        ("config.database.url=postgresql://hub:word@db/hub", "config.database.url has a password in it"),
        ("config.database.url=postgresql://db/hub?password=word", "config.database.url has a password in it"),
        (
            "config.server.drain=${DRAIN:-30s}",
            "config.server.drain: the pod's time to stop is reckoned from it",
        ),
        ("config.server.port=${PORT:-8000}", "config.server.port: probes and Services need to know it"),
        ("config.server.internal.port=0", "config.server.internal.port: probes and Services need to know it"),
        ("extraEnv.HUB_SERVER__DRAIN=1m", "HUB_SERVER__DRAIN: probes, Services and the time to stop follow"),
        ("config.log.level=${LEVEL}", "config names LEVEL, and nothing sets it"),
        ("secrets.existingSecret=other", "Keep one of the two"),
        ("files.hub\\.yaml=version: 1", "files: hub.yaml is made from config"),
        ("ingress.enabled=true", "ingress.hosts: an Ingress without a host"),
    ],
)
def test_what_cannot_work_is_refused_in_words(helm: Path, given: str, told: str) -> None:
    assert told in refusal(helm, "--values", TRIAL, "--set", given)


def test_a_missing_secret_is_refused_with_the_command_that_makes_it(helm: Path) -> None:
    told = refusal(helm)
    assert "config names HUB_API_KEY, HUB_JWT_SECRET, and nothing sets it" in told
    assert "kubectl create secret generic hub-topichub-secrets" in told
    assert "--from-literal=jwt-secret=$(openssl rand -hex 32)" in told


def test_a_webhook_secret_is_made_in_the_form_that_the_hub_takes(helm: Path) -> None:
    told = refusal(helm, "--set", "config.webhooks.secrets=${HUB_WEBHOOK_SECRET}")
    assert "--from-literal=webhook-secret=whsec_$(openssl rand -base64 32)" in told
    assert "--set secrets.trial.HUB_WEBHOOK_SECRET=whsec_$(openssl rand -base64 32)" in told


def test_the_hash_of_an_api_key_may_stand_in_the_configuration(helm: Path) -> None:
    hashed = "sha256:" + "9f" * 32
    config = render(helm, "--values", TRIAL, "--set", f"config.auth.api_keys.shop.key={hashed}").config
    assert config["auth"]["api_keys"]["shop"]["key"] == hashed


def test_a_variable_that_the_secret_is_not_known_to_have_is_refused(helm: Path) -> None:
    told = refusal(helm, "--values", PRODUCTION, "--set", "config.log.level=${LEVEL}")
    assert "Say in secrets.keys which key of the Secret hub-secrets has it" in told


def test_a_plugin_that_is_null_is_refused_for_it_may_mean_both(helm: Path, tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text("config: {plugins: {greeter: null}}")
    told = refusal(helm, "--values", TRIAL, "--values", values)
    assert "config.plugins.greeter: `null` takes a key away in Helm and switches a plugin on" in told


def test_all_mistakes_are_told_at_once(helm: Path) -> None:
    told = refusal(
        helm, "--values", TRIAL, "--set", "replicas=3,config.auth.jwt.secret=plain,ingress.enabled=true"
    )
    for each in ("memory://", "SQLite", "config.auth.jwt.secret", "ingress.hosts"):
        assert each in told


@pytest.mark.parametrize(
    "given",
    [
        "config.auth.jwt.secret=${TOKEN_SECRET:-none}",  # a default is for the hub to judge
        "config.log.level=$${LEVEL}",  # the characters themselves
        "config.auth.jwt.secret=${file:/run/secrets/jwt}",
        "config.database.url=postgresql://hub:${HUB_API_KEY}@db/hub",
        "extraEnv.LEVEL=debug,config.log.level=${LEVEL}",
    ],
)
def test_what_may_work_is_let_pass(helm: Path, given: str) -> None:
    assert render(helm, "--values", TRIAL, "--set", given).one("Deployment")


def test_several_pods_are_let_pass_where_urls_come_from_a_secret(helm: Path) -> None:
    assert (
        render(helm, "--values", PRODUCTION, "--set", "replicas=5").one("Deployment")["spec"]["replicas"] == 5
    )
