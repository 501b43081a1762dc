"""The servers that other tests stand on do what those tests expect of them."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from pathlib import Path

import pytest
import redis

from tests.services.chromium import Chromium
from tests.services.node import Node
from tests.services.redis import RedisServer

CONFORMANCE = Path(__file__).parents[1] / "conformance"


def test_redis_is_empty_at_the_start_of_each_test(redis_url: str) -> None:
    for _ in range(2):
        with redis.Redis.from_url(redis_url) as client:
            assert client.dbsize() >= 0
            client.set("left", "behind")


@pytest.mark.parametrize("run", [1, 2])
def test_redis_holds_nothing_of_the_test_before(redis_url: str, run: int) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.get("left") is None
        client.set("left", run)


def test_redis_comes_back_empty_after_a_kill_on_the_same_port(redis_server: RedisServer) -> None:
    with redis.Redis.from_url(redis_server.url) as client:
        client.set("key", "value")
    redis_server.kill()
    with redis.Redis.from_url(redis_server.url, retry=None) as client, pytest.raises(redis.ConnectionError):
        client.ping()
    redis_server.restart()
    with redis.Redis.from_url(redis_server.url) as client:
        assert client.get("key") is None


def test_redis_keeps_its_data_over_a_restart_that_asks_for_it(redis_server: RedisServer) -> None:
    with redis.Redis.from_url(redis_server.url) as client:
        client.set("key", "value")
    redis_server.restart(keep_data=True)
    with redis.Redis.from_url(redis_server.url) as client:
        assert client.get("key") == b"value"


def test_a_frozen_redis_hangs_until_thawed(redis_server: RedisServer) -> None:
    with redis.Redis.from_url(redis_server.url, socket_timeout=0.2, retry=None) as client:
        client.ping()
        redis_server.freeze()
        with pytest.raises(redis.TimeoutError):
            client.ping()
        redis_server.thaw()
        assert client.ping()


def test_a_test_that_leaves_redis_frozen_or_dead_spoils_no_other(redis_server: RedisServer) -> None:
    redis_server.freeze()
    redis_server.recover()
    redis_server.kill()
    redis_server.recover()
    with redis.Redis.from_url(redis_server.url) as client:
        assert client.ping()


def test_node_finds_the_published_client(node: Node) -> None:
    node.install(CONFORMANCE)
    script = "import {Centrifuge} from 'centrifuge'; console.log(typeof Centrifuge)"
    said = subprocess.run(
        [node.path, "--input-type=module", "--eval", script],
        cwd=CONFORMANCE,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == "function"


def test_npm_packages_are_installed_once(node: Node) -> None:
    stamp = node.install(CONFORMANCE) / ".topichub-lock"
    installed = stamp.stat().st_mtime_ns
    node.install(CONFORMANCE)
    assert stamp.stat().st_mtime_ns == installed


def test_chromium_renders_a_page(chromium: Chromium, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<p id=p></p><script>p.textContent = 6 * 7</script>")
    done = subprocess.run(
        chromium.command(tmp_path / "profile", "--dump-dom", page.as_uri()),
        capture_output=True,
        text=True,
        check=True,
    )
    assert '<p id="p">42</p>' in done.stdout


def test_chromium_answers_its_devtools(devtools_url: str) -> None:
    with urllib.request.urlopen(f"{devtools_url}/json/version", timeout=5) as answer:
        assert "webSocketDebuggerUrl" in json.load(answer)
