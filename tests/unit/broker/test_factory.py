from __future__ import annotations

import subprocess
import sys

import pytest

from hub.broker.factory import SCHEMES, make_broker
from hub.broker.memory import MemoryBroker
from hub.errors import HubError


def test_scheme_names_the_broker() -> None:
    assert isinstance(make_broker("memory://"), MemoryBroker)
    assert make_broker("redis://127.0.0.1:1/2").shared
    assert not MemoryBroker.shared
    assert make_broker("redis+sentinel://a:1,b:2?sentinel_master_name=m").shared
    assert {"memory", "nats", "tls", "postgresql", "postgres"} == {
        each for each in SCHEMES if not each.startswith("redis")
    }
    assert {"redis", "rediss", "redis+sentinel", "rediss+sentinel"} <= set(SCHEMES)
    assert make_broker("postgresql://u:p@127.0.0.1:1/n").shared


@pytest.mark.parametrize(
    "url", ["", "kafka://h", "Redis", ["memory://", "redis://h"], ["redis://h", "nats://h"], []]
)
def test_unknown_or_mixed_schemes_are_refused(url: str | list[str]) -> None:
    with pytest.raises(HubError, match="memory://, redis://, rediss://"):
        make_broker(url)


@pytest.mark.parametrize("prefix", ["", "a b", "{a}", "a:b"])
def test_prefix_that_could_mix_up_keys_is_refused(prefix: str) -> None:
    with pytest.raises(HubError, match="prefix"):
        make_broker("redis://h", prefix=prefix)


@pytest.mark.parametrize(
    ("missing", "make"),
    [
        ("redis", "from hub.broker.factory import make_broker as make; make('redis://h')"),
        ("hiredis", "from hub.broker.factory import make_broker as make; make('redis://h')"),
        (
            "redis",
            "from hub.presence.factory import make_presence as make; make('redis://h', prefix='a', node='n')",
        ),
        ("nats", "from hub.broker.factory import make_broker as make; make('nats://h')"),
        (
            "nats",
            "from hub.presence.factory import make_presence as make; make('tls://h', prefix='a', node='n')",
        ),
        ("asyncpg", "from hub.broker.factory import make_broker as make; make('postgresql://h/n')"),
        (
            "asyncpg",
            "from hub.presence.factory import make_presence as make; make('postgres://h/n', prefix='a', node='n')",
        ),
    ],
)
def test_missing_package_is_named_with_the_remedy(missing: str, make: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; {make}"
    extra = {"nats": "nats", "asyncpg": "postgres"}.get(missing, "redis")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=20
    )
    assert done.stderr.strip().endswith(
        f"HubError: package {missing} is missing: pip install 'topichub[{extra}]'"
    )


@pytest.mark.parametrize(
    "url",
    ["postgresql://h:99999/n", "postgresql://h:port/n", "postgresql://[h/n", "postgresql://pass-word@h:0/n"],
)
def test_postgresql_url_that_cannot_be_used_is_refused_at_once(url: str) -> None:
    with pytest.raises(HubError, match="cannot be used") as refused:
        make_broker(url)
    assert "pass-word" not in str(refused.value)


def test_postgresql_is_one_database_with_a_prefix_that_fits_its_names() -> None:
    with pytest.raises(HubError, match="one URL"):
        make_broker(["postgresql://a/n", "postgresql://b/n"])
    for prefix in ("", "a b", 'a"b', "x" * 41):
        with pytest.raises(HubError, match="prefix"):
            make_broker("postgresql://h/n", prefix=prefix)
