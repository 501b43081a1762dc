"""`hub revoke` as an operator types it, against two hubs in processes of their own."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.services.hub import API_KEY, CONFIG, HubProcess, run_hub
from tests.services.ports import free_port
from tests.services.redis import RedisServer

pytestmark = pytest.mark.timeout(120)
WITHIN = 1.0


class Pair(NamedTuple):
    folder: Path
    one: str
    two: str


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hubs")


@pytest.fixture
def pair(folder: Path, redis_server: RedisServer) -> Iterator[Pair]:
    """Two hubs on one Redis with a database file each."""
    with ExitStack() as stack:
        urls = []
        for name in ("one", "two"):
            home = folder / name
            home.mkdir(exist_ok=True)
            (home / "hub.yaml").write_text(f"{CONFIG}\nbroker: {{url: '{redis_server.url}'}}\n")
            urls.append(stack.enter_context(HubProcess("serve", cwd=home)).url())
        yield Pair(folder / "one", *urls)


def token(pair: Pair, user: str, *more: str) -> str:
    return run_hub("token", "create", "--sub", user, *more, cwd=pair.folder).stdout.splitlines()[-1]


def opened(url: str, token: str) -> ClientConnection:
    return connect(f"{url.replace('http', 'ws', 1)}/ws/closed:1?token={token}", proxy=None)


def ended(socket: ClientConnection) -> tuple[int, str]:
    try:
        while True:
            socket.recv(timeout=10)
    except ConnectionClosed as closed:
        return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (1006, "")


def revoke(pair: Pair, *words: str, url: str = "", key: str = API_KEY) -> tuple[int, str, str]:
    done = run_hub(
        "revoke", *words, cwd=pair.folder.parent, env={"HUB_URL": url or pair.one, "HUB_API_KEY": key}
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def test_what_is_revoked_by_hand_ends_on_both_hubs_and_comes_back_when_lifted(pair: Pair) -> None:
    anns, bobs = token(pair, "ann", "--claims", '{"jti": "t1"}'), token(pair, "bob")
    with opened(pair.one, anns) as here, opened(pair.two, anns) as there, opened(pair.two, bobs) as other:
        assert revoke(pair, "--token-id", "t1") == (0, "", "Revoked.\n")
        began = time.monotonic()
        assert ended(here) == ended(there) == (4001, "token revoked")
        assert time.monotonic() - began < WITHIN
        other.send("still here")
        assert other.recv(timeout=10) == "still here"
    with opened(pair.two, anns) as again:
        assert ended(again) == (4001, "invalid token")
    assert revoke(pair, "--token-id", "t1", "--lift", url=pair.two) == (0, "", "Lifted.\n")
    assert revoke(pair, "--token-id", "t1", "--lift", url=pair.two) == (0, "", "There was nothing to lift.\n")
    with opened(pair.one, anns) as again:
        again.send("back")
        assert again.recv(timeout=10) == "back"
        status, printed, _ = revoke(pair, "--user", "ann", "--topic", "closed:1", "--json")
        assert (status, json.loads(printed)) == (0, {})
        assert ended(again) == (4003, "permission denied")
    with opened(pair.two, bobs) as other:
        time.sleep(1.1)  # an `iat` is in whole seconds
        assert revoke(pair, "--issued-before", "now")[0] == 0
        assert ended(other) == (4001, "token revoked")
    time.sleep(1.1)  # who has a token of the same second has one from before
    with opened(pair.two, token(pair, "bob")) as fresh:
        fresh.send("fresh")
        assert fresh.recv(timeout=10) == "fresh"


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ((), 2, "Say what to revoke"),
        (("--lift", "--user", "ann", "--until", "now"), 2, "--until goes with what is revoked"),
        (("--issued-before", "yesterday"), 2, "'yesterday' is no time such as"),
        (("--issued-before", "nan"), 2, "is no time such as"),
        (("--user", "ann", "--token-id", "t1"), 1, "a token's id goes with nothing else"),
        (("--user", "ann", "--until", "2020-01-01T00:00:00Z"), 1, "the end has passed"),
        (("--issued-before", "2120-01-01T00:00:00Z"), 1, "lies in the future"),
        (("--user", "ann", "--topic", ""), 1, "must not be empty"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_said(here: Pair, words: tuple[str, ...], status: int, said: str) -> None:
    found, printed, told = revoke(here, *words)
    assert (found, printed) == (status, "")
    assert said in told


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """One hub, for what it refuses."""
    home = tmp_path_factory.mktemp("hub")
    (home / "hub.yaml").write_text(CONFIG)
    with HubProcess("serve", cwd=home) as hub:
        yield Pair(home, hub.url(), "")


def test_a_wrong_key_and_a_hub_that_is_not_there_are_said(here: Pair) -> None:
    status, _, told = revoke(here, "--user", "ann", key="no-such-key")
    assert status == 1
    assert "no-such-key" not in told
    status, _, told = revoke(here, "--user", "ann", url=f"http://127.0.0.1:{free_port()}")
    assert status == 4
    assert "Traceback" not in told


def test_it_is_offered_and_explained() -> None:
    home = Path.cwd()
    assert "revoke" in run_hub("--help", cwd=home).stdout
    told = run_hub("revoke", "--help", cwd=home).stdout
    assert all(word in told for word in ("--user", "--token-id", "--issued-before", "--topic", "--lift"))
