from __future__ import annotations

from pathlib import Path

import pytest

from hub.errors import StoreError
from hub.store.url import parse_url

SECRET = "5ecret"


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("sqlite:///hub.db", Path("hub.db")),
        ("sqlite:///data/hub.db", Path("data/hub.db")),
        ("sqlite:////var/lib/hub/hub.db", Path("/var/lib/hub/hub.db")),
        ("sqlite+aiosqlite:///hub.db", Path("hub.db")),
        ("sqlite:///50%.db", Path("50%.db")),
        ("sqlite://", None),
        ("sqlite:///:memory:", None),
    ],
)
def test_sqlite_url_names_a_file_or_memory(url: str, file: Path | None) -> None:
    parsed = parse_url(url)
    assert (parsed.kind, parsed.file) == ("sqlite", file)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg"])
def test_postgresql_schemes_all_mean_the_same(scheme: str) -> None:
    parsed = parse_url(f"{scheme}://ann:{SECRET}@db.example:5433/hub?sslmode=require")
    assert parsed.kind == "postgresql"
    assert parsed.dsn == f"postgresql://ann:{SECRET}@db.example:5433/hub?sslmode=require"


def test_password_is_in_nothing_that_is_shown() -> None:
    parsed = parse_url(f"postgresql://ann:{SECRET}%2F@db.example/hub?password=other{SECRET}")
    assert parsed.shown == "postgresql://ann@db.example/hub"
    assert SECRET not in repr(parsed)
    assert SECRET not in parsed.censor(f"cannot log in with {SECRET}/ or {SECRET}%2F or other{SECRET}")


def test_parameters_that_only_libpq_knows_are_taken_out() -> None:
    parsed = parse_url(
        "postgresql://db/hub?sslmode=require&channel_binding=require&connect_timeout=3&application_name=hub"
    )
    assert parsed.dsn == "postgresql://db/hub?sslmode=require&application_name=hub"
    assert parsed.connect_timeout == 3


def test_several_hosts_and_a_socket_folder_pass() -> None:
    assert parse_url("postgresql://a:1,b:2/hub").dsn == "postgresql://a:1,b:2/hub"
    assert (
        parse_url("postgresql:///hub?host=/run/postgresql").dsn
        == "postgresql:///hub?host=%2Frun%2Fpostgresql"
    )


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hub.db",
        "sqlite:hub.db",
        "sqlite://hub.db",
        "sqlite:///hub.db?mode=ro",
        "mysql://ann:5ecret@db/hub",
        "postgresql:hub",
        "postgresql://ann:5ecret/@db/hub",
        "postgresql://ann:12/5ecret@db/hub",
        "postgresql://ann:5ecret#@db/hub",
        "postgresql://ann:12#5ecret@db/hub",
        "postgresql://ann:5ecret?x=y@db/hub",
        "postgresql://ann:5ecret[@db/hub",
        "postgresql://ann:x@db:5ecret/hub",
        "postgresql://ann:x@db:99999/hub",
        "postgresql://ann:x@db/hub?5ecret",
    ],
)
def test_url_that_cannot_work_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(StoreError) as refused:
        parse_url(url)
    assert "database.url" in str(refused.value)
    assert SECRET not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__ or refused.value.__context__ is None
