from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from hub.auth.api_keys import hashed
from hub.auth.tokens import EXAMPLE_SECRET
from hub.settings.case import Mode
from hub.settings.load import load
from hub.settings.problem import ConfigError
from hub.settings.report import Report
from hub.settings.rules import check_rules

SECRET = "7VbWq2nZ0uXj5rTgKc8sLd3hYf6eMa1p"


def broken(mode: Mode = "serve", **sections: Any) -> list[str]:
    """The rules that settings break, over a good secret."""
    loaded = load(None, {}, overlay={"auth": {"jwt": {"secret": SECRET}}, **sections})
    report = Report(loaded.problems)
    check_rules(loaded.verdict, mode, report)
    return [str(problem) for problem in report.problems]


def public(key: Any) -> str:
    return str(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65_537, 2_048)


def test_the_defaults_with_a_good_secret_break_no_rule() -> None:
    assert broken() == []


@pytest.mark.parametrize(
    "url",
    [
        "memory://",
        "redis://h:1/2",
        "rediss://:pw@h",
        "redis://",
        "redis+sentinel://h?sentinel_master_name=m",
        "rediss+sentinel://u:pw@a,b:26379,[::1]:1/2?sentinel_master_name=m&sentinel_user=s&sentinel_password=p",
        "redis+cluster://h",
        "rediss+cluster://u:pw@a,b:6380,[::1]:1/0?ssl_ca_certs=ca.pem",
        "nats://u:pw@h",
        "tls://h:4222",
        "postgresql://u:pw@h/n",
        "postgres://h/n",
        "postgresql://u:pw@a:5432,b/n",
    ],
)
def test_brokers_that_are_known(url: str) -> None:
    assert broken(broker={"url": url}) == []


@pytest.mark.parametrize(
    "url",
    ["sqlite:///a.db", "sqlite://", "postgresql://u:p@h/n", "postgres://h/n", "postgresql+asyncpg://h/n"],
)
def test_databases_that_are_known(url: str) -> None:
    assert broken(database={"url": url}) == []


@pytest.mark.parametrize(
    ("package", "sections", "text"),
    [
        (
            "redis",
            {"broker": {"url": "redis://h"}},
            "redis:// needs the package `redis`, which is not installed. ",
        ),
        ("asyncpg", {"database": {"url": "postgresql://h/n"}}, "postgresql:// needs the package `asyncpg`"),
        ("asyncpg", {"broker": {"url": "postgresql://h/n"}}, "postgresql:// needs the package `asyncpg`"),
    ],
)
def test_a_driver_that_is_not_installed_is_named_with_its_extra(
    package: str, sections: dict[str, Any], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # Python's own way to say that it is not there.
    (line,) = broken(**sections)
    extra = {"redis": "redis", "asyncpg": "postgres"}[package]
    assert text in line
    assert line.endswith(f"Install it: pip install 'topichub[{extra}]'. (E131)")


def test_passwords_in_urls_are_not_shown() -> None:
    lines = broken(
        broker={"url": "reddis://:pass-word@h"}, database={"url": "postgresql://u:pass-word@h:port/n"}
    )
    assert len(lines) == 2
    assert "pass-word" not in "".join(lines)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("redis+sentinel://h:26379/0", "append ?sentinel_master_name=mymaster"),
        ("redis+sentinel://h:26379/primary/0", "append ?sentinel_master_name=primary"),
        ("redis+sentinel://h/x?sentinel_master_name=m", "must be the number of a database"),
        ("redis+sentinel://?sentinel_master_name=m", "each Sentinel is a host and a port"),
        ("redis+sentinel://a,,b?sentinel_master_name=m", "each Sentinel is a host and a port"),
        ("redis+sentinel://a:x?sentinel_master_name=m", "each Sentinel is a host and a port"),
        ("redis+sentinel://a:0?sentinel_master_name=m", "each Sentinel is a host and a port"),
        ("redis+sentinel://a?sentinel_master_name=m&sentinel_username=u", "sentinel_username"),
        (
            "redis+sentinel://a?sentinel_master_name=m&sentinel_user=u",
            "sentinel_user needs sentinel_password",
        ),
        ("redis+sentinel://a?sentinel_master_name", "what follows the ? must be name=value"),
    ],
)
def test_wrong_urls_of_sentinels_say_what_is_wrong_and_how_to_write_them(url: str, text: str) -> None:
    (line,) = broken(broker={"url": url.replace("://", "://:pass-word@")})
    assert text in line
    assert "Write redis+sentinel://" in line
    assert "pass-word" not in line


def test_one_broker_links_no_workers_and_another_does() -> None:
    (line,) = broken(server={"workers": 2})
    assert "(E150)" in line
    assert broken(server={"workers": 2}, broker={"url": "redis://h"}) == []


def test_two_free_ports_do_not_collide() -> None:
    assert broken(server={"port": 0, "internal": {"port": 0}}) == []


@pytest.mark.parametrize("network", ["*", "10.0.0.1", "10.0.0.0/8", "::1", "fd00::/8"])
def test_proxies_are_addresses_or_networks(network: str) -> None:
    assert broken(server={"trusted_proxies": [network]}) == []


@pytest.mark.parametrize(
    "secret", ["x" * 31, "x" * 40, EXAMPLE_SECRET, "your-super-secret-jwt-key-change-me-123"]
)
def test_weak_secrets_serve_for_development_or_by_name_only(secret: str) -> None:
    for mode, insecure, refused in (
        ("serve", False, True),
        ("check", False, True),
        ("dev", False, False),
        ("serve", True, False),
    ):
        auth = {
            "jwt": {"secret": secret, "insecure_secret": insecure},
            "api_keys": {"a": {"key": "change-me"}},
        }
        lines = broken(mode, auth=auth)  # type: ignore[arg-type]
        assert [line.rsplit(maxsplit=1)[1] for line in lines] == ["(E160)"] * (2 if refused else 0)
        assert secret not in "".join(lines)


def test_a_hub_for_anonymous_clients_needs_no_secret() -> None:
    assert broken(auth={"anonymous": True}) == []
    (line,) = broken(auth={})
    assert "(E104)" in line


@pytest.mark.parametrize(
    ("algorithm", "make"),
    [
        ("ES256", lambda: ec.generate_private_key(ec.SECP256R1())),
        ("ES384", lambda: ec.generate_private_key(ec.SECP384R1())),
        ("ES512", lambda: ec.generate_private_key(ec.SECP521R1())),
    ],
)
def test_a_key_on_the_curve_of_its_algorithm_is_fine(algorithm: str, make: Callable[[], Any]) -> None:
    assert broken(auth={"jwt": {"public_key": public(make()), "algorithms": [algorithm]}}) == []


def test_an_rsa_key_serves_all_rsa_algorithms(rsa_key: rsa.RSAPrivateKey) -> None:
    jwt = {"public_key": public(rsa_key), "algorithms": ["RS256", "RS512"]}
    assert broken(auth={"jwt": jwt}) == []


@pytest.mark.parametrize(
    ("algorithms", "make"),
    [
        (["RS256"], lambda: public(rsa.generate_private_key(65_537, 1_024))),  # noqa: S505 - too small on purpose
        (["RS256"], lambda: public(ec.generate_private_key(ec.SECP256R1()))),
        (["ES256"], lambda: public(ec.generate_private_key(ec.SECP384R1()))),
        (["ES256", "ES384"], lambda: public(ec.generate_private_key(ec.SECP256R1()))),
        (["ES256"], lambda: public(ed25519.Ed25519PrivateKey.generate())),
        (["RS256"], lambda: "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"),
        (["RS256"], lambda: SECRET),
    ],
)
def test_a_key_that_does_not_fit_is_refused(algorithms: list[str], make: Callable[[], str]) -> None:
    (line,) = broken(auth={"jwt": {"public_key": make(), "algorithms": algorithms}})
    assert "auth.jwt.public_key" in line
    assert "(E161)" in line


def test_a_private_key_in_the_place_of_a_public_one_is_refused_unseen(rsa_key: rsa.RSAPrivateKey) -> None:
    pem = rsa_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    (line,) = broken(auth={"jwt": {"public_key": pem, "algorithms": ["RS256"]}})
    assert "(E161)" in line
    assert pem.splitlines()[1] not in line


HASH = hashed("k4vK2mWq8sT1zXyP")


@pytest.mark.parametrize(
    ("keys", "code", "text"),
    [
        ({"a": {"key": HASH}}, "", ""),
        ({"a": {"key": HASH, "until": "2020-01-01T00:00:00Z"}}, "", ""),
        (
            {"a": {"key": "sha256:" + "0" * 63}},
            "E161",
            "64 hexadecimal digits follow. `hub token api-key` makes",
        ),
        ({"a": {"key": "sha256:k4vK2mWq8sT1zXyP"}}, "E161", "64 hexadecimal digits follow"),
        ({"a": {"key": "k4vK2mWq8sT1zXy"}}, "E160", "it has 15 bytes, and at least 16 are needed"),
        ({"a": {"key": "abababababababab"}}, "E160", "it repeats a shorter text"),
        ({"a": {"key": HASH}, "b": {"key": "k4vK2mWq8sT1zXyP"}}, "E114", "it is the key of `a` too"),
        (
            {"a": {"key": HASH}, "b": {"key": f"sha256:{HASH[7:].upper()}"}},
            "E114",
            "it is the key of `a` too",
        ),
    ],
)
def test_keys_and_their_hashes_are_checked_and_never_repeated(
    keys: dict[str, Any], code: str, text: str
) -> None:
    lines = broken(auth={"jwt": {"secret": SECRET}, "api_keys": keys})
    assert len(lines) == (1 if code else 0)
    for line in lines:
        assert code in line
        assert text in line
        assert not any(key["key"].removeprefix("sha256:") in line for key in keys.values())


@pytest.mark.parametrize(
    "key",
    [
        {"key": ["k4vK2mWq8sT1zXyP"]},
        {"key": {"k4vK2mWq8sT1zXyP": 1}},
        {"key": "k4vK2mWq8sT1zXyP", "until": "k4vK2mWq8sT1zXyP"},
        {"key": "k4vK2mWq8sT1zXyP", "until": 1},
        {"keys": "k4vK2mWq8sT1zXyP"},
        "k4vK2mWq8sT1zXyP",
        ["k4vK2mWq8sT1zXyP"],
    ],
)
def test_a_key_in_the_wrong_place_is_a_mistake_and_not_repeated(
    key: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written = json.dumps({"version": 1, "auth": {"jwt": {"secret": SECRET}, "api_keys": {"a": key}}})
    (tmp_path / "hub.yaml").write_text(written)
    with pytest.raises(ConfigError) as caught:
        load(Path("hub.yaml"), {}).settings  # noqa: B018 - the mistake is told when they are asked for
    until = isinstance(key, dict) and key.get("until") == "k4vK2mWq8sT1zXyP"
    assert until or "k4vK2mWq8sT1zXyP" not in str(caught.value)


@pytest.mark.parametrize(
    "auth", [SECRET, {"jwt": SECRET}, {"jwt": {"previous": SECRET}}, {"api_keys": SECRET}]
)
def test_a_secret_where_a_map_belongs_is_not_repeated(auth: Any, tmp_path: Path) -> None:
    (tmp_path / "hub.yaml").write_text(json.dumps({"version": 1, "auth": auth}))
    with pytest.raises(ConfigError, match="found a text, where a map is needed") as caught:
        load(tmp_path / "hub.yaml", {}).settings  # noqa: B018 - as above
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "webhooks",
    [SECRET, {"secrets": SECRET}, {"secrets": [SECRET]}, {"secrets": [[SECRET]]}, {"secrets": 81220473}],
)
def test_what_should_sign_webhooks_and_cannot_is_not_repeated(webhooks: Any, tmp_path: Path) -> None:
    written = json.dumps({"version": 1, "auth": {"anonymous": True}, "webhooks": webhooks})
    (tmp_path / "hub.yaml").write_text(written)
    with pytest.raises(ConfigError, match=r"webhooks.*: found a") as caught:
        load(tmp_path / "hub.yaml", {}).settings  # noqa: B018 - as above
    assert SECRET not in str(caught.value)
    assert "81220473" not in str(caught.value)


@pytest.mark.parametrize("scope", ["*", "publish", "publish:*", "*:news:{section}", "presence_stats:chat:*"])
def test_scopes_that_are_known(scope: str) -> None:
    auth = {"jwt": {"secret": SECRET}, "api_keys": {"a": {"key": "k4vK2mWq8sT1zXyP", "allow": scope}}}
    assert broken(auth=auth) == []


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("redis+cluster://h/1", "a cluster has one database only"),
        ("redis+cluster://h?db=0", "a cluster has one database only"),
        ("redis+cluster://", "each node is a host and a port"),
        ("redis+cluster://a,,b", "each node is a host and a port"),
        ("redis+cluster://a:x", "each node is a host and a port"),
        ("rediss+cluster://a:0", "each node is a host and a port"),
    ],
)
def test_wrong_urls_of_clusters_say_what_is_wrong_and_how_to_write_them(url: str, text: str) -> None:
    (line,) = broken(broker={"url": url.replace("://", "://:pass-word@")})
    assert text in line
    assert "Write redis+cluster://" in line
    assert "pass-word" not in line
