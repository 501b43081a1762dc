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
    assert {"memory", "redis", "rediss", "nats", "tls"} <= set(SCHEMES)


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
            "from hub.presence.factory import make_presence as make; make('redis://h', prefix='a', ttl=1)",
        ),
        ("nats", "from hub.broker.factory import make_broker as make; make('nats://h')"),
        (
            "nats",
            "from hub.presence.factory import make_presence as make; make('tls://h', prefix='a', ttl=1)",
        ),
    ],
)
def test_missing_package_is_named_with_the_remedy(missing: str, make: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; {make}"
    extra = "nats" if missing == "nats" else "redis"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=20
    )
    assert done.stderr.strip().endswith(
        f"HubError: package {missing} is missing: pip install 'topichub[{extra}]'"
    )
