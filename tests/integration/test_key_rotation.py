"""Keys that change while a hub serves: nobody whose token is good is sent away, and no ended key lets anybody in."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from hub.auth.tokens import sign
from tests.services.hub import HubProcess
from tests.services.issuer import ABOUT, JWKS, Answer, Issuer, IssuerKey
from tests.services.ports import free_port

pytestmark = pytest.mark.timeout(120)

FIRST, SECOND = "7VbWq2nZ0uXj5rTgKc8sLd3hYf6eMa1p", "b9LkT2xQe7RwZ0aVn5HsJc4mYd8gUf3i"


def configure(folder: Path, **jwt: Any) -> None:
    topic = {"allow": {"subscribe": "authenticated", "publish": "authenticated"}}
    config = {
        "version": 1,
        "server": {"port": 0, "drain": "1s"},
        "auth": {"jwt": jwt},
        "topics": {"room:{name}": topic},
    }
    (folder / "hub.yaml").write_text(json.dumps(config))


class Clients:
    """Those who come with a token; the hub's answer is that to their connect command."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def ask(self, hub: HubProcess, token: str) -> tuple[ClientConnection, dict[str, Any]]:
        """A socket, and how its connect command is answered; raises ConnectionClosed when the hub ends it."""
        url = hub.url().replace("http", "ws", 1) + "/connection/websocket"
        socket = self._stack.enter_context(connect(url))
        socket.send(json.dumps({"id": 1, "connect": {"token": token}}))
        return socket, json.loads(socket.recv(timeout=10))

    def admitted(self, hub: HubProcess, token: str) -> ClientConnection:
        """A socket that the hub lets in."""
        socket, answer = self.ask(hub, token)
        assert "connect" in answer, answer
        return socket

    def refusal(self, hub: HubProcess, token: str) -> tuple[int, bool]:
        """Code of the error that the hub answers, and whether it is temporary."""
        answer = self.ask(hub, token)[1]
        return answer["error"]["code"], answer["error"].get("temporary", False)

    def sent_away(self, hub: HubProcess, token: str) -> int:
        """The number with which the hub ends the connection."""
        with pytest.raises(ConnectionClosed) as ended:
            self.ask(hub, token)
        assert ended.value.rcvd is not None
        return ended.value.rcvd.code


@pytest.fixture
def clients() -> Iterator[Clients]:
    with ExitStack() as stack:
        yield Clients(stack)


def still_served(socket: ClientConnection, topic: str) -> None:
    """Subscribes and hears what it publishes itself."""
    socket.send(json.dumps({"id": 2, "subscribe": {"channel": topic}}))
    socket.send(json.dumps({"id": 3, "publish": {"channel": topic, "data": topic}}))
    heard = ""
    while f'"data":"{topic}"' not in heard:
        heard += str(socket.recv(timeout=10))


def until(happens: Callable[[], bool], within: float = 20) -> None:
    deadline = time.monotonic() + within
    while not happens():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def readiness(hub: HubProcess) -> tuple[int, str]:
    answer = httpx2.get(hub.url() + "/health/ready")
    return answer.status_code, answer.json()["checks"]["keys"]


def test_the_secret_before_is_good_until_its_deadline_and_the_new_one_at_once(
    tmp_path: Path, clients: Clients
) -> None:
    exp = time.time() + 3_600
    before, after = (sign({"sub": "ann", "exp": int(exp)}, secret) for secret in (FIRST, SECOND))
    configure(tmp_path, secret=FIRST)
    began = time.monotonic()
    with HubProcess("serve", cwd=tmp_path) as hub:
        clients.admitted(hub, before)
        assert clients.sent_away(hub, after) == 3500
        assert hub.stop() == 0
    # On a machine on which all this takes longer, the next start has more time too.
    until_then = time.time() + 3 + 4 * (time.monotonic() - began)
    deadline = datetime.fromtimestamp(until_then, UTC).isoformat(timespec="milliseconds")
    configure(tmp_path, secret=SECOND, previous={"secret": FIRST, "until": deadline})
    with HubProcess("serve", cwd=tmp_path) as hub:
        old, new = clients.admitted(hub, before), clients.admitted(hub, after)
        until(lambda: time.time() > until_then + 0.1)
        assert clients.sent_away(hub, before) == 3500
        clients.admitted(hub, after)
        for name, socket in (("old", old), ("new", new)):
            still_served(socket, f"room:{name}")


def test_keys_of_an_issuer_are_rotated_under_a_running_hub(tmp_path: Path, clients: Clients) -> None:
    old, new = IssuerKey("2026-11"), IssuerKey("2026-12")
    exp = time.time() + 3_600
    with Issuer() as issuer:
        issuer.publish(old, Cache_Control="max-age=86400")
        issuer.tell()
        configure(tmp_path, discovery=True, issuer=issuer.url)
        with HubProcess("serve", cwd=tmp_path) as hub:
            until(lambda: readiness(hub) == (200, "ok"))
            first = clients.admitted(hub, old.token(exp, iss=issuer.url))
            looked = issuer.asked[JWKS]
            assert looked == 1
            issuer.publish(new)
            second = clients.admitted(hub, new.token(exp, iss=issuer.url, sub="bob"))
            assert issuer.asked[JWKS] == looked + 1
            # What was signed just before the old key was taken away is still good, seen before or not.
            third = clients.admitted(hub, old.token(exp, iss=issuer.url, sub="eve"))
            for number in range(20):
                assert clients.refusal(hub, IssuerKey(f"invented-{number}").token(exp)) == (100, True)
            assert clients.sent_away(hub, IssuerKey("2026-12").token(exp, iss=issuer.url)) == 3500
            assert clients.sent_away(hub, new.token(exp, iss="https://else.example")) == 3500
            assert issuer.asked == {ABOUT: looked + 1, JWKS: looked + 1}
            for number, socket in enumerate((first, second, third)):
                still_served(socket, f"room:{number}")


def test_a_hub_whose_issuer_is_away_at_the_start_says_so_and_catches_up(
    tmp_path: Path, clients: Clients
) -> None:
    key, port = IssuerKey("k"), free_port()
    token = key.token(time.time() + 3_600)
    configure(tmp_path, jwks_url=f"http://127.0.0.1:{port}{JWKS}")
    with HubProcess("serve", cwd=tmp_path) as hub:
        assert httpx2.get(hub.url() + "/health/live").status_code == 200
        until(lambda: readiness(hub) == (503, "failed"))
        assert clients.refusal(hub, token) == (100, True)
        with Issuer(port) as issuer:
            issuer.publish(key)
            until(lambda: readiness(hub) == (200, "ok"))
            clients.admitted(hub, token)
            issuer.answers[JWKS] = Answer(status=500)
            clients.admitted(hub, key.token(time.time() + 3_600, sub="bob"))
        # Without the issuer those keys stay that are known.
        assert readiness(hub) == (200, "ok")
        clients.admitted(hub, token)
        assert hub.said.count("published keys cannot be had") == 1
        assert "published keys can be had again" in hub.said
